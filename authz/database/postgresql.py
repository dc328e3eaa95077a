"""PostgreSQL through psycopg 3: a pool for each process, and transactions that are a pipeline."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakKeyDictionary

from playhouse.pool import PooledPostgresqlDatabase

from authz.database.faults import FAULTS, wrapped
from authz.database.schema import MIGRATING, known_version
from authz.errors import Unavailable

_FIELD_TYPES = {"OPAQUE_ID": 'TEXT COLLATE "C"'}
_TRUSTED_SECONDS = 0.5
_UNANSWERED = 1000
_READ_ONLY = "-c timezone=UTC -c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"


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
    def migrating(self) -> Iterator[None]:
        """Say that this thread's session migrates."""
        named = "SELECT set_config('application_name', %s, false)"
        self.execute_sql(named, (f"caregrant {MIGRATING}",))
        try:
            yield
        finally:
            if not self.is_closed():
                self.execute_sql(named, (self.connect_params["application_name"],))

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


def _application_name(url: str, version: str = "") -> str:
    """Return the name that a session goes by: the schema that this release knows, then the name that the URL gives."""
    given = dict(parse_qsl(urlsplit(url).query)).get("application_name", "")
    return "; ".join(filter(None, (f"caregrant {version or known_version()}", given)))


def open_postgresql(url: str, *, read_only: bool) -> PostgresqlDatabase:
    """The database at a URL; not opened yet. `read_only`: the database itself refuses every change.

    Raises `Unavailable` without the driver.
    """
    _require_psycopg()
    return PostgresqlDatabase(
        url,
        application_name=_application_name(url),
        max_connections=32,
        stale_timeout=300,
        field_types=_FIELD_TYPES,
        prefer_psycopg3=True,
        options=_READ_ONLY if read_only else "-c timezone=UTC",
        connect_timeout=5,
    )


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable("PostgreSQL needs its driver: pip install 'caregrant[postgres]'") from error
