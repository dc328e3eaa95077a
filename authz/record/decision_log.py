"""The decision log: each answer waits for its commit, and answers given at the same time share a commit.

A thread adds its rows to a queue. While one thread writes, other threads add rows and wait; the first of these threads
that gets the write lock writes all rows of the queue. A thread that has several requests to answer can defer their
commits and commit them together. The log needs no thread of its own and adds no delay.

On SQLite a service commits to the spool (`spool`), a file that the sealer drains into the database every 0.2 seconds:
so an answer neither waits for the write lock of the database nor takes it from a change. A log that is not spooled, as
that of a command, commits to the database, and to the spool only while another process holds the write lock.
`decision_rows` makes the rows, and `decision_insert` has the SQL statement.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import peewee

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.database.statements import RECORD_LOCK, take_locks
from authz.domain import Values
from authz.errors import CaregrantError, InvalidInput, Unavailable
from authz.record.decision_insert import ANSWER_COLUMNS, insert_decisions, insert_in_own_transaction
from authz.record.spool import Spool, drain_portion, open_spool

MODES = {
    "durable": "an answer is committed before it is given: no given answer is lost if the process dies",
    "buffered": "an answer is committed within a second after it is given, and is lost if the process dies before",
    "off": "no answer is recorded; changes are",
}
"""The values of `CAREGRANT_DECISION_LOG`."""

BUFFERED_SECONDS = 1.0
BUFFERED_ROWS = 10_000
"""The limits of the buffer in the mode `buffered`. The answer that fills the buffer waits for the commit of all."""

WRITE_SECONDS = 5.0
"""The longest wait of an answer while other threads write, in seconds; then the answer is refused."""

MOST_SPOOLED = 64 << 20
"""The size of the spool, in bytes, from which on a service waits for the sealer, and drains the spool if none does."""

_SQLITE_LOCK_SECONDS = 0.2
_RETRY_SECONDS = 0.1
_DRAIN_SECONDS, _DRAIN_PAUSE_SECONDS = 3.0, 0.01
_MOST_PORTIONS = 4


@dataclass(eq=False)
class PendingRows:
    """The rows of one answer, which wait for their commit. `done`: the commit was tried; `error`: why it failed."""

    rows: Sequence[Values]
    done: bool = False
    error: CaregrantError | None = None


@dataclass
class DecisionLog:
    """The decision log of one open database.

    With `fsync` a commit returns only after the rows are on the disk. `spooled`: on SQLite, commit to the spool first.
    """

    database: Database
    mode: str = "durable"
    fsync: bool = True
    spooled: bool = False
    _write_lock: threading.Lock = field(default_factory=threading.Lock)
    _queue_lock: threading.Lock = field(default_factory=threading.Lock)
    _queue: list[PendingRows] = field(default_factory=list)
    _buffer: "_Buffer | None" = None
    _spool: Spool | None = None
    _thread: threading.local = field(default_factory=threading.local)
    _retry_at: float = 0
    """The time of the next try to take SQLite's write lock; 0 if no other process held the lock at the last try."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidInput(f"CAREGRANT_DECISION_LOG is {', '.join(MODES)}, not {self.mode!r}")
        if self.mode == "buffered":
            self._buffer = _Buffer(self._commit)

    def record(self, rows: Sequence[Values], *, record_locked: bool = False) -> None:
        """Record answers: in the transaction that is open, or else in one of their own. Raises `Unavailable`.

        `record_locked` says that the open transaction holds `RECORD_LOCK` already.
        """
        if not rows or self.mode == "off":
            return
        if self.database.in_transaction():
            with database_connection(self.database):
                if not record_locked:
                    take_locks(self.database, RECORD_LOCK)
                self._drain_earlier_answers()
                insert_decisions(self.database, ANSWER_COLUMNS, rows)
        elif self._buffer is not None:
            self._buffer.add(rows)
        else:
            pending = PendingRows(rows)
            deferred: list[PendingRows] | None = getattr(self._thread, "deferred", None)
            if deferred is not None:
                deferred.append(pending)
                return
            self.commit([pending])
            if pending.error is not None:
                raise Unavailable(str(pending.error)) from pending.error

    def _drain_earlier_answers(self) -> None:
        """Insert what the spool holds, up to a limit, before the answers of a change, so that ids keep the order.

        A spool that cannot be drained, which the sealer reports, does not stop a change.
        """
        if not self.spooled or not isinstance(self.database, SqliteDatabase):
            return
        with suppress(Unavailable, peewee.IntegrityError, peewee.DataError), self.database.atomic():
            spool, portions = self._spool_of(self.database), 0
            while spool.size() and portions < _MOST_PORTIONS:
                portions += 1
                if not drain_portion(self.database, spool).more:
                    break

    @contextmanager
    def deferring_commits(self) -> Iterator[list[PendingRows]]:
        """Defer the commits of the answers that this thread records in the block.

        The block gets their list. The caller passes the list to `commit` before it sends any of the answers.
        """
        deferred: list[PendingRows] = []
        self._thread.deferred = deferred
        try:
            yield deferred
        finally:
            self._thread.deferred = None

    def flush(self) -> None:
        """Commit the buffered rows."""
        if self._buffer is not None:
            self._buffer.flush()

    def commit(self, pending: Sequence[PendingRows]) -> None:
        """Commit answers, together with those of other threads; set the `error` of each that failed."""
        with self._queue_lock:
            self._queue.extend(pending)
        if not self._write_lock.acquire(timeout=WRITE_SECONDS):
            with self._queue_lock:
                for answer in pending:
                    with suppress(ValueError):  # not in the queue: another thread writes this answer, which is not sent
                        self._queue.remove(answer)
                    answer.error = Unavailable("the record is busy")
            return
        try:
            if not all(answer.done for answer in pending):
                self._write_queue()
        finally:
            self._write_lock.release()

    def _write_queue(self) -> None:
        """Commit all answers of the queue; if the database refuses a row, commit each answer separately."""
        with self._queue_lock:
            queue, self._queue = self._queue, []
        try:
            self._commit([row for answer in queue for row in answer.rows])
        except Unavailable as error:
            for answer in queue:
                answer.error = self._commit_separately(answer) if len(queue) > 1 and _is_row_error(error) else error
        except BaseException as error:
            for answer in queue:
                answer.error = Unavailable(f"the record failed: {error!r}")
            raise
        finally:
            for answer in queue:
                answer.done = True

    def _commit_separately(self, answer: PendingRows) -> CaregrantError | None:
        """Commit one answer; return the error if it fails."""
        try:
            self._commit(answer.rows)
        except Unavailable as error:
            return error
        return None

    def _commit(self, rows: Sequence[Values]) -> None:
        """Commit rows to the database or, if the log is spooled or SQLite's write lock is not free, to the spool."""
        if not isinstance(self.database, SqliteDatabase):
            self._insert(rows)
            return
        if self.spooled and _has_room(spool := self._spool_of(self.database)):
            with database_connection(self.database):
                self.database.require_same_file()
            spool.append(rows)
            return
        if time.monotonic() >= self._retry_at:
            try:
                with self.database.write_lock_timeout(0 if self._retry_at else _SQLITE_LOCK_SECONDS):
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

    def _insert(self, rows: Sequence[Values]) -> None:
        """Commit rows to the database; on SQLite, together with the oldest answers of the spool."""
        with database_connection(self.database):
            if not isinstance(self.database, SqliteDatabase):
                insert_in_own_transaction(self.database, ANSWER_COLUMNS, rows, durable=self.fsync)
                return
            spool = self._spool_of(self.database)
            with self.database.synchronous(full=self.fsync), self.database.atomic():
                portion = drain_portion(self.database, spool, compact=True) if spool.size() else None
                insert_decisions(self.database, ANSWER_COLUMNS, rows)
        if portion is not None:
            with suppress(Unavailable):  # the answers are in the database, and another commit can empty the file
                spool.empty(portion.batch, portion.upto)


def _is_row_error(error: Unavailable) -> bool:
    """Return whether the database refused a row, and did not fail as a whole."""
    return isinstance(error.__cause__, peewee.IntegrityError | peewee.DataError)


def _has_room(spool: Spool) -> bool:
    """Return whether the spool is smaller than `MOST_SPOOLED`; wait a while for the sealer to drain it."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while spool.size() >= MOST_SPOOLED:
        if time.monotonic() > deadline:
            return False
        time.sleep(_DRAIN_PAUSE_SECONDS)
    return True


class _Buffer:
    """Rows of answers that are given before they are committed (the mode `buffered`).

    After a commit has failed, each new answer waits for the next commit, and is refused if that fails, too.
    """

    def __init__(self, commit: Callable[[Sequence[Values]], None]) -> None:
        self._commit = commit
        self._rows: list[Values] = []
        self._lock = threading.Lock()
        self._failed = False
        self._timer: threading.Timer | None = None

    def add(self, rows: Sequence[Values]) -> None:
        with self._lock:
            self._rows.extend(rows)
            if self._failed or len(self._rows) >= BUFFERED_ROWS:
                try:
                    self._write()
                except Unavailable:
                    del self._rows[-len(rows) :]  # the caller does not send these answers
                    raise
            elif self._timer is None:
                self._timer = threading.Timer(BUFFERED_SECONDS, self._write_on_timer)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            self._write()

    def _write_on_timer(self) -> None:
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


def set_decision_log(database: Database, mode: str, *, fsync: bool, spooled: bool = False) -> DecisionLog:
    """Give a database a decision log with this mode and return it. Raises `InvalidInput` for an unknown mode."""
    log = database.decision_log = DecisionLog(database, mode, fsync, spooled)
    return log


def get_decision_log(database: Database) -> DecisionLog:
    """Return the decision log of a database; a durable one if none was set."""
    log: DecisionLog | None = database.decision_log
    return set_decision_log(database, "durable", fsync=True) if log is None else log
