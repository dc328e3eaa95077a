"""The decisions against their seals, in one pass over both as they are stored, which is as they were sealed.

The log tells them by trees; from a database that holds thousands of trees it would be a look-up for each seal. A large
record is read in spans, each by a process of its own: ``python -m authz.audit.export.batches`` reads the span that its
standard input names.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import orjson

from authz.audit.export.log import as_it_stands
from authz.audit.verify import Clock, Finding, Verifier, batch_faults, decisions_of, whose_address
from authz.database import Database, close_all, connect, database_connection
from authz.errors import Unavailable
from authz.record.leaves import canonical, stored_bytes
from authz.record.merkle import leaf_hash
from authz.record.partitions import month_of_instant
from authz.record.sealing import SEALED, decision_leaf_contents, decisions, last_sealed

WORTH_A_PROCESS = 50_000
"""The decisions of a span at least: a process takes as long to start as these take to read."""

_BEFORE_ALL, _AFTER_ALL = -(2**63), 2**63 - 1
_MOST = min(os.cpu_count() or 1, 8)
_PAGE = 1000

Group = tuple[str, str]
"""The decisions that one seal covers: a subscription and a month, of those sealed at once."""


@dataclass
class Span:
    """What was found of the decisions of some seals: how many each tree has, the first and when the latest was asked,
    and of each month of which a whole seal's are not there: how many, of how many seals, in which tree first, and
    which; of each person whose addresses are erased: how many, in which tree first, and where.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=Counter)
    first: dict[str, tuple[int, int]] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)
    gone: dict[str, tuple[int, int, str, str]] = field(default_factory=dict)
    erased: dict[str, tuple[int, str, str]] = field(default_factory=dict)


@contextmanager
def reading(database: Database, url: str = "") -> Iterator[Callable[[Verifier], None]]:
    """Read the decisions; what is given adds them to the report of a verifier that has read the log without them.

    `url` is where other processes find the same database; without one all is read here. Raises `Unavailable`.
    """
    ends = _ends(database) if url else [_BEFORE_ALL, last_sealed(database)]
    if len(ends) <= 2:
        spans = [read_span(database, *ends)]
        yield lambda verifier: _add(verifier, spans)
        return
    workers = [_worker(url, after, upto) for after, upto in pairwise(ends)]
    try:
        yield lambda verifier: _add(verifier, map(_result, workers))
    finally:
        for one in workers:
            one.kill()
            one.communicate()


def _ends(database: Database) -> list[int]:
    """Where spans begin and end: the last decisions of batches that divide the record evenly."""
    last = last_sealed(database)
    count = max(1, min(_MOST, last // WORTH_A_PROCESS))
    ends = {last_sealed(database, last * number // count) for number in range(1, count)}
    return sorted({_BEFORE_ALL, *ends - {0}, last})


def read_span(database: Database, after: int, upto: int) -> Span:
    """Read the decisions above `after` up to `upto`, each the last of a batch, and their seals."""
    span = Span()
    rows = _hashed(database, span, after, upto)
    row = next(rows, None)
    for last, seals in groupby(_seals(database, after, upto), itemgetter("upto")):
        groups: dict[Group, list[tuple[int, bytes]]] = {}
        while row is not None and row[0] <= last:
            number, group, leaf = row
            groups.setdefault(group, []).append((number, leaf))
            row = next(rows, None)
        for seal in seals:
            _check(span, seal, groups.pop((seal["subscription"], seal["month"]), []))
        for (tree, _), others in groups.items():
            span.findings.append(Finding("row without a leaf", tree, f"decision {others[0][0]}", "no seal covers it"))
    return span


def _hashed(database: Database, span: Span, after: int, upto: int) -> Iterator[tuple[int, Group, bytes]]:
    """Each decision: its id, where it belongs, and the hash of its leaf."""
    clock = Clock(span.latest)
    while page := decisions(database, after, upto, _PAGE):
        for stored, row in zip(page, decision_leaf_contents(database, page), strict=True):
            number, tree, at = row["id"], row["subscription"], row["asked_at"]
            if row["address"] and not stored["address"]:
                whose = whose_address(row)
                count, *first = span.erased.get(whose, (0, tree, f"decision {number}"))
                span.erased[whose] = count + 1, *first
            month = _month(at)
            if month:
                back = clock.back(tree, at)
                if back:
                    span.findings.append(Finding("clock set back", tree, f"decision {number}", back))
                span.first.setdefault(tree, (at, number))
            yield number, (tree, month), leaf_hash(canonical(row))
        after = page[-1]["id"]


def _month(at: Any) -> str:
    """The month of an instant; of what is none, nothing: it was not sealed in any."""
    try:
        return month_of_instant(at) if isinstance(at, int) else ""
    except OverflowError:
        return ""


def _seals(database: Database, after: int, upto: int) -> Iterator[dict[str, Any]]:
    """The seals of a span, in order."""
    sql = "SELECT {} FROM seal WHERE (upto, id) > ({}, {}) AND upto <= {} ORDER BY upto, id LIMIT {}"
    text, last = sql.format(", ".join(SEALED), *[database.param] * 4), (after, _AFTER_ALL)
    while page := database.execute_sql(text, (*last, upto, _PAGE)).fetchall():
        seals = [dict(zip(SEALED, row, strict=True)) for row in page]
        yield from seals
        last = seals[-1]["upto"], seals[-1]["id"]


def _check(span: Span, seal: dict[str, Any], rows: list[tuple[int, bytes]]) -> None:
    tree, count = seal["subscription"], seal["count"]
    span.rows[tree] = span.rows.get(tree, 0) + len(rows)
    if not rows:
        decisions_gone, seals, first, where = span.gone.get(seal["month"], (0, 0, tree, decisions_of(seal)))
        span.gone[seal["month"]] = decisions_gone + count, seals + 1, first, where
        return
    for kind, where, why in batch_faults(seal, stored_bytes(seal["root"]), stored_bytes(seal["marks"] or b""), rows):
        span.findings.append(Finding(kind, tree, where, why))


def _add(verifier: Verifier, spans: Iterable[Span]) -> None:
    """What the spans found, in their order, into the report."""
    report, clock, rows = verifier.report, Clock({}), Counter[str]()
    for span in spans:
        for tree, (at, number) in span.first.items():
            back = clock.back(tree, at)
            if back:
                report.findings.append(Finding("clock set back", tree, f"decision {number}", back))
            clock.back(tree, span.latest[tree])
        report.findings += span.findings
        rows.update(span.rows)
        for month, (count, seals, tree, where) in span.gone.items():
            verifier.absences.miss(tree, month, count, where, seals)
        for whose, (count, tree, where) in span.erased.items():
            verifier.absences.erase(tree, whose, "decisions", where, count)
    for one in report.trees:
        one.rows += rows[one.name]
    report.rows += rows.total()


def _worker(url: str, after: int, upto: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "authz.audit.export.batches"]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    assert worker.stdin is not None
    with worker.stdin as pipe:
        pipe.write(orjson.dumps([url, after, upto]))
    worker.stdin = None
    return worker


def _result(worker: subprocess.Popen[bytes]) -> Span:
    said, wrong = worker.communicate()
    if worker.returncode:
        raise Unavailable(wrong.decode(errors="replace").strip().rpartition("\n")[2])
    told = orjson.loads(said)
    return Span(**{**told, "findings": [Finding(**one) for one in told["findings"]]})


def _main() -> None:
    url, after, upto = orjson.loads(sys.stdin.buffer.read())
    database = connect(url, read_only=True)
    with database_connection(database), as_it_stands(database):
        span = read_span(database, after, upto)
    close_all(database)
    sys.stdout.buffer.write(orjson.dumps(span))


if __name__ == "__main__":
    _main()
