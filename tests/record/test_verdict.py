"""The verdict: VERIFIED only if checkpoints prove every leaf of every tree, and every absence has its cause."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playhouse.migrations import Runner

from authz.audit.export.log import log_lines
from authz.audit.integrity.checkpoints import Signer, checkpoint, format_note
from authz.audit.integrity.verdict import verdict_of
from authz.audit.integrity.verification import verification, verify_database
from authz.audit.verify import FactComparison, LogVerifier, batch_faults, describe_report
from authz.database import MIGRATIONS, Database, close_all, connect, migrate
from authz.models import ErasedField, Event, PersonalSecret, RecordedDecision, Seal
from authz.record import Actor, NewEvent, append, replay_facts, seal
from authz.record.commitments import commitment
from authz.record.erasure import erase
from authz.record.events import enter_existing
from authz.record.leaves import canonical
from authz.record.merkle import Frontier, leaf_hash
from authz.texts import search_key
from tests.support.people import NOW
from tests.support.sample_record import VIEWS, answer
from tests.support.tampering import judge, sql, unlock

MONTH = f"{NOW:%Y-%m}"


def word_of(database: Database, *arguments: Any, **more: Any) -> tuple[str, int]:
    """Return the verdict, on which both verifiers agree, and how many leaves are proven."""
    report = judge(database, *arguments, **more)
    return report.verdict.word, report.proven


def kinds(database: Database, *arguments: Any, **more: Any) -> set[str]:
    return {finding.kind for finding in judge(database, *arguments, **more).findings}


# The verdict is per tree.


def test_verified_is_every_leaf_of_every_tree(recorded: Database, signer: Signer) -> None:
    """VERIFIED needs checkpoints of all leaves: a leaf after the last checkpoint makes it PARTLY VERIFIED."""
    key = str(signer.key)
    assert word_of(recorded, "", key) == ("PARTLY VERIFIED", 0)
    kept = checkpoint(recorded, signer, NOW)
    leaves = sum(note.size for note in kept)
    assert word_of(recorded, "", key) == ("VERIFIED", leaves)
    north = next(format_note(note) for note in kept if note.origin.endswith("/north"))
    report = judge(recorded, north)
    assert (report.verdict.word, report.verdict.exit_code) == ("PARTLY VERIFIED", 3)
    assert "no checkpoint of the tree -, city, harbour" in report.verdict.sentence
    answer(recorded, NOW, range(3))
    assert "3 decisions wait for a seal" in judge(recorded, "", key).verdict.sentence
    seal(recorded, NOW)
    assert "7 decisions wait for a seal" in verify_database(recorded, "", key, waiting=7).verdict.sentence
    report = judge(recorded, "", key)
    assert (report.verdict.word, report.proven) == ("PARTLY VERIFIED", leaves)
    assert "leaves after the last checkpoint: 1 of -, 1 of city, 1 of north" in report.verdict.sentence


def test_what_nobody_can_believe_proves_nothing(recorded: Database, signer: Signer, tmp_path: Path) -> None:
    """Checkpoints in the database prove nothing without a key, and nothing if another key signed them."""
    checkpoint(recorded, signer, NOW)
    assert word_of(recorded) == ("PARTLY VERIFIED", 0)
    forger = Signer.make(str(tmp_path / "forger"), signer.key.name)
    assert word_of(recorded, "", str(forger.key)) == ("NOT VERIFIED", 0)


def test_a_tree_made_anew_without_its_checkpoints_is_not_proven(recorded: Database, signer: Signer) -> None:
    """If a forger rebuilds the trees and deletes the checkpoints, nothing is proven."""
    kept = "\n".join(format_note(note) for note in checkpoint(recorded, signer, NOW))
    unlock(recorded)
    sql("DELETE FROM event WHERE kind = 'audit:read' OR kind = 'demo:filled'")(recorded)
    for table in ("leaf", "node", "tree", "seal", "checkpoint"):
        recorded.execute_sql(f"DELETE FROM {table}")
    with recorded.atomic():
        enter_existing(recorded)
    seal(recorded, NOW)
    report = judge(recorded, "", str(signer.key))
    assert (report.verdict.word, report.proven) == ("PARTLY VERIFIED", 0)
    assert word_of(recorded, kept, str(signer.key))[0] == "NOT VERIFIED"


def test_the_time_of_a_checkpoint_is_unsigned(recorded: Database, signer: Signer) -> None:
    """The time in a checkpoint's row proves nothing; the report names the instant of the last leaf instead."""
    checkpoint(recorded, signer, NOW)
    unlock(recorded)
    recorded.execute_sql(f"UPDATE checkpoint SET at = {recorded.param}", (2**62,))
    assert verification(recorded, "", str(signer.key)).checkpoint_at is None
    recorded.execute_sql(f"UPDATE checkpoint SET at = {recorded.param}", (4102444800000000,))
    report = judge(recorded, "", str(signer.key))
    assert report.verdict.word == "VERIFIED"
    assert not any("2100" in line for line in describe_report(report))
    assert any("the last of 2026-06-01T12:00:00+00:00" in line for line in describe_report(report))


def test_a_source_that_no_tree_covers_lowers_the_word(recorded: Database, signer: Signer) -> None:
    """Decisions from unsigned files lower VERIFIED to PARTLY VERIFIED, and leave NOT VERIFIED as it is."""
    checkpoint(recorded, signer, NOW)
    report = judge(recorded, "", str(signer.key))
    assert verdict_of(report).colour == "green"
    lowered = verdict_of(report, "the decisions")
    assert (lowered.word, lowered.colour, lowered.exit_code) == ("PARTLY VERIFIED", "amber", 3)
    unlock(recorded)
    sql("UPDATE decision SET action = 'edit' WHERE id = 7")(recorded)
    broken = verdict_of(judge(recorded, "", str(signer.key)), "the decisions")
    assert (broken.word, broken.colour, broken.exit_code) == ("NOT VERIFIED", "red", 1)


# Every absence needs its cause.


def drop_this_month(database: Database, **more: Any) -> None:
    """Delete the decisions of the present month, and record that it was dropped, as a forger would."""
    where = (RecordedDecision.asked_at >= datetime(2026, 6, 1, tzinfo=UTC),)
    count = RecordedDecision.delete().where(*where).execute(database)
    seals = Seal.select().where(Seal.month == MONTH).count(database)
    body = {"month": MONTH, "decisions": count, "seals": seals, "retention_years": 6, **more}
    with database.atomic():
        append(database, Actor("", more.pop("at", NOW)), [NewEvent("decisions:dropped", "", body)])


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "dropped early"),
        ({"retention_years": 0}, "dropped early"),
        ({"retention_years": "x"}, "dropped early"),
        ({"seals": 1}, "deleted row"),
        ({"decisions": VIEWS}, "deleted row"),
    ],
)
def test_a_month_is_not_dropped_by_an_event_alone(recorded: Database, more: dict[str, Any], kind: str) -> None:
    """An event excuses a dropped month only after its retention, and only with the counts that were sealed."""
    unlock(recorded)
    drop_this_month(recorded, **more)
    assert kind in kinds(recorded)


def test_a_drop_in_the_future_is_early(recorded: Database) -> None:
    """A verifier that knows the present finds a drop whose event lies in the future."""
    unlock(recorded)
    count = (
        RecordedDecision.delete().where(RecordedDecision.asked_at >= datetime(2026, 6, 1, tzinfo=UTC)).execute(recorded)
    )
    seals = Seal.select().where(Seal.month == MONTH).count(recorded)
    body = {"month": MONTH, "decisions": count, "seals": seals, "retention_years": 6}
    late = NOW + timedelta(days=7 * 366)
    with recorded.atomic():
        append(recorded, Actor("", late), [NewEvent("decisions:dropped", "", body)])
    assert kinds(recorded, now=NOW) == {"dropped early"}
    assert kinds(recorded, now=late) == set()


def test_an_erasure_without_its_event_is_found(recorded: Database) -> None:
    """An erasure without its event is found, and the finding names the erased person."""
    assert not kinds(recorded)
    unlock(recorded)
    erase_silently(recorded, "practitioner:bob")
    report = judge(recorded)
    assert {(finding.kind, "practitioner:bob" in finding.why) for finding in report.findings} == {("erased row", True)}


def erase_silently(database: Database, whose: str) -> None:
    """Erase a practitioner's addresses as the command does it, without its event."""
    ((secret,),) = (
        PersonalSecret.select(PersonalSecret.value).where(PersonalSecret.whose == whose).tuples().execute(database)
    )
    models: dict[str, Any] = {"decision": RecordedDecision, "event": Event}
    for noun, model in models.items():
        which = (model.actor == whose.partition(":")[2], model.address != "")
        for number, text in list(model.select(model.id, model.address).where(*which).tuples().execute(database)):
            stored = commitment(bytes(secret), noun, number, "address", text)
            ErasedField.insert(noun=noun, row=number, field="address", commitment=stored).execute(database)
        model.update(address="").where(*which).execute(database)
    PersonalSecret.delete().where(PersonalSecret.whose == whose).execute(database)


def test_an_erasure_of_more_than_its_event_says_is_found(recorded: Database) -> None:
    """An erasure is found if its event names fewer events or decisions than were erased."""
    unlock(recorded)
    erase_silently(recorded, "practitioner:alice")
    for events, decisions in ((0, 9), (9, 0)):
        body = {"whose": "practitioner:alice", "events": events, "decisions": decisions}
        assert kinds(recorded) == {"erased row"}
        with recorded.atomic():
            append(recorded, Actor("", NOW), [NewEvent("record:erased", "", body)])
    assert kinds(recorded) == set()


@pytest.mark.parametrize("table", ["decision", "event"])
def test_a_text_beside_its_commitment_is_compared(recorded: Database, table: str) -> None:
    """A true commitment in `erased` does not hide a replaced address, with the secret or without it."""
    ((number, text, actor),) = recorded.execute_sql(
        f"SELECT id, address, actor FROM {table} WHERE address <> '' AND actor <> '' ORDER BY id LIMIT 1"
    ).fetchall()
    whose = f"practitioner:{actor}"
    ((secret,),) = (
        PersonalSecret.select(PersonalSecret.value).where(PersonalSecret.whose == whose).tuples().execute(recorded)
    )
    unlock(recorded)
    stored = commitment(bytes(secret), table, number, "address", text)
    ErasedField.insert(noun=table, row=number, field="address", commitment=stored).execute(recorded)
    recorded.execute_sql(f"UPDATE {table} SET address = '203.0.113.9' WHERE id = {number}")
    assert "changed row" in kinds(recorded)
    PersonalSecret.delete().where(PersonalSecret.whose == whose).execute(recorded)
    assert "changed row" in kinds(recorded)


def test_a_true_erasure_stays_verified(recorded: Database, signer: Signer) -> None:
    """The record stays VERIFIED if the command erases people, also if it erases a person twice."""
    erase(recorded, Actor("", NOW), "practitioner:bob")
    answer(recorded, NOW, range(4))
    seal(recorded, NOW)
    erase(recorded, Actor("", NOW), "practitioner:bob")
    erase(recorded, Actor("", NOW), "patient:p-5")
    erase(recorded, Actor("", NOW), "practitioner:alice")
    checkpoint(recorded, signer, NOW)
    assert word_of(recorded, "", str(signer.key))[0] == "VERIFIED"


# Rows by name.


def sealed(numbers: range) -> tuple[dict[str, Any], bytes, bytes, list[tuple[int, bytes]]]:
    """Build a seal over rows with these ids; return its content, root, marks and rows."""
    rows = [(number, leaf_hash(str(number).encode())) for number in numbers]
    content = {"id": 1, "first": numbers[0], "last": numbers[-1], "count": len(rows)}
    leaves = [leaf for _, leaf in rows]
    return content, Frontier().append(leaves)[0].root, b"".join(leaf[:8] for leaf in leaves), rows


def test_each_row_is_named() -> None:
    """Exactly the changed, deleted and added decisions of a seal are named; without marks, the whole batch."""
    seal_, root, marks, rows = sealed(range(10, 31, 2))
    other = leaf_hash(b"other")

    def faults(*rows: tuple[int, bytes], marks: bytes = marks) -> list[tuple[str, str]]:
        return [fault[:2] for fault in batch_faults(seal_, root, marks, rows)]

    assert faults(*rows) == []
    assert faults(*rows, marks=b"") == []
    assert faults(*rows, marks=marks[::-1]) == [("changed row", "seal 1")]
    assert faults((10, other), *rows[1:]) == [("changed row", "decision 10")]
    assert faults(*rows[:3], (16, other), (18, other), *rows[5:]) == [
        ("changed row", "decision 16"),
        ("changed row", "decision 18"),
    ]
    assert faults(*rows[:3], *rows[4:]) == [("deleted row", "decisions between 14 and 18")]
    assert faults(*rows[1:]) == [("deleted row", "decisions between 9 and 12")]
    assert faults(*rows, (31, other)) == [("row without a leaf", "decision 31")]
    assert faults(rows[0], (11, other), *rows[1:]) == [("row without a leaf", "decision 11")]
    assert faults((10, other), *rows[2:]) == [
        ("changed row", "decision 10"),
        ("deleted row", "decisions between 9 and 14"),
    ]
    assert faults((10, other), *rows[1:], marks=b"") == [("changed row", "decisions 10 to 30")]
    assert faults(*rows[1:], marks=b"") == [("deleted row", "decisions 10 to 30")]
    assert faults(rows[1], rows[0], *rows[2:])[0][0] in ("changed row", "deleted row")


def test_a_seal_of_before_marks_is_checked_by_its_root(recorded: Database) -> None:
    """In a record of an earlier version, without marks, a changed decision is named by its batch."""
    unlock(recorded)
    sql("UPDATE seal SET marks = NULL")(recorded)
    assert not kinds(recorded)
    sql("UPDATE decision SET allowed = NOT allowed WHERE id = 7")(recorded)
    assert judge(recorded).findings[0].where.startswith("decisions ")


# Facts.


def test_an_upgrade_tells_what_stands(database_url: str) -> None:
    """The upgrade records facts that no event has yet, once, and a change after it is found."""
    database = connect(database_url)
    if database.dialect == "postgresql":
        sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")(database)
    else:
        for (table,) in database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not table.startswith("sqlite_"):
                database.execute_sql(f'DROP TABLE "{table}"')
    Runner(database, str(MIGRATIONS)).up("0013_spool")
    sql(
        "INSERT INTO subscription (id, name) VALUES ('north', 'North')",
        "INSERT INTO practitioner (id, login, name, search_key) "
        "VALUES ('alice', 'alice@north.example', 'Alice', 'alice alice@north.example')",
        "INSERT INTO client (name, key_hash, scopes, created_at, revoked_at) VALUES ('app', 'x', 'decide', 1, 2)",
    )(database)
    database.execute_sql(
        "INSERT INTO patient (id, subscription_id, name, search_key, started_at, ended_at) "
        f"VALUES ('p-1', 'north', 'Pat', {database.param}, 1, 2)",
        (search_key("Pat", ""),),
    )
    database.execute_sql(
        f"UPDATE practitioner SET search_key = {database.param}", (search_key("Alice", "alice@north.example"),)
    )
    assert "0015_facts" in migrate(database)
    report = judge(database)
    assert (report.findings, report.facts, report.adopted) == ([], 4, 4)
    assert "4 were first told by an upgrade" in report.verdict.sentence
    assert replay_facts(database)[1] == []
    sql("UPDATE practitioner SET login = 'eve@north.example'")(database)
    assert kinds(database) == {"changed fact"}
    assert {(difference.noun, difference.side) for difference in replay_facts(database)[1]} == {
        ("practitioner", "told"),
        ("practitioner", "stored"),
    }
    close_all(database)


def test_an_export_of_before_facts_proves_less(recorded: Database, signer: Signer) -> None:
    """A log of version 1 is read as before; without facts it is not VERIFIED."""
    checkpoint(recorded, signer, NOW)
    lines = [line for line in log_lines(recorded, signer.key.name) if not {"fact", "unsealed"} & set(line)]
    lines[0]["version"] = 1
    report = LogVerifier((), signer.key).read(json.loads(canonical(line)) for line in lines)
    assert (report.verdict.word, report.proven) == ("PARTLY VERIFIED", report.leaves)
    assert "the facts are not in this export" in report.verdict.sentence


def test_alike_facts_are_counted() -> None:
    """Equal facts are counted: a row more or a row fewer than the events began is found."""
    facts = FactComparison(canonical)
    row = {"patient": "p", "started_at": "2026"}
    for event in (1, 2):
        facts.add_event(event, "grant:started", {"before": None, "after": row})
    assert [facts.compare("grant", row)[0] for _ in range(3)] == ["", "", "fact without an event"]
    assert list(facts.missing()) == []
    facts.add_event(3, "grant:started", {"after": row})
    facts.add_event(4, "grant:ended", {"before": row, "after": {**row, "ended_at": "2027"}})
    assert facts.compare("grant", {**row, "ended_at": "2027"}) == ("", "")
    assert list(facts.missing()) == []
    facts.add_event(5, "grant:ended", {"before": row, "after": None})
    assert [why for _, why in facts.missing()] == ["the event ends what no event began"]


def test_trees_are_read_in_any_order() -> None:
    """The order in which trees are read does not matter: a later event may be read before an earlier one."""
    facts = FactComparison(canonical)
    facts.add_event(9, "patient:changed", {"after": {"patient": "p", "subscription": "city"}})
    facts.add_event(4, "patient:added", {"after": {"patient": "p", "subscription": "north"}})
    assert facts.compare("patient", {"patient": "p", "subscription": "city"}) == ("", "")
    facts.add_event(8, "entity:ended", {"before": {"id": "d", "subscription": "x"}, "after": None})
    facts.add_event(3, "entity:started", {"before": None, "after": {"id": "d", "subscription": "x"}})
    facts.add_event(3, "entity:started", {"before": None, "after": {"id": "of before 0.2"}})
    facts.add_event(9, "entity:ended", {"before": {"id": "of before 0.2", "subscription": "y"}, "after": None})
    assert [why for _, why in facts.missing()] == []
