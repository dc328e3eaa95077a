"""`audit replay`: the record against what stands."""

import sys

import click

from authz.cli.options import as_json, opened, setting, settings, write_json
from authz.record import replayed


@click.group()
def audit() -> None:
    """The record of every change."""


@audit.command("replay")
@click.option("--check", is_flag=True, help="Exit 1 where the events and the tables differ.")
@as_json
@setting("database")
def replay(check: bool, as_json: bool, database: str | None) -> None:
    """Rebuild the facts from the events alone, and tell where the tables say otherwise."""
    read, differences = replayed(opened(settings(database=database).database))
    if as_json:
        write_json({"events": read, "differences": [vars(one) for one in differences]})
    else:
        for one in differences:
            click.echo(f"{one.side} only: {one.noun} {one.row}")
        click.echo(f"{read} events replayed, {len(differences)} differences")
    sys.exit(1 if check and differences else 0)
