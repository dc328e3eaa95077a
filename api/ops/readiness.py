"""Readiness: the checks of `/readyz`, and the condition that every request needs.

The checks write to the database at most once a second, and requests read the schema's version at most once a second. An
import that holds SQLite's write lock does not make a service unready: the service still answers questions.
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
from authz.policy.served import ServedPolicy

CLOCK_TOLERANCE = 5.0
"""Seconds by which this machine's clock may differ from the database's."""

SEALER_PATIENCE = 30.0
"""Seconds without a sign of life of the sealer."""

_FRESH = 1.0
_PATIENCE = 0.2
_LEAST_FREE = 1 << 20
"""Free bytes of the disk: with fewer, one answer may still be recorded and the next one not."""
_OTHER_SCHEMA = "the schema of the database is {}, and this release knows {}"
_WRITE = """INSERT INTO spent (caller, minute, requests) VALUES ({0}, 0, 1)
    ON CONFLICT (caller) DO UPDATE SET requests = 1"""

CHECKS = {
    "schema": "the schema is exactly the one that this release knows",
    "file": "the SQLite file is the one that was opened",
    "database": "the database accepts a write: it is there, not read-only, not in recovery, its disk not full",
    "clock": f"this machine's clock is within {CLOCK_TOLERANCE:.0f} s of the database's",
    "policy": "this process decides by the policy that was activated last",
    "sealer": f"the process that seals gave a sign of life within {SEALER_PATIENCE:.0f} s",
}
"""Every check by name; docs/reference/serving.md lists them."""


@dataclass
class Readiness:
    """The checks of one process's database; `heartbeat` is the file that the sealer touches, if there is a sealer.

    `served` is the policy by which the process decides, None if the process follows no activation.
    """

    database: Database
    clock: Callable[[], datetime]
    heartbeat: Path | None = None
    served: ServedPolicy | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written: float = float("-inf")
    _schema_checked: float = float("-inf")
    _schema_found: str = field(default_factory=known_version)

    def require(self) -> None:
        """Raise `Unavailable` if the schema is another one, or the SQLite file is not the one that was opened."""
        if isinstance(self.database, SqliteDatabase):
            try:
                self.database.require_same_file()
            except peewee.OperationalError as error:
                raise Unavailable(str(error)) from error
        if time.monotonic() - self._schema_checked > _FRESH:
            self._schema_checked = time.monotonic()  # before the query, so that only one thread sends it
            with suppress(Unavailable):  # a view that needs the database reports the fault
                self._schema_found = schema_version(self.database)
        if self._schema_found != known_version():
            raise Unavailable(_OTHER_SCHEMA.format(self._schema_found, known_version()))

    def failures(self) -> list[tuple[str, str]]:
        """Return the name of each check that fails, with the fault."""
        failed = []
        checks = {
            "file": self._check_file,
            "schema": self._check_schema,
            "database": self._check_write,
            "clock": self._check_clock,
            "policy": self._check_policy,
            "sealer": self._check_sealer,
        }
        for name, check in checks.items():
            try:
                check()
            except (Unavailable, peewee.OperationalError) as error:
                failed.append((name, _describe_fault(error)))
        return failed

    def _check_file(self) -> None:
        if isinstance(self.database, SqliteDatabase):
            self.database.require_same_file()

    def _check_schema(self) -> None:
        version = schema_version(self.database)
        with database_connection(self.database):
            self.database.execute_sql("SELECT id FROM subscription LIMIT 1").fetchone()
        if version != known_version():
            raise Unavailable(_OTHER_SCHEMA.format(version, known_version()))

    def _check_write(self) -> None:
        """Write and commit one row, unless the last second saw such a write.

        A lock that another process holds on an SQLite file is no fault of the database.
        """
        if isinstance(self.database, SqliteDatabase) and shutil.disk_usage(_folder(self.database)).free < _LEAST_FREE:
            raise Unavailable("the disk is full")
        with self._lock:
            if time.monotonic() - self._written < _FRESH:
                return
            try:
                with self._short_lock_timeout(), database_connection(self.database), self.database.atomic():
                    self.database.execute_sql(_WRITE.format(self.database.param), ("readyz",))
            except Unavailable as error:
                if not (self.database.dialect == "sqlite" and "locked" in str(error)):
                    raise
            self._written = time.monotonic()

    def _short_lock_timeout(self) -> AbstractContextManager[None]:
        """Limit the wait for SQLite's write lock to the time that a probe may take."""
        return (
            self.database.write_lock_timeout(_PATIENCE) if isinstance(self.database, SqliteDatabase) else nullcontext()
        )

    def _check_clock(self) -> None:
        if isinstance(self.database, PostgresqlDatabase):
            with database_connection(self.database):
                cursor = self.database.execute_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
                difference = cursor.fetchone()[0] - self.clock().timestamp()
            if abs(difference) > CLOCK_TOLERANCE:
                direction = "behind" if difference > 0 else "ahead of"
                raise Unavailable(f"this machine's clock is {abs(difference):.0f} s {direction} the database's")

    def _check_policy(self) -> None:
        if self.served is not None and self.served.fault:
            raise Unavailable(f"the activated policy is not taken: {self.served.fault}")

    def _check_sealer(self) -> None:
        if self.heartbeat is None:
            return
        try:
            silent = time.time() - self.heartbeat.stat().st_mtime
        except OSError as error:
            raise Unavailable("the process that seals gave no sign of life") from error
        if silent > SEALER_PATIENCE:
            raise Unavailable(f"the process that seals gave no sign of life for {silent:.0f} s")


def _folder(database: SqliteDatabase) -> Path:
    return Path(database.database).absolute().parent


def _describe_fault(error: Exception) -> str:
    """Return the first line of a fault, but nothing of what a driver reports about hosts and users."""
    text = str(error).strip().split("\n", 1)[0]
    return "the database cannot be reached" if "connection" in text.lower() else text[:200]
