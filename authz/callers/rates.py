"""How often a caller may ask: so many requests a minute, counted over every process on one database.

Each process counts by itself and adds to the database what it counted, at the latest after a second or a sixtieth of
the rate; then it learns what the others counted. So a caller gets through at most that sixtieth too much for each
process, and a decision costs no statement more (docs/decisions/0010-rates-in-the-database.md). While another process
holds SQLite's write lock each counts alone, and adds its count afterwards: until then a caller gets through at most its
rate in each process (docs/decisions/0058).
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
_PATIENCE = 0.02
_RETRY_SECONDS = 0.25


@dataclass
class _Count:
    """A caller's minute: what the database knows, what was counted here since, when it was last told, and until when
    it is left alone because it was locked.
    """

    minute: int
    known: int = 0
    here: int = 0
    told: float = 0
    retry: float = 0


class Rates:
    """Counts the requests of callers; `usual` is the rate of those who have none of their own, 0 none at all."""

    def __init__(self, database: Database, usual: int) -> None:
        self._database = database
        self._usual = usual
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def spend(self, caller: str, now: datetime, *, rate: int | None = None, requests: int = 1) -> None:
        """Count a caller's requests. Raises `TooMany` beyond the rate, and `Unavailable`."""
        most = self._usual if rate is None else rate
        if not most or not requests:
            return
        at = now.timestamp()
        minute = int(at) // _MINUTE
        with self._lock:
            count = self._of(caller, minute)
            count.here += requests
            telling = 0
            over = count.known + count.here - requests >= most
            if not over and at >= count.retry and (at - count.told >= 1 or count.here * _MINUTE >= most):
                telling, count.here, count.told = count.here, 0, at
        if telling:
            total = self._add(caller, minute, telling)
            with self._lock:
                if total is None:
                    count.here, count.retry = count.here + telling, at + _RETRY_SECONDS
                else:
                    count.known = max(count.known, total)
        if over or count.known + count.here > most:
            raise TooMany(_MINUTE - int(at) % _MINUTE)

    def _of(self, caller: str, minute: int) -> _Count:
        count = self._counts.get(caller)
        if count is None or count.minute != minute:
            if len(self._counts) > _MANY_CALLERS:
                self._counts = {name: one for name, one in self._counts.items() if one.minute == minute}
            count = self._counts[caller] = _Count(minute)
        return count

    def _add(self, caller: str, minute: int, requests: int) -> int | None:
        """Add to the caller's sum of this minute; the sum, of every process, or None while SQLite's lock is taken."""
        sql, values = _ADD.replace("?", self._database.param), (caller, minute, requests)
        try:
            with database_connection(self._database), _alone(self._database):
                (total,) = self._database.execute_sql(sql, values).fetchone()
        except Unavailable as error:
            if isinstance(error.__cause__, WriteLocked):
                return None
            raise
        return int(total)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """On SQLite a transaction that hardly waits for others; on PostgreSQL the statement is one by itself."""
    if not isinstance(database, SqliteDatabase):
        yield
        return
    with database.write_lock_timeout(_PATIENCE), database.atomic():
        yield


_ADD = """INSERT INTO spent (caller, minute, requests) VALUES (?, ?, ?) ON CONFLICT (caller) DO UPDATE SET
    requests = excluded.requests + CASE WHEN spent.minute = excluded.minute THEN spent.requests ELSE 0 END,
    minute = excluded.minute RETURNING requests"""
