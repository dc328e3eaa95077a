"""Is the record of a database whole? The answer of the verifier, and when and how it was found."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from authz.audit.export.batches import start_reading
from authz.audit.export.log import count_lines, log_lines, snapshot
from authz.audit.verify import (
    Finding,
    LogReport,
    LogVerdict,
    LogVerifier,
    Malformed,
    Note,
    VerifierKey,
    parse_notes,
)
from authz.database import Database, database_connection
from authz.domain import from_micros, to_micros
from authz.errors import InvalidInput
from authz.record.leaves import canonical


@dataclass(frozen=True)
class Verification:
    """The verification of a record: the report of the verifier, and the seconds that it took.

    `checkpoint_at` is when the last checkpoint claims to be signed. `authz.audit.integrity.verdict.verdict_of` returns
    the verdict on the report.
    """

    report: LogReport
    checkpoint_at: datetime | None
    seconds: float

    @property
    def sizes(self) -> dict[str, int]:
        """The leaves of each tree, by its subscription; the tree of no subscription has an empty name."""
        return {tree.name: tree.builder.size for tree in self.report.trees}

    @property
    def roots(self) -> dict[str, str]:
        """The root of each tree, in hexadecimal."""
        return {tree.name: tree.builder.root.hex() for tree in self.report.trees}

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; how much is proven is another question."""
        return self.report.ok

    @property
    def problem(self) -> str | None:
        """The first thing that is wrong, if any."""
        return None if self.report.ok else str(self.report.findings[0])

    @property
    def verdict(self) -> LogVerdict:
        return self.report.verdict


def verification(
    database: Database,
    checkpoint: str | None = None,
    key: str | None = None,
    url: str = "",
    now: datetime | None = None,
) -> Verification:
    """Verify the whole record of a database, without writing to it. The arguments are those of `verify_database`."""
    began = time.monotonic()
    report = verify_database(database, checkpoint, key, url, now)
    seconds = time.monotonic() - began
    return Verification(report, _last_signed(database), seconds)


def _last_signed(database: Database) -> datetime | None:
    """Return when the last checkpoint claims to be signed; None if it claims no instant, for anybody may write it."""
    with database_connection(database):
        last = database.execute_sql("SELECT at FROM checkpoint ORDER BY id DESC LIMIT 1").fetchone()
    try:
        return from_micros(last[0]) if last else None
    except (OverflowError, TypeError):
        return None


def verify_database(
    database: Database,
    checkpoint: str | None = None,
    key: str | None = None,
    url: str = "",
    now: datetime | None = None,
    waiting: int = 0,
    progress: Callable[[int], object] | None = None,
) -> LogReport:
    """Return the verifier's whole report on a database, as on its exported log.

    `checkpoint` is the text of checkpoints that somebody kept. `key` is the verifier key by which they must be signed;
    without a key no signature is checked. `url` is where other processes find the same database, to read a large record
    on all processors. `now` is the present: a month cannot be dropped before its time. `waiting` answers are not in
    the database yet. `progress` is called with the number of rows read so far.

    The memory grows with the facts and not with the record. Raises `InvalidInput` for a text that is no checkpoint or
    key, and `Unavailable`.
    """
    try:
        verifier_key = VerifierKey.parse(key) if key else None
        kept = parse_notes(checkpoint) if checkpoint else []
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    name = verifier_key.name if verifier_key else _name_of_log(kept)
    with database_connection(database), snapshot(database), start_reading(database, url) as add_decisions:
        micros = None if now is None else to_micros(now)
        verifier = LogVerifier(kept, verifier_key, check_decisions=add_decisions, write=canonical, now=micros)
        try:
            lines = log_lines(database, name, decisions=False, waiting=waiting)
            return verifier.read(lines if progress is None else count_lines(lines, progress))
        except Malformed as error:
            verifier.report.findings.append(Finding("unreadable row", "", "the database", str(error)))
            return verifier.report


def _name_of_log(kept: Iterable[Note]) -> str:
    """Return the name of the log from the checkpoints, if no key has it."""
    return next((note.origin.rpartition("/")[0] for note in kept), "")
