"""Idempotency: the same request with the same key is carried out once, and answered alike ever after (T16).

The key is claimed and its answer stored in the transaction of the change, so that there is never one without the
other. A refusal is not stored: nothing was done, and the next try may fare better. Kept for a day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authz.database import Database
from authz.database.statements import run
from authz.domain import to_micros
from authz.errors import KeyReused

_KEPT = timedelta(days=1)
_OLD = "FROM answer WHERE caller = {} AND created_at < {}"
_FORGET = {
    "sqlite": f"DELETE {_OLD}",
    # Not those that another request forgets at this moment: it may be frozen.
    "postgresql": f"DELETE FROM answer WHERE ctid = ANY(ARRAY(SELECT ctid {_OLD} FOR UPDATE SKIP LOCKED))",
}
_CLAIM = """INSERT INTO answer (caller, key, fingerprint, created_at, status, body, subscription)
    VALUES ({}, {}, {}, {}, 0, '', '') ON CONFLICT DO NOTHING"""
_HELD = "SELECT fingerprint, status, body, subscription FROM answer WHERE caller = {} AND key = {}"
_STORE = "UPDATE answer SET status = {}, body = {}, subscription = {} WHERE caller = {} AND key = {}"


@dataclass(frozen=True)
class StoredResponse:
    """An answer as it was given: an HTTP status and a body."""

    status: int
    body: str


class ReplayedResponse(Exception):
    """Not an error: this key was answered before, so, about something of this subscription."""

    def __init__(self, stored: StoredResponse, subscription: str) -> None:
        super().__init__(stored.status)
        self.stored, self.subscription = stored, subscription


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key, what the request was, and how its result is told. A key is its caller's own."""

    caller: str
    key: str
    fingerprint: str
    render: Callable[[Any], StoredResponse]

    def claim(self, database: Database, now: datetime) -> None:
        """Make the key ours until the transaction ends; another request with the same key waits for that.

        Raises `ReplayedResponse` where it was answered, and `KeyReused` where it came with another request.
        """
        run(database, _FORGET[database.dialect], self.caller, to_micros(now - _KEPT))
        run(database, _CLAIM, self.caller, self.key, self.fingerprint, to_micros(now))
        fingerprint, status, body, subscription = run(database, _HELD, self.caller, self.key).fetchone()
        if fingerprint != self.fingerprint:
            raise KeyReused
        if status:
            raise ReplayedResponse(StoredResponse(status, body), subscription)

    def store(self, database: Database, result: Any, subscription: str) -> None:
        answer = self.render(result)
        run(database, _STORE, answer.status, answer.body, subscription, self.caller, self.key)
