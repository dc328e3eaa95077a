"""How often a caller may ask: so many requests a minute, counted over every process on one database.

Each process counts by itself and adds to the database what it counted, at the latest after a second or a sixtieth of
the rate; then it learns what the others counted. So a caller gets through at most that sixtieth too much for each
process, and a decision costs no statement more (docs/decisions/0010-rates-in-the-database.md).
"""

import threading
from dataclasses import dataclass
from datetime import datetime

from authz.database import Database, answering
from authz.errors import TooMany

_MINUTE = 60
_MANY_CALLERS = 10_000


@dataclass
class _Count:
    """A caller's minute: what the database knows, what was counted here since, and when it was last told."""

    minute: int
    known: int = 0
    here: int = 0
    told: float = 0


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
            if not over and (at - count.told >= 1 or count.here * _MINUTE >= most):
                telling, count.here, count.told = count.here, 0, at
        if telling:
            count.known = max(count.known, self._add(caller, minute, telling))
        if over or count.known + count.here > most:
            raise TooMany(_MINUTE - int(at) % _MINUTE)

    def _of(self, caller: str, minute: int) -> _Count:
        count = self._counts.get(caller)
        if count is None or count.minute != minute:
            if len(self._counts) > _MANY_CALLERS:
                self._counts = {name: one for name, one in self._counts.items() if one.minute == minute}
            count = self._counts[caller] = _Count(minute)
        return count

    def _add(self, caller: str, minute: int, requests: int) -> int:
        """Add to the caller's sum of this minute; the sum, of every process."""
        with answering(self._database):
            sql = _ADD.replace("?", self._database.param)
            (total,) = self._database.execute_sql(sql, (caller, minute, requests)).fetchone()
        return int(total)


_ADD = """INSERT INTO spent (caller, minute, requests) VALUES (?, ?, ?) ON CONFLICT (caller) DO UPDATE SET
    requests = excluded.requests + CASE WHEN spent.minute = excluded.minute THEN spent.requests ELSE 0 END,
    minute = excluded.minute RETURNING requests"""
