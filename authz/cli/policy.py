"""The commands `policy …`: what a policy folder compiles to, and the policies that served."""

import re
from pathlib import Path

import click

from authz.cli.options import (
    as_json,
    now,
    open_database,
    setting,
    settings,
    settings_before_command,
    write_json,
)
from authz.database import Database, connect
from authz.errors import InvalidInput, PolicyUnknown
from authz.policy.compiler import CompiledPolicy, Query, SqlWriter, clauses, load
from authz.policy.compiler.placeholders import Dialect
from authz.policy.history import compile_version
from authz.policy.plan import Request
from authz.policy.preparation import require_preparable
from authz.record import Actor, keep_policy, list_served_policies
from authz.strict_json import parse_object


@click.group()
def policy() -> None:
    """Compile a policy folder, show what it says, and which policies served."""


@policy.command("check")
@click.argument("folder", metavar="[DIRECTORY]", required=False)
@click.option("--database", metavar="URL", help="Prepare every statement on this database, too.")
@as_json
@setting("policies")
def check_policy(folder: str | None, database: str | None, as_json: bool, policies: str | None) -> None:
    """Compile DIRECTORY (default: the policies of the settings). If it is refused, list every fault and exit 1."""
    compiled = load(folder or settings(policies=policies).policies)
    url = database or settings_before_command().get("database")
    if url is not None:
        require_preparable(compiled, open_database(str(url)))
    count = sum(len(queries) for queries in compiled.queries.values())
    if as_json:
        write_json({"version": compiled.version, "rules": compiled.rules, "ways": count, "warnings": compiled.warnings})
        return
    click.echo(f"policy {compiled.version[:12]}: {_count(compiled.rules, 'rule')}, {_count(count, 'way')} to a permit")
    for warning in compiled.warnings:
        click.echo(f"warning: {warning}")


@policy.command("show")
@click.argument("name", required=False, metavar="[DIRECTORY|VERSION]")
@click.option("--type", "resource_type", help="Only this type of resource.")
@click.option("--action", help="Only this action.")
@click.option("--sql", is_flag=True, help="Show also the SQL that decides.")
@click.option("--text", is_flag=True, help="Show the text of the files instead.")
@setting("database")
@setting("policies")
def show_policy(
    name: str | None,
    resource_type: str | None,
    action: str | None,
    sql: bool,
    text: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """Show each way to a permit in plain sentences, by type and action, with its rule and its place in the text.

    The argument is a folder (default: the policies of the settings), or the version of a policy that served this
    database.
    """
    chosen = settings(database=database, policies=policies)
    compiled = load_named(name or chosen.policies, chosen.database)
    if text:
        for file, content in compiled.texts.items():
            click.echo(f"# {file}\n{content}")
        return
    writer = SqlWriter(compiled.types, _dialect(chosen.database)) if sql else None
    for (subject, resource), queries in compiled.queries.items():
        kind = compiled.types.types[resource].name
        for verb in compiled.actions(resource) or ["(any action)"]:
            matching = [query for query in queries if query.action in (verb, None)]
            if matching and resource_type in (None, kind) and action in (None, verb):
                click.echo(f"{compiled.types.types[subject].name} {verb} {kind}")
                _write_clauses(compiled, matching)
                if writer is not None:
                    click.echo("  " + writer.evaluation(matching).sql.replace("\n", "\n  "))
                click.echo()


@policy.command("history")
@as_json
@setting("database")
def policy_history(as_json: bool, database: str | None) -> None:
    """List which policy was in force from when to when, from which folder, by whom and why, and whether it is kept."""
    periods = list_served_policies(open_database(settings(database=database).database))
    if as_json:
        write_json([period._asdict() for period in periods])
        return
    for period in periods:
        text = "kept" if period.kept else "NOT KEPT"
        author = f" by {period.author}: {period.reason}" if period.author else ""
        click.echo(f"{period.version[:12]}  {period.since} - {period.until or 'now'}  {period.source}  {text}")
        click.echo(f"    {period.began}{author}")


@policy.command("keep")
@click.argument("folder", metavar="DIRECTORY")
@setting("database")
def keep(folder: str, database: str | None) -> None:
    """Store the text of DIRECTORY, a policy that served before texts were stored, so that `--at` can ask it."""
    compiled, connected = load(folder), open_database(settings(database=database).database)
    if compiled.version not in {period.version for period in list_served_policies(connected)}:
        raise InvalidInput(f"{folder}: version {compiled.version[:12]} never served this database")
    new = keep_policy(connected, Actor("", now()), compiled)
    click.echo(f"{'kept' if new else 'kept already:'} {compiled.version}")


def _count(number: int, noun: str) -> str:
    """Return a number with its noun, which ends with s unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _dialect(database: str) -> Dialect:
    return "postgresql" if connect(database).dialect == "postgresql" else "sqlite"


def load_named(name: str, database: str | Database) -> CompiledPolicy:
    """Return the policy of a folder, or of a version that served a database; `active` is the one in force there.

    The database is opened if its URL is passed, and only for a version.
    """
    if Path(name).exists() or not re.fullmatch("active|[0-9a-f]{8,64}", name):
        return load(name)
    connected = open_database(database) if isinstance(database, str) else database
    periods = list_served_policies(connected)
    if name == "active":
        if not periods:
            raise PolicyUnknown("no policy is in force: no service has begun on this database")
        return compile_version(connected, periods[-1].version)
    versions = {period.version for period in periods if period.version.startswith(name)}
    if len(versions) != 1:
        count = "no such version" if not versions else "more than one such version"
        raise InvalidInput(f"{name}: there is no such directory, and {count} served this database")
    (version,) = versions
    return compile_version(connected, version)


def read_context(text: str | None) -> Request:
    """Return a request with the context of the option `--context`. Raises `InvalidInput`."""
    try:
        return {} if text is None else {"context": parse_object(text.encode())}
    except InvalidInput as error:
        raise InvalidInput(f"--context: {error}") from error


def _write_clauses(compiled: CompiledPolicy, queries: list[Query]) -> None:
    for query in queries:
        click.echo(f"  {query.rules[0] if query.rules else '-'}  ({', '.join(query.rules)})")
        for clause in clauses(query, compiled.types):
            conditions = clause.probe.conditions
            place = next((condition.place for condition in conditions if condition.rule == clause.rule), None)
            source = f"  [{place.file}:{place.line}]" if place else ""
            click.echo(f"      {clause.rule}: {clause.met}{source}")
