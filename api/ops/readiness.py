"""Can this process do its work now? What `/readyz` answers, and what every request needs.

The database is written to at most once a second, and a request asks for the schema at most once a second. An import
that holds SQLite's write lock does not make a service unready: it answers decisions meanwhile.
"""

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import peewee

from authz.database import (
    Database,
    PostgresqlDatabase,
    SqliteDatabase,
    database_connection,
    known_version,
    schema_version,
)
from authz.errors import Unavailable

CLOCK_TOLERANCE = 5.0
"""Seconds by which this machine's clock may differ from the database's."""

SEALER_PATIENCE = 30.0
"""Seconds without a sign of the process that seals."""

_FRESH = 1.0
_PATIENCE = 0.2
_LEAST_FREE = 1 << 20
"""Bytes: with less, one answer may still find room and the next one none."""
_OTHER_SCHEMA = "the schema of the database is {}, and this release knows {}"
_WRITE = """INSERT INTO spent (caller, minute, requests) VALUES ({0}, 0, 1)
    ON CONFLICT (caller) DO UPDATE SET requests = 1"""

CHECKS = {
    "schema": "the schema is exactly the one that this release knows",
    "file": "the SQLite file is the one that was opened",
    "database": "the database takes a write: it is there, not read-only, not in recovery, its disk not full",
    "clock": f"this machine's clock is within {CLOCK_TOLERANCE:.0f} s of the database's",
    "sealer": f"the process that seals gave a sign within {SEALER_PATIENCE:.0f} s",
}
"""Every check by name; docs/serving.md lists them."""


@dataclass
class Readiness:
    """Checks one process's database. `heartbeat` is the file that the sealer touches, if a service has one."""

    database: Database
    clock: Callable[[], datetime]
    heartbeat: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written: float = float("-inf")
    _schema_checked: float = float("-inf")
    _schema_found: str = field(default_factory=known_version)

    def require(self) -> None:
        """Raise `Unavailable` if nothing may be answered: another schema, or another file than the one opened."""
        if isinstance(self.database, SqliteDatabase):
            try:
                self.database.require_same_file()
            except peewee.OperationalError as error:
                raise Unavailable(str(error)) from error
        if time.monotonic() - self._schema_checked > _FRESH:
            self._schema_checked = time.monotonic()  # first, so that one thread alone asks
            with suppress(Unavailable):  # whoever needs the database says so
                self._schema_found = schema_version(self.database)
        if self._schema_found != known_version():
            raise Unavailable(_OTHER_SCHEMA.format(self._schema_found, known_version()))

    def failures(self) -> list[tuple[str, str]]:
        """Return the checks that fail, each with why."""
        failed = []
        checks = (("file", self._file), ("schema", self._schema), ("database", self._write), ("clock", self._near))
        for name, check in (*checks, ("sealer", self._sealing)):
            try:
                check()
            except (Unavailable, peewee.OperationalError) as error:
                failed.append((name, _reason(error)))
        return failed

    def _file(self) -> None:
        if isinstance(self.database, SqliteDatabase):
            self.database.require_same_file()

    def _schema(self) -> None:
        found = schema_version(self.database)
        with database_connection(self.database):
            self.database.execute_sql("SELECT id FROM subscription LIMIT 1").fetchone()
        if found != known_version():
            raise Unavailable(_OTHER_SCHEMA.format(found, known_version()))

    def _write(self) -> None:
        """Write one row and commit it, if that was not done in the last second.

        A lock that somebody else holds on an SQLite file is no fault of it.
        """
        if isinstance(self.database, SqliteDatabase) and shutil.disk_usage(_folder(self.database)).free < _LEAST_FREE:
            raise Unavailable("the disk is full")
        with self._lock:
            if time.monotonic() - self._written < _FRESH:
                return
            try:
                with self._briefly(), database_connection(self.database), self.database.atomic():
                    self.database.execute_sql(_WRITE.format(self.database.param), ("readyz",))
            except Unavailable as error:
                if not (self.database.dialect == "sqlite" and "locked" in str(error)):
                    raise
            self._written = time.monotonic()

    def _briefly(self) -> AbstractContextManager[None]:
        """Wait for SQLite's write lock as long as a probe may take."""
        return (
            self.database.write_lock_timeout(_PATIENCE) if isinstance(self.database, SqliteDatabase) else nullcontext()
        )

    def _near(self) -> None:
        if isinstance(self.database, PostgresqlDatabase):
            with database_connection(self.database):
                asked = self.database.execute_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
                apart = asked.fetchone()[0] - self.clock().timestamp()
            if abs(apart) > CLOCK_TOLERANCE:
                raise Unavailable(f"this machine's clock is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead'}")

    def _sealing(self) -> None:
        if self.heartbeat is None:
            return
        try:
            silent = time.time() - self.heartbeat.stat().st_mtime
        except OSError as error:
            raise Unavailable("the process that seals gave no sign") from error
        if silent > SEALER_PATIENCE:
            raise Unavailable(f"the process that seals gave no sign for {silent:.0f} s")


def _folder(database: SqliteDatabase) -> Path:
    return Path(database.database).absolute().parent


def _reason(error: Exception) -> str:
    """Return the first line of a fault, without what a driver says of hosts and users."""
    text = str(error).strip().split("\n", 1)[0]
    return "the database cannot be reached" if "connection" in text.lower() else text[:200]
