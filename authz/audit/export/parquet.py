"""Decisions of past months as Parquet: one file for each month and subscription, typed, compact, in bounded memory.

    DIRECTORY/month=2026-05/subscription=north/decisions.parquet

A file holds every column of the decision log, `subscription` among them, as plain text. The folders repeat the month,
and the subscription as `file_of` writes it. A month is there whole or not at all. Read it with
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

from authz.audit.export.log import origin_segment
from authz.database import Database, database_connection
from authz.domain import to_micros
from authz.errors import Conflict, InvalidInput
from authz.models import Seal
from authz.record import seal as seal_decisions
from authz.record.leaves import DECISION_FIELDS, canonical
from authz.record.merkle import Frontier, leaf_hash
from authz.record.partitions import month_bounds, month_of_instant
from authz.record.sealing import decision_leaf_contents

_ROWS_AT_ONCE = 20_000
_LONGEST_NAME = 200
_INSTANT = pa.timestamp("us", tz="UTC")
_INTEGERS = ("id", "client", "grant", "standing_share", "size")
SCHEMA = pa.schema(
    [
        (name, pa.int64() if name in _INTEGERS else _INSTANT if name in ("at", "asked_at") else pa.string())
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
class ExportedMonth:
    """A month that was written into `folder`, with the numbers of decisions and subscriptions."""

    month: str
    decisions: int
    subscriptions: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.month}: {self.decisions:,} decisions of {self.subscriptions:,} subscriptions in {self.folder}"


def export_parquet(database: Database, folder: Path, now: datetime) -> Iterator[ExportedMonth]:
    """Write each past month that is not in the folder yet; seal the decisions first that are not sealed.

    Raises `Conflict` if the rows are not those that were sealed, `InvalidInput` for a folder that cannot be written,
    and `Unavailable`.
    """
    seal_decisions(database, now)
    with database_connection(database):
        months = [
            month for (month,) in Seal.select(Seal.month).distinct().order_by(Seal.month).tuples().execute(database)
        ]
    for month in months:
        target = folder / f"month={month}"
        if month < month_of_instant(to_micros(now)) and not target.exists():
            yield _export_month(database, month, target)


def describe_nothing_written(database: Database, folder: Path, now: datetime) -> str:
    """Return why `export_parquet` wrote nothing."""
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
        return f"nothing written: {past[0]} to {past[-1]} are in {folder} already"
    later = f"; the {counts[present]:,} of {present} are written when the month is over" if present in counts else ""
    return f"nothing written: the record holds no decisions of a month past{later}"


def _export_month(database: Database, month: str, target: Path) -> ExportedMonth:
    partial = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        rows = subscriptions = 0
        with database_connection(database):
            sealed = Seal.select(Seal.subscription, fn.MIN(Seal.first), fn.MAX(Seal.last), fn.SUM(Seal.count))
            seals = sealed.where(Seal.month == month).group_by(Seal.subscription).order_by(Seal.subscription)
            for subscription, first, last, count in seals.tuples().execute(database):
                written = _write(database, partial, month, subscription, first - 1, last)
                if written != count:
                    why = f"{written} decisions are there, {count} were sealed; run: caregrant audit verify"
                    raise Conflict(f"{month}, {subscription or '-'}: {why}")
                rows, subscriptions = rows + written, subscriptions + 1
        partial.rename(target)
    except OSError as error:
        raise InvalidInput(f"{target}: {error.strerror}") from error
    return ExportedMonth(month, rows, subscriptions, target)


def _write(database: Database, folder: Path, month: str, subscription: str, after: int, last: int) -> int:
    """Write the decisions above `after` up to `last` of a subscription and month; return how many there are."""
    path = file_of(folder, subscription)
    path.parent.mkdir(parents=True)
    sql, written = _SELECT.format(database.param), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while True:
            values = (subscription, after, last, *month_bounds(month), _ROWS_AT_ONCE)
            rows = database.execute_sql(sql, values).fetchall()
            if not rows:
                return written
            after, written = rows[-1][0], written + len(rows)
            columns = zip(SCHEMA, zip(*rows, strict=True), strict=True)
            writer.write_batch(pa.record_batch([_array(field, values) for field, values in columns], schema=SCHEMA))


def _array(field: Any, values: tuple[Any, ...]) -> object:
    if field.name == "allowed":
        return pa.array([bool(value) for value in values], field.type)
    return pa.array(values, field.type)


def file_of(month: Path, subscription: str) -> Path:
    """Return the file of a subscription in the folder of a month; a long id is cut and ends with a hash."""
    name = origin_segment(subscription)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 33]}~{sha256(subscription.encode()).hexdigest()[:32]}"
    return month / f"subscription={name}" / "decisions.parquet"


def require_exported(database: Database, folder: Path, month: str) -> None:
    """Raise `Conflict` unless the exported month is, row for row and file for file, what was sealed."""
    exported = folder / f"month={month}"
    others = {path for path in exported.rglob("*") if path.is_file()}
    with database_connection(database):
        names = Seal.select(Seal.subscription).where(Seal.month == month).distinct().order_by(Seal.subscription)
        for (subscription,) in list(names.tuples().execute(database)):
            path = file_of(exported, subscription)
            if not path.is_file():
                raise Conflict(f"{path} is not there; run: caregrant audit export --format parquet")
            others.discard(path)
            rows = _rows_of(path)
            seals = Seal.select().where(Seal.month == month, Seal.subscription == subscription).order_by(Seal.first)
            for seal in seals.execute(database):
                batch = list(islice(rows, seal.count))
                leaves = [leaf_hash(canonical(row)) for row in decision_leaf_contents(database, batch)]
                if Frontier().append(leaves)[0].root != bytes(seal.root):
                    raise Conflict(f"{path}: decisions {seal.first} to {seal.last} are not what was sealed")
            added = next(rows, None)
            if added is not None:
                raise Conflict(f"{path}: decision {added['id']} was not sealed: it was added to the export")
    if others:
        raise Conflict(f"{min(others)}: no decisions of {month} were sealed that belong into this file")


def _rows_of(path: Path) -> Iterator[dict[str, object]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield {**row, "at": to_micros(row["at"]), "asked_at": to_micros(row["asked_at"])}
