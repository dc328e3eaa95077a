"""Apps that may ask, and their bearer keys: a key is shown once and kept only as a hash.

A key holds 256 random bits, so that one round of SHA-256 is enough and a check costs a microsecond.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz.database import Database, database_connection
from authz.domain import to_micros
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
"""What an app may be allowed to do; each is given by name, none includes another."""

_PREFIX = "cg_"


@dataclass(frozen=True)
class Caller:
    """An app whose key was good: its id, its scopes, the one subscription that it is bound to, and its rate, if any."""

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
    """Register an app; its bearer key, which cannot be had again. `rate`: requests a minute, where not the usual.

    Raises `InvalidInput` for an unknown scope or subscription, or a name that is no text.
    """
    wanted = sorted(set(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise InvalidInput(f"{quote_value(scope)} is no scope; known are {', '.join(SCOPES)}")
    if not wanted:
        raise InvalidInput("an app needs at least one scope")
    key = _new_key()
    with database_connection(database), database.atomic():
        if subscription is not None:
            found = Subscription.select().where(Subscription.id == parse_stored_id(subscription))
            if not found.exists(database):
                raise InvalidInput(f"there is no subscription {subscription}")
        row = {"name": parse_text(name), "scopes": " ".join(wanted), "subscription": subscription, "rate": rate}
        client = Client.insert(**row, key_hash=_hash(key), created_at=now).execute(database)
        body = {"app": str(client), "scopes": wanted}
        append(database, Actor("", now), [NewEvent("client:added", subscription or "", body)])
    return key


def find_client(database: Database, key: str, *, now: datetime) -> Caller | None:
    """The app that a key belongs to, or None for a key that is unknown or revoked."""
    with database_connection(database):
        found = database.execute_sql(_FIND[database.dialect], (_hash(key), to_micros(now))).fetchone()
    if found is None:
        return None
    client, name, scopes, subscription, rate = found
    return Caller(client, name, frozenset(scopes.split()), subscription, rate)


def list_clients(database: Database) -> list[dict[str, Any]]:
    """Every app that was ever registered, in order; nothing of its key."""
    shown_columns = (
        Client.id,
        Client.name,
        Client.scopes,
        Client.subscription,
        Client.rate,
        Client.created_at,
        Client.revoked_at,
    )
    with database_connection(database):
        return list(Client.select(*shown_columns).order_by(Client.id).dicts().execute(database))


def rotate_client(database: Database, *, client: int, now: datetime) -> str:
    """A new key for an app; the old one is good for nothing from now on. Raises `NotFound` for one that is not live."""
    key = _new_key()
    with database_connection(database), database.atomic():
        row = _live(database, client, now)
        Client.update(key_hash=_hash(key)).where(Client.id == client).execute(database)
        append(database, Actor("", now), [_happened("client:rotated", row)])
    return key


def revoke_client(database: Database, *, client: int, now: datetime) -> None:
    """Revoke an app's key, at once and for good. Raises `NotFound` for one that is not live."""
    with database_connection(database), database.atomic():
        _revoke(database, _live(database, client, now), now)


def revoke_clients(database: Database, *, name: str, now: datetime) -> int:
    """Revoke every key of the apps with this name, at once; how many there were."""
    with database_connection(database), database.atomic():
        live = Client.select().where((Client.name == name) & (Client.revoked_at > now))
        found = list(live.dicts().execute(database))
        for row in found:
            _revoke(database, row, now)
        return len(found)


def _live(database: Database, client: int, now: datetime) -> dict[str, Any]:
    found = Client.select().where((Client.id == client) & (Client.revoked_at > now))
    for row in found.dicts().execute(database):
        return dict(row)
    raise NotFound


def _revoke(database: Database, row: dict[str, Any], now: datetime) -> None:
    Client.update(revoked_at=now).where(Client.id == row["id"]).execute(database)
    append(database, Actor("", now), [_happened("client:revoked", row)])


def _happened(kind: str, row: dict[str, Any]) -> NewEvent:
    return NewEvent(kind, row["subscription"] or "", {"app": str(row["id"])})


def _new_key() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


_SELECT = "SELECT id, name, scopes, subscription_id, rate FROM client WHERE key_hash = {0} AND revoked_at > {0}"
_FIND = {"sqlite": _SELECT.format("?"), "postgresql": _SELECT.format("%s")}
