"""SQL as text, for statements of every request: Peewee takes longer to build such a statement than it runs.

The statements are the same on both databases, except for the parameter marks, and for locks, which only PostgreSQL
needs.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import peewee

from authz.database import Database, peewee_errors
from authz.domain import Values

_MOST_ROWS = 64
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 60, 0.5


def run(database: Database, sql: str, *values: object) -> Any:
    """Execute a statement in which ``{}`` stands for a value; return its cursor. Raises Peewee's errors."""
    return database.execute_sql(sql.format(*[database.param] * len(values)), values)


def in_clause(database: Database, names: Sequence[str] | Sequence[int]) -> tuple[str, list[Any]]:
    """Return the SQL after a column that compares the column with any of `names`, and its parameters.

    It has one parameter for any number of names, because a statement takes 32,766 parameters on SQLite and 65,535 on
    PostgreSQL.
    """
    if len(names) == 1:
        return f"= {database.param}", [names[0]]
    if database.dialect == "sqlite":
        return "IN (SELECT value FROM json_each(?))", [orjson.dumps(list(names)).decode()]
    return "= ANY(%s)", [list(names)]


def in_condition(database: Database, field: peewee.Field, names: Sequence[str] | Sequence[int]) -> object:
    """Return `in_clause` as a condition of a Peewee query."""
    text, values = in_clause(database, names)
    return peewee.NodeList((field, peewee.SQL(text, values)))


def select_in(
    database: Database, sql: str, names: list[str] | list[int], *, lock: bool = False, close: str = ""
) -> list[Any]:
    """Return the rows of a query that ends in a column, restricted to rows in which that column is one of `names`.

    `lock` locks the rows until the transaction ends (a transaction of SQLite locks the whole file anyway).
    """
    return list(execute_in(database, sql, names, lock="FOR UPDATE" if lock else "", close=close).fetchall())


def execute_in(database: Database, sql: str, names: list[str] | list[int], *, lock: str = "", close: str = "") -> Any:
    """Execute the query of `select_in` and return its cursor; inside `pipelined` this does not wait.

    `lock` is PostgreSQL's clause that locks the rows until the transaction ends.
    """
    suffix = f" {lock}" if lock and database.dialect == "postgresql" else ""
    text, values = in_clause(database, names)
    return database.execute_sql(f"{sql} {text}{close}{suffix}", values)


OPERATIONS_LOCK = 0x63616772
"""The first lock of every change: operations share it, an import takes it exclusively.

An import changes rows in the order of its lines, so that it and an operation could deadlock without this lock.
"""
RECORD_LOCK = 0x43617266
"""The lock that transactions share if they record answers: no seal passes over their answers before they end.

It is taken before any lock that others wait for.
"""
CHECKPOINT_LOCK = 0x63686563
"""The exclusive lock of a process that signs checkpoints."""
POLICY_LOCK = 0x6C6F6164
"""The exclusive lock of a service that records which policy it loaded."""


def take_locks(database: Database, *keys: int, exclusive: bool = False) -> None:
    """Take these locks, shared or `exclusive`, until the transaction ends.

    They are advisory locks of PostgreSQL; SQLite has one writer at a time anyway.
    """
    if database.dialect == "postgresql":
        lock = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
        database.execute_sql(f"SELECT {', '.join([f'{lock}(%s)'] * len(keys))}", keys)


def take_exclusive_lock(database: Database, key: int) -> None:
    """Take a lock exclusively that others share, until the transaction ends. Raises as `lock_with_retries`."""
    lock_with_retries(database, f"SELECT pg_advisory_xact_lock({key})")


def lock_with_retries(database: Database, sql: str) -> None:
    """Execute a statement of PostgreSQL that takes a lock which others need, until the transaction ends.

    Each try is short, because transactions that would share the lock wait behind it. Afterwards the server ends the
    transaction soon if this process is frozen. Raises `peewee.OperationalError` if the lock is never free.
    """
    if database.dialect != "postgresql":
        return
    for tries_left in reversed(range(_LOCK_TRIES)):
        try:
            with database.atomic():
                database.execute_sql("SET LOCAL lock_timeout = '200ms'")
                database.execute_sql(sql)
                database.execute_sql("SET LOCAL lock_timeout TO DEFAULT")
                database.execute_sql("SET LOCAL idle_in_transaction_session_timeout = '10s'")
                return
        except peewee.OperationalError:
            if not tries_left or not database.is_connection_usable():
                raise
        time.sleep(_LOCK_PAUSE_SECONDS)


# Between the statements of a pipeline the server waits for its client without a limit: a client that is frozen there
# would keep others from ever taking these locks exclusively.
_FROZEN = f"""SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.usename = current_user AND a.state = 'active'
    AND a.wait_event = 'ClientRead' AND a.state_change < clock_timestamp() - {{}} * interval '1 millisecond'
    AND EXISTS (SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objid IN ({OPERATIONS_LOCK}, {RECORD_LOCK}))"""


def end_frozen_clients(database: Database, milliseconds: int) -> int:
    """End the sessions that hold `OPERATIONS_LOCK` or `RECORD_LOCK` and whose client has sent nothing for this time.

    Return how many ended. Sessions of other accounts stay. Raises Peewee's errors.
    """
    if database.dialect != "postgresql":
        return 0
    return int(run(database, _FROZEN, milliseconds).fetchone()[0])


def write_many(database: Database, sql: str, rows: list[Values]) -> None:
    """Execute a statement once for each row; ``{}`` in it stands for a value. Raises Peewee's errors."""
    if rows:
        with peewee_errors:
            database.cursor().executemany(sql.format(*[database.param] * sql.count("{}")), rows)


def insert_row(database: Database, model: type[peewee.Model], row: Mapping[str, object]) -> int:
    """Insert one row of a model, given by its fields, and return its id. Raises Peewee's errors."""
    fields = model._meta.fields
    columns = tuple(fields[name].column_name for name in row)
    sql = f"{_values(model._meta.table_name, columns, 1, database.param)} RETURNING id"
    (row_id,) = database.execute_sql(sql, [fields[name].db_value(value) for name, value in row.items()]).fetchone()
    return int(row_id)


def update_row(database: Database, model: type[peewee.Model], row_id: int, row: Mapping[str, object]) -> None:
    """Update these fields of the row of a model with this id. Raises Peewee's errors."""
    fields = [model._meta.fields[name] for name in row]
    changes = ", ".join(f'"{field.column_name}" = {database.param}' for field in fields)
    sql = f'UPDATE "{model._meta.table_name}" SET {changes} WHERE id = {database.param}'
    values = [field.db_value(value) for field, value in zip(fields, row.values(), strict=True)]
    database.execute_sql(sql, [*values, row_id])


def insert_rows(database: Database, model: type[peewee.Model], fields: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Insert many rows of a model, each a tuple in the order of `fields`. Raises Peewee's errors."""
    columns = tuple(model._meta.fields[name].column_name for name in fields)
    insert_values(database, model._meta.table_name, columns, rows)


def insert_values(database: Database, table: str, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Insert many rows of a table that has no model, each a tuple in the order of `columns`. Raises Peewee's errors."""
    for batch in statement_batches(rows):
        sql = _values(table, columns, len(batch), database.param)
        database.execute_sql(sql, [value for row in batch for value in row])


def statement_batches(rows: Sequence[Values]) -> Iterator[Sequence[Values]]:
    """Yield the rows in batches for one statement each.

    A statement costs more than a row, and SQLite's driver lets other threads run before each. The size of a batch is a
    power of two, so that there are few statements to prepare.
    """
    begin = 0
    while begin < len(rows):
        count = min(_MOST_ROWS, 1 << (len(rows) - begin).bit_length() - 1)
        yield rows[begin : begin + count]
        begin += count


@cache
def _values(table: str, columns: tuple[str, ...], count: int, param: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    row = f"({', '.join([param] * len(columns))})"
    return f'INSERT INTO "{table}" ({names}) VALUES {", ".join([row] * count)}'
