"""Apps and their keys: shown once, stored as a hash, valid until revoked, bound to a subscription."""

from datetime import timedelta

import pytest

from authz.callers.clients import SCOPES, add_client, find_client, revoke_clients
from authz.database import Database
from authz.errors import InvalidInput
from authz.models import Client, Event
from tests.support.people import NOW


def test_a_key_is_stored_only_as_a_hash(database: Database) -> None:
    """A key finds its app and scopes; no column of any table holds the key."""
    key = add_client(database, name="Physio App", scopes=("decide", "audit"), now=NOW)
    client = find_client(database, key, now=NOW)
    assert client is not None
    assert (client.name, client.scopes, client.subscription) == ("Physio App", frozenset({"decide", "audit"}), None)
    stored = [*Client.select().tuples().execute(database), *Event.select().tuples().execute(database)]
    assert key not in repr(stored)
    assert key.removeprefix("cg_") not in repr(stored)
    assert len(key) > 43


def test_a_key_that_is_not_one_finds_nothing(database: Database) -> None:
    """Another key, a part of a key, its hash and text that cannot be encoded find no app."""
    key = add_client(database, name="app", scopes=("decide",), now=NOW)
    (stored,) = [row.key_hash for row in Client.select().execute(database)]
    for wrong in ("", key[:-1], key + "x", key.lower(), stored, "\udcff", "\0"):
        assert find_client(database, wrong, now=NOW) is None


def test_a_revoked_key_finds_nothing_from_that_instant(database: Database) -> None:
    """Revoking a name ends its keys, and no other keys, from the given instant."""
    old = add_client(database, name="app", scopes=("decide",), now=NOW)
    other = add_client(database, name="other", scopes=("decide",), now=NOW)
    later = NOW + timedelta(seconds=1)
    assert revoke_clients(database, name="app", now=later) == 1
    assert revoke_clients(database, name="app", now=later) == 0
    assert find_client(database, old, now=later - timedelta(microseconds=1)) is not None
    assert find_client(database, old, now=later) is None
    assert find_client(database, other, now=later) is not None
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    assert kinds == ["client:added", "client:added", "client:revoked"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"scopes": ("decide", "root")}, "'root' is not a scope"),
        ({"scopes": ()}, "at least one scope"),
        ({"subscription": "nowhere"}, "no subscription nowhere"),
        ({"name": ""}, "1 to 500 characters"),
    ],
)
def test_what_is_malformed_registers_nothing(database: Database, arguments: dict[str, object], why: str) -> None:
    """An unknown scope or subscription, or a bad name, registers no app."""
    wanted: dict[str, object] = {"name": "app", "scopes": tuple(SCOPES), "now": NOW} | arguments
    with pytest.raises(InvalidInput, match=why):
        add_client(database, **wanted)  # type: ignore[arg-type]
    assert Client.select().count(database) == 0
