"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations.

It knows how to connect, to migrate and to say that a database cannot answer; it knows no policy.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from weakref import WeakKeyDictionary

import peewee
from playhouse.migrations import Runner
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from authz.errors import InvalidInput, Unavailable

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_FIELD_TYPES = {"sqlite": {"OPAQUE_ID": "TEXT"}, "postgresql": {"OPAQUE_ID": 'TEXT COLLATE "C"'}}
_BUSY_SECONDS = 5
_TRUSTED_SECONDS = 0.5
_UNANSWERED = 1000
_SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "busy_timeout": _BUSY_SECONDS * 1000,
    "foreign_keys": 1,
    "synchronous": 2,
    "cache_size": -64_000,
    "wal_autocheckpoint": 8000,  # pages; beside a service, `write_back` comes first
    "mmap_size": 2**31 - 2**16,  # a large file is read from the system's cache, without a copy for each connection
    "temp_store": 2,
}
_READ_ONLY_PRAGMAS = {
    **{name: _SQLITE_PRAGMAS[name] for name in ("busy_timeout", "cache_size")},
    "mmap_size": 2**28,
    "query_only": 1,
    "temp_store": 1,
}
wrapped: AbstractContextManager[None] = vars(peewee)["__exception_wrapper__"]
"""Turns what a driver raises into Peewee's errors, as Peewee does for its own statements."""
_READ_ONLY_POSTGRESQL = (
    "-c timezone=UTC -c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
)


class SqliteDatabase(peewee.SqliteDatabase):
    """SQLite with transactions that take the write lock at once (a deferred one may fail half-way).

    Threads of one process wait for each other here: SQLite's own waiting sleeps, and lets the lock lie idle meanwhile.
    """

    dialect = "sqlite"
    decision_log: Any = None
    """How answers are recorded here; `authz.record` keeps it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writes = options.get("lock_type") == "IMMEDIATE"
        self._turn = threading.Lock()

    @contextmanager
    def transaction(self, lock_type: str | None = None) -> Iterator[Any]:  # type: ignore[override]
        """A transaction, alone among this process's threads. Raises `peewee.OperationalError` after a long wait."""
        if self._writes and not self._turn.acquire(timeout=_BUSY_SECONDS):
            raise peewee.OperationalError("database is locked")
        try:
            with super().transaction(lock_type) as begun:
                yield begun
        finally:
            if self._writes:
                self._turn.release()


class PostgresqlDatabase(PooledPostgresqlDatabase):
    """PostgreSQL through psycopg 3, pooled for each process."""

    dialect = "postgresql"
    decision_log: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self._last_used: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._pipelines: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        super().__init__(*args, **options)

    def _is_closed(self, conn: Any) -> bool:
        """Whether a connection of the pool is lost: asked of the server, unless it was given back a moment ago."""
        if not conn.closed and time.monotonic() - self._last_used.get(conn, 0) < _TRUSTED_SECONDS:
            return False
        lost: bool = super()._is_closed(conn)
        return lost

    def _can_reuse(self, conn: Any) -> bool:
        self._last_used[conn] = time.monotonic()
        fit: bool = super()._can_reuse(conn)
        return fit

    def execute(self, query: Any, **options: Any) -> Any:
        """Carry out a query of Peewee's, which looks at once at what came."""
        cursor = super().execute(query, **options)
        pipeline = self._pipelines.get(self.connection())
        if pipeline is not None:
            with wrapped:
                pipeline.sync()
        return cursor

    def rollback(self) -> None:
        """Undo, as the driver does it: it then forgets which statements it believed to be prepared."""
        if self.is_closed():
            return
        connection = self.connection()
        with wrapped:
            if connection in self._pipelines:
                _settle(connection, self._pipelines[connection])
            connection.rollback()

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        """See `pipelined` below."""
        connection = self.connection()
        try:
            with wrapped, connection.pipeline() as pipeline:
                self._pipelines[connection] = pipeline
                with self.atomic():
                    yield
        finally:
            self._pipelines.pop(connection, None)
            if not connection.closed:
                connection.rollback()  # nothing, unless what nobody waited for failed, and the commit with it


def _settle(connection: Any, pipeline: Any) -> None:
    """Take the answers to all that was sent, also to what was left out because something before it had failed."""
    for _ in range(_UNANSWERED):
        try:
            pipeline.sync()
        except FAULTS:
            if connection.closed:
                return
        else:
            return


Database = SqliteDatabase | PostgresqlDatabase


def connect(url: str, *, read_only: bool = False) -> Database:
    """The database at ``sqlite:///path`` (four slashes for an absolute path) or ``postgresql://…``; not opened yet.

    `read_only`: the database itself refuses every change, a transaction sees one state of it, and a sort that is larger
    than memory goes to disk. Raises `InvalidInput` for another form of URL, and `Unavailable` without the driver.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        if read_only:
            return _read_only_sqlite(unquote(parts.path[1:]))
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
            options=_READ_ONLY_POSTGRESQL if read_only else "-c timezone=UTC",
            connect_timeout=5,
        )
    raise InvalidInput(f"{url!r} is not a database URL such as sqlite:///caregrant.db or postgresql://host/name")


def absolute_url(url: str) -> str:
    """The same database for a process that works in another directory."""
    database = connect(url)
    if isinstance(database, SqliteDatabase):
        return f"sqlite:///{quote(str(Path(database.database).absolute()))}"
    return url


def _read_only_sqlite(path: str) -> SqliteDatabase:
    return SqliteDatabase(
        f"{Path(path).absolute().as_uri()}?mode=ro",
        uri=True,
        pragmas=_READ_ONLY_PRAGMAS,
        lock_type="DEFERRED",
        field_types=_FIELD_TYPES["sqlite"],
        cached_statements=1024,
    )


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


def gather_statistics(database: Database) -> None:
    """Tell the planner how the tables have grown: with the statistics of an empty clinic it would read whole tables.

    Some milliseconds on SQLite (a sample is read); PostgreSQL does this by itself too, but later.
    """
    with answering(database), database.atomic():
        if database.dialect == "sqlite":
            database.execute_sql("PRAGMA analysis_limit = 1000")
        database.execute_sql("ANALYZE")


def write_back(database: Database) -> None:
    """Move what SQLite's log holds into its file, so that no commit has to. PostgreSQL does so itself.

    Others write meanwhile, but for a moment at the end, after which the log begins anew. Nobody is waited for.
    """
    if database.dialect == "sqlite":
        with answering(database):
            database.execute_sql("PRAGMA busy_timeout = 0")
            for mode in ("PASSIVE", "RESTART"):
                database.execute_sql(f"PRAGMA wal_checkpoint({mode})")
            database.execute_sql(f"PRAGMA busy_timeout = {_SQLITE_PRAGMAS['busy_timeout']}")


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
        give_up(database)
        raise Unavailable(str(error).strip()) from error
    finally:
        if opened:
            database.close()


def give_up(database: Database) -> None:
    """Close this thread's connection after a fault, so that the next question opens another."""
    try:
        if not database.in_transaction():
            database.close()
    except FAULTS:
        return


def shut(database: Database) -> None:
    """Close this thread's connection and, on PostgreSQL, every connection of the pool."""
    if isinstance(database, PostgresqlDatabase):
        database.close_all()
    elif not database.is_closed():
        database.close()


def own_connection(database: Database) -> Any:
    """A connection of the driver's outside the pool, for a stream that its reader may leave half-way."""
    return peewee.PostgresqlDatabase._connect(database)  # type: ignore[attr-defined]


def pipelined(database: Database) -> AbstractContextManager[Any]:
    """A transaction that does not wait for PostgreSQL's answer to each statement. What one raises comes where the next
    rows are fetched, at the latest at the end. Peewee's own queries wait. Inside another transaction it is as that is:
    what fails there undoes both.
    """
    if isinstance(database, PostgresqlDatabase) and not database.in_transaction():
        return database.pipelined()
    return database.atomic()
