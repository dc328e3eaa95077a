"""The rate of a caller: requests a minute, counted over all processes on one database.

Each process counts by itself, and adds its count to the database at the latest after a second or a sixtieth of the
rate; then it reads the sum of all processes. So a caller can exceed its rate by at most that sixtieth for each process,
and a decision needs no additional statement (docs/decisions/0010-rates-in-the-database.md). While another process holds
SQLite's write lock, each process counts alone and adds its count afterwards: until then a caller can send at most its
rate to each process (docs/decisions/0058).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.errors import TooMany, Unavailable

_MINUTE = 60
_MANY_CALLERS = 10_000
_LOCK_SECONDS = 0.02
_RETRY_SECONDS = 0.25


@dataclass
class _Count:
    """The count of a caller in one minute.

    `stored` is the sum in the database when it was last read, `unstored` the requests counted here since. `stored_at`
    is when this process last wrote, `retry_at` when it may write again after the database was locked.
    """

    minute: int
    stored: int = 0
    unstored: int = 0
    stored_at: float = 0
    retry_at: float = 0


class Rates:
    """Counts the requests of callers; `default_rate` is for callers without a rate of their own, 0: no limit."""

    def __init__(self, database: Database, default_rate: int) -> None:
        self._database = database
        self._default_rate = default_rate
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def spend(self, caller: str, now: datetime, *, rate: int | None = None, requests: int = 1) -> None:
        """Count requests of a caller. Raises `TooMany` above the rate, and `Unavailable`."""
        most = self._default_rate if rate is None else rate
        if not most or not requests:
            return
        at = now.timestamp()
        minute = int(at) // _MINUTE
        with self._lock:
            count = self._count_of(caller, minute)
            count.unstored += requests
            to_store = 0
            over = count.stored + count.unstored - requests >= most
            due = at - count.stored_at >= 1 or count.unstored * _MINUTE >= most
            if not over and at >= count.retry_at and due:
                to_store, count.unstored, count.stored_at = count.unstored, 0, at
        if to_store:
            total = self._add(caller, minute, to_store)
            with self._lock:
                if total is None:
                    count.unstored, count.retry_at = count.unstored + to_store, at + _RETRY_SECONDS
                else:
                    count.stored = max(count.stored, total)
        if over or count.stored + count.unstored > most:
            raise TooMany(_MINUTE - int(at) % _MINUTE)

    def _count_of(self, caller: str, minute: int) -> _Count:
        count = self._counts.get(caller)
        if count is None or count.minute != minute:
            if len(self._counts) > _MANY_CALLERS:
                self._counts = {name: count for name, count in self._counts.items() if count.minute == minute}
            count = self._counts[caller] = _Count(minute)
        return count

    def _add(self, caller: str, minute: int, requests: int) -> int | None:
        """Add to the caller's sum of this minute; return the sum of all processes, None if SQLite is locked."""
        sql, values = _ADD.replace("?", self._database.param), (caller, minute, requests)
        try:
            with database_connection(self._database), _short_transaction(self._database):
                (total,) = self._database.execute_sql(sql, values).fetchone()
        except Unavailable as error:
            if isinstance(error.__cause__, WriteLocked):
                return None
            raise
        return int(total)


@contextmanager
def _short_transaction(database: Database) -> Iterator[None]:
    """Run a transaction with a short wait for the lock on SQLite; on PostgreSQL the statement needs none."""
    if not isinstance(database, SqliteDatabase):
        yield
        return
    with database.write_lock_timeout(_LOCK_SECONDS), database.atomic():
        yield


_ADD = """INSERT INTO spent (caller, minute, requests) VALUES (?, ?, ?) ON CONFLICT (caller) DO UPDATE SET
    requests = excluded.requests + CASE WHEN spent.minute = excluded.minute THEN spent.requests ELSE 0 END,
    minute = excluded.minute RETURNING requests"""
