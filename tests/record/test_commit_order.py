"""The order of the record on PostgreSQL is given inside COMMIT; the rows equal SQLite's to the byte."""

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest

from authz.audit.integrity.verification import verification
from authz.database import Database, close_all, connect, pipelined
from authz.domain import to_micros
from authz.models import Event
from authz.policy.decision import Decision
from authz.record import Actor, NewEvent, RecordedQuestion, append, record_decisions, seal

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
TEXTS = ("", "", 'says "no" \\ / é 漢 😀', "a\u007f\u0080\u2028b", "plain")
TABLES = ("event", "leaf", "node", "tree", "seal", "personal_secret")
ORDER = {"leaf": "tree, number", "node": "tree, level, number", "tree": "name", "personal_secret": "whose"}


@pytest.fixture
def both(postgresql_url: str, sqlite_url: str) -> Iterator[tuple[Database, Database]]:
    ours, theirs = connect(postgresql_url), connect(sqlite_url)
    yield ours, theirs
    close_all(ours)
    close_all(theirs)


def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    columns = [column.name for column in database.get_columns(table)]
    names = ", ".join(f'CAST("{name}" AS TEXT)' if name == "body" else f'"{name}"' for name in sorted(columns))
    stored = database.execute_sql(f'SELECT {names} FROM "{table}" ORDER BY {ORDER.get(table, "id")}').fetchall()
    plain = [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in stored]
    at = sorted(columns).index("body") if "body" in columns else None
    return plain if at is None else [row[:at] + row[at + 1 :] for row in plain]


def random_event(chance: random.Random, number: int) -> NewEvent:
    body = {"after": {"owner": chance.choice(TEXTS[2:])}, "n": number, "why": chance.choice(TEXTS)}
    patient = chance.choice(("", "p-1", "p-2"))
    return NewEvent("grant:started", chance.choice(("", "north", "city")), body, patient, chance.choice(TEXTS))


@pytest.mark.parametrize("seed", range(3))
def test_both_databases_write_the_same_record(both: tuple[Database, Database], seed: int) -> None:
    """Random events and seals, also at instants that go back, give equal rows, leaves, nodes and trees on both."""
    ours, theirs = both
    chance = random.Random(seed)
    for turn, size in enumerate([1, 1, 2, 3, 700, *(chance.randrange(1, 40) for _ in range(25)), 1, 1, 1]):
        at = NOW + timedelta(seconds=chance.randrange(-5, 5))
        client, address = chance.choice((None, 7)), chance.choice(("", "::1"))
        actor = Actor(chance.choice(("", "alice")), at, client, None, f"r-{turn}", address)
        events = [random_event(chance, number) for number in range(size)]
        half = chance.randrange(size + 1)
        answers = [
            (RecordedQuestion(("practitioner", "bob"), "view", ("patient", f"p-{n}")), decided(at))
            for n in range(turn % 4)
        ]
        for database in both:
            with pipelined(database):
                append(database, actor, events[:half])
                append(database, actor, events[half:], at - timedelta(seconds=1))
            if database is ours:  # the secrets are random
                for value, whose in rows(ours, "personal_secret"):
                    insert = "INSERT INTO personal_secret (whose, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
                    theirs.execute_sql(insert, (whose, value))
            if turn % 5 == 0:
                record_decisions(database, Actor("bob", at), answers)
                seal(database, NOW)
        for table in TABLES:
            assert rows(ours, table) == rows(theirs, table), table
    for table in TABLES:
        assert rows(ours, table) == rows(theirs, table), table
    for database in both:
        findings = verification(database).report.findings
        assert {finding.kind for finding in findings} == {"deleted fact"}, "the grants of these events are not stored"


def add(database: Database, *events: NewEvent, then: Callable[[], object] = bool) -> None:
    with database.atomic():
        append(database, Actor("", NOW), events)
        then()


def decided(at: datetime) -> Decision:
    return Decision(False, "denied", "f" * 64, to_micros(at))


def test_what_is_undone_leaves_no_place(postgresql_url: str) -> None:
    """A transaction that fails, before or within COMMIT, leaves neither event nor leaf nor a row in the queue."""
    database = connect(postgresql_url)
    added = NewEvent("demo:filled", "", {})
    with pytest.raises(ZeroDivisionError):
        add(database, added, then=lambda: 1 // 0)
    database.execute_sql("INSERT INTO leaf (tree, number, hash) VALUES ('north', 0, '')")
    with pytest.raises(peewee.IntegrityError):
        add(database, added, added._replace(subscription="north"))
    assert Event.select().count(database) == 0
    assert database.execute_sql("SELECT count(*) FROM pending_event").fetchone() == (0,)
    append(database, Actor("", NOW), [added])
    assert database.execute_sql("SELECT count(*), (SELECT count(*) FROM pending_event) FROM event").fetchone() == (1, 0)
    close_all(database)


def test_who_reads_on_misses_nothing(postgresql_url: str) -> None:
    """While many write, a reader who goes on after the last id that was read gets every event."""
    writing, seen = threading.Event(), []

    def write(number: int) -> None:
        database = connect(postgresql_url)
        for turn in range(40):
            added = NewEvent("demo:filled", "", {"n": f"{number}-{turn}"})
            with pipelined(database):
                append(database, Actor("", NOW), [added] * (turn % 3 + 1))
        close_all(database)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    database, last = connect(postgresql_url), 0
    for writer in writers:
        writer.start()
    while not writing.is_set():
        if not any(writer.is_alive() for writer in writers):
            writing.set()
        stored = database.execute_sql("SELECT id FROM event WHERE id > %s ORDER BY id", (last,)).fetchall()
        seen += [number for (number,) in stored]
        last = seen[-1] if seen else 0
    assert len(seen) == database.execute_sql("SELECT count(*) FROM event").fetchone()[0] == 4 * 79
    close_all(database)
