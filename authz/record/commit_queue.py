"""The queues of PostgreSQL: events and seals wait in a table until COMMIT, when the server gives them their places.

What depends on the place (id, instant, commitments) is left out of a leaf: `MARK` stands for it. A trigger of the
database fills it in, hashes the leaf and grows the tree (`authz/migrations/0008_commit_order.py`). So the lock that
orders the record is never held while a client is waited for (docs/decisions/0055).
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from authz.database import Database
from authz.database.statements import insert_values
from authz.record.commitments import whose_address, whose_reason
from authz.record.leaves import EVENT_FIELDS, canonical, event_leaf, seal_leaf

MARK = orjson.Fragment(b"\x01")
"""A control character, which canonical JSON never holds unescaped."""

_SECRET = 32
_EVENT_COLUMNS = (*EVENT_FIELDS[1:], "leaf", "whose_address", "whose_reason", "address_secret", "reason_secret")
_SEAL_COLUMNS = ("after", "at", "subscription", "month", "first", "last", "upto", "count", "root", "marks", "leaf")


def queue_events(database: Database, rows: Sequence[tuple[Any, ...]]) -> None:
    """Queue events, each a tuple of `EVENT_FIELDS` without the id. Raises Peewee's errors, also at COMMIT."""
    insert_values(database, "pending_event", _EVENT_COLUMNS, [_queued_event(row) for row in rows])


def _queued_event(row: tuple[Any, ...]) -> tuple[Any, ...]:
    event = dict(zip(EVENT_FIELDS, (MARK, *row), strict=True))
    body = canonical(event["body"])
    address = whose_address(event["actor"], event["client"]) if event["address"] else ""
    reason = whose_reason(event["patient"], event["body"]) if event["reason"] else ""
    leaf = canonical(event_leaf({**event, "at": MARK, "body": orjson.Fragment(body)}, MARK, MARK))  # type: ignore[arg-type]
    # A person without a secret gets one of these.
    fresh = [secrets.token_bytes(_SECRET) if whose else None for whose in (address, reason)]
    return (*row[:-1], body.decode(), leaf.decode(), address, reason, *fresh)


def queue_seals(database: Database, after: int, seals: Iterable[Mapping[str, Any]]) -> None:
    """Queue seals of what was answered after the decision `after`; dropped at COMMIT if another process was faster."""
    rows = []
    for seal in seals:
        leaf = canonical(seal_leaf({**seal, "id": MARK})).decode()
        rows.append((after, *(seal[name] for name in _SEAL_COLUMNS[1:-1]), leaf))
    insert_values(database, "pending_seal", _SEAL_COLUMNS, rows)
