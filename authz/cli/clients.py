"""The commands `client …`: apps and their keys."""

import click

from authz.callers.clients import SCOPES, add_client, list_clients, revoke_client, rotate_client
from authz.cli.options import as_json, now, open_database, setting, settings, write_json
from authz.domain import FOREVER, format_instant


@click.group()
def client() -> None:
    """Manage the apps that may ask for decisions, and their keys."""


@client.command("add")
@click.argument("name")
@click.option("--subscription", metavar="ID", help="Bind the key to one clinic; the app sees no other.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What the key permits; decide by default."
)
@click.option(
    "--rate",
    type=click.IntRange(1, 10**9),
    help="How many requests a minute the app may send, if not the usual.",
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
    """Register the app NAME and print its bearer key. The key is shown only now: the database stores only its hash."""
    connected = open_database(settings(database=database).database)
    key = add_client(
        connected, name=name, scopes=scopes or ("decide",), subscription=subscription, rate=rate, now=now()
    )
    _write_key({"name": name, "key": key}, as_json)


@client.command("list")
@as_json
@setting("database")
def list_command(as_json: bool, database: str | None) -> None:
    """List the apps: number, name, scopes, the clinic that the key is bound to, whether the key is revoked."""
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
        for row in list_clients(open_database(settings(database=database).database))
    ]
    if as_json:
        write_json(rows)
        return
    for row in rows:
        tenant = f" for {row['subscription']}" if row["subscription"] else ""
        rate = f", {row['rate']} requests a minute" if row["rate"] else ""
        revoked = f", revoked at {row['revoked_at']}" if row["revoked_at"] else ""
        click.echo(f"{row['client']}  {row['name']}: {', '.join(row['scopes'])}{tenant}{rate}{revoked}")


@client.command("rotate")
@click.argument("number", metavar="CLIENT", type=click.IntRange(1, 2**62))
@as_json
@setting("database")
def rotate(number: int, as_json: bool, database: str | None) -> None:
    """Give the app CLIENT (a number of `client list`) another key; the old key stops working at once."""
    key = rotate_client(open_database(settings(database=database).database), client=number, now=now())
    _write_key({"client": number, "key": key}, as_json)


@client.command("revoke")
@click.argument("number", metavar="CLIENT", type=click.IntRange(1, 2**62))
@setting("database")
def revoke(number: int, database: str | None) -> None:
    """Revoke the key of the app CLIENT (a number of `client list`), at once and for good."""
    revoke_client(open_database(settings(database=database).database), client=number, now=now())


def _write_key(body: dict[str, object], as_json: bool) -> None:
    if as_json:
        write_json(body)
    else:
        click.echo(body["key"])
