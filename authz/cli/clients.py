"""`client …`: apps and their keys."""

import click

from authz.callers.clients import SCOPES, add_client, list_clients, revoke_client, rotate_client
from authz.cli.options import as_json, now, opened, setting, settings, write_json
from authz.domain import FOREVER, format_instant


@click.group()
def client() -> None:
    """Apps that may ask for decisions, and their keys."""


@client.command("add")
@click.argument("name")
@click.option("--subscription", metavar="ID", help="Bind the key to one subscription: others do not exist for it.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it may do; decide by default.")
@click.option(
    "--rate", type=click.IntRange(1, 10**9), help="How many requests it may send in a minute, if not as usual."
)
@as_json
@setting("database")
def add(
    name: str,
    subscription: str | None,
    scopes: tuple[str, ...],
    rate: int | None,
    as_json: bool,
    database: str | None,
) -> None:
    """Register the app NAME and print its bearer key, once: only a hash of it is kept."""
    connected = opened(settings(database=database).database)
    wanted = scopes or ("decide",)
    key = add_client(connected, name=name, scopes=wanted, subscription=subscription, rate=rate, now=now())
    _tell_key({"name": name, "key": key}, as_json)


@client.command("list")
@as_json
@setting("database")
def list_command(as_json: bool, database: str | None) -> None:
    """List the apps: number, name, scopes, the subscription they are bound to, whether they are revoked."""
    rows = [
        {
            "client": row["id"],
            "name": row["name"],
            "scopes": row["scopes"].split(),
            "subscription": row["subscription"],
            "rate": row["rate"],
            "created_at": format_instant(row["created_at"]),
            "revoked_at": None if row["revoked_at"] == FOREVER else format_instant(row["revoked_at"]),
        }
        for row in list_clients(opened(settings(database=database).database))
    ]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        tenant = f" for {row['subscription']}" if row["subscription"] else ""
        rate = f", {row['rate']} requests a minute" if row["rate"] else ""
        gone = f", revoked at {row['revoked_at']}" if row["revoked_at"] else ""
        click.echo(f"{row['client']}  {row['name']}: {', '.join(row['scopes'])}{tenant}{rate}{gone}")


@client.command("rotate")
@click.argument("number", metavar="CLIENT", type=click.IntRange(1, 2**62))
@as_json
@setting("database")
def rotate(number: int, as_json: bool, database: str | None) -> None:
    """Give the app CLIENT (a number of `client list`) another key; the old one is good for nothing at once."""
    key = rotate_client(opened(settings(database=database).database), client=number, now=now())
    _tell_key({"client": number, "key": key}, as_json)


@client.command("revoke")
@click.argument("number", metavar="CLIENT", type=click.IntRange(1, 2**62))
@setting("database")
def revoke(number: int, database: str | None) -> None:
    """Revoke the key of the app CLIENT (a number of `client list`), at once and for good."""
    revoke_client(opened(settings(database=database).database), client=number, now=now())


def _tell_key(told: dict[str, object], as_json: bool) -> None:
    if as_json:
        write_json(told)
    else:
        click.echo(told["key"])
