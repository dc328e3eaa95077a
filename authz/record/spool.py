"""The spool: a file for answers that are recorded while another process holds SQLite's write lock.

The file `<database>-answers` has a head, then entries of length, checksums and JSON. Each entry is one write under a
lock of the file, and its answers are recorded as soon as it is written. The next holder of the write lock moves entries
into the database and stores the position, in one transaction (`spool_position`). So each answer is recorded once, at
whatever point a process is killed. After the last entry the file is truncated, and the next entry begins another batch.

An incomplete entry belongs to answers that were never given, and is dropped (docs/decisions/0058).
"""

import errno
import fcntl
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.domain import Values
from authz.errors import Unavailable
from authz.record.decision_insert import ANSWER_COLUMNS, insert_decisions

MOST_BYTES = 256 << 20
"""The size limit of the spool; a question whose answer does not fit is not answered."""

PORTION = 1000
"""About how many answers one transaction drains: it holds the write lock for some tens of milliseconds."""

_MARK = b"caregrant answers 1\n"
_HEAD = struct.Struct(f"{len(_MARK)}s32s32s")
_ENTRY = struct.Struct(">III")
"""Length and checksum of the JSON, and the checksum of these two."""
_LOCK_SECONDS = 1.0
_RETRY_SECONDS = 0.002


@dataclass(frozen=True)
class SpoolPortion:
    """Some entries of a batch; `upto` is the offset of the byte after them."""

    batch: str
    upto: int
    entries: list[list[Values]]

    @property
    def rows(self) -> list[Values]:
        return [row for entry in self.entries for row in entry]


@dataclass
class Spool:
    """The spool of one SQLite database. Every method raises `Unavailable`.

    `owner` is the id of the database; `fsync`: entries survive a loss of power.
    """

    path: str
    owner: str
    fsync: bool = True
    _whole: tuple[str, int] = field(default=("", 0))
    """The batch, and the offset up to which this process has checked the entries."""

    def append(self, rows: Sequence[Values]) -> None:
        """Append an entry with these answers."""
        payload = orjson.dumps(rows)
        entry = _entry_head(payload) + payload
        with self._locked() as file:
            batch, end = self._end(file)
            if end + len(entry) > MOST_BYTES:
                raise Unavailable(f"{self.path} is full: {MOST_BYTES} bytes of answers wait for the database")
            head = b"" if batch else self._head()
            _write(file, head + entry, end)
            if self.fsync:
                os.fsync(file)
            self._whole = batch or head[-32:].decode(), end + len(head) + len(entry)

    def read(self, batch: str, taken: int, most: int) -> SpoolPortion:
        """Return the entries after the first `taken` bytes of `batch`, until they hold `most` answers."""
        with self._locked() as file:
            current, end = self._end(file)
            at = taken if current == batch else _HEAD.size
            entries: list[list[Values]] = []
            count = 0
            while current and at < end and count < most:
                entry, at = _read_entry(file, at)
                entries.append(entry)
                count += len(entry)
            return SpoolPortion(current, at, entries)

    def empty(self, batch: str, taken: int) -> None:
        """Truncate the file if all of it was drained."""
        with self._locked() as file:
            if self._end(file) == (batch, taken):
                os.ftruncate(file, 0)

    def size(self) -> int:
        """Return the size of the file in bytes, drained entries included."""
        try:
            return os.stat(self.path).st_size  # noqa: PTH116 - before each answer
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _lock(file, self.path)
                yield file
            finally:
                os.close(file)  # and its lock with it
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from error

    def _head(self) -> bytes:
        return _HEAD.pack(_MARK, self.owner.encode(), secrets.token_hex(16).encode())

    def _end(self, file: int) -> tuple[str, int]:
        """Remove an incomplete entry; return the batch and where its last complete entry ends. ("", 0): no batch."""
        size = os.fstat(file).st_size
        head = os.pread(file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            os.ftruncate(file, 0)
            return "", 0
        mark, owner, batch = _HEAD.unpack(head)
        if mark != _MARK or owner.decode(errors="replace") != self.owner:
            raise Unavailable(f"{self.path} holds answers of another database: move it away, or bring that one back")
        name = batch.decode()
        end = self._whole[1] if self._whole[0] == name and self._whole[1] <= size else _HEAD.size
        while end < size:
            following = self._following(file, end, size)
            if following is None:
                os.ftruncate(file, end)
                break
            end = following
        self._whole = name, end
        return name, end

    def _following(self, file: int, at: int, size: int) -> int | None:
        """Return where the entry at an offset ends; None if it is incomplete."""
        head = os.pread(file, _ENTRY.size, at)
        if len(head) < _ENTRY.size:
            return None
        length, checksum, head_checksum = _ENTRY.unpack(head)
        end = at + _ENTRY.size + length
        if length and head_checksum == zlib.crc32(head[:8]):
            if end > size:
                return None
            if zlib.crc32(os.pread(file, length, at + _ENTRY.size)) == checksum:
                return int(end)
        if not any(os.pread(file, size - at, at)):  # zeros: power was lost before the entry was on the disk
            return None
        raise Unavailable(f"{self.path} is damaged at byte {at}: keep a copy of it, then move it away")


def _entry_head(payload: bytes) -> bytes:
    head = _ENTRY.pack(len(payload), zlib.crc32(payload), 0)[:8]
    return head + struct.pack(">I", zlib.crc32(head))


def _lock(file: int, path: str) -> None:
    """Lock the file. A process holds the lock only while it reads or writes some entries."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"{path} is locked by a process that does not go on") from None
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of `data`, or nothing. Raises `OSError`, for example if the disk is full."""
    try:
        if os.pwrite(file, data, at) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(file, at)
        raise


def _read_entry(file: int, at: int) -> tuple[list[Values], int]:
    length, _, _ = _ENTRY.unpack(os.pread(file, _ENTRY.size, at))
    rows = orjson.loads(os.pread(file, length, at + _ENTRY.size))
    return [tuple(row) for row in rows], at + _ENTRY.size + length


def open_spool(database: SqliteDatabase, *, fsync: bool = True) -> Spool:
    """Return the spool of a database. Raises `Unavailable`."""
    with database_connection(database):
        (owner,) = database.execute_sql("SELECT owner FROM spool_position").fetchone()
    return Spool(f"{database.database}-answers", owner, fsync)


def drain_portion(database: SqliteDatabase, spool: Spool) -> SpoolPortion:
    """Insert some of the spooled answers, inside a transaction; call `spool.empty` after its commit."""
    batch, taken = database.execute_sql("SELECT batch, taken FROM spool_position").fetchone()
    portion = spool.read(batch, taken, PORTION)
    if portion.entries:
        insert_decisions(database, ANSWER_COLUMNS, portion.rows)
        database.execute_sql("UPDATE spool_position SET batch = ?, taken = ?", (portion.batch, portion.upto))
    return portion


def drain_spool(database: Database) -> int:
    """Move every spooled answer into the database, some in each transaction; return how many there were.

    Raises `Unavailable`, also if the write lock is not free; the answers of earlier transactions stay recorded.
    """
    if not isinstance(database, SqliteDatabase) or not Path(f"{database.database}-answers").exists():
        return 0
    spool, count = open_spool(database), 0
    while spool.size():
        with database_connection(database), database.atomic():
            portion = drain_portion(database, spool)
        spool.empty(portion.batch, portion.upto)
        if not portion.entries:
            break
        count += len(portion.rows)
    return count


def drain_or_count(database: Database) -> int:
    """Drain the spool and return 0; if the write lock stays taken, return how many answers are spooled.

    Raises `Unavailable` for every other fault.
    """
    try:
        drain_spool(database)
    except Unavailable as error:
        if not isinstance(error.__cause__, WriteLocked) or not isinstance(database, SqliteDatabase):
            raise
        with database_connection(database):
            batch, taken = database.execute_sql("SELECT batch, taken FROM spool_position").fetchone()
        return len(open_spool(database).read(batch, taken, MOST_BYTES).rows)
    return 0
