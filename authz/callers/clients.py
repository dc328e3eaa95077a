"""Apps and their bearer keys: a key is shown once, and only its hash is kept.

A key has 256 random bits, so that one round of SHA-256 is enough and a check costs a microsecond.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from authz.database import Database, database_connection
from authz.domain import Row, to_micros
from authz.errors import InvalidInput, NotFound
from authz.models import Client, Subscription
from authz.record import Actor, NewEvent, append
from authz.texts import parse_stored_id, parse_text, quote_value

SCOPES = {
    "decide": "ask for decisions",
    "act": "carry out operations on behalf of a practitioner",
    "admin": "provision subscriptions, practitioners, memberships and entities",
    "audit": "ask about past instants, have decisions explained, read the record",
}
"""The scopes of an app's key, with their meaning; each scope is granted by name, and none includes another."""

_PREFIX = "cg_"


@dataclass(frozen=True)
class Caller:
    """An app that sent a valid key: its id, scopes, the one subscription that its key serves, and its rate, if any."""

    id: int
    name: str
    scopes: frozenset[str]
    subscription: str | None
    rate: int | None


def add_client(
    database: Database,
    *,
    name: str,
    scopes: Iterable[str],
    subscription: str | None = None,
    rate: int | None = None,
    now: datetime,
) -> str:
    """Register an app and return its bearer key, which cannot be read again.

    `rate` is in requests a minute; None: the default rate. Raises `InvalidInput` for an unknown scope or subscription,
    or a malformed name.
    """
    wanted = sorted(set(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise InvalidInput(f"{quote_value(scope)} is not a scope; the scopes are {', '.join(SCOPES)}")
    if not wanted:
        raise InvalidInput("an app needs at least one scope")
    key = _new_key()
    with database_connection(database), database.atomic():
        if subscription is not None:
            query = Subscription.select().where(Subscription.id == parse_stored_id(subscription))
            if not query.exists(database):
                raise InvalidInput(f"there is no subscription {subscription}")
        row = {"name": parse_text(name), "scopes": " ".join(wanted), "subscription": subscription, "rate": rate}
        client = Client.insert(**row, key_hash=_hash(key), created_at=now).execute(database)
        body = {"app": str(client), "scopes": wanted}
        append(database, Actor("", now), [NewEvent("client:added", subscription or "", body)])
    return key


def find_client(database: Database, key: str, *, now: datetime) -> Caller | None:
    """Return the app that a key belongs to, or None for a key that is unknown or revoked."""
    with database_connection(database) as connection:  # without Peewee, because every request looks up its key
        row = connection.execute(_FIND[database.dialect], (_hash(key), to_micros(now))).fetchone()
    if row is None:
        return None
    client, name, scopes, subscription, rate = row
    return Caller(client, name, frozenset(scopes.split()), subscription, rate)


def list_clients(database: Database) -> list[Row]:
    """Return every app that was ever registered, in the order of ids, without its key hash."""
    columns = (
        Client.id,
        Client.name,
        Client.scopes,
        Client.subscription,
        Client.rate,
        Client.created_at,
        Client.revoked_at,
    )
    with database_connection(database):
        return list(Client.select(*columns).order_by(Client.id).dicts().execute(database))


def rotate_client(database: Database, *, client: int, now: datetime) -> str:
    """Replace the key of an app and return the new key; the old one is invalid at once.

    Raises `NotFound` for an app that does not exist or is revoked.
    """
    key = _new_key()
    with database_connection(database), database.atomic():
        row = _live_client(database, client, now)
        Client.update(key_hash=_hash(key)).where(Client.id == client).execute(database)
        append(database, Actor("", now), [_client_event("client:rotated", row)])
    return key


def revoke_client(database: Database, *, client: int, now: datetime) -> None:
    """Revoke an app's key, at once and for ever. Raises `NotFound` for an app that does not exist or is revoked."""
    with database_connection(database), database.atomic():
        _revoke(database, _live_client(database, client, now), now)


def revoke_clients(database: Database, *, name: str, now: datetime) -> int:
    """Revoke the keys of all apps with this name, at once; return how many there were."""
    with database_connection(database), database.atomic():
        live = Client.select().where((Client.name == name) & (Client.revoked_at > now))
        rows = list(live.dicts().execute(database))
        for row in rows:
            _revoke(database, row, now)
        return len(rows)


def _live_client(database: Database, client: int, now: datetime) -> Row:
    query = Client.select().where((Client.id == client) & (Client.revoked_at > now))
    for row in query.dicts().execute(database):
        return dict(row)
    raise NotFound


def _revoke(database: Database, row: Row, now: datetime) -> None:
    Client.update(revoked_at=now).where(Client.id == row["id"]).execute(database)
    append(database, Actor("", now), [_client_event("client:revoked", row)])


def _client_event(kind: str, row: Row) -> NewEvent:
    return NewEvent(kind, row["subscription"] or "", {"app": str(row["id"])})


def _new_key() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


_SELECT = "SELECT id, name, scopes, subscription_id, rate FROM client WHERE key_hash = {0} AND revoked_at > {0}"
_FIND = {"sqlite": _SELECT.format("?"), "postgresql": _SELECT.format("%s")}
