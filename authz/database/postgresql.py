"""PostgreSQL through psycopg 3: a pool for each process, and transactions that are a pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import peewee

from authz.database.faults import FAULTS, wrapped
from authz.database.pool import Pool
from authz.database.schema_version import MIGRATING
from authz.database.session_limits import Limits
from authz.errors import Unavailable

if TYPE_CHECKING:
    from authz.database.sessions import Session

_FIELD_TYPES = {"OPAQUE_ID": 'TEXT COLLATE "C"'}
_UNANSWERED = 1000
_SIZE = 32


class PostgresqlDatabase(peewee.PostgresqlDatabase):
    """PostgreSQL through psycopg 3, pooled for each process. `read_only`: the database itself refuses every change."""

    dialect = "postgresql"
    decision_log: Any = None
    _state: Any

    def __init__(self, url: str, limits: Limits, *, read_only: bool) -> None:
        self.limits, self.read_only = limits, read_only
        self._pool = Pool(self.open_session, _SIZE, limits.held)
        super().__init__(url, field_types=_FIELD_TYPES, prefer_psycopg3=True)

    def open_session(self) -> "Session":
        """A session outside the pool, with the same limits."""
        from authz.database.sessions import open_session  # noqa: PLC0415 - the driver is an extra

        return open_session(self.database, self.limits, read_only=self.read_only)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Take a session for this thread; whether there was none. No other thread waits meanwhile."""
        if not self._state.closed:
            if reuse_if_open:
                return False
            raise peewee.OperationalError("Connection already opened.")
        self._state.reset()
        with wrapped:
            self._state.set_connection(self._pool.take())
        if self.server_version is None:
            self.server_version = self._state.conn.info.server_version
        return True

    def close(self) -> bool:
        """Give this thread's session back; whether there was one. Raises `peewee.OperationalError` in a transaction."""
        if self.in_transaction():
            raise peewee.OperationalError("Attempting to close database while transaction is open.")
        if self._state.closed:
            return False
        session = self._state.conn
        self._state.reset()
        self._pool.give_back(session)
        return True

    def close_all(self) -> None:
        """Close every session of the pool, in use or not."""
        self.close()
        self._pool.close()

    def mark_unfit(self, error: BaseException) -> None:
        """Keep this thread's session from being used again, if after this error it must not be."""
        from authz.database.sessions import leaves_fit  # noqa: PLC0415

        if not self._state.closed and not leaves_fit(error):
            self._state.conn.unfit = True

    def begin(self, isolation_level: str | None = None) -> None:
        with wrapped:
            self.connection().begin(isolation_level)

    def execute(self, query: Any, **options: Any) -> Any:
        """Carry out a query of Peewee's, which looks at once at what came."""
        cursor = super().execute(query, **options)
        with wrapped:
            self.connection().sync()
        return cursor

    def rollback(self) -> None:
        """Undo, as the driver does it: it then forgets which statements it believed to be prepared."""
        if self.is_closed():
            return
        session = self.connection()
        with wrapped:
            _settle(session)
            session.rollback()

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Say that this thread's session migrates."""
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
        """See `authz.database.pipelined`."""
        session = self.connection()
        try:
            with wrapped, session.pipelined(), self.atomic():
                yield
        finally:
            if not session.closed:
                session.rollback()  # nothing, unless what nobody waited for failed, and the commit with it


def _settle(session: "Session") -> None:
    """Take the answers to all that was sent, also to what was left out because something before it had failed."""
    for _ in range(_UNANSWERED):
        try:
            session.sync()
        except FAULTS:
            if session.closed:
                return
        else:
            return


def open_postgresql(url: str, limits: Limits, *, read_only: bool) -> PostgresqlDatabase:
    """The database at a URL; not opened yet. Raises `Unavailable` without the driver."""
    _require_psycopg()
    return PostgresqlDatabase(url, limits, read_only=read_only)


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable("PostgreSQL needs its driver: pip install 'caregrant[postgres]'") from error
