"""The spool: a file in which answers are recorded until they are moved into SQLite's database.

The file `<database>-answers` has a head, then entries of length, checksums and JSON. Each entry is one write under a
lock of the file, and its answers are recorded as soon as it is written. The sealer, or the next holder of the write
lock, moves entries into the database and stores the position, in one transaction (`spool_position`). So each answer is
recorded once, at whatever point a process is killed. If no entry is left, the file is truncated; else a later
transaction puts a file without the moved entries in its place, as another batch.

An incomplete entry belongs to answers that were never given, and is dropped (docs/decisions/0058).
"""

import errno
import fcntl
import os
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.domain import Values
from authz.errors import Unavailable
from authz.record.decision_insert import ANSWER_COLUMNS, insert_decisions

MOST_BYTES = 256 << 20
"""The size limit of the spool; a question whose answer does not fit is not answered."""

PORTION = 500
"""About how many answers one transaction drains: it holds the write lock for some milliseconds."""

_READ_BYTES = 1 << 19
LARGEST_DRAINED = 65_536
"""The most bytes of drained entries that stay in the file, if fewer bytes of other entries follow them."""

_MARK = b"caregrant answers 1\n"
_HEAD = struct.Struct(f"{len(_MARK)}s32s32s")
_ENTRY = struct.Struct(">III")
"""Length and checksum of the JSON, and the checksum of these two."""
_LOCK_SECONDS = 1.0
_SHORTEST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.00005, 0.002


@dataclass(frozen=True)
class SpoolPortion:
    """Some entries of a batch, of `size` bytes.

    `upto` is the offset of the byte after them, `more` whether others followed them.
    """

    batch: str
    upto: int
    entries: list[list[Values]]
    size: int
    more: bool

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
        """Return the entries after the first `taken` bytes of `batch`, until they hold `most` answers.

        The bytes are copied under the lock, and parsed after the lock is free again.
        """
        limit = _READ_BYTES
        while True:
            with self._locked() as file:
                size = os.fstat(file).st_size
                current = self._batch(os.pread(file, _HEAD.size, 0))
                begin = taken if current == batch else _HEAD.size
                data = os.pread(file, min(limit, max(0, size - begin)), begin) if current else b""
            at, entries, count, read = begin, list[list[Values]](), 0, _reader(data, begin)
            while current and count < most:
                entry = self._entry(read, at, begin + len(data))
                if entry is None:
                    break
                payload, at = entry
                entries.append([tuple(row) for row in orjson.loads(payload)])
                count += len(entries[-1])
            is_cut = begin + len(data) < size
            if entries or not is_cut or not current:
                more = bool(current) and at < size and (is_cut or count >= most)
                return SpoolPortion(current, at if current else 0, entries, at - begin, more)
            limit *= 2  # an entry that is larger than what was read

    def empty(self, batch: str, taken: int) -> None:
        """Truncate the file if all of it was drained. To be called after the transaction that drained it."""
        with self._locked() as file:
            if os.fstat(file).st_size - taken <= LARGEST_DRAINED and self._end(file) == (batch, taken):
                os.ftruncate(file, 0)

    def compact(self, batch: str, taken: int) -> None:
        """Replace the file by one without its drained entries, if these are more than the entries after them.

        To be called in a transaction that holds the write lock, before anything else: `taken` is committed, and nobody
        else can be between reading entries and committing a position in the file that is replaced.
        """
        with self._locked() as file:
            remaining = os.fstat(file).st_size - taken
            if taken <= max(LARGEST_DRAINED, remaining) or self._batch(os.pread(file, _HEAD.size, 0)) != batch:
                return
            entries = os.pread(file, remaining, taken)
            if len(entries) != remaining:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._replace(entries)

    def _replace(self, entries: bytes) -> None:
        """Put a file with these entries, as another batch, in the place of this one."""
        path = f"{self.path}-next"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, self._head() + entries, 0)
            if self.fsync:
                os.fsync(file)
        finally:
            os.close(file)
        os.replace(path, self.path)  # noqa: PTH105 - as the calls around it
        if self.fsync:
            _sync_folder(path)

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
            file = self._open_locked()
            try:
                yield file
            finally:
                os.close(file)  # and its lock with it
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from error

    def _open_locked(self) -> int:
        """Open and lock the file; if `_replace` put another file in its place before it was locked, lock that one."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _lock(file, self.path, deadline)
                if os.fstat(file).st_ino == os.stat(self.path).st_ino:  # noqa: PTH116
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.path} is replaced again and again")

    def _head(self) -> bytes:
        return _HEAD.pack(_MARK, self.owner.encode(), secrets.token_hex(16).encode())

    def _end(self, file: int) -> tuple[str, int]:
        """Remove an incomplete entry; return the batch and where its last complete entry ends. ("", 0): no batch."""
        size = os.fstat(file).st_size
        name = self._batch(os.pread(file, _HEAD.size, 0))
        if not name:
            os.ftruncate(file, 0)
            return "", 0
        end = self._whole[1] if self._whole[0] == name and self._whole[1] <= size else _HEAD.size
        while end < size:
            entry = self._entry(partial(os.pread, file), end, size)
            if entry is None:
                os.ftruncate(file, end)
                break
            _, end = entry
        self._whole = name, end
        return name, end

    def _batch(self, head: bytes) -> str:
        """Return the batch that a head names; empty for an incomplete head. Raises `Unavailable` for another owner."""
        if len(head) < _HEAD.size:
            return ""
        mark, owner, batch = _HEAD.unpack(head)
        if mark != _MARK or owner.decode(errors="replace") != self.owner:
            raise Unavailable(f"{self.path} holds answers of another database: move it away, or bring that one back")
        return str(batch.decode())

    def _entry(self, read: Callable[[int, int], bytes], at: int, size: int) -> tuple[bytes, int] | None:
        """Return the JSON of the entry at an offset, and where the entry ends; None if it is incomplete.

        `read` returns a number of bytes at an offset, fewer at the end; nothing lies beyond `size`.
        """
        head = read(_ENTRY.size, at)
        if len(head) < _ENTRY.size:
            return None
        length, checksum, head_checksum = _ENTRY.unpack(head)
        end = at + _ENTRY.size + length
        if length and head_checksum == zlib.crc32(head[:8]):
            if end > size:
                return None
            payload = read(length, at + _ENTRY.size)
            if zlib.crc32(payload) == checksum:
                return payload, end
        if not any(read(size - at, at)):  # zeros: power was lost before the entry was on the disk
            return None
        raise Unavailable(f"{self.path} is damaged at byte {at}: keep a copy of it, then move it away")


def _reader(data: bytes, begin: int) -> Callable[[int, int], bytes]:
    """Return a function that reads a number of bytes at an offset of a file, of which `data` begins at `begin`."""
    return lambda length, offset: data[offset - begin : offset - begin + length]


def _entry_head(payload: bytes) -> bytes:
    head = _ENTRY.pack(len(payload), zlib.crc32(payload), 0)[:8]
    return head + struct.pack(">I", zlib.crc32(head))


def _lock(file: int, path: str, deadline: float) -> None:
    """Lock the file. A process holds the lock only while it reads or writes some entries."""
    pause = _SHORTEST_RETRY_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"{path} is locked by a process that does not go on") from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_SECONDS)
        else:
            return


def _sync_folder(path: str) -> None:
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of `data`, or nothing. Raises `OSError`, for example if the disk is full."""
    try:
        if os.pwrite(file, data, at) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(file, at)
        raise


def open_spool(database: SqliteDatabase, *, fsync: bool = True) -> Spool:
    """Return the spool of a database. Raises `Unavailable`."""
    with database_connection(database):
        (owner,) = database.execute_sql("SELECT owner FROM spool_position").fetchone()
    return Spool(f"{database.database}-answers", owner, fsync)


def drain_portion(database: SqliteDatabase, spool: Spool, *, compact: bool = False) -> SpoolPortion:
    """Insert some of the spooled answers, inside a transaction; call `spool.empty` after its commit.

    `compact`: first remove from the file what earlier transactions drained. It must be the first work of the
    transaction: if a transaction is undone, what it drained must still be in the file.
    """
    batch, taken = database.execute_sql("SELECT batch, taken FROM spool_position").fetchone()
    if compact:
        with suppress(Unavailable):  # what cannot be compacted, as on a full disk, can still be drained
            spool.compact(batch, taken)
    portion = spool.read(batch, taken, PORTION)
    if portion.entries:
        insert_decisions(database, ANSWER_COLUMNS, portion.rows)
        database.execute_sql("UPDATE spool_position SET batch = ?, taken = ?", (portion.batch, portion.upto))
    return portion


def drain_spool(database: Database, *, pause: float = 0, fsync: bool = True) -> int:
    """Move every spooled answer into the database, some in each transaction; return how many there were.

    `pause`: the seconds between two transactions, in which others can take the write lock. Without `fsync` a commit
    does not wait for the disk. Answers that are spooled meanwhile may stay in the spool, so that this function ends.
    Raises `Unavailable`, also if the write lock is not free; the answers of earlier transactions stay recorded.
    """
    if not isinstance(database, SqliteDatabase) or not Path(f"{database.database}-answers").exists():
        return 0
    spool, count = open_spool(database, fsync=fsync), 0
    bytes_at_begin, drained = spool.size(), 0
    while drained < bytes_at_begin:
        with database_connection(database), database.synchronous(full=fsync), database.atomic():
            portion = drain_portion(database, spool, compact=True)
        spool.empty(portion.batch, portion.upto)
        count += len(portion.rows)
        drained += portion.size
        if not portion.more:
            break
        time.sleep(pause)
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
