"""Disable the trigger that keeps one table of the record append-only, for the length of a block.

Only two explicit commands do so, each in one transaction, and each records an event: dropping a month after its
retention period, and erasing a person.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from authz.database import Database
from authz.database.statements import lock_with_retries


@contextmanager
def append_only_disabled(database: Database, table: str, timing: str) -> Iterator[None]:
    """Allow changes to this table (`timing`: UPDATE or DELETE) inside this block of the transaction."""
    if database.dialect == "postgresql":
        name = "decision_append_only" if table.startswith("decision") else f"{table}_append_only"
        lock_with_retries(database, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        database.execute_sql(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        yield
        database.execute_sql(f"ALTER TABLE {table} ENABLE TRIGGER {name}")
        return
    trigger = f"{table}_{timing.lower()}"
    sql = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?"
    (create_trigger,) = database.execute_sql(sql, (trigger,)).fetchone()
    database.execute_sql(f"DROP TRIGGER {trigger}")
    yield
    database.execute_sql(create_trigger)
