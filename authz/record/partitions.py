"""The months of the decision log, and on PostgreSQL the partition of each month.

The month of a row is that of its `asked_at`. Rows of a month without a partition are in the partition `decision_rest`,
so that recording an answer never fails because a partition is missing.
"""

from datetime import UTC, datetime
from functools import lru_cache

import peewee

from authz.database import Database, database_connection
from authz.domain import from_micros, to_micros

_MONTHS_AHEAD = 2
# One statement: a client that is frozen between several would keep the table locked, and delay every answer.
_PARTITION = """DO $$ BEGIN
    SET LOCAL lock_timeout = '200ms';
    CREATE TABLE {name} PARTITION OF decision FOR VALUES FROM ({begin}) TO ({end});
    CREATE TRIGGER decision_truncate BEFORE TRUNCATE ON {name}
        FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only();
END $$"""
_DAY_MICROS = 86_400_000_000


def month_of_instant(micros: int) -> str:
    """Return the month (UTC) of an instant, such as 2026-06."""
    return _month_of_day(micros // _DAY_MICROS)


@lru_cache(maxsize=1000)
def _month_of_day(day: int) -> str:
    return from_micros(day * _DAY_MICROS).strftime("%Y-%m")


def month_bounds(month: str) -> tuple[int, int]:
    """Return the first instant of a month and that of the next month, in microseconds."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    return to_micros(first), to_micros(next_month(first))


def next_month(first: datetime) -> datetime:
    """Return the first instant of the next month."""
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1, day=1)


def create_partitions(database: Database, now: datetime) -> list[str]:
    """Create the missing partitions of this month and the next two; return their months. It does nothing on SQLite."""
    created: list[str] = []
    if database.dialect != "postgresql":
        return created
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(_MONTHS_AHEAD + 1):
        month = first.strftime("%Y-%m")
        with database_connection(database):
            if not database.table_exists(partition_name(month)) and _create_partition(database, month):
                created.append(month)
        first = next_month(first)
    return created


def partition_name(month: str) -> str:
    """Return the name of the partition of a month."""
    return f"decision_{month.replace('-', '_')}"


def _create_partition(database: Database, month: str) -> bool:
    begin, end = month_bounds(month)
    try:
        database.execute_sql(_PARTITION.format(name=partition_name(month), begin=begin, end=end))
    except peewee.DatabaseError:
        # Another process was faster, or the partition of the rest already has rows of this month.
        return False
    return True
