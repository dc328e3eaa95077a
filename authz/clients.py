"""Apps that may ask, and their bearer keys: a key is shown once and kept only as a hash.

A key holds 256 random bits, so that one round of SHA-256 is enough and a check costs a microsecond.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from authz.database import Database, answering
from authz.errors import InvalidInput
from authz.models import Client, Subscription
from authz.record import Act, Happened, append
from authz.terms import parse_id, parse_text, shown, to_micros

SCOPES = {
    "decide": "ask for decisions",
    "act": "carry out operations on behalf of a practitioner",
    "admin": "provision subscriptions, practitioners, memberships and entities",
    "audit": "ask about past instants, have denials explained, read the record",
}
"""What an app may be allowed to do; each is given by name, none includes another."""

_PREFIX = "cg_"


@dataclass(frozen=True)
class Caller:
    """An app whose key was good: its id, its scopes, and the one subscription that it is bound to, if any."""

    id: int
    name: str
    scopes: frozenset[str]
    subscription: str | None


def add_client(
    database: Database, *, name: str, scopes: Iterable[str], subscription: str | None = None, now: datetime
) -> str:
    """Register an app; its bearer key, which cannot be had again.

    Raises `InvalidInput` for an unknown scope or subscription, or a name that is no text.
    """
    wanted = sorted(set(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise InvalidInput(f"{shown(scope)} is no scope; known are {', '.join(SCOPES)}")
    if not wanted:
        raise InvalidInput("an app needs at least one scope")
    key = _PREFIX + secrets.token_urlsafe(32)
    with answering(database), database.atomic():
        if subscription is not None:
            found = Subscription.select().where(Subscription.id == parse_id(subscription))
            if not found.exists(database):
                raise InvalidInput(f"there is no subscription {subscription}")
        row = {"name": parse_text(name), "scopes": " ".join(wanted), "subscription": subscription}
        client = Client.insert(**row, key_hash=_hash(key), created_at=now).execute(database)
        body = {"client": client, "scopes": wanted}
        append(database, Act("", now), [Happened("client:added", subscription or "", body)])
    return key


def find_client(database: Database, key: str, *, now: datetime) -> Caller | None:
    """The app that a key belongs to, or None for a key that is unknown or revoked."""
    with answering(database):
        found = database.execute_sql(_FIND[database.dialect], (_hash(key), to_micros(now))).fetchone()
    if found is None:
        return None
    client, name, scopes, subscription = found
    return Caller(client, name, frozenset(scopes.split()), subscription)


def revoke_clients(database: Database, *, name: str, now: datetime) -> int:
    """Revoke every key of the apps with this name, at once; how many there were."""
    with answering(database), database.atomic():
        live = Client.select(Client.id, Client.subscription).where((Client.name == name) & (Client.revoked_at > now))
        found = [(row["id"], row["subscription"]) for row in live.dicts().execute(database)]
        for client, _ in found:
            Client.update(revoked_at=now).where(Client.id == client).execute(database)
        append(
            database,
            Act("", now),
            [Happened("client:revoked", subscription or "", {"client": client}) for client, subscription in found],
        )
        return len(found)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


_SELECT = "SELECT id, name, scopes, subscription_id FROM client WHERE key_hash = {0} AND revoked_at > {0}"
_FIND = {"sqlite": _SELECT.format("?"), "postgresql": _SELECT.format("%s")}
