"""Idempotency: the same request with the same key is carried out once, and answered alike ever after (T16).

The key is claimed and its answer stored in the transaction of the change, so that there is never one without the
other. A refusal is not stored: nothing was done, and the next try may fare better. Kept for a day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authz.database import Database
from authz.errors import KeyReused
from authz.models import Answer

_KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Stored:
    """An answer as it was given: an HTTP status and a body."""

    status: int
    body: str


class Answered(Exception):
    """Not an error: this key was answered before, so, about something of this subscription."""

    def __init__(self, stored: Stored, subscription: str) -> None:
        super().__init__(stored.status)
        self.stored, self.subscription = stored, subscription


@dataclass(frozen=True)
class Once:
    """A caller's key, what the request was, and how its result is told. A key is its caller's own."""

    caller: str
    key: str
    fingerprint: str
    render: Callable[[Any], Stored]

    def claim(self, database: Database, now: datetime) -> None:
        """Make the key ours until the transaction ends; another request with the same key waits for that.

        Raises `Answered` where it was answered, and `KeyReused` where it came with another request.
        """
        Answer.delete().where(Answer.caller == self.caller, Answer.created_at < now - _KEPT).execute(database)
        row = {"caller": self.caller, "key": self.key, "fingerprint": self.fingerprint, "created_at": now}
        Answer.insert(**row, status=0, body="", subscription="").on_conflict_ignore().execute(database)
        held = Answer.select().where(*self._mine()).execute(database)[0]
        if held.fingerprint != self.fingerprint:
            raise KeyReused
        if held.status:
            raise Answered(Stored(held.status, held.body), held.subscription)

    def store(self, database: Database, result: Any, subscription: str) -> None:
        answer = self.render(result)
        told = {"status": answer.status, "body": answer.body, "subscription": subscription}
        Answer.update(**told).where(*self._mine()).execute(database)

    def _mine(self) -> tuple[Any, Any]:
        return Answer.caller == self.caller, Answer.key == self.key
