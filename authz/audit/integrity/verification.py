"""Is the record whole? The verifier's answer for a database, and what it was asked on."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from authz.audit.export.batches import reading
from authz.audit.export.log import as_it_stands, log_lines
from authz.audit.verify import Finding, LogReport, LogVerdict, Malformed, Note, Verifier, VerifierKey, parse_notes
from authz.database import Database, database_connection
from authz.domain import from_micros, to_micros
from authz.errors import InvalidInput
from authz.record.leaves import canonical


@dataclass(frozen=True)
class Verification:
    """What was verified: the report of the verifier, when the last checkpoint claims to be signed, and the seconds that
    it took. `authz.audit.integrity.verdict.verdict_of(verification.report)` says what it is worth.
    """

    report: LogReport
    checkpoint_at: datetime | None
    seconds: float

    @property
    def sizes(self) -> dict[str, int]:
        """The leaves of each tree, by its subscription (empty: of none)."""
        return {tree.name: tree.grown.size for tree in self.report.trees}

    @property
    def roots(self) -> dict[str, str]:
        """The root of each tree, in hexadecimal."""
        return {tree.name: tree.grown.root.hex() for tree in self.report.trees}

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; what is proven is another question."""
        return self.report.ok

    @property
    def problem(self) -> str | None:
        """What is wrong, first of all."""
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
    """Verify the whole record. `checkpoint` is the text of checkpoints that somebody kept, `key` the verifier key that
    they must be signed with; without one no signature is checked. `url` is where other processes find the same
    database, to read a large record with all processors; `now` is the present, before which months were dropped.

    Reads only, in memory that grows with the facts and not with the record. Raises `InvalidInput` for a checkpoint or a
    key that is none, and `Unavailable`.
    """
    began = time.monotonic()
    report = verify_database(database, checkpoint, key, url, now)
    seconds = time.monotonic() - began
    return Verification(report, _last_signed(database), seconds)


def _last_signed(database: Database) -> datetime | None:
    """When the last checkpoint claims to be signed; None for what is no instant: anybody may have written it."""
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
) -> LogReport:
    """The verifier's whole report on a database, as on its exported log; `waiting` answers are not in it yet."""
    try:
        whom = VerifierKey.parse(key) if key else None
        kept = parse_notes(checkpoint) if checkpoint else []
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    name = whom.name if whom else _name(kept)
    with database_connection(database), as_it_stands(database), reading(database, url) as add_decisions:
        micros = None if now is None else to_micros(now)
        verifier = Verifier(kept, whom, apart=add_decisions, write=canonical, now=micros)
        try:
            return verifier.read(log_lines(database, name, apart=True, waiting=waiting))
        except Malformed as error:
            verifier.report.findings.append(Finding("unreadable row", "", "the database", str(error)))
            return verifier.report


def _name(kept: Iterable[Note]) -> str:
    """The log's name where no key tells it."""
    return next((note.origin.rpartition("/")[0] for note in kept), "")
