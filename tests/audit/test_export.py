"""Past months become Parquet files, and are dropped only when they are exported and their time is over."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from authz.audit.export.log import origin_segment
from authz.audit.export.parquet import SCHEMA, export_parquet, file_of, require_exported
from authz.audit.integrity.verification import verification
from authz.database import Database
from authz.errors import Conflict, InvalidInput
from authz.models import Event, RecordedDecision
from authz.record import Actor, seal
from authz.record.retention import drop_month
from tests.support.people import NOW
from tests.support.sample_record import VIEWS, answer, record

MONTH = "2026-04"
"""The month of the older half of the recorded answers."""


@pytest.fixture
def recorded(database: Database) -> Database:
    record(database)
    return database


def test_months_past_become_parquet(recorded: Database, tmp_path: Path) -> None:
    """Each subscription's decisions of a past month are one typed file; a second export writes nothing."""
    (exported,) = export_parquet(recorded, tmp_path, NOW)
    assert (exported.month, exported.decisions, exported.subscriptions) == (MONTH, VIEWS // 2, 3)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert files == [f"month={MONTH}/subscription={tree}/decisions.parquet" for tree in ("-", "city", "north")]
    assert pq.read_schema(tmp_path / files[2]).equals(SCHEMA)
    assert list(export_parquet(recorded, tmp_path, NOW)) == []
    assert [month.month for month in export_parquet(recorded, tmp_path, NOW + timedelta(days=40))] == ["2026-06"]


def test_duckdb_reads_what_was_recorded(recorded: Database, tmp_path: Path) -> None:
    """DuckDB reads the recorded rows from the files, with typed instants, numbers and booleans."""
    list(export_parquet(recorded, tmp_path, NOW))
    query = f"SELECT * FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = false) ORDER BY id"
    read = duckdb.connect().sql(query)
    rows: list[dict[str, Any]] = read.to_arrow_table().to_pylist()
    written = RecordedDecision.select().where(RecordedDecision.asked_at < NOW).order_by(RecordedDecision.id)
    assert rows == list(written.dicts().execute(recorded))


def test_a_subscription_of_any_name_has_a_directory() -> None:
    """No subscription's id leads out of the directory, or to the directory of no subscription."""
    names = ["", "-", "..", ".", "a/b", "a b", "ä", "north"]
    assert [origin_segment(name) for name in names] == [
        "-",
        "%2D",
        "%2E%2E",
        "%2E",
        "a%2Fb",
        "a%20b",
        "%C3%A4",
        "north",
    ]


def test_a_subscription_of_any_length_has_a_directory(tmp_path: Path) -> None:
    """The longest id has a directory name that file systems accept, and that no other id has."""
    longest = ["患" * 128, "患" * 127 + "者", "x" * 128, "/" * 128, "." * 128]
    files = [file_of(tmp_path / "month=2026-05", name) for name in longest]
    assert len(set(files)) == len(files)
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    assert len(list(tmp_path.glob("month=2026-05/subscription=*/decisions.parquet"))) == len(files)


def test_a_month_is_dropped_when_its_time_is_over(recorded: Database, tmp_path: Path) -> None:
    """A month is dropped after six years if it was exported as sealed; its seals stay, the log is whole."""
    late = NOW + timedelta(days=6 * 366)
    list(export_parquet(recorded, tmp_path, NOW))
    require_exported(recorded, tmp_path, MONTH)
    for month, now, why in (
        (MONTH, NOW, "kept until 2032-05-01"),
        ("2026-4x", late, "no month"),
        ("2020-01", late, "no decisions of"),
    ):
        with pytest.raises((InvalidInput, Conflict), match=why):
            drop_month(recorded, Actor("", now), month, 6)
    with pytest.raises(InvalidInput, match="one year at least"):
        drop_month(recorded, Actor("", late), MONTH, 0)
    before = verification(recorded)
    assert drop_month(recorded, Actor("", late), MONTH, 6) == VIEWS // 2
    assert RecordedDecision.select().where(RecordedDecision.asked_at < NOW).count(recorded) == 0
    after = verification(recorded)
    assert (after.ok, after.problem, after.report.dropped) == (True, None, VIEWS // 2)
    assert after.report.rows == before.report.rows - VIEWS // 2 + 1
    (body,) = Event.select(Event.body).where(Event.kind == "decisions:dropped").tuples().execute(recorded)
    assert body[0] == {"month": MONTH, "decisions": VIEWS // 2, "seals": 3, "retention_years": 6}
    with pytest.raises(Exception, match="append-only"):
        RecordedDecision.delete().execute(recorded)


def test_a_month_of_several_seals_is_compared_whole(recorded: Database, tmp_path: Path) -> None:
    """A month of several seals is compared with its files seal by seal."""
    for _ in range(3):
        answer(recorded, NOW - timedelta(days=40), range(3, 9, 3))
        seal(recorded, NOW)
    list(export_parquet(recorded, tmp_path, NOW))
    require_exported(recorded, tmp_path, MONTH)


def test_an_export_that_was_changed_does_not_count(recorded: Database, tmp_path: Path) -> None:
    """A month is dropped only if its files are what was sealed.

    A changed file, a missing file, a row too many, and a file of a clinic that was never sealed are refused.
    """
    list(export_parquet(recorded, tmp_path, NOW))
    path = tmp_path / f"month={MONTH}/subscription=north/decisions.parquet"
    table = pq.read_table(path)
    changed = table.set_column(7, "action", [["edit"] * table.num_rows]).cast(SCHEMA)
    pq.write_table(changed, path)
    with pytest.raises(Conflict, match="not what was sealed"):
        require_exported(recorded, tmp_path, MONTH)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    with pytest.raises(Conflict, match="was not sealed: it was added"):
        require_exported(recorded, tmp_path, MONTH)
    pq.write_table(table, path)
    require_exported(recorded, tmp_path, MONTH)
    stranger = tmp_path / f"month={MONTH}/subscription=nowhere/decisions.parquet"
    stranger.parent.mkdir()
    pq.write_table(table, stranger)
    with pytest.raises(Conflict, match="no decisions of 2026-04 were sealed that belong"):
        require_exported(recorded, tmp_path, MONTH)
    stranger.unlink()
    path.unlink()
    with pytest.raises(Conflict, match="is not there"):
        require_exported(recorded, tmp_path, MONTH)
