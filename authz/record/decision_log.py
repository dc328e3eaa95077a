"""How answers get into the database: each waits for its commit, and answers given at the same time share one.

Threads that come while one is writing leave their rows; the first of them to get its turn writes all that are there
then. A thread that has several requests before it can hold their answers back and write them together. No thread of its
own, no delay: with one request at a time each is its own transaction. On SQLite, while another process holds the write
lock, answers are recorded in the spool.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import peewee

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.database.statements import RECORD_LOCK, take_locks
from authz.errors import CaregrantError, InvalidInput, Unavailable
from authz.record.question_tenant import COLUMNS, insert_decisions, record_alone
from authz.record.spool import Spool, drain_portion, open_spool

MODES = {
    "durable": "an answer is committed before it is given: the death of the process loses none",
    "buffered": "an answer is committed within a second after it was given: the death of the process loses those",
    "off": "no answer is recorded; changes are",
}
"""What `CAREGRANT_DECISION_LOG` may say."""

BUFFERED_SECONDS = 1.0
BUFFERED_ROWS = 10_000
"""The loss window of `buffered`: so long, and so many rows; beyond them an answer waits for its commit."""

_PATIENCE = 0.2
_RETRY_SECONDS = 0.1

StoredRow = tuple[Any, ...]


PATIENCE_SECONDS = 5.0
"""How long an answer waits for those that are being recorded."""


@dataclass(eq=False)
class PendingRows:
    """Rows that wait for their commit; `done` when it was tried, `error` if it failed."""

    rows: Sequence[StoredRow]
    done: bool = False
    error: CaregrantError | None = None


@dataclass
class DecisionLog:
    """The decision log of one open database. `fsync`: on the disk, too, when it is committed."""

    database: Database
    mode: str = "durable"
    fsync: bool = True
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _gate: threading.Lock = field(default_factory=threading.Lock)
    _queue: list[PendingRows] = field(default_factory=list)
    _buffer: "_Buffer | None" = None
    _spool: Spool | None = None
    _own: threading.local = field(default_factory=threading.local)
    _retry_at: float = 0
    """When the write lock, which was taken, is tried again; 0: it was free."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidInput(f"CAREGRANT_DECISION_LOG is {', '.join(MODES)}, not {self.mode!r}")
        if self.mode == "buffered":
            self._buffer = _Buffer(self._commit)

    def record(self, rows: Sequence[StoredRow], *, record_locked: bool = False) -> None:
        """Record answers; `announced`: their transaction holds `RECORD_LOCK`. Raises `Unavailable`."""
        if not rows or self.mode == "off":
            return
        if self.database.in_transaction():
            with database_connection(self.database):
                if not record_locked:
                    take_locks(self.database, RECORD_LOCK)
                insert_decisions(self.database, COLUMNS, rows)
        elif self._buffer is not None:
            self._buffer.add(rows)
        else:
            waiting = PendingRows(rows)
            held: list[PendingRows] | None = getattr(self._own, "held", None)
            if held is not None:
                held.append(waiting)
                return
            self.commit([waiting])
            if waiting.error is not None:
                raise Unavailable(str(waiting.error)) from waiting.error

    @contextmanager
    def holding(self) -> Iterator[list[PendingRows]]:
        """A block in which this thread's answers are held back: `commit` them before any of them is given."""
        held: list[PendingRows] = []
        self._own.held = held
        try:
            yield held
        finally:
            self._own.held = None

    def flush(self) -> None:
        """Commit what is buffered."""
        if self._buffer is not None:
            self._buffer.flush()

    def commit(self, mine: Sequence[PendingRows]) -> None:
        """Commit answers, together with those of other threads. Each of them learns whether it failed."""
        with self._gate:
            self._queue.extend(mine)
        if not self._turn.acquire(timeout=PATIENCE_SECONDS):
            with self._gate:
                for one in mine:
                    with suppress(ValueError):  # else it is being written: recorded, and not answered
                        self._queue.remove(one)
                    one.error = Unavailable("the record is busy")
            return
        try:
            if not all(one.done for one in mine):
                self._write_all()
        finally:
            self._turn.release()

    def _write_all(self) -> None:
        """Write what everybody left; what one row's fault undoes is tried singly, so that it is one failure."""
        with self._gate:
            together, self._queue = self._queue, []
        try:
            self._commit([row for one in together for row in one.rows])
        except Unavailable as error:
            for one in together:
                one.error = self._tried(one) if len(together) > 1 and _of_a_row(error) else error
        except BaseException as error:
            for one in together:
                one.error = Unavailable(f"the record failed: {error!r}")
            raise
        finally:
            for one in together:
                one.done = True

    def _tried(self, one: PendingRows) -> CaregrantError | None:
        try:
            self._commit(one.rows)
        except Unavailable as error:
            return error
        return None

    def _commit(self, rows: Sequence[StoredRow]) -> None:
        if not isinstance(self.database, SqliteDatabase):
            self._insert(rows)
            return
        if time.monotonic() >= self._retry_at:
            try:
                with self.database.write_lock_timeout(0 if self._retry_at else _PATIENCE):
                    self._insert(rows)
            except Unavailable as error:
                if not isinstance(error.__cause__, WriteLocked):
                    raise
                self._retry_at = time.monotonic() + _RETRY_SECONDS
            else:
                self._retry_at = 0
                return
        self._spool_of(self.database).append(rows)

    def _spool_of(self, database: SqliteDatabase) -> Spool:
        if self._spool is None:
            self._spool = open_spool(database, fsync=self.fsync)
        return self._spool

    def _insert(self, rows: Sequence[StoredRow]) -> None:
        """Commit answers; before them some of those that wait in the spool."""
        with database_connection(self.database):
            if self.database.dialect == "postgresql":
                record_alone(self.database, COLUMNS, rows, durable=self.fsync)
                return
            self._relax(True)
            try:
                with self.database.atomic():
                    taken = self._take_in()
                    insert_decisions(self.database, COLUMNS, rows)
            finally:
                self._relax(False)
        if taken is not None:
            taken()

    def _take_in(self) -> Callable[[], None] | None:
        """Take in some answers of the spool; what is to be done after the commit."""
        if not isinstance(self.database, SqliteDatabase):
            return None
        spool = self._spool_of(self.database)
        if not spool.size():
            return None
        portion = drain_portion(self.database, spool)

        def empty() -> None:
            with suppress(Unavailable):  # the answers are in the database, and the next can empty the file
                spool.empty(portion.batch, portion.upto)

        return empty

    def _relax(self, on: bool) -> None:
        """SQLite's way of not waiting for the disk, for this connection until it is taken back."""
        if not self.fsync and not self.database.is_closed():
            self.database.execute_sql(f"PRAGMA synchronous = {'NORMAL' if on else 'FULL'}")


def _of_a_row(error: Unavailable) -> bool:
    """Whether the database refused a row, rather than to answer at all."""
    return isinstance(error.__cause__, peewee.IntegrityError | peewee.DataError)


class _Buffer:
    """Rows that wait, at most so long and so many. While they cannot be written, nothing more is taken."""

    def __init__(self, commit: Callable[[Sequence[StoredRow]], None]) -> None:
        self._commit = commit
        self._rows: list[StoredRow] = []
        self._lock = threading.Lock()
        self._failed = False
        self._timer: threading.Timer | None = None

    def add(self, rows: Sequence[StoredRow]) -> None:
        with self._lock:
            self._rows.extend(rows)
            if self._failed or len(self._rows) >= BUFFERED_ROWS:
                try:
                    self._write()
                except Unavailable:
                    del self._rows[-len(rows) :]  # these answers are not given
                    raise
            elif self._timer is None:
                self._timer = threading.Timer(BUFFERED_SECONDS, self._tick)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            self._write()

    def _tick(self) -> None:
        with self._lock:
            self._timer = None
            try:
                self._write()
            except Unavailable:
                return

    def _write(self) -> None:
        if not self._rows:
            return
        self._failed = True
        self._commit(self._rows)
        self._rows, self._failed = [], False


def set_decision_log(database: Database, mode: str, *, fsync: bool) -> DecisionLog:
    """Keep the decision log of a database in this way. Raises `InvalidInput` for a mode that there is not."""
    log = database.decision_log = DecisionLog(database, mode, fsync)
    return log


def get_decision_log(database: Database) -> DecisionLog:
    """The decision log of a database; durable unless it was said otherwise."""
    found: DecisionLog | None = database.decision_log
    return set_decision_log(database, "durable", fsync=True) if found is None else found
