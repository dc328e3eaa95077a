"""A session of PostgreSQL, through psycopg 3: its time limits and its pipelines, with or without a pooler.

A *shared* session goes through a pooler such as PgBouncer, which may use another server process for each transaction.
A setting of the session would be lost with the process. Therefore the limits are set in each transaction, and no
statement is prepared (docs/decisions/0057). To find out whether a session is shared, `open_session` compares the
process id that the server reports with the process id that the driver received when it connected.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from authz.database.schema_version import known_version
from authz.database.session_limits import Limits
from authz.errors import Unavailable

_CONNECTION = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq, in seconds; the last one in milliseconds. Parameters in the URL have precedence."""

_SERVER_SETTINGS = {
    "timezone": "UTC",
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
_READ_ONLY_SETTINGS = {"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable\\ read"}
_SERVICE_SETTINGS = {"plan_cache_mode": "force_generic_plan"}
"""A service prepares its statements, and planning some of them takes a hundred times as long as running them."""
_OPTIONS_REFUSED = "unsupported startup parameter"
"""The error text of a pooler that does not accept the options of a connection."""


class Session(psycopg.Connection[Any]):
    """A connection in autocommit mode. `broken`: the connection had a fault and must not be used again."""

    shared = False
    broken = False
    _limits = Limits()
    _read_only = False
    _open_pipeline: psycopg.Pipeline | None = None

    def begin(self, isolation_level: str | None = None) -> None:
        """Begin a transaction; a shared session also sets its limits."""
        for statement in self._begin_statements(isolation_level):
            psycopg.Cursor(self).execute(statement)

    def _begin_statements(self, isolation_level: str | None) -> Iterable[str]:
        level = isolation_level or ("REPEATABLE READ" if self.shared and self._read_only else "")
        begin = f"BEGIN ISOLATION LEVEL {level}" if level else "BEGIN"
        if not self.shared:
            return (begin,)
        begin += " READ ONLY" if self._read_only else ""
        settings = [f"SET LOCAL {name} = {value}" for name, value in _timeouts(self._limits).items()]
        return (begin, *settings) if self._open_pipeline else ("; ".join([begin, *settings]),)

    @contextmanager
    def pipelined(self) -> Iterator[psycopg.Pipeline]:
        """Send the statements of this block without waiting for their answers; reading the rows of one waits."""
        with self.pipeline() as pipeline:
            self._open_pipeline = pipeline
            try:
                yield pipeline
            finally:
                self._open_pipeline = None

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Apply the limits to the statements of this block; a shared session makes the block one transaction."""
        if not self.shared or self.info.transaction_status != TransactionStatus.IDLE or self._open_pipeline:
            yield
            return
        try:
            with self.pipelined():
                self.begin()
                yield
                psycopg.Cursor(self).execute("COMMIT")
        finally:
            if not self.closed and self.info.transaction_status != TransactionStatus.IDLE:
                self.rollback()

    def sync(self) -> None:
        """Send the statements of the pipeline with a Sync message, and read the answers.

        After a Sync the server counts the transaction as idle, and ends the transaction after the idle limit. After
        a flush without Sync the server would wait for the next message without a limit.
        """
        if self._open_pipeline is not None:
            self._open_pipeline.sync()

    @property
    def usable(self) -> bool:
        """Whether another thread may use the session."""
        return not self.broken and not self.closed and self.info.transaction_status == TransactionStatus.IDLE


class SessionCursor(psycopg.Cursor[object]):
    """A cursor that applies the limits of its session; inside a pipeline, reading rows sends a Sync."""

    @property
    def session(self) -> Session:
        connection = self.connection
        assert isinstance(connection, Session)
        return connection

    def execute(self, *args: Any, **options: Any) -> "SessionCursor":
        if not self.session.shared:
            return super().execute(*args, **options)
        with self.session.limited():
            return super().execute(*args, **options)

    def executemany(self, *args: Any, **options: Any) -> None:
        with self.session.limited():
            super().executemany(*args, **options)

    def _sync_if_pending(self) -> None:
        """Send a Sync if the answer to the statement has not been read."""
        if self.pgresult is None:
            self.session.sync()

    def fetchone(self) -> object:
        self._sync_if_pending()
        return super().fetchone()

    def fetchmany(self, size: int = 0) -> list[Any]:
        self._sync_if_pending()
        return super().fetchmany(size)

    def fetchall(self) -> list[Any]:
        self._sync_if_pending()
        return super().fetchall()

    def __next__(self) -> object:
        self._sync_if_pending()
        return super().__next__()


def open_session(url: str, limits: Limits, *, read_only: bool) -> Session:
    """Open a session. Raises psycopg's errors, and `Unavailable` for options that a pooler would not pass on."""
    parameters = conninfo_to_dict(url)
    url_options = str(parameters.pop("options", ""))
    settings = {**_SERVER_SETTINGS, **_timeouts(limits), **(_READ_ONLY_SETTINGS if read_only else {})}
    if limits.connection is not None:
        settings |= _SERVICE_SETTINGS
    options = " ".join([*(f"-c {name}={value}" for name, value in settings.items()), url_options]).strip()
    name = str(parameters.get("application_name") or "")
    parameters["application_name"] = "; ".join(filter(None, (f"caregrant {known_version()}", name)))
    arguments: dict[str, Any] = {**_CONNECTION, **parameters, "autocommit": True, "cursor_factory": SessionCursor}
    try:
        session = Session.connect(**arguments, options=options)
    except psycopg.OperationalError as error:
        if _OPTIONS_REFUSED not in str(error):
            raise
        session = Session.connect(**arguments)
    try:
        (process,) = psycopg.Cursor(session).execute("SELECT pg_backend_pid()").fetchone() or (None,)
        if process != session.info.backend_pid:
            _mark_shared(session, limits, read_only=read_only, url_options=url_options)
    except BaseException:
        session.close()
        raise
    return session


def _mark_shared(session: Session, limits: Limits, *, read_only: bool, url_options: str) -> None:
    """Make a session set its limits in each transaction. Raises `Unavailable` for options of the URL."""
    if url_options:
        raise Unavailable(
            "a pooler such as PgBouncer does not pass on the options of a database URL: set them with ALTER ROLE"
        )
    session.shared, session._limits, session._read_only = True, limits, read_only
    session.prepare_threshold = None
    psycopg.Cursor(session).execute("SET timezone = 'UTC'")  # a pooler keeps this setting for each client


def _timeouts(limits: Limits) -> dict[str, int]:
    return {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }


_HARMLESS_STATES = ("22", "23", "40", "42", "55", "57014")


def is_reusable_after(error: BaseException) -> bool:
    """Return whether a session may be used again after an error: if the server refused a statement, not the session.

    After 25006 the session has become read-only, and after an error of the driver its state is unknown: both return
    False.
    """
    driver = getattr(error, "orig", None) or error  # Peewee's error holds the driver's
    state: str = getattr(driver, "sqlstate", None) or ""
    return state.startswith(_HARMLESS_STATES)


__all__: Sequence[str] = ("Session", "is_reusable_after", "open_session")
