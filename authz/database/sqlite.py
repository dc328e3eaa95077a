"""SQLite (WAL): pragmas, and transactions that take the write lock at once."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import peewee

from authz.database.faults import WriteLocked
from authz.database.schema_version import MIGRATING, known_version
from authz.networks import in_network

_FIELD_TYPES = {"OPAQUE_ID": "TEXT"}
_BUSY_MILLISECONDS = 2000
_SHORTEST_MILLISECONDS = 100
_SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "busy_timeout": _BUSY_MILLISECONDS,
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


class SqliteDatabase(peewee.SqliteDatabase):
    """SQLite with transactions that take the write lock at once; a deferred transaction may fail half-way.

    The threads of one process wait for a lock of this process first: SQLite itself waits by sleeping, and leaves its
    lock unused in that time.
    """

    dialect: Literal["sqlite"] = "sqlite"
    decision_log: Any = None
    """The decision log of this database, which `authz.record` sets."""
    authorizer: object = None
    """The authorizer callback of SQLite that each connection uses, if there is one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writes = options.get("lock_type") == "IMMEDIATE"
        self._thread_lock = threading.Lock()
        self._thread = threading.local()
        self._file_id: tuple[int, int] | None = None
        self.schema = known_version()
        self.register_function(lambda: self.schema, "caregrant_schema", 0)
        self.register_function(in_network, "in_network", 2, deterministic=True)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Connect; create a missing file with access for its owner alone, whatever the umask says."""
        if reuse_if_open and not self.is_closed():
            return False
        path = str(self.database)
        if self._writes and path != ":memory:":
            if self._file_id is None:
                with suppress(FileExistsError, FileNotFoundError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self.require_same_file()
        connected = super().connect(reuse_if_open)
        self._thread.busy_timeout = _BUSY_MILLISECONDS
        if self._writes and self._file_id is None and Path(path).exists():
            self._file_id = _file_id(path)
        return connected

    def _add_conn_hooks(self, conn: Any) -> None:
        super()._add_conn_hooks(conn)  # type: ignore[misc]
        if self.authorizer is not None:
            conn.set_authorizer(self.authorizer)

    def require_same_file(self) -> None:
        """Raise `peewee.OperationalError` if the path names another file than the one opened first, or none.

        Data written to a deleted file is lost when the last process closes the file.
        """
        if self._file_id is None:
            return
        try:
            same = _file_id(str(self.database)) == self._file_id
        except OSError:
            same = False
        if not same:
            raise peewee.OperationalError("the database file was deleted or replaced")

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Mark the connections of this process as migrating."""
        self.schema = MIGRATING
        try:
            yield
        finally:
            self.schema = known_version()

    @contextmanager
    def transaction(self, lock_type: str | None = None) -> Iterator[Any]:  # type: ignore[override]
        """Run a transaction that excludes the other threads of this process.

        Raises `WriteLocked` if another transaction holds the lock for longer than the write lock timeout.
        """
        if self._writes:
            self.require_same_file()
            timeout = self._lock_milliseconds()
            if not self._thread_lock.acquire(blocking=False):
                began = time.monotonic()
                if not self._thread_lock.acquire(timeout=timeout / 1000):
                    raise WriteLocked("database is locked")
                timeout = max(0, timeout - int(1000 * (time.monotonic() - began)))
            self._thread.remaining_milliseconds = timeout
        try:
            with super().transaction(lock_type) as transaction:
                yield transaction
        finally:
            if self._writes:
                self._thread_lock.release()

    def rollback(self) -> None:
        """Roll back, unless SQLite already did, as on a full disk: then the first error must reach the caller."""
        if self.is_closed() or self.connection().in_transaction:
            super().rollback()

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; on a connection that writes, with the write lock. Raises `WriteLocked`."""
        if not self._writes or lock_type == "DEFERRED":
            super().begin(lock_type)
            return
        self.set_busy_timeout(self._thread.remaining_milliseconds)
        try:
            super().begin(lock_type)
        except peewee.OperationalError as error:
            if is_busy(error):
                raise WriteLocked("database is locked") from error
            raise
        finally:
            if self._thread.remaining_milliseconds < _SHORTEST_MILLISECONDS:
                self.set_busy_timeout(_BUSY_MILLISECONDS)

    @contextmanager
    def write_lock_timeout(self, seconds: float) -> Iterator[None]:
        """Let this thread's transactions wait for the write lock for at most `seconds`, instead of the usual time."""
        before, self._thread.lock_milliseconds = self._lock_milliseconds(), int(1000 * seconds)
        try:
            yield
        finally:
            self._thread.lock_milliseconds = before

    @contextmanager
    def synchronous(self, *, full: bool) -> Iterator[None]:
        """Let this thread's commits in the block wait for the disk, as every commit does, or not, if not `full`."""
        if full:
            yield
            return
        self.execute_sql("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            if not self.is_closed():
                self.execute_sql("PRAGMA synchronous = FULL")

    def _lock_milliseconds(self) -> int:
        return int(getattr(self._thread, "lock_milliseconds", _BUSY_MILLISECONDS))

    def set_busy_timeout(self, milliseconds: int) -> None:
        """Set how long this thread's connection waits for a lock.

        The value stays set while no reader could fail because of it: setting it for each answer costs more than the
        comparison here.
        """
        if getattr(self._thread, "busy_timeout", None) != milliseconds and not self.is_closed():
            self.execute_sql(f"PRAGMA busy_timeout = {milliseconds}")
            self._thread.busy_timeout = milliseconds


def is_busy(error: peewee.OperationalError) -> bool:
    """Return whether the error means that another connection holds a lock, not that the database failed."""
    cause = error.__cause__ or error.__context__
    return isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _file_id(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - once for each transaction; a Path costs as much as a small statement
    return status.st_dev, status.st_ino


def open_sqlite(path: str, *, read_only: bool) -> SqliteDatabase:
    """Return the database in a file, not opened yet. `read_only`: the database itself refuses every change."""
    if read_only:
        return _read_only_sqlite(path)
    return SqliteDatabase(
        path,
        pragmas=_SQLITE_PRAGMAS,
        lock_type="IMMEDIATE",
        field_types=_FIELD_TYPES,
        cached_statements=1024,
    )


def _read_only_sqlite(path: str) -> SqliteDatabase:
    return SqliteDatabase(
        f"{Path(path).absolute().as_uri()}?mode=ro",
        uri=True,
        pragmas=_READ_ONLY_PRAGMAS,
        lock_type="DEFERRED",
        field_types=_FIELD_TYPES,
        cached_statements=1024,
    )


def write_back_log(database: SqliteDatabase) -> None:
    """Move the write-ahead log into the database file, without waiting for other connections."""
    database.set_busy_timeout(0)
    for mode in ("PASSIVE", "RESTART"):
        database.execute_sql(f"PRAGMA wal_checkpoint({mode})")
    database.set_busy_timeout(_BUSY_MILLISECONDS)
