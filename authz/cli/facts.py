"""The commands `migrate`, `demo` and `import`: what is in the database."""

import os
import secrets
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from authz.callers.clients import add_client, revoke_clients
from authz.cli.options import PORT, as_json, now, open_database, setting, settings, settings_before_command, write_json
from authz.database import Database, close_all, connect, masked_url, migrate
from authz.importing import ImportReport, import_facts
from authz.importing.demo import BEGAN, fill, is_demo
from authz.policy.compiler import load
from authz.policy.served import active_policy
from authz.queries.old_ids import outside_the_rule
from authz.record import Actor, record_policy_loaded


@click.command("migrate")
@as_json
@setting("database")
def migrate_command(as_json: bool, database: str | None) -> None:
    """Create or upgrade the tables of the database. Safe to repeat."""
    chosen = settings(database=database)
    connected = connect(chosen.database)
    applied = migrate(connected)
    older = list(outside_the_rule(connected)) if "0011_clinics" in applied else []
    close_all(connected)
    if as_json:
        write_json({"applied": applied, **({"ids_outside_the_rule": older} if older else {})})
        return
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
    for kind, name in older:
        click.echo(f"the {kind} {name!r} keeps its id, which no path can name or nothing new may have", err=True)


@click.command("import")
@click.argument("file", type=click.File("rb"))
@as_json
@setting("database")
@setting("policies")
def import_command(file: BinaryIO, as_json: bool, database: str | None, policies: str | None) -> None:
    """Import the facts of FILE (NDJSON; - for standard input), all or none. The same file twice changes nothing."""
    chosen = settings(database=database, policies=policies)
    named = policies if policies is not None else settings_before_command().get("policies")
    candidate = None if named is None else load(str(named))
    connected = open_database(chosen.database)
    types = (candidate or active_policy(connected, chosen.policies)).types
    with _progress(file) as bar:
        task = bar.add_task("importing", total=_size(file))
        report = import_facts(connected, file, types, now=now(), progress=lambda done: bar.update(task, completed=done))
    if as_json:
        write_json({"new": report.new, "changed": report.changed, "unchanged": report.unchanged, "ended": report.ended})
    else:
        click.echo(_describe(report))


def _describe(report: ImportReport) -> str:
    new = ", ".join(f"{count} {kind}" for kind, count in report.new.items())
    parts = [f"imported {new or 'nothing new'}"]
    if report.changed:
        parts.append(f"{report.changed.total()} changed")
    if report.unchanged:
        parts.append(f"{report.unchanged.total()} unchanged")
    if report.ended:
        parts.append(f"{report.ended.total()} had ended here since, and stay ended")
    return "; ".join(parts)


def _progress(file: BinaryIO) -> Progress:
    """Return a progress bar, which shows only on a terminal, and not while the input is typed."""
    console = Console(stderr=True)
    hidden = not console.is_terminal or (hasattr(file, "isatty") and file.isatty())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=hidden, transient=True)


def _size(file: BinaryIO) -> int | None:
    try:
        return os.fstat(file.fileno()).st_size or None
    except (OSError, ValueError):
        return None


@click.command()
@click.option("--serve", "serving", is_flag=True, help="Then start the service, and print the key of an app.")
@click.option("--port", default=8000, show_default=True, type=PORT, help="With --serve: the port on 127.0.0.1.")
@setting("database")
@setting("policies")
def demo(serving: bool, port: int, database: str | None, policies: str | None) -> None:
    """Fill an empty database with a small demonstration clinic."""
    chosen = settings(database=database, policies=policies)
    migrate(connect(chosen.database))
    connected = open_database(chosen.database)
    if serving and is_demo(connected):
        click.echo(f"the demonstration clinic is in {masked_url(chosen.database)}")
    else:
        moment, policy = now(), load(chosen.policies)
        with connected.atomic():  # as if its policy had served from the beginning, so that one can ask about the past
            record_policy_loaded(connected, Actor("", moment - BEGAN), policy, chosen.policies)
            fill(connected, policy.types, moment)
        click.echo(f"filled {masked_url(chosen.database)} with the demonstration clinic")
    if serving:
        _serve_demo(connected, chosen.database, chosen.policies, port)


def _serve_demo(connected: Database, database: str, policies: str, port: int) -> None:
    from api.server import serve  # noqa: PLC0415 - only serving needs Flask

    revoke_clients(connected, name="demonstration", now=now())
    key = add_client(connected, name="demonstration", scopes=("decide", "audit"), now=now())
    connected.close()
    click.echo(_WELCOME.format(port=port, key=key, database=masked_url(database)))
    chosen = settings(database=database, policies=policies, demo_sign_in=True, session_key=secrets.token_urlsafe(32))
    serve(chosen, "127.0.0.1", port, 1)


_WELCOME = """
Sign in as one of the clinic's people (Ctrl-C stops the service):

http://127.0.0.1:{port}/

May Bob view Alice's patient? A decision over HTTP, with its reason:

curl -s http://127.0.0.1:{port}/access/v1/evaluation \\
  -H 'Authorization: Bearer {key}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"subject": {{"type": "practitioner", "id": "bob"}}, "action": {{"name": "view"}},
       "resource": {{"type": "patient", "id": "p-1"}}, "context": {{"explain": true}}}}'

In another terminal, why not (p-3 was shared with Bob until last month), and who may:

.venv/bin/caregrant check practitioner:bob view patient:p-3 --explain --database {database}
.venv/bin/caregrant who view patient:p-1 --database {database}
"""
