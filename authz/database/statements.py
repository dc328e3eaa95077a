"""Statements as text, for what is read and written at every request: making one by Peewee takes longer than running it.

They are the same on both databases but for the mark of a value, and for locks, which PostgreSQL alone needs.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import peewee

from authz.database import Database, wrapped

_AT_ONCE = 64
_TRIES, _PAUSE_SECONDS = 60, 0.5


def run(database: Database, sql: str, *values: Any) -> Any:
    """A cursor on what a statement gives, in which ``{}`` stands for a value. Raises Peewee's errors."""
    return database.execute_sql(sql.format(*[database.param] * len(values)), values)


def in_clause(database: Database, names: Sequence[str] | Sequence[int]) -> tuple[str, list[Any]]:
    """The text after a column that compares it with any of `names`, and its values: one value however many there are,
    because a statement takes 32,766 values on SQLite and 65,535 on PostgreSQL.
    """
    if len(names) == 1:
        return f"= {database.param}", [names[0]]
    if database.dialect == "sqlite":
        return "IN (SELECT value FROM json_each(?))", [orjson.dumps(list(names)).decode()]
    return "= ANY(%s)", [list(names)]


def in_condition(database: Database, field: peewee.Field, names: Sequence[str] | Sequence[int]) -> Any:
    """`among` as a condition of a Peewee query."""
    text, values = in_clause(database, names)
    return peewee.NodeList((field, peewee.SQL(text, values)))


def select_in(
    database: Database, sql: str, names: list[str] | list[int], *, lock: bool = False, close: str = ""
) -> list[Any]:
    """The rows of a query that ends in a column, for the rows where that column is one of `names`.

    `lock` holds the rows until the transaction ends (on SQLite the transaction holds the whole file anyway).
    """
    return list(execute_in(database, sql, names, lock="FOR UPDATE" if lock else "", close=close).fetchall())


def execute_in(database: Database, sql: str, names: list[str] | list[int], *, lock: str = "", close: str = "") -> Any:
    """A cursor on these rows: inside `pipelined`, the query is on its way when this returns. `lock` is PostgreSQL's
    clause that holds the rows until the transaction ends.
    """
    held = f" {lock}" if lock and database.dialect == "postgresql" else ""
    text, values = in_clause(database, names)
    return database.execute_sql(f"{sql} {text}{close}{held}", values)


OPERATIONS_LOCK = 0x63616772
"""The lock that comes first in every change: operations share it, an import holds it alone. It touches everything in
the order of its lines, so that it and an operation could wait for each other."""
RECORD_LOCK = 0x43617266
"""The lock that transactions share which record answers: until they end, none of those is passed over by a seal. It
comes before any that others wait for."""
CHECKPOINT_LOCK = 0x63686563
"""The lock that whoever signs checkpoints holds alone."""
POLICY_LOCK = 0x6C6F6164
"""The lock that a service holds alone while it records which policy it loaded."""


def take_locks(database: Database, *keys: int, alone: bool = False) -> None:
    """Hold these locks, the same in every process, until the transaction ends: with others who share them, or `alone`.

    PostgreSQL's advisory locks; on SQLite whoever writes is alone anyway.
    """
    if database.dialect == "postgresql":
        lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        database.execute_sql(f"SELECT {', '.join([f'{lock}(%s)'] * len(keys))}", keys)


def take_exclusive_lock(database: Database, key: int) -> None:
    """Hold a lock alone that others share, until the transaction ends. Raises as `lock_by_moments`."""
    lock_by_moments(database, f"SELECT pg_advisory_xact_lock({key})")


def lock_by_moments(database: Database, sql: str) -> None:
    """Carry out a statement of PostgreSQL that takes a lock which others need, until the transaction ends. It is tried
    for moments: who would share the lock waits behind each try. Raises `peewee.OperationalError` if somebody holds the
    lock all the time. After it the server ends the transaction soon, should this process be frozen.
    """
    if database.dialect != "postgresql":
        return
    for left in reversed(range(_TRIES)):
        try:
            with database.atomic():
                database.execute_sql("SET LOCAL lock_timeout = '200ms'")
                database.execute_sql(sql)
                database.execute_sql("SET LOCAL lock_timeout TO DEFAULT")
                database.execute_sql("SET LOCAL idle_in_transaction_session_timeout = '10s'")
                return
        except peewee.OperationalError:
            if not left or not database.is_connection_usable():
                raise
        time.sleep(_PAUSE_SECONDS)


# Between the statements of a pipeline the server waits for its client without a limit; a client that is frozen there
# would keep others from ever holding these locks alone.
_FROZEN = f"""SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.usename = current_user AND a.state = 'active'
    AND a.wait_event = 'ClientRead' AND a.state_change < clock_timestamp() - {{}} * interval '1 millisecond'
    AND EXISTS (SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objid IN ({OPERATIONS_LOCK}, {RECORD_LOCK}))"""


def end_frozen_clients(database: Database, milliseconds: int) -> int:
    """End the sessions that hold `OPERATIONS_LOCK` or `RECORD_LOCK` if their client has sent nothing for so long.

    Return how many ended. Sessions of other accounts stay. Raises Peewee's errors.
    """
    if database.dialect != "postgresql":
        return 0
    return int(run(database, _FROZEN, milliseconds).fetchone()[0])


def write_many(database: Database, sql: str, rows: list[tuple[Any, ...]]) -> None:
    """One statement for each of many rows; ``{}`` in it stands for a value. Raises Peewee's errors."""
    if rows:
        with wrapped:
            database.cursor().executemany(sql.format(*[database.param] * sql.count("{}")), rows)


def insert_row(database: Database, model: type[peewee.Model], row: Mapping[str, Any]) -> int:
    """Insert one row of a model, given by its fields, and give its number. Raises Peewee's errors."""
    fields = model._meta.fields
    columns = tuple(fields[name].column_name for name in row)
    sql = f"{_values(model._meta.table_name, columns, 1, database.param)} RETURNING id"
    (number,) = database.execute_sql(sql, [fields[name].db_value(value) for name, value in row.items()]).fetchone()
    return int(number)


def update_row(database: Database, model: type[peewee.Model], number: int, row: Mapping[str, Any]) -> None:
    """Give fields of the row of a model with this number other values. Raises Peewee's errors."""
    fields = [model._meta.fields[name] for name in row]
    changes = ", ".join(f'"{field.column_name}" = {database.param}' for field in fields)
    sql = f'UPDATE "{model._meta.table_name}" SET {changes} WHERE id = {database.param}'
    values = [field.db_value(value) for field, value in zip(fields, row.values(), strict=True)]
    database.execute_sql(sql, [*values, number])


def insert_rows(
    database: Database, model: type[peewee.Model], fields: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many rows of a model, each a tuple in the order of `fields`. Raises Peewee's errors."""
    columns = tuple(model._meta.fields[name].column_name for name in fields)
    insert_values(database, model._meta.table_name, columns, rows)


def insert_values(database: Database, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert many rows of a table that has no model, each a tuple in the order of `columns`. Raises Peewee's errors."""
    for some in by_statement(rows):
        database.execute_sql(
            _values(table, columns, len(some), database.param), [value for row in some for value in row]
        )


def by_statement(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Rows in the portions that one statement takes: a statement costs more than a row, and SQLite's driver gives way
    to other threads before each. Their number is a power of two, so that there are few statements to prepare.
    """
    begin = 0
    while begin < len(rows):
        count = min(_AT_ONCE, 1 << (len(rows) - begin).bit_length() - 1)
        yield rows[begin : begin + count]
        begin += count


@cache
def _values(table: str, columns: tuple[str, ...], count: int, param: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    row = f"({', '.join([param] * len(columns))})"
    return f'INSERT INTO "{table}" ({names}) VALUES {", ".join([row] * count)}'
