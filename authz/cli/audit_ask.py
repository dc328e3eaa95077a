"""The command `audit ask`: one question of the audit. It needs the extra `notebooks`."""

import inspect
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import click

from authz.cli.audit import audit
from authz.cli.options import setting, settings
from authz.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from authz.audit.catalog.question import Answer, AuditQuestion

FORMATS = ("table", "csv", "json")


@audit.command("ask")
@click.argument("name", metavar="[QUESTION]", required=False)
@click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="A parameter.")
@click.option("--as-of", metavar="TIME", default="now", show_default=True, help="The instant asked about.")
@click.option("--tz", default="UTC", show_default=True, help="The time zone in which days begin and times are shown.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="What to write.")
@setting("database")
@setting("policies")
def ask_command(
    name: str | None,
    parameters: tuple[str, ...],
    as_of: str,
    tz: str,
    form: str,
    database: str | None,
    policies: str | None,
) -> None:
    """Ask one QUESTION of the audit; without QUESTION, list the questions with their parameters.

    Each question that you ask is recorded.

    \b
    caregrant audit ask what_did -p practitioner=bob -p since=2026-01-01
    """
    try:
        from authz.audit.questions import QUESTIONS  # noqa: PLC0415 - only this command needs it
        from authz.audit.session import open_audit  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Unavailable(f"this needs {error.name}: pip install 'caregrant[notebooks]'") from error
    questions = {question.name: question for question in QUESTIONS}
    if name is None:
        for question in QUESTIONS:
            click.echo(f"{question.number:4}{question.name}  ({', '.join(question.parameters)})")
        return
    if name not in questions:
        raise InvalidInput(f"there is no question {name!r}; there are {', '.join(questions)}")
    values = dict(_parse_parameter(questions[name], text) for text in parameters)
    chosen = settings(database=database, policies=policies)
    with closing(open_audit(chosen.database, as_of=as_of, tz=tz, policies=chosen.policies)) as opened:
        _write(questions[name](opened, **values), form)


def _parse_parameter(question: "AuditQuestion", text: str) -> tuple[str, Any]:
    """Return a parameter and its value with the type of the default; the question refuses a wrong value."""
    name, sign, value = text.partition("=")
    if not sign:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    declared = inspect.signature(question.function).parameters.get(name)
    default = None if declared is None else declared.default
    if isinstance(default, bool) and value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    if isinstance(default, int) and not isinstance(default, bool):
        for number in (int, float):
            with suppress(ValueError):
                return name, number(value)
    return name, value


def _write(answer: "Answer", form: str) -> None:
    from authz.audit.reports.sheets import as_csv  # noqa: PLC0415 - as above

    if form == "csv":
        click.echo(as_csv(answer), nl=False)
    elif form == "json":
        for line in answer.frame.to_json(orient="records", lines=True, date_format="iso").splitlines():
            click.echo(line)
    elif len(answer):
        click.echo(answer.frame.dropna(axis=1, how="all").to_string(index=False, na_rep=""))
    click.echo(f"{answer.number} {answer.summary}", err=form != "table")
