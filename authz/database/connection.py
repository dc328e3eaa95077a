"""Connections to the database: SQLite (WAL) or PostgreSQL, chosen by a URL, with the migrations of the schema.

This module connects, migrates, and turns a driver's error into `Unavailable`; it knows no policy.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from playhouse.migrations import Runner

from authz.database.faults import FAULTS, WriteLocked, peewee_errors
from authz.database.logins import require_normal_logins
from authz.database.masking import masked_url
from authz.database.postgresql import PostgresqlDatabase, open_postgresql
from authz.database.schema_version import MIGRATIONS
from authz.database.session_limits import LONG, Limits
from authz.database.sqlite import SqliteDatabase, open_sqlite, write_back_log
from authz.errors import InvalidInput, Unavailable

LOGINS = "0010_logins"
"""The migration from which on logins are in their present form."""

Database = SqliteDatabase | PostgresqlDatabase


_POSTGRESQL = ("postgresql://", "postgres://")
_NO_URL = "'{}' is not a database URL such as sqlite:///caregrant.db or postgresql://host/name"


def connect(url: str, *, read_only: bool = False, limits: Limits = LONG) -> Database:
    """Return the database at ``sqlite:///path`` (four slashes: an absolute path) or ``postgresql://…``, not opened yet.

    `limits` apply to each session on PostgreSQL. `read_only`: the database itself refuses every change, a transaction
    sees one state of it, and a sort that is larger than memory goes to disk. Raises `InvalidInput` for another form of
    URL, and `Unavailable` without the driver.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidInput(_NO_URL.format(masked_url(url))) from error
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return open_sqlite(unquote(parts.path[1:]), read_only=read_only)
    if url.startswith(_POSTGRESQL) and len(parts.path) > 1 and parts.netloc.count("@") <= 1:
        return open_postgresql(url, limits, read_only=read_only)
    raise InvalidInput(_NO_URL.format(masked_url(url)))


def absolute_url(url: str) -> str:
    """Return a URL of the same database that is valid in every working directory."""
    database = connect(url)
    if isinstance(database, SqliteDatabase):
        return f"sqlite:///{quote(str(Path(database.database).absolute()))}"
    return url


def migrate(database: Database) -> list[str]:
    """Create or upgrade the schema, one transaction a migration; safe to repeat. Return the names of those applied.

    Raises `Unavailable` for a schema that is newer than this release knows. Raises `InvalidInput`, with nothing done,
    for logins that are not in the form of `normalise_login`.
    """
    with database_connection(database):
        if LOGINS in pending_migrations(database):
            require_normal_logins(database)
        with database.migrating():
            names: list[str] = Runner(database, str(MIGRATIONS)).up()
        return names


def pending_migrations(database: Database) -> list[str]:
    """Return the names of the migrations that this database lacks. Raises `Unavailable` for a newer schema."""
    with database_connection(database):
        _require_known(database)
        statuses = Runner(database, str(MIGRATIONS)).status()
        return [migration.name for migration in statuses if migration.path and not migration.applied]


def require_current(database: Database) -> None:
    """Raise `Unavailable`, and close the database, if there is none at its place or it lacks a migration.

    SQLite would make an empty file for a path at which there is none.
    """
    if isinstance(database, SqliteDatabase) and not Path(database.database).is_file():
        raise Unavailable(f"there is no database at {database.database}; make one with: caregrant migrate")
    lacking = pending_migrations(database)
    if lacking:
        close_all(database)
        raise Unavailable(f"the database lacks {', '.join(lacking)}; bring it up to date with: caregrant migrate")


def schema_version(database: Database) -> str:
    """Return the name of the last migration that was applied; one small query. Raises `Unavailable`."""
    with database_connection(database) as connection:
        (last,) = connection.execute("SELECT max(name) FROM schema_migration").fetchone()
    return str(last)


def _require_known(database: Database) -> None:
    newer = [migration.name for migration in Runner(database, str(MIGRATIONS)).status() if not migration.path]
    if newer:
        raise Unavailable(
            f"the schema of this database has {', '.join(newer)}, which this release does not know: run a newer release"
        )


def gather_statistics(database: Database) -> None:
    """Refresh the planner's statistics: with those of an empty database the planner would read whole tables.

    It takes some milliseconds on SQLite, which reads a sample. PostgreSQL also does this by itself, but later.
    """
    with database_connection(database), database.atomic():
        if database.dialect == "sqlite":
            database.execute_sql("PRAGMA analysis_limit = 1000")
        database.execute_sql("ANALYZE")


def write_back(database: Database) -> None:
    """Move SQLite's write-ahead log into the database file, so that no commit has to. PostgreSQL does so itself.

    Other connections can write in the meantime, except for a moment at the end, when the log is reset. This function
    waits for no other connection.
    """
    if isinstance(database, SqliteDatabase):
        with database_connection(database):
            write_back_log(database)


@contextmanager
def database_connection(database: Database) -> Iterator[Any]:
    """Provide this thread's connection of the driver, opened if needed; errors of the driver become `Unavailable`."""
    opened = False
    try:
        opened = database.connect(reuse_if_open=True)
        yield database.connection()
    except FAULTS as error:
        if not isinstance(error, WriteLocked):
            discard_connection(database, error)
        raise Unavailable(str(error).strip()) from error
    finally:
        if opened:
            database.close()


def discard_connection(database: Database, error: BaseException | None = None) -> None:
    """Close this thread's connection after a fault, so that the next query opens another.

    A connection to PostgreSQL returns to the pool, unless the error shows that it must not be used again.
    """
    try:
        if isinstance(database, PostgresqlDatabase) and error is not None:
            database.mark_unusable(error)
        if not database.in_transaction():
            database.close()
    except FAULTS:
        return


def close_all(database: Database) -> None:
    """Close this thread's connection and, on PostgreSQL, every connection of the pool."""
    if isinstance(database, PostgresqlDatabase):
        database.close_all()
    elif not database.is_closed():
        database.close()


def unpooled_connection(database: PostgresqlDatabase) -> Any:
    """Open a connection outside the pool, for a stream that its reader may abandon half-way."""
    with peewee_errors:
        return database.open_session()


def pipelined(database: Database) -> AbstractContextManager[Any]:
    """Return a transaction that does not wait for the answer of PostgreSQL to each statement.

    The error of a statement is raised when rows are next fetched, at the latest at the end. Peewee's own queries wait.
    Inside another transaction it is `Database.atomic`, and a failure undoes both.
    """
    if isinstance(database, PostgresqlDatabase) and not database.in_transaction():
        return database.pipelined()
    return database.atomic()
