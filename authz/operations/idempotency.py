"""Idempotency: the same request with the same key is carried out once, and answered alike for a day (T16).

The key is claimed and its answer stored in the transaction of the change, so that neither exists without the other.
A refusal is not stored: nothing was done, and the next try may succeed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authz.database import Database
from authz.database.statements import run
from authz.domain import to_micros
from authz.errors import KeyReused

_KEPT_FOR = timedelta(days=1)
_OLD = "FROM answer WHERE caller = {} AND created_at < {}"
_DELETE_OLD = {
    "sqlite": f"DELETE {_OLD}",
    # Rows that another request deletes at this moment are skipped: that request may be frozen.
    "postgresql": f"DELETE FROM answer WHERE ctid = ANY(ARRAY(SELECT ctid {_OLD} FOR UPDATE SKIP LOCKED))",
}
_CLAIM = """INSERT INTO answer (caller, key, fingerprint, created_at, status, body, subscription)
    VALUES ({}, {}, {}, {}, 0, '', '') ON CONFLICT DO NOTHING"""
_READ = "SELECT fingerprint, status, body, subscription FROM answer WHERE caller = {} AND key = {}"
_STORE = "UPDATE answer SET status = {}, body = {}, subscription = {} WHERE caller = {} AND key = {}"


@dataclass(frozen=True)
class StoredResponse:
    """A stored answer: an HTTP status and a body."""

    status: int
    body: str


class ReplayedResponse(Exception):
    """Not an error: the stored answer to the same request, which was about something of this subscription."""

    def __init__(self, stored: StoredResponse, subscription: str) -> None:
        super().__init__(stored.status)
        self.stored, self.subscription = stored, subscription


@dataclass(frozen=True)
class IdempotencyKey:
    """The key of a caller's request, the fingerprint of the request, and how its result becomes an answer.

    The same key of two callers is two keys.
    """

    caller: str
    key: str
    fingerprint: str
    render: Callable[[Any], StoredResponse]

    def claim(self, database: Database, now: datetime) -> None:
        """Claim the key until the transaction ends; another request with the same key waits for the end.

        Raises `ReplayedResponse` if the key has an answer, and `KeyReused` if it came with another request.
        """
        run(database, _DELETE_OLD[database.dialect], self.caller, to_micros(now - _KEPT_FOR))
        run(database, _CLAIM, self.caller, self.key, self.fingerprint, to_micros(now))
        fingerprint, status, body, subscription = run(database, _READ, self.caller, self.key).fetchone()
        if fingerprint != self.fingerprint:
            raise KeyReused
        if status:
            raise ReplayedResponse(StoredResponse(status, body), subscription)

    def store(self, database: Database, result: object, subscription: str) -> None:
        """Store the answer that the result of the operation becomes."""
        answer = self.render(result)
        run(database, _STORE, answer.status, answer.body, subscription, self.caller, self.key)
