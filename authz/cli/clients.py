"""`client add`: apps and their keys."""

import click

from authz.cli.options import as_json, now, opened, setting, settings, write_json
from authz.clients import SCOPES, add_client


@click.group()
def client() -> None:
    """Apps that may ask for decisions, and their keys."""


@client.command("add")
@click.argument("name")
@click.option("--subscription", metavar="ID", help="Bind the key to one subscription: others do not exist for it.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it may do; decide by default.")
@as_json
@setting("database")
def add(name: str, subscription: str | None, scopes: tuple[str, ...], as_json: bool, database: str | None) -> None:
    """Register the app NAME and print its bearer key, once: only a hash of it is kept."""
    chosen = settings(database=database)
    key = add_client(
        opened(chosen.database), name=name, scopes=scopes or ("decide",), subscription=subscription, now=now()
    )
    if as_json:
        write_json({"name": name, "key": key})
    else:
        click.echo(key)
