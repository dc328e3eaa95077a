"""`policy check` and `policy show`: what a policy directory compiles to."""

import click

from authz.cli.options import as_json, setting, settings, write_json
from authz.compiler import CompiledPolicy, Query, Writer, clauses, load
from authz.database import connect


@click.group()
def policy() -> None:
    """Compile a policy directory, and show what it says."""


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
@click.argument("directory", required=False)
@click.option("--type", "resource_type", help="Only this type of resource.")
@click.option("--action", help="Only this action.")
@click.option("--sql", is_flag=True, help="Also the statement that decides, as it runs on the database.")
@setting("database")
@setting("policies")
def show_policy(
    directory: str | None,
    resource_type: str | None,
    action: str | None,
    sql: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """Each way to a permit in words, by type and action, each sentence with its rule and its place in the text."""
    chosen = settings(database=database, policies=policies)
    compiled = load(directory or chosen.policies)
    writer = Writer(compiled.types, connect(chosen.database).dialect) if sql else None  # type: ignore[arg-type]
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


def _show(compiled: CompiledPolicy, queries: list[Query]) -> None:
    for query in queries:
        click.echo(f"  {query.rules[0] if query.rules else '-'}  ({', '.join(query.rules)})")
        for clause in clauses(query, compiled.types):
            place = next((one.place for one in clause.probe.conditions if one.rule == clause.rule), None)
            where = f"  [{place.file}:{place.line}]" if place else ""
            click.echo(f"      {clause.rule}: {clause.met}{where}")
