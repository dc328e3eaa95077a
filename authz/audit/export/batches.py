"""Compares the decisions with their seals in one pass over both, in the order in which they are stored.

The log lists decisions by trees; in a database with thousands of trees this would be a look-up for each seal. A large
record is divided into spans, each read by a process of its own: ``python -m authz.audit.export.batches`` reads the span
that its standard input names.
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

from authz.audit.export.log import snapshot
from authz.audit.verify import Clock, Finding, LogVerifier, batch_faults, describe_decisions, whose_address
from authz.database import Database, close_all, connect, database_connection
from authz.errors import Unavailable
from authz.record.leaves import canonical, stored_bytes
from authz.record.merkle import leaf_hash
from authz.record.partitions import month_of_instant
from authz.record.sealing import SEAL_COLUMNS, decision_leaf_contents, last_sealed, read_decisions

LEAST_DECISIONS = 50_000
"""The least decisions of a span: a process takes as long to start as these take to read."""

_BEFORE_ALL, _AFTER_ALL = -(2**63), 2**63 - 1
_MOST = min(os.cpu_count() or 1, 8)
_PAGE = 1000

Group = tuple[str, str]
"""The subscription and the month of decisions that are sealed together."""


@dataclass
class Span:
    """The findings of one process about the decisions of some seals.

    rows: how many decisions there are, by tree.
    first: the instant and the id of the first decision, by tree.
    latest: the instant of the latest decision, by tree.
    missing: the decisions of whole seals that are not there, by month: how many, of how many seals, first tree, where.
    erased: the erased addresses, by person: how many, the first tree, where.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=Counter)
    first: dict[str, tuple[int, int]] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)
    missing: dict[str, tuple[int, int, str, str]] = field(default_factory=dict)
    erased: dict[str, tuple[int, str, str]] = field(default_factory=dict)


@contextmanager
def start_reading(database: Database, url: str = "") -> Iterator[Callable[[LogVerifier], None]]:
    """Start to read the decisions, and yield a function that adds the results to the report of a verifier.

    The verifier must have read the log without decisions. `url` is where other processes find the same database;
    without a URL this process reads everything. Raises `Unavailable`.
    """
    ends = _ends(database) if url else [_BEFORE_ALL, last_sealed(database)]
    if len(ends) <= 2:
        spans = [read_span(database, *ends)]
        yield lambda verifier: _add(verifier, spans)
        return
    workers = [_start_worker(url, after, upto) for after, upto in pairwise(ends)]
    try:
        yield lambda verifier: _add(verifier, map(_result, workers))
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _ends(database: Database) -> list[int]:
    """Return where spans begin and end: the last decisions of batches that divide the record evenly."""
    last = last_sealed(database)
    count = max(1, min(_MOST, last // LEAST_DECISIONS))
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
        for (tree, _), unsealed in groups.items():
            span.findings.append(Finding("row without a leaf", tree, f"decision {unsealed[0][0]}", "no seal covers it"))
    return span


def _hashed(database: Database, span: Span, after: int, upto: int) -> Iterator[tuple[int, Group, bytes]]:
    """Yield the id of each decision, its group, and the hash of its leaf."""
    clock = Clock(span.latest)
    while page := read_decisions(database, after, upto, _PAGE):
        for stored, row in zip(page, decision_leaf_contents(database, page), strict=True):
            number, tree, at = row["id"], row["subscription"], row["asked_at"]
            if row["address"] and not stored["address"]:
                whose = whose_address(row)
                count, first, where = span.erased.get(whose, (0, tree, f"decision {number}"))
                span.erased[whose] = count + 1, first, where
            month = _month(at)
            if month:
                fault = clock.find_fault(tree, at)
                if fault:
                    span.findings.append(Finding("clock set back", tree, f"decision {number}", fault))
                span.first.setdefault(tree, (at, number))
            yield number, (tree, month), leaf_hash(canonical(row))
        after = page[-1]["id"]


def _month(at: object) -> str:
    """Return the month of an instant, or an empty text if the value is no instant and was sealed in no month."""
    try:
        return month_of_instant(at) if isinstance(at, int) else ""
    except OverflowError:
        return ""


def _seals(database: Database, after: int, upto: int) -> Iterator[dict[str, Any]]:
    """Yield the seals of a span, in order."""
    sql = "SELECT {} FROM seal WHERE (upto, id) > ({}, {}) AND upto <= {} ORDER BY upto, id LIMIT {}"
    text, last = sql.format(", ".join(SEAL_COLUMNS), *[database.param] * 4), (after, _AFTER_ALL)
    while page := database.execute_sql(text, (*last, upto, _PAGE)).fetchall():
        seals = [dict(zip(SEAL_COLUMNS, row, strict=True)) for row in page]
        yield from seals
        last = seals[-1]["upto"], seals[-1]["id"]


def _check(span: Span, seal: dict[str, Any], rows: list[tuple[int, bytes]]) -> None:
    tree, count = seal["subscription"], seal["count"]
    span.rows[tree] = span.rows.get(tree, 0) + len(rows)
    if not rows:
        total, seals, first, where = span.missing.get(seal["month"], (0, 0, tree, describe_decisions(seal)))
        span.missing[seal["month"]] = total + count, seals + 1, first, where
        return
    for kind, where, why in batch_faults(seal, stored_bytes(seal["root"]), stored_bytes(seal["marks"] or b""), rows):
        span.findings.append(Finding(kind, tree, where, why))


def _add(verifier: LogVerifier, spans: Iterable[Span]) -> None:
    """Add the results of the spans, in their order, to the report."""
    report, clock, rows = verifier.report, Clock({}), Counter[str]()
    for span in spans:
        for tree, (at, number) in span.first.items():
            fault = clock.find_fault(tree, at)
            if fault:
                report.findings.append(Finding("clock set back", tree, f"decision {number}", fault))
            clock.find_fault(tree, span.latest[tree])
        report.findings += span.findings
        rows.update(span.rows)
        for month, (count, seals, tree, where) in span.missing.items():
            verifier.absences.add_missing(tree, month, count, where, seals)
        for whose, (count, tree, where) in span.erased.items():
            verifier.absences.add_erased(tree, whose, "decisions", where, count)
    for log_tree in report.trees:
        log_tree.rows += rows[log_tree.name]
    report.rows += rows.total()


def _start_worker(url: str, after: int, upto: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "authz.audit.export.batches"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    assert worker.stdin is not None
    with worker.stdin as pipe:
        pipe.write(orjson.dumps([url, after, upto]))
    worker.stdin = None
    return worker


def _result(worker: subprocess.Popen[bytes]) -> Span:
    output, error = worker.communicate()
    if worker.returncode:
        raise Unavailable(error.decode(errors="replace").strip().rpartition("\n")[2])
    span = orjson.loads(output)
    return Span(**{**span, "findings": [Finding(**finding) for finding in span["findings"]]})


def _main() -> None:
    url, after, upto = orjson.loads(sys.stdin.buffer.read())
    database = connect(url, read_only=True)
    with database_connection(database), snapshot(database):
        span = read_span(database, after, upto)
    close_all(database)
    sys.stdout.buffer.write(orjson.dumps(span))


if __name__ == "__main__":
    _main()
