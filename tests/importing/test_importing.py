"""Import: a file is imported whole or not at all, a fault has its line, and repeating a file changes nothing."""

import io
import json
import resource
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.database import Database
from authz.domain import FOREVER, format_instant, parse_instant
from authz.errors import ImportRefused
from authz.importing import LONGEST_LINE, import_facts
from authz.models import (
    MODELS,
    Entity,
    EntityLink,
    Event,
    Grant,
    Licence,
    Membership,
    Patient,
    Practitioner,
    Secret,
    SpoolPosition,
    StandingShare,
)
from authz.policy.compiler import Schema, load
from authz.policy.pdp import PDP
from authz.record import replay_facts
from authz.settings import shipped_folder
from tests.support.lines import BEFORE, CLINIC, LATER, SINCE, import_lines, line
from tests.support.people import NOW

POLICY = load(shipped_folder("policies"))


@pytest.fixture
def types() -> Schema:
    return POLICY.types


def stored(database: Database) -> dict[str, list[Any]]:
    facts = [model for model in MODELS if model not in (Secret, SpoolPosition)]
    return {model.__name__: sorted(map(repr, model.select().tuples().execute(database))) for model in facts}


def test_every_kind_of_line_is_stored(database: Database) -> None:
    """Every kind of line is stored, with logins in normal form and names unchanged."""
    report = import_lines(database, *CLINIC)
    assert report.new == Counter(next(iter(line)) for line in CLINIC)
    people = {row.id: (row.login, row.name) for row in Practitioner.select().execute(database)}
    assert people["alice"] == ("alice@north.example", "Alice A.")
    assert people["bob"][1] == "أميرة الخطيب 🌿"
    grants = [(row.practitioner_id, row.role, row.origin, row.reason) for row in Grant.select().execute(database)]
    assert sorted(grants) == [("alice", "owner", "imported", ""), ("bob", "viewer", "imported", "cover")]
    links = [(row.property, row.type, row.target) for row in EntityLink.select().execute(database)]
    assert sorted(links) == [("author", "document", "alice"), ("patient", "document", "p-1")]
    pdp = PDP(database, POLICY, clock=lambda: NOW + timedelta(minutes=1))
    assert pdp.search_subjects("practitioner", "view", ("document", "d-1")) == ["alice", "bob"]


def test_every_new_fact_has_an_event_of_ids_only(database: Database) -> None:
    """Every row that an import adds or ends has its event, without a name, a login or a reason in it."""
    import_lines(database, *CLINIC)
    events = list(Event.select().order_by(Event.id).execute(database))
    kinds = {f"{next(iter(line))}:imported" for line in CLINIC} | {"licence:imported"}
    assert {event.kind for event in events} == kinds
    viewed = next(event for event in events if event.patient == "p-1" and '"viewer"' in json.dumps(event.body))
    assert (viewed.kind, viewed.subscription, viewed.body["before"]) == ("grant:imported", "north", None)
    assert viewed.body["after"]["ended_at"] == LATER
    text = json.dumps([event.body for event in events], ensure_ascii=False)
    assert not any(word in text for word in ("Alice", "example", "Clinic", "Knee", "cover", "Pat One", "أميرة"))


def test_what_was_imported_can_be_replayed(database: Database) -> None:
    """The events of two imports rebuild the facts, and replay finds a row without an event."""
    import_lines(database, *CLINIC)
    assert replay_facts(database)[1] == []
    import_lines(database, {"grant": {"patient": "p-1", "practitioner": "bob", "role": "owner"}}, later=1)
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    assert kinds[-3:] == ["grant:ended", "grant:ended", "grant:imported"]
    assert replay_facts(database)[1] == []
    Grant.update(end_cause="expired").where(Grant.practitioner == "alice").execute(database)
    assert [difference.side for difference in replay_facts(database)[1]] == ["stored", "told"]


def test_the_same_file_twice_changes_nothing(database: Database) -> None:
    """A second import of the same file finds every line unchanged, also at a later instant."""
    import_lines(database, *CLINIC)
    before = stored(database)
    again = import_lines(database, *CLINIC, later=5)
    assert (again.new.total(), again.unchanged.total(), again.ended.total()) == (0, len(CLINIC), 0)
    assert stored(database) == before


def test_what_ended_here_is_not_revived(database: Database) -> None:
    """A share, standing share or membership that ended after an import stays ended if the import is repeated."""
    import_lines(database, *CLINIC)
    for model in (StandingShare, Membership, Licence):
        model.update(ended_at=NOW).where(model.ended_at == FOREVER).execute(database)
    Grant.update(ended_at=NOW, end_cause="ended").where(Grant.role == "viewer").execute(database)
    before = stored(database)
    again = import_lines(database, *CLINIC, later=5)
    assert again.ended == {"subscription": 2, "membership": 3, "grant": 1, "standing_share": 1}
    assert again.new.total() == 0
    assert stored(database) == before


def test_history_of_owners(database: Database) -> None:
    """A line of a new owner ends the ownership before without a gap, and absorbs a share of the new owner."""
    shared = {"grant": {"patient": "p-1", "practitioner": "bob", "role": "viewer", "started_at": BEFORE}}
    passed = {"grant": {"patient": "p-1", "practitioner": "bob", "role": "owner", "started_at": SINCE}}
    lines = [*CLINIC[:9], shared, passed]
    import_lines(database, *lines)
    grants = [
        (row.practitioner_id, row.role, format_instant(row.started_at), row.ended_at == FOREVER, row.end_cause)
        for row in Grant.select().order_by(Grant.id).execute(database)
    ]
    assert grants == [
        ("alice", "owner", BEFORE, False, "transfer"),
        ("bob", "viewer", BEFORE, False, "transfer"),
        ("bob", "owner", SINCE, True, ""),
    ]
    again = import_lines(database, *lines, later=1)
    assert (again.new.total(), again.unchanged.total(), again.ended) == (0, 10, {"grant": 1})
    # In a file of its own, against owners that are in the database already.
    back = {"grant": {"patient": "p-1", "practitioner": "alice", "role": "owner"}}
    assert import_lines(database, back, later=2).ended == {"grant": 1}, "without a time, this is alice's earlier life"
    back["grant"]["started_at"] = format_instant(NOW + timedelta(minutes=1))
    assert import_lines(database, back, later=2).new == {"grant": 1}
    assert import_lines(database, back, later=3).unchanged == {"grant": 1}
    live = Grant.select().where(Grant.ended_at == FOREVER).execute(database)
    assert [(row.practitioner_id, row.role) for row in live] == [("alice", "owner")]


def test_lapse_and_resume(database: Database) -> None:
    """Lines of a subscription with several lives become its licences."""
    lapsed = {"subscription": {"id": "north", "name": "North", "started_at": BEFORE, "until": SINCE}}
    resumed = {"subscription": {"id": "north", "name": "North", "started_at": SINCE}}
    assert import_lines(database, lapsed, resumed).new == {"subscription": 2}
    assert Licence.select().count(database) == 2


def test_a_changed_entity_is_a_new_version(database: Database) -> None:
    """An entity with other properties ends its row and starts another, so that past answers stay."""
    import_lines(database, *CLINIC)
    moved = {"entity": {"type": "document", "id": "d-1", "properties": {"author": "bob", "title": None}}}
    assert import_lines(database, moved, later=5).changed == {"entity": 1}
    versions = list(Entity.select().order_by(Entity.pk).execute(database))
    assert [row.properties for row in versions] == [{"title": "Knee"}, {}]
    assert versions[0].ended_at == versions[1].started_at == NOW + timedelta(minutes=5)


def versions(database: Database) -> list[tuple[Any, str, str | None]]:
    """Return title, start and end of each version of the document d-2, in order."""
    rows = Entity.select().where(Entity.id == "d-2").order_by(Entity.started_at, Entity.pk).execute(database)
    ends = [None if row.ended_at == FOREVER else format_instant(row.ended_at) for row in rows]
    return [
        (row.properties.get("title"), format_instant(row.started_at), end) for row, end in zip(rows, ends, strict=True)
    ]


def document(title: str, **life: str) -> Any:
    return line("entity", type="document", id="d-2", properties={"patient": "p-1", "title": title}, **life)


def test_an_entity_may_begin_in_the_past(database: Database) -> None:
    """Lines with starts and ends bring an entity's history; the same file changes nothing, a difference counts now."""
    history = [document("First", started_at=BEFORE, until=SINCE), document("Second", started_at=SINCE)]
    assert import_lines(database, *CLINIC, *history).new["entity"] == 3
    assert versions(database) == [("First", BEFORE, SINCE), ("Second", SINCE, None)]
    pdp = PDP(database, POLICY, clock=lambda: NOW)
    at = [
        parse_instant(instant) + timedelta(days=offset) for instant, offset in ((BEFORE, -1), (BEFORE, 0), (SINCE, 1))
    ]
    decisions = [pdp.evaluate(("practitioner", "alice"), "view", ("document", "d-2"), now=instant) for instant in at]
    assert [decision.allowed for decision in decisions] == [False, True, True]
    assert import_lines(database, *history, later=1).unchanged == {"entity": 2}
    changed = [history[0], document("Third", started_at=SINCE)]
    assert import_lines(database, *changed, later=2).changed == {"entity": 1}
    fifth = format_instant(NOW + timedelta(minutes=2))
    assert versions(database)[1:] == [("Second", SINCE, fifth), ("Third", fifth, None)]
    assert import_lines(database, *changed, later=3).unchanged == {"entity": 2}
    ended = document("Third", until=SINCE)
    assert import_lines(database, ended, later=4).changed == {"entity": 1}, "an end in the past ends it now"
    assert versions(database)[2] == ("Third", fifth, format_instant(NOW + timedelta(minutes=4)))
    again = import_lines(database, *changed, ended, later=5)
    assert (again.ended, again.unchanged) == ({"entity": 2}, {"entity": 1}), "what has ended stays ended"
    assert replay_facts(database)[1] == []
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    assert kinds[-5:] == ["entity:imported"] * 2 + ["entity:ended", "entity:imported", "entity:ended"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (document("Other", started_at=format_instant(NOW - timedelta(days=50))), "contradicts one that exists from"),
        (document("Early", started_at="2001-01-01T00:00:00Z"), "contradicts one that exists from"),
        (document("Other", started_at=BEFORE, until=SINCE), "has other properties from"),
        (document("Second", started_at=SINCE, until=LATER), "lies in the future: an entity ends when"),
        (document("Late", started_at=LATER), "lies in the future"),
        (document("Second", started_at=SINCE, until=BEFORE), "is not after the start"),
    ],
)
def test_a_line_contradicts_an_entitys_history(sqlite_database: Database, bad: Any, why: str) -> None:
    """A version that would overlap another, or lie in the future, refuses the file."""
    import_lines(sqlite_database, *CLINIC)
    history = [document("First", started_at=BEFORE, until=SINCE), document("Second", started_at=SINCE)]
    import_lines(sqlite_database, *history)
    with pytest.raises(ImportRefused) as caught:
        import_lines(sqlite_database, bad, later=1)
    assert why in str(caught.value)


def with_patient(**fields: Any) -> Any:
    return line("patient", **{"id": "p-2", "subscription": "north", "name": "Pat", "owner": "alice"} | fields)


def with_grant(**fields: Any) -> Any:
    return line("grant", **{"patient": "p-1", "practitioner": "bob", "role": "viewer"} | fields)


MALFORMED = {
    "truncated": (b'{"patient": {"id": "p-2", "subsc', "is not JSON"),
    "not an object": (b"[1, 2]", "is not a JSON object"),
    "not UTF-8": (b'{"patient": {"id": "\xff"}}', "is not UTF-8 at byte 21"),
    "nested without end": (b"[" * 100_000, "nested too deeply"),
    "a member twice": (b'{"patient": {"id": "p-2", "id": "p-3"}}', "contains the member 'id' twice"),
    "not a number": (b'{"patient": {"id": NaN}}', "is not JSON: NaN"),
    "a lone surrogate": (b'{"practitioner": {"id": "x", "login": "x@x", "name": "\\ud800"}}', "surrogate"),
    "two kinds": ({"patient": {}, "grant": {}}, "has 2 members"),
    "nothing": ({}, "has 0 members"),
    "unknown kind": (line("nurse", id="n"), "unknown kind 'nurse'"),
    "a body that is a list": ({"patient": []}, "patient is not a JSON object"),
    "unknown field": (with_patient(diagnosis="secret"), "unknown field 'diagnosis'"),
    "long id": (with_patient(id="x" * 200), "patient.id: an id has 1 to 128 characters, this one has 200"),
    "id with a space": (with_patient(id="p 2"), "visible characters"),
    "id that is a number": (with_patient(id=2), "patient.id: an id is a string, not 2"),
    "empty name": (with_patient(name=""), "patient.name"),
    "control character": (with_patient(name="a\x07b"), "control characters"),
    "no owner": (line("patient", id="p-2", subscription="north", name="Pat"), "patient lacks owner"),
    "unknown owner": (with_patient(owner="zed"), "no practitioner zed"),
    "owner of another clinic": (with_patient(owner="frank"), "frank has no membership of the subscription north"),
    "unknown subscription": (with_patient(subscription="south"), "no subscription south"),
    "same id, another name": (with_patient(id="p-1", name="Other"), "contradicts a line before it"),
    "same id, another owner": (
        with_patient(id="p-1", name="Pat One", owner="bob", started_at=BEFORE),
        "p-1 has another owner",
    ),
    "same id, another clinic": (with_patient(id="p-1", subscription="city"), "p-1 exists with another"),
    "end before start": (with_grant(started_at=SINCE, until=BEFORE), "is not after the start"),
    "end in the past, no start": (with_grant(until=SINCE), "contradicts a line before it"),
    "start in the future": (with_grant(started_at=LATER), "lies in the future"),
    "before the patient": (with_grant(started_at="2001-01-01T00:00:00Z"), "begins before the patient"),
    "a time without zone": (with_grant(started_at="2026-01-01T00:00:00"), "not an RFC 3339 time"),
    "a day that is none": (with_grant(started_at="2026-02-30T00:00:00Z"), "not a time that exists"),
    "wrong role": (with_grant(role="editor"), "'editor' is none of owner, viewer"),
    "another end": (with_grant(), "contradicts a line before it"),
    "a share with the owner": (with_grant(practitioner="alice"), "alice is the owner"),
    "a share across clinics": (with_grant(practitioner="frank"), "frank has no membership"),
    "an owner with an end": (with_grant(role="owner", until=LATER), "has no until"),
    "an owner before the owner": (with_grant(role="owner", started_at=BEFORE), "begins before or with the owner"),
    "unknown patient": (with_grant(patient="p-9"), "no patient p-9"),
    "login taken": (line("practitioner", id="al", login="ALICE@north.example", name="Al"), "that of alice"),
    "no e-mail": (line("practitioner", id="al", login="alice", name="Al"), "is not an e-mail address"),
    "same id, another login": (
        line("practitioner", id="bob", login="b@north.example", name="Bob"),
        "contradicts a line before it",
    ),
    "share with oneself": (line("standing_share", owner="bob", colleague="bob", subscription="north"), "themselves"),
    "content that is a word": (
        line("standing_share", owner="bob", colleague="alice", subscription="north", content="yes"),
        "neither true nor false",
    ),
    "undeclared type": (line("entity", type="plan", id="x"), "declares no type 'plan'"),
    "built-in type": (line("entity", type="patient", id="x"), "declares no type 'patient'"),
    "undeclared property": (line("entity", type="document", id="x", properties={"size": 1}), "no property 'size'"),
    "property of a wrong type": (line("entity", type="document", id="x", properties={"title": 1}), "not a string"),
    "relation to nothing": (line("entity", type="document", id="x", properties={"patient": "p-9"}), "no patient p-9"),
    "entity twice": (line("entity", type="document", id="d-1", properties={"title": "Other"}), "is in this file"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_refuses_the_whole_file(sqlite_database: Database, name: str) -> None:
    """A malformed line refuses the whole file, and the error names the line and the fault."""
    bad, why = MALFORMED[name]
    with pytest.raises(ImportRefused) as caught:
        import_lines(sqlite_database, *CLINIC, b"", bad, CLINIC[0])
    assert caught.value.line == len(CLINIC) + 2
    assert str(caught.value).startswith(f"line {len(CLINIC) + 2}: ")
    assert why in str(caught.value)
    assert not any(stored(sqlite_database).values())


def test_the_fault_is_the_same_against_what_is_stored(database: Database) -> None:
    """A line that contradicts the database gets the same error as one that contradicts its file; nothing is written."""
    import_lines(database, *CLINIC)
    before = stored(database)
    for name, (bad, why) in MALFORMED.items():
        if name == "entity twice" or why == "contradicts a line before it":
            continue
        with pytest.raises(ImportRefused, match="line 1: ") as caught:
            import_lines(database, bad, later=1)
        assert why in str(caught.value), name
    assert stored(database) == before


class Endless(io.RawIOBase):
    """A file whose second line is a gigabyte long, made while it is read."""

    def __init__(self) -> None:
        self.lines_read = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.lines_read += 1
        if self.lines_read == 1:
            return json.dumps(CLINIC[0]).encode() + b"\n"
        assert size is not None
        assert 0 < size <= 2 * LONGEST_LINE
        return b"x" * size


def test_a_line_of_a_gigabyte_is_refused_unread(sqlite_database: Database, types: Schema) -> None:
    """A line that is too long is refused by its number, after no more bytes than the limit were read."""
    with pytest.raises(ImportRefused, match=f"line 2: is longer than {LONGEST_LINE} bytes"):
        import_facts(sqlite_database, Endless(), types, now=NOW)  # type: ignore[arg-type]
    assert not any(stored(sqlite_database).values())


def test_a_real_file_of_a_gigabyte(sqlite_database: Database, types: Schema, tmp_path: Path) -> None:
    """A line of a gigabyte in a real (sparse) file is refused, and memory does not grow with the line."""
    path = tmp_path / "long.ndjson"
    with path.open("wb") as file:
        file.write(json.dumps(CLINIC[0]).encode() + b"\n")
        file.truncate(1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("rb") as file, pytest.raises(ImportRefused, match="line 2: is longer"):
        import_facts(sqlite_database, file, types, now=NOW)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_batches_and_progress(sqlite_database: Database, types: Schema) -> None:
    """In a file of several batches a late fault undoes everything, and progress ends at the file's size."""
    many = [with_patient(id=f"n-{number}") for number in range(4500)]
    text = b"\n".join(json.dumps(fact).encode() for fact in (*CLINIC, *many))
    with pytest.raises(ImportRefused, match=f"line {len(CLINIC) + len(many) + 1}: "):
        import_facts(sqlite_database, io.BytesIO(text + b"\n{"), types, now=NOW)
    assert not any(stored(sqlite_database).values())
    seen: list[int] = []
    import_facts(sqlite_database, io.BytesIO(text), types, now=NOW, progress=seen.append)
    assert seen[-1] == len(text)
    assert len(seen) == 3
    assert Patient.select().count(sqlite_database) == 4501


def test_a_byte_order_mark_and_blank_lines(sqlite_database: Database) -> None:
    """A byte order mark and blank lines are not faults."""
    assert import_lines(sqlite_database, b"\xef\xbb\xbf" + json.dumps(CLINIC[0]).encode(), b"  ", b"").new.total() == 1


def test_the_planner_knows_what_was_imported(database: Database) -> None:
    """An import gathers statistics for the planner, because those of an empty database make a big clinic slow."""
    import_lines(database, *CLINIC)
    statistics = {
        "sqlite": "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'patient'",
        "postgresql": "SELECT count(*) FROM pg_stats WHERE tablename = 'patient' AND attname = 'id'",
    }
    assert database.execute_sql(statistics[database.dialect]).fetchone()[0] > 0
