"""Sealing: the month of a seal, and processes that do the same work at the same time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from authz.audit.integrity.verification import verification
from authz.database import Database, close_all, connect
from authz.domain import to_micros
from authz.models import Event, Seal
from authz.policy.compiler import compile_texts
from authz.policy.decision import Decision
from authz.record import Actor, RecordedQuestion, create_partitions, keep_policy, partitions, record_decisions, seal
from authz.record import sealing as sealing_module

BEFORE_MIDNIGHT = datetime(2026, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)
MIDNIGHT = datetime(2026, 7, 1, tzinfo=UTC)
QUESTION = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"))


@pytest.fixture
def other(database_url: str, database: Database) -> Iterator[Database]:
    """Return a second connection to the database, as another process has one."""
    second = connect(database_url)
    yield second
    close_all(second)


def answer(database: Database, about: datetime, asked_at: datetime) -> None:
    """Record an answer about one instant, asked at another."""
    decision = Decision(False, "denied", "f" * 64, to_micros(about))
    record_decisions(database, Actor("", asked_at), [(QUESTION, decision)])


def test_a_seal_is_of_the_month_in_which_was_asked(database: Database) -> None:
    """A seal's month is that in which it was asked, in UTC, not that of the instant that was asked about."""
    answer(database, about=MIDNIGHT, asked_at=BEFORE_MIDNIGHT)
    answer(database, about=BEFORE_MIDNIGHT, asked_at=MIDNIGHT)
    answer(database, about=datetime(2020, 1, 1, tzinfo=UTC), asked_at=MIDNIGHT)
    assert seal(database, MIDNIGHT) == 3
    seals = Seal.select(Seal.month, Seal.first, Seal.last).order_by(Seal.month).tuples().execute(database)
    assert list(seals) == [("2026-06", 1, 1), ("2026-07", 2, 3)]


def test_another_process_that_sealed_first_wins(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another process seals decisions that this one has read, its seal is the only one."""
    answer(database, MIDNIGHT, MIDNIGHT)
    answer(database, MIDNIGHT, MIDNIGHT)
    read = sealing_module.read_decisions

    def read_slowly(*arguments: Any) -> list[dict[str, Any]]:
        rows = read(*arguments)
        monkeypatch.setattr(sealing_module, "read_decisions", read)
        assert seal(other, MIDNIGHT) == 2
        return rows

    monkeypatch.setattr(sealing_module, "read_decisions", read_slowly)
    seal(database, MIDNIGHT)
    assert list(Seal.select(Seal.first, Seal.last).tuples().execute(database)) == [(1, 2)]
    assert verification(database).report.leaves == 1
    answer(database, MIDNIGHT, MIDNIGHT)
    assert seal(database, MIDNIGHT) == 1
    assert list(Seal.select(Seal.first, Seal.last).order_by(Seal.id).tuples().execute(database)) == [(1, 2), (3, 3)]


def test_another_process_that_made_a_partition_first_wins(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that appears after this process looked for it is not an error, and is not reported twice."""
    database, other = connect(postgresql_url), connect(postgresql_url)
    create, created = partitions._create_partition, []

    def create_second(postgresql: Database, month: str) -> bool:
        assert create(other, month)
        created.append(month)
        return create(postgresql, month)

    monkeypatch.setattr(partitions, "_create_partition", create_second)
    assert create_partitions(database, MIDNIGHT) == []
    assert created == ["2026-07", "2026-08", "2026-09"]
    answer(database, MIDNIGHT, MIDNIGHT)
    assert database.execute_sql("SELECT count(*) FROM decision_2026_07").fetchone() == (1,)
    close_all(database)
    close_all(other)


def test_a_text_is_kept_once(database: Database, other: Database) -> None:
    """A second process that keeps the same policy text finds it stored, and records nothing."""
    policy = compile_texts({"p.polar": 'allow(_: Practitioner, "a", _: Patient);'})
    assert keep_policy(other, Actor("", MIDNIGHT), policy)
    assert not keep_policy(database, Actor("", MIDNIGHT), policy)
    assert Event.select().where(Event.kind == "policy:kept").count(database) == 1


def test_a_page_of_decisions_costs_a_page(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL reads one page, however many decisions are left, also if its statistics know of few."""
    database = connect(postgresql_url)
    create_partitions(database, MIDNIGHT)
    denial = (QUESTION, Decision(False, "denied", "f" * 64, to_micros(MIDNIGHT)))
    record_decisions(database, Actor("", MIDNIGHT), [denial] * 1000)
    database.execute_sql("ANALYZE decision")
    for _ in range(4):
        record_decisions(database, Actor("", MIDNIGHT), [denial] * 1000)
    execute, plans = database.execute_sql, list[Any]()

    def explain(sql: str, params: Any) -> Any:
        plans.extend(execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params).fetchone()[0])
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", explain)
    assert [row["id"] for row in sealing_module.read_decisions(database, 1000, 5000, 1000)] == list(range(1001, 2001))
    monkeypatch.undo()
    close_all(database)
    assert [_most_rows(plan["Plan"]) for plan in plans] == [1000]


def _most_rows(plan: dict[str, Any]) -> int:
    rows: int = plan["Actual Rows"]
    return max([rows, *map(_most_rows, plan.get("Plans", []))])


def test_decisions_are_read_across_a_gap_of_ids(postgresql_url: str) -> None:
    """A gap in the ids, as failed transactions of PostgreSQL leave it, ends no reading."""
    database = connect(postgresql_url)
    answer(database, MIDNIGHT, MIDNIGHT)
    database.execute_sql("SELECT setval('decision_id_seq', 5000)")
    answer(database, MIDNIGHT, MIDNIGHT)
    read = [[row["id"] for row in sealing_module.read_decisions(database, after, 2**62, 10)] for after in (0, 1, 5001)]
    assert read == [[1], [5001], []]
    assert seal(database, MIDNIGHT) == 2
    close_all(database)
