"""Decisions of months past as Parquet: one file a month and subscription, typed and compact, in bounded memory.

    DIRECTORY/month=2026-05/subscription=north/decisions.parquet

Every column of the decision log is in the file, `subscription` among them, as plain text; the directories repeat the
month, and the subscription as `file_of` writes it. A month is there whole or not at all. Read it with
`read_parquet('DIRECTORY/**/*.parquet', hive_partitioning = false)` in DuckDB, or with any other engine.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from peewee import fn

from authz.audit.export.log import segment
from authz.database import Database, database_connection
from authz.domain import to_micros
from authz.errors import Conflict, InvalidInput
from authz.models import Seal
from authz.record import seal
from authz.record.leaves import DECISION_FIELDS, canonical
from authz.record.merkle import Frontier, leaf_hash
from authz.record.partitions import month_bounds, month_of_instant
from authz.record.sealing import decision_leaf_contents

_AT_ONCE = 20_000
_LONGEST_NAME = 200
_INSTANT = pa.timestamp("us", tz="UTC")
_WHOLE = ("id", "client", "grant", "standing_share", "size")
SCHEMA = pa.schema(
    [
        (name, pa.int64() if name in _WHOLE else _INSTANT if name in ("at", "asked_at") else pa.string())
        if name != "allowed"
        else (name, pa.bool_())
        for name in DECISION_FIELDS
    ]
)
"""The columns of a file: those of the decision log, with their types."""

_SELECT = f"""SELECT {", ".join(f'"{name}"' if name != "client" else "client_id" for name in DECISION_FIELDS)}
    FROM decision WHERE subscription = {{0}} AND id > {{0}} AND id <= {{0}} AND asked_at >= {{0}} AND asked_at < {{0}}
    ORDER BY id LIMIT {{0}}"""


@dataclass(frozen=True)
class Exported:
    """A month that was written into `folder`: how many decisions, of how many subscriptions."""

    month: str
    decisions: int
    subscriptions: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.month}: {self.decisions:,} decisions of {self.subscriptions:,} subscriptions in {self.folder}"


def export_parquet(database: Database, directory: Path, now: datetime) -> Iterator[Exported]:
    """Write each month before the present one that is not in the directory yet; what is not sealed is sealed first.

    Raises `Conflict` where other rows are there than were sealed, `InvalidInput` for a directory that cannot be
    written, and `Unavailable`.
    """
    seal(database, now)
    with database_connection(database):
        months = [
            month for (month,) in Seal.select(Seal.month).distinct().order_by(Seal.month).tuples().execute(database)
        ]
    for month in months:
        there = directory / f"month={month}"
        if month < month_of_instant(to_micros(now)) and not there.exists():
            yield _export_month(database, month, there)


def why_nothing(database: Database, directory: Path, now: datetime) -> str:
    """Why `export_parquet` wrote nothing."""
    with database_connection(database):
        counts = dict(
            Seal.select(Seal.month, fn.SUM(Seal.count))
            .group_by(Seal.month)
            .order_by(Seal.month)
            .tuples()
            .execute(database)
        )
    present = month_of_instant(to_micros(now))
    past = [month for month in counts if month < present]
    if past:
        return f"nothing written: {past[0]} to {past[-1]} are in {directory} already"
    young = f"; the {counts[present]:,} of {present} are written when the month is over" if present in counts else ""
    return f"nothing written: the record holds no decisions of a month past{young}"


def _export_month(database: Database, month: str, there: Path) -> Exported:
    partial = there.with_name(f"{there.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        rows = subscriptions = 0
        with database_connection(database):
            sealed = Seal.select(Seal.subscription, fn.MIN(Seal.first), fn.MAX(Seal.last), fn.SUM(Seal.count))
            found = sealed.where(Seal.month == month).group_by(Seal.subscription).order_by(Seal.subscription)
            for subscription, first, last, count in found.tuples().execute(database):
                written = _write(database, partial, (month, subscription, first - 1, last))
                if written != count:
                    why = f"{written} decisions are there, {count} were sealed; run: caregrant audit verify"
                    raise Conflict(f"{month}, {subscription or '-'}: {why}")
                rows, subscriptions = rows + written, subscriptions + 1
        partial.rename(there)
    except OSError as error:
        raise InvalidInput(f"{there}: {error.strerror}") from error
    return Exported(month, rows, subscriptions, there)


def _write(database: Database, into: Path, which: tuple[str, str, int, int]) -> int:
    month, subscription, after, last = which
    path = file_of(into, subscription)
    path.parent.mkdir(parents=True)
    sql, written = _SELECT.format(database.param), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while True:
            values = (subscription, after, last, *month_bounds(month), _AT_ONCE)
            rows = database.execute_sql(sql, values).fetchall()
            if not rows:
                return written
            after, written = rows[-1][0], written + len(rows)
            columns = zip(SCHEMA, zip(*rows, strict=True), strict=True)
            writer.write_batch(pa.record_batch([_column(one, values) for one, values in columns], schema=SCHEMA))


def _column(one: Any, values: tuple[Any, ...]) -> Any:
    if one.name == "allowed":
        return pa.array([bool(value) for value in values], one.type)
    return pa.array(values, one.type)


def file_of(month: Path, subscription: str) -> Path:
    """The file of a subscription in the directory of a month; of a long id the name has the beginning and a hash."""
    name = segment(subscription)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 33]}~{sha256(subscription.encode()).hexdigest()[:32]}"
    return month / f"subscription={name}" / "decisions.parquet"


def check_exported(database: Database, directory: Path, month: str) -> None:
    """Raise `Conflict` unless the exported month is, row for row and file for file, what was sealed."""
    there = directory / f"month={month}"
    others = {path for path in there.rglob("*") if path.is_file()}
    with database_connection(database):
        names = Seal.select(Seal.subscription).where(Seal.month == month).distinct().order_by(Seal.subscription)
        for (subscription,) in list(names.tuples().execute(database)):
            path = file_of(there, subscription)
            if not path.is_file():
                raise Conflict(f"{path} is not there; run: caregrant audit export --format parquet")
            others.discard(path)
            rows = _rows_of(path)
            seals = Seal.select().where(Seal.month == month, Seal.subscription == subscription).order_by(Seal.first)
            for one in seals.execute(database):
                batch = list(islice(rows, one.count))
                leaves = [leaf_hash(canonical(row)) for row in decision_leaf_contents(database, batch)]
                if Frontier().append(leaves)[0].root != bytes(one.root):
                    raise Conflict(f"{path}: decisions {one.first} to {one.last} are not what was sealed")
            added = next(rows, None)
            if added is not None:
                raise Conflict(f"{path}: decision {added['id']} was not sealed: it was added to the export")
    if others:
        raise Conflict(f"{min(others)}: no decisions of {month} were sealed that belong into this file")


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            for row in batch.to_pylist():
                yield {**row, "at": to_micros(row["at"]), "asked_at": to_micros(row["asked_at"])}
