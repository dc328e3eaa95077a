"""Is the record whole? The verifier's answer for a database, and what it was asked on."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz.audit.batches import reading
from authz.audit.log import as_it_stands, log_lines
from authz.audit.verify import Finding, Key, Malformed, Note, Report, Verdict, Verifier, notes_in
from authz.database import Database, answering
from authz.errors import InvalidInput
from authz.models import Checkpoint, Node
from authz.record.leaves import canonical
from authz.record.proof import STRIDE, kept_hashes, trees
from authz.record.tree import Edge

_CHUNK = 4096


@dataclass(frozen=True)
class Verification:
    """What was verified: the report of the verifier, when the last checkpoint claims to be signed, and the seconds that
    it took. `authz.audit.verdict.verdict_of(verification.report)` says what it is worth.
    """

    report: Report
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
    def verdict(self) -> Verdict:
        return self.report.verdict


def verification(
    database: Database, checkpoint: str | None = None, key: str | None = None, url: str = ""
) -> Verification:
    """Verify the whole record. `checkpoint` is the text of checkpoints that somebody kept, `key` the verifier key that
    they must be signed with; without one no signature is checked. `url` is where other processes find the same
    database, to read a large record with all processors.

    Reads only, in bounded memory. Raises `InvalidInput` for a checkpoint or a key that is none, and `Unavailable`.
    """
    began = time.monotonic()
    report = verified(database, checkpoint, key, url)
    seconds = time.monotonic() - began
    with answering(database):
        last = Checkpoint.select(Checkpoint.at).order_by(Checkpoint.id.desc()).limit(1).tuples().execute(database)
        at: Any = next((row[0] for row in last), None)
    return Verification(report, at, seconds)


def verified(database: Database, checkpoint: str | None = None, key: str | None = None, url: str = "") -> Report:
    """The verifier's whole report on a database: as on an exported log, and on the nodes that proofs are made of."""
    try:
        whom = Key.parse(key) if key else None
        kept = notes_in(checkpoint) if checkpoint else []
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    name = whom.name if whom else _name(kept)
    verifier = Verifier(kept, whom, apart=True, write=canonical)
    with answering(database), as_it_stands(database), reading(database, url) as add_decisions:
        report = verifier.read(log_lines(database, name, apart=True))
        report.findings += _nodes(database)
        add_decisions(verifier)
    return report


def _name(kept: Iterable[Note]) -> str:
    """The log's name where no key tells it."""
    return next((note.origin.rpartition("/")[0] for note in kept), "")


def _nodes(database: Database) -> list[Finding]:
    """The first kept node of each tree that is not the hash of what is below it: no proof could be made with it."""
    findings = []
    for tree in trees(database):
        wrong = _first_wrong_node(database, tree)
        if wrong:
            findings.append(Finding("changed row", tree, wrong, "it is not the hash of what is below it"))
    return findings


def _first_wrong_node(database: Database, tree: str) -> str:
    edge, expected = Edge(), 0
    while leaves := kept_hashes(database, tree, 0, edge.size, _CHUNK):
        edge, completed = edge.grown(leaves)
        for level, first, hashes in completed:
            if level % STRIDE == 0:
                expected += len(hashes)
                if kept_hashes(database, tree, level, first, len(hashes)) != hashes:
                    return f"node {first} of level {level}"
    stored: int = Node.select().where(Node.tree == tree).count(database)
    return "" if stored == expected else f"node: {stored} are there, {expected} there should be;"
