"""PostgreSQL through psycopg 3: a connection pool for each process, and transactions in pipeline mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import peewee

from authz.database.faults import FAULTS, peewee_errors
from authz.database.pool import Pool
from authz.database.schema_version import MIGRATING
from authz.database.session_limits import Limits
from authz.errors import Unavailable

if TYPE_CHECKING:
    from authz.database.sessions import Session

_FIELD_TYPES = {"OPAQUE_ID": 'TEXT COLLATE "C"'}
_MOST_UNANSWERED = 1000
_POOL_SIZE = 32


class PostgresqlDatabase(peewee.PostgresqlDatabase):
    """PostgreSQL through psycopg 3, with a pool. `read_only`: the database itself refuses every change."""

    dialect: Literal["postgresql"] = "postgresql"
    decision_log: Any = None
    _state: Any

    def __init__(self, url: str, limits: Limits, *, read_only: bool) -> None:
        self.limits, self.read_only = limits, read_only
        self._pool = Pool(self.open_session, _POOL_SIZE, limits.connection)
        super().__init__(url, field_types=_FIELD_TYPES, prefer_psycopg3=True)

    def open_session(self) -> "Session":
        """Open a session outside the pool, with the same limits."""
        from authz.database.sessions import open_session  # noqa: PLC0415 - the driver is an extra

        return open_session(self.database, self.limits, read_only=self.read_only)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Take a session for this thread; return whether it had none. No other thread waits in the meantime."""
        if not self._state.closed:
            if reuse_if_open:
                return False
            raise peewee.OperationalError("Connection already opened.")
        self._state.reset()
        with peewee_errors:
            self._state.set_connection(self._pool.take())
        if self.server_version is None:
            self.server_version = self._state.conn.info.server_version
        return True

    def close(self) -> bool:
        """Give this thread's session back; return whether it had one.

        Raises `peewee.OperationalError` in a transaction.
        """
        if self.in_transaction():
            raise peewee.OperationalError("Attempting to close database while transaction is open.")
        if self._state.closed:
            return False
        session = self._state.conn
        self._state.reset()
        self._pool.give_back(session)
        return True

    def close_all(self) -> None:
        """Close every session of the pool, lent or not."""
        self.close()
        self._pool.close()

    def mark_unusable(self, error: BaseException) -> None:
        """Mark this thread's session as broken if it must not be used again after this error."""
        from authz.database.sessions import is_reusable_after  # noqa: PLC0415

        if not self._state.closed and not is_reusable_after(error):
            self._state.conn.broken = True

    def begin(self, isolation_level: str | None = None) -> None:
        with peewee_errors:
            self.connection().begin(isolation_level)

    def execute(self, query: object, **options: object) -> object:
        """Execute a query of Peewee's; Peewee reads the result at once."""
        cursor = super().execute(query, **options)
        with peewee_errors:
            self.connection().sync()
        return cursor

    def rollback(self) -> None:
        """Roll back through the driver, which then forgets which statements it had prepared."""
        if self.is_closed():
            return
        session = self.connection()
        with peewee_errors:
            _drain(session)
            session.rollback()

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Mark this thread's session as migrating, by its application name."""
        rename = "SELECT set_config('application_name', %s, false)"
        (name,) = self.execute_sql("SELECT current_setting('application_name')").fetchone()
        self.execute_sql(rename, (f"caregrant {MIGRATING}",))
        try:
            yield
        finally:
            if not self.is_closed():
                self.execute_sql(rename, (name,))

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        """Run a transaction in pipeline mode, as `authz.database.pipelined` says."""
        session = self.connection()
        try:
            with peewee_errors, session.pipelined(), self.atomic():
                yield
        finally:
            if not session.closed:
                session.rollback()  # has an effect only if a statement that nobody waited for failed, and COMMIT too


def _drain(session: "Session") -> None:
    """Read the answers to all statements that were sent, also to those skipped after a failed one."""
    for _ in range(_MOST_UNANSWERED):
        try:
            session.sync()
        except FAULTS:
            if session.closed:
                return
        else:
            return


def open_postgresql(url: str, limits: Limits, *, read_only: bool) -> PostgresqlDatabase:
    """Return the database at a URL, not opened yet. Raises `Unavailable` without the driver."""
    _require_psycopg()
    return PostgresqlDatabase(url, limits, read_only=read_only)


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable("PostgreSQL needs its driver: pip install 'caregrant[postgres]'") from error
