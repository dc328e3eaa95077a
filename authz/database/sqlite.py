"""SQLite (WAL): its pragmas, and transactions that take the write lock at once."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import peewee

from authz.database.faults import WriteLocked
from authz.database.schema_version import MIGRATING, known_version

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
    """SQLite with transactions that take the write lock at once (a deferred one may fail half-way).

    Threads of one process wait for each other here: SQLite's own waiting sleeps, and lets the lock lie idle meanwhile.
    """

    dialect = "sqlite"
    decision_log: Any = None
    """How answers are recorded here; `authz.record` keeps it."""
    authorizer: Any = None
    """What each connection asks before it does anything (SQLite's authorizer), if there is one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writes = options.get("lock_type") == "IMMEDIATE"
        self._turn = threading.Lock()
        self._own = threading.local()
        self._opened: tuple[int, int] | None = None
        self.schema = known_version()
        self.register_function(lambda: self.schema, "caregrant_schema", 0)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Connect; a file that is not there is made for its owner alone, whatever the umask says."""
        if reuse_if_open and not self.is_closed():
            return False
        path = str(self.database)
        if self._writes and path != ":memory:":
            if self._opened is None:
                with suppress(FileExistsError, FileNotFoundError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self.require_same_file()
        fresh = super().connect(reuse_if_open)
        self._own.busy_timeout = _BUSY_MILLISECONDS
        if self._writes and self._opened is None and Path(path).exists():
            self._opened = _identity(path)
        return fresh

    def _add_conn_hooks(self, conn: Any) -> None:
        super()._add_conn_hooks(conn)  # type: ignore[misc]
        if self.authorizer is not None:
            conn.set_authorizer(self.authorizer)

    def require_same_file(self) -> None:
        """Raise `peewee.OperationalError` if the path leads to another file than the one opened first, or to none.

        What is written to a deleted file is gone with its last process.
        """
        if self._opened is None:
            return
        try:
            same = _identity(str(self.database)) == self._opened
        except OSError:
            same = False
        if not same:
            raise peewee.OperationalError("the database file was deleted or replaced")

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Say that this process's connections migrate."""
        self.schema = MIGRATING
        try:
            yield
        finally:
            self.schema = known_version()

    @contextmanager
    def transaction(self, lock_type: str | None = None) -> Iterator[Any]:  # type: ignore[override]
        """A transaction, alone among this process's threads. Raises `WriteLocked` if others do not let it begin in
        time.
        """
        if self._writes:
            self.require_same_file()
            patience = self._patience()
            if not self._turn.acquire(blocking=False):
                began = time.monotonic()
                if not self._turn.acquire(timeout=patience / 1000):
                    raise WriteLocked("database is locked")
                patience = max(0, patience - int(1000 * (time.monotonic() - began)))
            self._own.left = patience
        try:
            with super().transaction(lock_type) as begun:
                yield begun
        finally:
            if self._writes:
                self._turn.release()

    def rollback(self) -> None:
        """Undo, unless SQLite did so itself, as it does on a full disk: its error is the one to be told."""
        if self.is_closed() or self.connection().in_transaction:
            super().rollback()

    def begin(self, lock_type: str | None = None) -> None:
        """Begin; on a connection that writes, with the write lock. Raises `WriteLocked`."""
        if not self._writes or lock_type == "DEFERRED":
            super().begin(lock_type)
            return
        self.wait_at_most(self._own.left)
        try:
            super().begin(lock_type)
        except peewee.OperationalError as error:
            if is_busy(error):
                raise WriteLocked("database is locked") from error
            raise
        finally:
            if self._own.left < _SHORTEST_MILLISECONDS:
                self.wait_at_most(_BUSY_MILLISECONDS)

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Let this thread's transactions wait for the write lock at most so long, instead of the usual time."""
        before, self._own.write_lock_timeout = self._patience(), int(1000 * seconds)
        try:
            yield
        finally:
            self._own.write_lock_timeout = before

    def _patience(self) -> int:
        return int(getattr(self._own, "patience", _BUSY_MILLISECONDS))

    def wait_at_most(self, milliseconds: int) -> None:
        """Set how long this thread's connection waits for a lock. What is set stays, as long as no reader could fail
        of it: setting it anew for each answer costs more than a lookup.
        """
        if getattr(self._own, "busy_timeout", None) != milliseconds and not self.is_closed():
            self.execute_sql(f"PRAGMA busy_timeout = {milliseconds}")
            self._own.busy_timeout = milliseconds


def is_busy(error: peewee.OperationalError) -> bool:
    """Whether another connection holds a lock, rather than that the database fails."""
    cause = error.__cause__ or error.__context__
    return isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 - for each transaction, where a Path costs as much as a small statement
    return found.st_dev, found.st_ino


def open_sqlite(path: str, *, read_only: bool) -> SqliteDatabase:
    """The database in a file; not opened yet. `read_only`: the database itself refuses every change."""
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
    """Move what the log holds into the file, without waiting for anybody."""
    database.wait_at_most(0)
    for mode in ("PASSIVE", "RESTART"):
        database.execute_sql(f"PRAGMA wal_checkpoint({mode})")
    database.wait_at_most(_BUSY_MILLISECONDS)
