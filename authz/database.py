"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations.

It knows how to connect, to migrate and to say that a database cannot answer; it knows no policy.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import peewee
from playhouse.migrations import Runner
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from authz.errors import InvalidInput, Unavailable

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_FIELD_TYPES = {"sqlite": {"OPAQUE_ID": "TEXT"}, "postgresql": {"OPAQUE_ID": 'TEXT COLLATE "C"'}}
_SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "busy_timeout": 5000,
    "foreign_keys": 1,
    "synchronous": 2,
    "cache_size": -64_000,
    "temp_store": 2,
}


class SqliteDatabase(peewee.SqliteDatabase):
    """SQLite with transactions that take the write lock at once (a deferred one may fail half-way)."""

    dialect = "sqlite"


class PostgresqlDatabase(PooledPostgresqlDatabase):
    """PostgreSQL through psycopg 3, pooled for each process."""

    dialect = "postgresql"


Database = SqliteDatabase | PostgresqlDatabase


def connect(url: str) -> Database:
    """The database at ``sqlite:///path`` (four slashes for an absolute path) or ``postgresql://…``; not opened yet.

    Raises `InvalidInput` for another form of URL, and `Unavailable` without PostgreSQL's driver.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return SqliteDatabase(
            unquote(parts.path[1:]),
            pragmas=_SQLITE_PRAGMAS,
            lock_type="IMMEDIATE",
            field_types=_FIELD_TYPES["sqlite"],
            cached_statements=1024,
        )
    if parts.scheme in ("postgresql", "postgres") and len(parts.path) > 1:
        _require_psycopg()
        return PostgresqlDatabase(
            url,
            max_connections=32,
            stale_timeout=300,
            field_types=_FIELD_TYPES["postgresql"],
            prefer_psycopg3=True,
            options="-c timezone=UTC",
            connect_timeout=5,
        )
    raise InvalidInput(f"{url!r} is not a database URL such as sqlite:///caregrant.db or postgresql://host/name")


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable("PostgreSQL needs its driver: pip install 'caregrant[postgres]'") from error


def migrate(database: Database) -> list[str]:
    """Create or upgrade the schema, one transaction a migration; safe to repeat. The names of those applied."""
    with answering(database):
        names: list[str] = Runner(database, str(MIGRATIONS)).up()
        return names


def pending(database: Database) -> list[str]:
    """The names of the migrations that this database still lacks."""
    with answering(database):
        return [one.name for one in Runner(database, str(MIGRATIONS)).status() if one.path and not one.applied]


def _driver_errors() -> tuple[type[Exception], ...]:
    ours = (peewee.OperationalError, peewee.InterfaceError, peewee.DatabaseError, MaxConnectionsExceeded)
    try:
        import psycopg  # noqa: PLC0415
    except ImportError:
        return (*ours, sqlite3.Error)
    return (*ours, sqlite3.Error, psycopg.Error)


FAULTS = _driver_errors()
"""What a driver raises when it cannot answer; `peewee.IntegrityError` is one, so catch that first."""


@contextmanager
def answering(database: Database) -> Iterator[Any]:
    """The driver's own connection, opened if need be; what the driver raises becomes `Unavailable`."""
    opened = False
    try:
        opened = database.connect(reuse_if_open=True)
        yield database.connection()
    except FAULTS as error:
        raise Unavailable(str(error).strip()) from error
    finally:
        if opened:
            database.close()
