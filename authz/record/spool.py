"""The spool: answers that are recorded while another process holds SQLite's write lock.

A file beside the database, `<database>-answers`: a head, then entries of length, checksums and JSON. Each entry is one
write under a lock of the file, and is an answer's record as soon as it is written. The next holder of the write lock
takes entries into the database and stores how far, in one transaction (`spool_position`). So each is there once,
wherever a process is killed. A file that is taken in whole becomes empty, and the next entry begins another batch.

An entry that ends before its length was never answered, and is dropped (docs/decisions/0058).
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
from typing import Any

import orjson

from authz.database import Database, SqliteDatabase, WriteLocked, database_connection
from authz.errors import Unavailable
from authz.record.question_tenant import COLUMNS, insert_decisions

MOST_BYTES = 256 << 20
"""The largest spool: what it cannot hold is not answered."""

PORTION = 1000
"""How many answers one transaction takes in, about: the write lock is held for some tens of milliseconds."""

_MARK = b"caregrant answers 1\n"
_HEAD = struct.Struct(f"{len(_MARK)}s32s32s")
_ENTRY = struct.Struct(">III")
"""Length and checksum of the JSON, and the checksum of these two."""
_LOCK_SECONDS = 1.0
_LOOK_SECONDS = 0.002

StoredRow = tuple[Any, ...]


@dataclass(frozen=True)
class Portion:
    """Some answers of a batch: `entries` are their rows, `upto` is the byte after them."""

    batch: str
    upto: int
    entries: list[list[StoredRow]]

    @property
    def rows(self) -> list[StoredRow]:
        return [row for entry in self.entries for row in entry]


@dataclass
class Spool:
    """The spool of one SQLite database. `owner` is the id that the database has; `fsync`: entries survive a loss of
    power. Every method raises `Unavailable`.
    """

    path: str
    owner: str
    fsync: bool = True
    _whole: tuple[str, int] = field(default=("", 0))
    """The batch and the byte up to which this process knows that entries are whole."""

    def append(self, rows: Sequence[StoredRow]) -> None:
        """Record answers."""
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

    def read(self, batch: str, taken: int, most: int) -> Portion:
        """The entries after what was `taken` of `batch`, until they are `most` answers."""
        with self._locked() as file:
            there, end = self._end(file)
            at = taken if there == batch else _HEAD.size
            portion, count = Portion(there, at, []), 0
            while there and at < end and count < most:
                entry, at = _entry(file, at)
                portion.entries.append(entry)
                count += len(entry)
            return Portion(there, at, portion.entries)

    def empty(self, batch: str, taken: int) -> None:
        """Empty the file if all of it was taken in."""
        with self._locked() as file:
            if self._end(file) == (batch, taken):
                os.ftruncate(file, 0)

    def size(self) -> int:
        """How many bytes wait, or are taken in already."""
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
        """The batch and where its whole entries end, after what was cut off in writing is removed. ("", 0): none."""
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
        """Where the entry at a byte ends; None if it was cut off."""
        head = os.pread(file, _ENTRY.size, at)
        if len(head) < _ENTRY.size:
            return None
        length, checksum, of_head = _ENTRY.unpack(head)
        end = at + _ENTRY.size + length
        if length and of_head == zlib.crc32(head[:8]):
            if end > size:
                return None
            if zlib.crc32(os.pread(file, length, at + _ENTRY.size)) == checksum:
                return int(end)
        if not any(os.pread(file, size - at, at)):  # zeros: power was lost before the disk had it
            return None
        raise Unavailable(f"{self.path} is damaged at byte {at}: keep a copy of it, then move it away")


def _entry_head(payload: bytes) -> bytes:
    told = _ENTRY.pack(len(payload), zlib.crc32(payload), 0)[:8]
    return told + struct.pack(">I", zlib.crc32(told))


def _lock(file: int, path: str) -> None:
    """Lock the file. Nobody holds it for longer than a read or a write of some entries."""
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unavailable(f"{path} is locked by a process that does not go on") from None
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of `data` or nothing. Raises `OSError`, for example if the disk is full."""
    try:
        if os.pwrite(file, data, at) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(file, at)
        raise


def _entry(file: int, at: int) -> tuple[list[StoredRow], int]:
    length, _, _ = _ENTRY.unpack(os.pread(file, _ENTRY.size, at))
    rows = orjson.loads(os.pread(file, length, at + _ENTRY.size))
    return [tuple(row) for row in rows], at + _ENTRY.size + length


def open_spool(database: SqliteDatabase, *, fsync: bool = True) -> Spool:
    """The spool of a database. Raises `Unavailable`."""
    with database_connection(database):
        (owner,) = database.execute_sql("SELECT owner FROM spool_position").fetchone()
    return Spool(f"{database.database}-answers", owner, fsync)


def drain_portion(database: SqliteDatabase, spool: Spool) -> Portion:
    """Insert some of the answers that wait, inside a transaction; `spool.empty` follows its commit."""
    batch, taken = database.execute_sql("SELECT batch, taken FROM spool_position").fetchone()
    portion = spool.read(batch, taken, PORTION)
    if portion.entries:
        insert_decisions(database, COLUMNS, portion.rows)
        database.execute_sql("UPDATE spool_position SET batch = ?, taken = ?", (portion.batch, portion.upto))
    return portion


def drain_spool(database: Database) -> int:
    """Take in every answer that waits, some in each transaction; how many they were.

    Raises `Unavailable`, also if the write lock stays taken: what was taken in until then is there.
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
    """Take in the answers that wait, if the write lock is free within the usual time; else return how many wait.

    Raises `Unavailable` for anything else.
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
