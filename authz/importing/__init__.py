"""Import of facts: NDJSON, all of a file or nothing, the same file twice changes nothing.

A file is read in batches of lines. For each batch the database is read once for what it holds about the things named,
the lines are applied to that in their order, and what they add is written. One transaction spans the file. A line may
refer only to what is in the database or on a line before it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryFile
from typing import BinaryIO

import peewee

from authz.database import Database, SqliteDatabase, database_connection, gather_statistics
from authz.database.statements import OPERATIONS_LOCK, take_exclusive_lock
from authz.domain import to_micros
from authz.errors import ImportRefused, InvalidInput, Unavailable
from authz.importing.apply import apply_line
from authz.importing.batch import ImportBatch
from authz.importing.lines import Line, parse_line
from authz.importing.lives import Outcome
from authz.importing.write import write_batch
from authz.policy.compiler import Schema

LONGEST_LINE = 1 << 20
"""A longer line is refused without being read to its end."""

_LINES_AT_ONCE = 2000
_LOCK_TIMEOUT_SECONDS = 60.0


@dataclass
class ImportReport:
    """The number of lines of each kind that were new, a change, known already, or about a fact that has ended here."""

    new: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    unchanged: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome, kind: str) -> None:
        """Count a line of a kind."""
        {"new": self.new, "changed": self.changed, "unchanged": self.unchanged, "ended": self.ended}[outcome][kind] += 1


def import_facts(
    database: Database,
    file: BinaryIO,
    types: Schema,
    *,
    now: datetime,
    progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Import every line of an NDJSON file; `progress` is called with the number of bytes read so far.

    A fact that has ended here since it was imported stays ended. Raises `ImportRefused`, with the line's number and
    nothing written, for a line that is malformed or contradicts what is there, and `Unavailable` for the database.
    """
    report, micros, done = ImportReport(), to_micros(now), 0
    changed_facts: set[tuple[object, ...]] = set()
    with _seekable(file) as whole, database_connection(database), _transaction(database):
        _hold_operations(database)
        for lines, size in _read_batches(whole, types):
            _import_batch(ImportBatch(database, micros, lines, changed_facts), lines, report)
            done += size
            if progress is not None:
                progress(done)
    gather_statistics(database)
    return report


def _import_batch(batch: ImportBatch, lines: list[Line], report: ImportReport) -> None:
    for line in lines:
        try:
            report.count(apply_line(batch, line), line.kind)
        except InvalidInput as error:
            raise ImportRefused(line.number, str(error)) from error
    try:
        write_batch(batch)
    except peewee.IntegrityError as error:
        why = f"on a line from here to {lines[-1].number}, the database refuses: {str(error).strip()}"
        raise ImportRefused(lines[0].number, why) from error


def _hold_operations(database: Database) -> None:
    """Keep operations from beginning until the import ends; PostgreSQL ends the import if this process freezes."""
    take_exclusive_lock(database, OPERATIONS_LOCK)
    if database.dialect == "postgresql":
        database.execute_sql("SET LOCAL idle_in_transaction_session_timeout = '10s'")


@contextmanager
def _seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the file, or a copy of what comes through a pipe: no lock is held while its writer is waited for.

    A line that is too long is not copied whole; reading the copy refuses it. Raises `Unavailable` on a full disk.
    """
    if file.seekable():
        yield file
        return
    with TemporaryFile() as copy:
        try:
            while line := file.readline(LONGEST_LINE + 1):
                copy.write(line)
                if len(line) > LONGEST_LINE:
                    break
            copy.seek(0)
        except OSError as error:
            raise Unavailable(f"the input cannot be copied to a temporary file: {error.strerror}") from error
        yield copy


@contextmanager
def _transaction(database: Database) -> Iterator[None]:
    """Run the block in the import's transaction, which waits longer for SQLite's write lock than a service does."""
    with (
        database.write_lock_timeout(_LOCK_TIMEOUT_SECONDS) if isinstance(database, SqliteDatabase) else nullcontext(),
        database.atomic(),
    ):
        yield


def _read_batches(file: BinaryIO, types: Schema) -> Iterator[tuple[list[Line], int]]:
    """Yield the lines of each batch, and the number of bytes read for it."""
    lines: list[Line] = []
    read = number = 0
    while text := file.readline(LONGEST_LINE + 1):
        number += 1
        read += len(text)
        if len(text) > LONGEST_LINE:
            raise ImportRefused(number, f"is longer than {LONGEST_LINE} bytes")
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text.isspace() and text:
            try:
                lines.append(parse_line(number, text, types))
            except InvalidInput as error:
                raise ImportRefused(number, str(error)) from error
        if len(lines) == _LINES_AT_ONCE:
            yield lines, read
            lines, read = [], 0
    if lines:
        yield lines, read
