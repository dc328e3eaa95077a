"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations.

It knows how to connect, to migrate and to say that a database cannot answer; it knows no policy.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from playhouse.migrations import Runner

from authz.database.faults import FAULTS, WriteLocked, wrapped
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
    """The database at ``sqlite:///path`` (four slashes for an absolute path) or ``postgresql://…``; not opened yet.
    `limits` are those of each of its sessions on PostgreSQL.

    `read_only`: the database itself refuses every change, a transaction sees one state of it, and a sort that is larger
    than memory goes to disk. Raises `InvalidInput` for another form of URL, and `Unavailable` without the driver.
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
    """The same database for a process that works in another directory."""
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
        return [one.name for one in Runner(database, str(MIGRATIONS)).status() if one.path and not one.applied]


def schema_version(database: Database) -> str:
    """Return the name of the last migration that was applied; one small query. Raises `Unavailable`."""
    with database_connection(database) as connection:
        (last,) = connection.execute("SELECT max(name) FROM schema_migration").fetchone()
    return str(last)


def _require_known(database: Database) -> None:
    newer = [one.name for one in Runner(database, str(MIGRATIONS)).status() if not one.path]
    if newer:
        raise Unavailable(
            f"the schema of this database has {', '.join(newer)}, which this release does not know: run a newer release"
        )


def gather_statistics(database: Database) -> None:
    """Tell the planner how the tables have grown: with the statistics of an empty clinic it would read whole tables.

    Some milliseconds on SQLite (a sample is read); PostgreSQL does this by itself too, but later.
    """
    with database_connection(database), database.atomic():
        if database.dialect == "sqlite":
            database.execute_sql("PRAGMA analysis_limit = 1000")
        database.execute_sql("ANALYZE")


def write_back(database: Database) -> None:
    """Move what SQLite's log holds into its file, so that no commit has to. PostgreSQL does so itself.

    Others write meanwhile, but for a moment at the end, after which the log begins anew. Nobody is waited for.
    """
    if isinstance(database, SqliteDatabase):
        with database_connection(database):
            write_back_log(database)


@contextmanager
def database_connection(database: Database) -> Iterator[Any]:
    """The driver's own connection, opened if need be; what the driver raises becomes `Unavailable`."""
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
    """Close this thread's connection after a fault, so that the next question opens another. One of PostgreSQL's goes
    back to the pool, unless the error says that it must not be used again.
    """
    try:
        if isinstance(database, PostgresqlDatabase) and error is not None:
            database.mark_unfit(error)
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
    """A connection of the driver's outside the pool, for a stream that its reader may leave half-way."""
    with wrapped:
        return database.open_session()


def pipelined(database: Database) -> AbstractContextManager[Any]:
    """A transaction that does not wait for PostgreSQL's answer to each statement. What one raises comes where the next
    rows are fetched, at the latest at the end. Peewee's own queries wait. Inside another transaction it is as that is:
    what fails there undoes both.
    """
    if isinstance(database, PostgresqlDatabase) and not database.in_transaction():
        return database.pipelined()
    return database.atomic()
