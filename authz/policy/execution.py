"""Execution: sends the statement of a plan to the database and fetches its rows.

A statement is sent at once; `fetch` waits for its rows. Within a pipeline
(`authz.database.pipelined`) several statements are under way together. A fault of the database raises `Unavailable`,
and its connection is not used again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from authz.database import FAULTS, Database, PostgresqlDatabase, discard_connection, unpooled_connection
from authz.errors import Unavailable

Rows = list[tuple[Any, ...]]


def send(database: Database, sql: str, arguments: Mapping[str, object]) -> object:
    """Send a statement; return the cursor from which its rows are fetched."""
    try:
        return database.connection().execute(sql, arguments)
    except FAULTS as error:
        raise _unavailable(database, error) from error


def fetch(database: Database, cursor: Any) -> Rows:
    """Wait for the rows of a statement that was sent, and return them."""
    try:
        rows: Rows = cursor.fetchall()
    except FAULTS as error:
        raise _unavailable(database, error) from error
    return rows


def stream(database: Database, sql: str, arguments: Mapping[str, object]) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of a statement one by one, without holding them all."""
    try:
        if isinstance(database, PostgresqlDatabase):
            with unpooled_connection(database) as connection, connection.cursor() as cursor:
                yield from cursor.stream(sql, arguments)
        else:
            yield from database.connection().execute(sql, arguments)
    except FAULTS as error:
        raise _unavailable(database, error) from error


def _unavailable(database: Database, error: Exception) -> Unavailable:
    discard_connection(database, error)
    return Unavailable(str(error).strip())
