"""The months of the decision log: what a month is, and on PostgreSQL the partition of each.

Rows go by `asked_at`. A month without a partition of its own has its rows in the partition `decision_rest`, so that an
answer never fails for want of one.
"""

from datetime import UTC, datetime
from functools import lru_cache

import peewee

from authz.database import Database, database_connection
from authz.domain import from_micros, to_micros

_AHEAD = 2
# One statement: a client that is frozen amid several would hold the table, and every answer with it.
_PARTITION = """DO $$ BEGIN
    SET LOCAL lock_timeout = '200ms';
    CREATE TABLE {name} PARTITION OF decision FOR VALUES FROM ({begin}) TO ({end});
    CREATE TRIGGER decision_truncate BEFORE TRUNCATE ON {name}
        FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only();
END $$"""
_DAY = 86_400_000_000


def month_of_instant(micros: int) -> str:
    """The month of an instant, such as 2026-06 (UTC)."""
    return _month(micros // _DAY)


@lru_cache(maxsize=1000)
def _month(day: int) -> str:
    return from_micros(day * _DAY).strftime("%Y-%m")


def month_bounds(month: str) -> tuple[int, int]:
    """A month's first instant and the next month's, in microseconds."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    return to_micros(first), to_micros(following(first))


def following(first: datetime) -> datetime:
    """The beginning of the month after."""
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1, day=1)


def create_partitions(database: Database, now: datetime) -> list[str]:
    """Make the partitions of this month and the next two that are not there; the months made. Nothing on SQLite."""
    made: list[str] = []
    if database.dialect != "postgresql":
        return made
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(_AHEAD + 1):
        month = first.strftime("%Y-%m")
        with database_connection(database):
            if not database.table_exists(partition(month)) and _make(database, month):
                made.append(month)
        first = following(first)
    return made


def partition(month: str) -> str:
    """The name of a month's partition."""
    return f"decision_{month.replace('-', '_')}"


def _make(database: Database, month: str) -> bool:
    begin, end = month_bounds(month)
    name = partition(month)
    try:
        database.execute_sql(_PARTITION.format(name=name, begin=begin, end=end))
    except peewee.DatabaseError:
        # Another process made it, or rows of this month stand in the partition of the rest already.
        return False
    return True
