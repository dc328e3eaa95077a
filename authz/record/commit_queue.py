"""The queues of PostgreSQL: events and seals wait in a table until COMMIT, when the server assigns their places.

The parts of a leaf that depend on its place (id, instant, commitments) are left out: `PLACEHOLDER` stands for them. A
trigger of the database fills them in, hashes the leaf and appends it to the tree
(`authz/migrations/0008_commit_order.py`). So no process holds the lock that orders the record while the server waits
for its client (docs/decisions/0055).
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence

import orjson

from authz.database import Database
from authz.database.statements import insert_values
from authz.domain import Values
from authz.record.commitments import address_owner, reason_owner
from authz.record.leaves import EVENT_FIELDS, canonical, event_leaf, seal_leaf

PLACEHOLDER = orjson.Fragment(b"\x01")
"""A control character, which canonical JSON never contains unescaped."""

_SECRET_BYTES = 32
_EVENT_COLUMNS = (*EVENT_FIELDS[1:], "leaf", "whose_address", "whose_reason", "address_secret", "reason_secret")
_SEAL_COLUMNS = ("after", "at", "subscription", "month", "first", "last", "upto", "count", "root", "marks", "leaf")


def queue_events(database: Database, rows: Sequence[Values]) -> None:
    """Queue events, each a tuple of `EVENT_FIELDS` without the id. Raises Peewee's errors, also at COMMIT."""
    insert_values(database, "pending_event", _EVENT_COLUMNS, [_event_row(row) for row in rows])


def _event_row(row: Values) -> Values:
    event = dict(zip(EVENT_FIELDS, (PLACEHOLDER, *row), strict=True))
    body = canonical(event["body"])
    address = address_owner(event["actor"], event["client"]) if event["address"] else ""
    reason = reason_owner(event["patient"], event["body"]) if event["reason"] else ""
    leaf = canonical(event_leaf({**event, "at": PLACEHOLDER, "body": orjson.Fragment(body)}, PLACEHOLDER, PLACEHOLDER))
    # The server stores these for a person who has no secret yet.
    new_secrets = [secrets.token_bytes(_SECRET_BYTES) if person else None for person in (address, reason)]
    return (*row[:-1], body.decode(), leaf.decode(), address, reason, *new_secrets)


def queue_seals(database: Database, after: int, seals: Iterable[Mapping[str, object]]) -> None:
    """Queue seals of the decisions after the id `after`; COMMIT drops them if another process sealed these first."""
    rows = []
    for seal in seals:
        leaf = canonical(seal_leaf({**seal, "id": PLACEHOLDER})).decode()
        rows.append((after, *(seal[name] for name in _SEAL_COLUMNS[1:-1]), leaf))
    insert_values(database, "pending_seal", _SEAL_COLUMNS, rows)
