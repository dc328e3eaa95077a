"""`policy`: what a policy directory compiles to, and the policies that served."""

import re
from pathlib import Path

import click

from authz.cli.options import as_json, now, opened, setting, settings, write_json
from authz.database import connect
from authz.errors import InvalidInput, PolicyUnknown
from authz.policy.compiler import CompiledPolicy, Query, SqlWriter, clauses, compile_texts, load
from authz.policy.history import kept_texts
from authz.record import Actor, keep_policy, list_served_policies


@click.group()
def policy() -> None:
    """Compile a policy directory, show what it says, and which policies served."""


@policy.command("check")
@click.argument("directory", required=False)
@as_json
@setting("policies")
def check_policy(directory: str | None, as_json: bool, policies: str | None) -> None:
    """Compile DIRECTORY (default: the policies in force). Exit 1 with every fault and its place if it is refused."""
    compiled = load(directory or settings(policies=policies).policies)
    ways = sum(len(queries) for queries in compiled.queries.values())
    if as_json:
        write_json({"version": compiled.version, "rules": compiled.rules, "ways": ways, "warnings": compiled.warnings})
        return
    click.echo(f"policy {compiled.version[:12]}: {compiled.rules} rules, {ways} ways to a permit")
    for warning in compiled.warnings:
        click.echo(f"warning: {warning}")


@policy.command("show")
@click.argument("directory", required=False, metavar="[DIRECTORY|VERSION]")
@click.option("--type", "resource_type", help="Only this type of resource.")
@click.option("--action", help="Only this action.")
@click.option("--sql", is_flag=True, help="Also the statement that decides, as it runs on the database.")
@click.option("--text", is_flag=True, help="The text of the files instead.")
@setting("database")
@setting("policies")
def show_policy(
    directory: str | None,
    resource_type: str | None,
    action: str | None,
    sql: bool,
    text: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """Each way to a permit in words, by type and action, each sentence with its rule and its place in the text.

    Of a directory (default: the policies in force), or of the version of a policy that served this database.
    """
    chosen = settings(database=database, policies=policies)
    compiled = _meant(directory or chosen.policies, chosen.database)
    if text:
        for name, content in compiled.texts.items():
            click.echo(f"# {name}\n{content}")
        return
    writer = SqlWriter(compiled.types, connect(chosen.database).dialect) if sql else None  # type: ignore[arg-type]
    for (subject, resource), queries in compiled.queries.items():
        kind = compiled.types.types[resource].name
        for one in compiled.actions(resource) or ["(any action)"]:
            meant = [query for query in queries if query.action in (one, None)]
            if meant and resource_type in (None, kind) and action in (None, one):
                click.echo(f"{compiled.types.types[subject].name} {one} {kind}")
                _show(compiled, meant)
                if writer is not None:
                    click.echo("  " + writer.evaluation(meant).sql.replace("\n", "\n  "))
                click.echo()


@policy.command("history")
@as_json
@setting("database")
def policy_history(as_json: bool, database: str | None) -> None:
    """Which policy was in force from when to when, from which directory, and whether its text is kept."""
    periods = list_served_policies(opened(settings(database=database).database))
    if as_json:
        write_json([period._asdict() for period in periods])
        return
    for period in periods:
        text = "kept" if period.kept else "NOT KEPT"
        click.echo(f"{period.version[:12]}  {period.since} - {period.until or 'now'}  {period.source}  {text}")


@policy.command("keep")
@click.argument("directory")
@setting("database")
def keep(directory: str, database: str | None) -> None:
    """Keep the text of DIRECTORY, a policy that served before policies were kept, so that `--at` can ask it."""
    compiled, connected = load(directory), opened(settings(database=database).database)
    if compiled.version not in {period.version for period in list_served_policies(connected)}:
        raise InvalidInput(f"{directory}: version {compiled.version[:12]} never served this database")
    new = keep_policy(connected, Actor("", now()), compiled)
    click.echo(f"{'kept' if new else 'kept already:'} {compiled.version}")


def _meant(name: str, database: str) -> CompiledPolicy:
    """The policy of a directory, or of a version that served a database."""
    if Path(name).exists() or not re.fullmatch("[0-9a-f]{8,64}", name):
        return load(name)
    connected = opened(database)
    versions = {period.version for period in list_served_policies(connected) if period.version.startswith(name)}
    if len(versions) != 1:
        what = "no such version" if not versions else "more than one such version"
        raise InvalidInput(f"{name}: there is no such directory, and {what} served this database")
    (version,) = versions
    texts = kept_texts(connected, version)
    if texts is None:
        raise PolicyUnknown(f"version {version[:12]} served before policies were kept")
    return compile_texts(texts)


def _show(compiled: CompiledPolicy, queries: list[Query]) -> None:
    for query in queries:
        click.echo(f"  {query.rules[0] if query.rules else '-'}  ({', '.join(query.rules)})")
        for clause in clauses(query, compiled.types):
            place = next((one.place for one in clause.probe.conditions if one.rule == clause.rule), None)
            where = f"  [{place.file}:{place.line}]" if place else ""
            click.echo(f"      {clause.rule}: {clause.met}{where}")
