"""The parts that commands share: their options, the present instant, JSON output, and how they open the database."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import click
import orjson

from authz.database import Database, connect, require_current
from authz.domain import parse_instant
from authz.errors import InvalidInput
from authz.policy.decision import Ref
from authz.policy.pdp import PDP, open_pdp
from authz.policy.served import open_served_policy
from authz.record import drain_or_count
from authz.settings import SETTINGS, Settings
from authz.strict_json import parse_object

PORT = click.IntRange(1, 65_535)

Command = Callable[..., object]


def now() -> datetime:
    """Return the present instant; everything below the commands takes it as an argument."""
    return datetime.now(UTC)


_SHOWN = {
    "policies": ("DIR", "the shipped ones"),
    "letters": ("DIR", "the shipped ones"),
    "database": ("URL", "sqlite:///caregrant.db"),
}


def setting(name: str) -> Callable[[Command], Command]:
    """Add the option of a setting, such as `--database`, with the sentence of the setting as its help."""
    variable = f"CAREGRANT_{name.upper()}"
    default, sentence = SETTINGS[variable]
    if isinstance(default, bool):
        return click.option(f"--{name}/--no-{name}", default=None, help=f"{sentence} [{variable}; {default}]")
    metavar, shown = _SHOWN.get(name, ("FILE" if name.endswith("key") else "VALUE", default or "none"))
    return click.option(f"--{name.replace('_', '-')}", metavar=metavar, help=f"{sentence} [{variable}; {shown}]")


def as_json(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for a program to read.")(command)


def at_instant(command: Command) -> Command:
    """Add the options `--at TIME` and `--todays-policy`."""
    at = click.option(
        "--at",
        metavar="TIME",
        callback=parse_at,
        help="Ask about a past instant (RFC 3339), by the policy that was in force then.",
    )
    todays = click.option("--todays-policy", is_flag=True, help="With --at: ask the policy of --policies instead.")
    return at(todays(command))


def parse_at(_context: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """Return the instant of the option `--at`, None if it is absent. Raises `click.BadParameter`."""
    if value is None:
        return None
    try:
        return parse_instant(value)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


class RefType(click.ParamType[Ref]):
    """An argument of the form `type:id`, such as `patient:p-1`."""

    name = "type:id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Ref:
        kind, colon, name = str(value).partition(":")
        if not (kind and colon and name):
            self.fail(f"{value!r} is not of the form type:id, such as patient:p-1", param, ctx)
        return kind, name


def with_context(command: Command) -> Command:
    """Add the option `--context JSON`."""
    return click.option(
        "--context",
        metavar="JSON",
        callback=_json_object,
        help="What comes with the question: a JSON object, as `context` of a request.",
    )(command)


def _json_object(_context: click.Context, _param: click.Parameter, value: str | None) -> dict[str, object]:
    if value is None:
        return {}
    try:
        return parse_object(os.fsencode(value))
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


def write_json(value: object) -> None:
    """Write one JSON value on a line of standard output."""
    click.echo(orjson.dumps(value).decode())


def settings(**options: object) -> Settings:
    """Return the settings: the command's options, else those before the command, the environment, the defaults."""
    return Settings.from_environment(**{**settings_before_command(), **_passed(options)})


def settings_before_command() -> dict[str, object]:
    """Return the settings that were passed before the command, such as `caregrant --database URL check …`."""
    context = click.get_current_context(silent=True)
    return {} if context is None else _passed(context.find_root().params)


def _passed(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def open_decider(chosen: Settings, folder: str | None) -> PDP:
    """Return a PDP of the folder of the option `--policies`; without it of the policy that decides in the services."""
    named = folder if folder is not None else settings_before_command().get("policies")
    if named is not None:
        return open_pdp(chosen.database, str(named))
    return open_served_policy(chosen.database, chosen.policies).pdp


def open_database(url: str) -> Database:
    """Return the database of a URL, open and up to date. Raises `Unavailable` if migrations are pending."""
    database = connect(url)
    require_current(database)
    database.connect(reuse_if_open=True)
    waiting = drain_or_count(database)
    if waiting:
        click.echo(f"{waiting} answers wait in {database.database}-answers and are not part of what follows", err=True)
    return database
