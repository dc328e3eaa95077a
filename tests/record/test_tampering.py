"""Every kind of tampering with the record is found and named, also by a person who may write everything."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.audit.export import batches, fhir
from authz.audit.export.log import log_lines
from authz.audit.integrity.checkpoints import Signer, checkpoint, format_note
from authz.audit.integrity.verification import verification, verify_database
from authz.database import FAULTS, Database, close_all, connect, migrate
from authz.errors import Conflict
from authz.models import Event, MerkleLeaf, RecordedDecision, Seal
from authz.record import replay_facts, seal
from authz.record.merkle import Frontier
from tests.support.people import NOW
from tests.support.sample_record import ANSWERS, answer, record
from tests.support.tampering import fill_all, judge, sql, unlock


def swap(database: Database) -> None:
    """Exchange two events of one tree, all but their ids."""
    columns = ("at", "kind", "patient", "actor", "client", "request_id", "address", "reason", "body")
    first, second = (
        database.execute_sql(f"SELECT {', '.join(columns)} FROM event WHERE id = {number}").fetchone()
        for number in (202, 204)
    )
    for number, row in ((202, second), (204, first)):
        values = dict(zip(columns, row, strict=True))
        Event.update(values).where(Event.id == number).execute(database)


def truncate(database: Database) -> None:
    """Delete the last leaves of a tree with their rows, and store the tree as it was before them."""
    lines = [line for line in log_lines(database) if "hash" in line or "tree" in line]
    begin = next(at for at, line in enumerate(lines) if line.get("tree") == "north")
    leaves = [bytes.fromhex(line["hash"]) for line in lines[begin + 1 :][: lines[begin]["size"]]][:-5]
    edge, _ = Frontier().append(leaves)
    last_leaves = MerkleLeaf.select(MerkleLeaf.event).where(MerkleLeaf.tree == "north", MerkleLeaf.number >= edge.size)
    events = [event for (event,) in last_leaves.tuples().execute(database) if event]
    Event.delete().where(Event.id.in_(events)).execute(database)
    seals = MerkleLeaf.select(MerkleLeaf.seal).where(MerkleLeaf.tree == "north", MerkleLeaf.number >= edge.size)
    for (number,) in list(seals.tuples().execute(database)):
        for begin, last in Seal.select(Seal.first, Seal.last).where(Seal.id == number).tuples().execute(database):
            which = (RecordedDecision.subscription == "north", RecordedDecision.id.between(begin, last))
            RecordedDecision.delete().where(*which).execute(database)
        Seal.delete().where(Seal.id == number).execute(database)
    MerkleLeaf.delete().where(MerkleLeaf.tree == "north", MerkleLeaf.number >= edge.size).execute(database)
    database.execute_sql(f"DELETE FROM node WHERE tree = 'north' AND (number + 1) * 16 > {edge.size} AND level = 4")
    database.execute_sql(
        f"UPDATE tree SET size = {database.param}, edge = {database.param} WHERE name = 'north'",
        (edge.size, b"".join(edge.nodes)),
    )


TAMPERING: dict[str, tuple[Callable[[Database], None], str]] = {
    "an event's actor": (sql("UPDATE event SET actor = 'bob' WHERE id = 210"), "changed row: event 210"),
    "an event's address": (sql("UPDATE event SET address = '1.2.3.4' WHERE address <> ''"), "changed row: event "),
    "an event's reason": (sql("UPDATE event SET reason = 'other' WHERE reason <> ''"), "changed row: event "),
    "a denial made a permit": (
        sql("UPDATE decision SET allowed = NOT allowed WHERE id = 7"),
        "changed row: decision 7 ",
    ),
    "a permit of another type": (sql("UPDATE decision SET allowed = 'x' WHERE id = 7"), "changed row: decision 7 "),
    "an action in bytes": (sql("UPDATE decision SET action = x'76' WHERE id = 7"), "changed row: decision 7 "),
    "an actor in bytes": (sql("UPDATE event SET actor = x'62' WHERE id = 210"), "changed row: event 210"),
    "an empty body": (sql("UPDATE event SET body = '{}' WHERE id = 210"), "changed row: event 210"),
    "a body of another form": (sql("UPDATE event SET body = '[]' WHERE id = 210"), "changed row: event 210"),
    "a decision's address": (sql("UPDATE decision SET address = '' WHERE id = 7"), "changed row: decision 7 "),
    "a deleted event": (sql("DELETE FROM event WHERE id = 210"), "deleted row: event 210"),
    "a deleted decision": (sql("DELETE FROM decision WHERE id = 7"), "deleted row: decisions between 4 and 10 "),
    "a deleted leaf": (
        sql("DELETE FROM event WHERE id = 210", "DELETE FROM leaf WHERE event = 210"),
        "deleted row: leaf",
    ),
    "a swapped pair": (swap, "swapped pair: event 202"),
    "a truncated tail": (truncate, "truncated tail: "),
    "an event past the log": (
        sql("INSERT INTO event (id, at, kind, subscription, body) VALUES (100000, 1, 'grant:ended', 'north', '{}')"),
        "row without a leaf: event 100000",
    ),
    "a decision moved to another clinic": (sql("UPDATE decision SET subscription = 'x' WHERE id = 7"), "deleted row: "),
    "a decision past the log": (
        sql(
            "INSERT INTO decision (id, at, asked_at, request_id, subject_type, subject, action, resource_type, "
            "resource, allowed, reason, rule, policy_version, subscription) VALUES "
            "(-5, 3, 3, 'r', 'practitioner', 'eve', 'view', 'patient', 'p-1', true, 'permitted', 'R3', 'f', 'nowhere')"
        ),
        "row without a leaf: decision -5",
    ),
    "a seal past the log": (
        sql("INSERT INTO seal SELECT id + 9000, at, subscription, month, first, last, upto, 0, root, marks FROM seal"),
        "row without a leaf: seal 9001",
    ),
    "a seal": (sql("UPDATE seal SET count = count + 1 WHERE id = 1"), "changed row: seal 1"),
    "a seal's marks": (sql("UPDATE seal SET marks = root WHERE id = 1"), "changed row: seal 1 "),
    "a node": (sql("UPDATE node SET number = number + 70 WHERE level = 4 AND number = 0"), "changed row: node "),
    "a checkpoint's size": (
        sql("UPDATE checkpoint SET size = size + 1 WHERE id = 1"),
        "forged checkpoint: checkpoint 1",
    ),
    "a checkpoint that is none": (sql("UPDATE checkpoint SET note = 'x' WHERE id = 1"), "forged checkpoint: a "),
    "a name twice in a body": (
        sql("UPDATE event SET body = '{\"after\":1,' || substr(body, 2) WHERE id = 210"),
        "changed row: event 210",
    ),
    "a patient in another clinic": (
        sql("UPDATE patient SET subscription_id = 'city' WHERE id = 'p-1'"),
        "changed fact: patient p-1",
    ),
    "a patient who is there again": (
        sql("UPDATE patient SET ended_at = ended_at - 1 WHERE id = 'p-1'"),
        "changed fact: patient p-1",
    ),
    "a patient's name": (sql("UPDATE patient SET name = 'x' WHERE id = 'p-1'"), "changed fact: patient p-1"),
    "a key of a list": (sql("UPDATE patient SET search_key = 'x' WHERE id = 'p-1'"), "changed fact: patient p-1"),
    "a login": (
        sql("UPDATE practitioner SET login = 'x@x.example' WHERE id = 'dan'"),
        "changed fact: practitioner dan",
    ),
    "an app's scopes": (sql("UPDATE client SET scopes = 'admin'"), "changed fact: client 1"),
    "an app's clinic": (sql("UPDATE client SET subscription_id = NULL"), "changed fact: client 1"),
    "an app's key": (sql("UPDATE client SET key_hash = 'x'"), "changed fact: client 1"),
    "a clinic's name": (sql("UPDATE subscription SET name = 'x' WHERE id = 'city'"), "changed fact: subscription city"),
    "a review": (sql("UPDATE review SET verdict = 'revoke'"), "changed fact: review 1"),
    "an emergency access": (sql("UPDATE emergency SET purpose = 'ETREAT'"), "changed fact: emergency 1"),
    "a deleted emergency access": (sql("DELETE FROM emergency"), "deleted fact: emergency 1"),
    "a review that nobody did": (
        sql(
            "INSERT INTO review (id, at, campaign, subscription_id, grant_id, reviewer_id, verdict, due_at) "
            "SELECT 77, at, 'x', subscription_id, grant_id, reviewer_id, verdict, due_at FROM review"
        ),
        "fact without an event: review 77",
    ),
    "a deleted review": (sql("DELETE FROM review"), "deleted fact: review 1"),
    "a share that goes on": (
        sql('UPDATE "grant" SET ended_at = ended_at + 1 WHERE id = (SELECT max(id) FROM "grant")'),
        "fact without an event: grant ",
    ),
    "a manager": (sql("UPDATE membership SET role = 'manager' WHERE id = 1"), "fact without an event: membership 1"),
    "a licence": (sql("UPDATE licence SET ended_at = ended_at - 1 WHERE id = 1"), "fact without an event: licence 1"),
    "a standing share's reach": (
        sql("UPDATE standing_share SET content = NOT content WHERE id = 1"),
        "fact without an event: standing_share 1",
    ),
    "an entity's clinic": (sql("UPDATE entity SET subscription = 'x' WHERE pk = 1"), "fact without an event: entity 1"),
    "an entity's properties": (
        sql('UPDATE entity SET properties = \'{"title": "x"}\' WHERE pk = 1'),
        "fact without an event: entity 1",
    ),
    "an entity's relation": (
        sql("UPDATE entity_link SET target = 'p-2' WHERE entity_id = 1 AND property = 'patient'"),
        "fact without an event: entity 1",
    ),
    "a relation's type": (
        sql("UPDATE entity_link SET type = 'x' WHERE entity_id = 1"),
        "fact without an event: entity 1",
    ),
    "a target of a relation to many": (
        sql("INSERT INTO entity_target VALUES (1, 'readers', 'document', 'practitioner', 'bob')"),
        "fact without an event: entity 1",
    ),
    "a deleted entity": (
        sql("DELETE FROM entity_link WHERE entity_id = 1", "DELETE FROM entity WHERE pk = 1"),
        "deleted fact: a fact of event ",
    ),
    "a tree": (sql("UPDATE tree SET size = size + 1 WHERE name = 'north'"), "truncated tail: leaf "),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sealed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, str]]:
    """Return a recorded database of each kind, its checkpoints, and the key; a test must undo its changes."""
    folder = tmp_path_factory.mktemp("sealed")
    sqlite = f"sqlite:///{folder}/caregrant.db"
    database = connect(sqlite if request.param == "sqlite" else request.getfixturevalue("new_postgresql_url")())
    migrate(database)
    fill_all(database)
    key = Signer.make(str(folder / "key"), "clinic.example/log")
    yield database, "\n".join(format_note(note) for note in checkpoint(database, key, NOW)), str(key.key)
    close_all(database)


SQLITE_ALONE = {"a permit of another type", "a name twice in a body"}
"""Tampering that PostgreSQL itself refuses, because its columns have types."""


@pytest.mark.parametrize("what", list(TAMPERING))
def test_tampering_is_found_and_named(what: str, sealed: tuple[Any, str, str]) -> None:
    """The verifiers find each kind of tampering and name the first row that shows it."""
    database, kept, key = sealed
    tamper, name = TAMPERING[what]
    with database.atomic() as transaction:
        unlock(database)
        if what in SQLITE_ALONE and database.dialect == "postgresql":
            with pytest.raises(FAULTS):
                tamper(database)
            transaction.rollback()
            return
        tamper(database)
        report = judge(database, kept, key)
        transaction.rollback()
    assert report.verdict.exit_code == 1
    assert any(str(finding).startswith(name) for finding in report.findings), report.findings
    assert judge(database, kept, key).verdict.word == "VERIFIED"


@pytest.mark.parametrize("body", ["{}", "[]", '{"after": []}'])
def test_a_forged_body_stops_no_reader(recorded: Database, body: str) -> None:
    """An event with a forged body is a difference for replay and a row for every export, not a crash."""
    unlock(recorded)
    (number,) = recorded.execute_sql("SELECT id FROM event WHERE kind = 'grant:started' LIMIT 1").fetchone()
    recorded.execute_sql(f"UPDATE event SET body = '{body}' WHERE id = {number}")
    differences = replay_facts(recorded).differences
    assert "grant" in {difference.noun for difference in differences}
    assert sum(1 for line in log_lines(recorded) if line.get("row") == f"event {number}") == 1
    assert any(resource["id"] == f"event-{number}" for resource in fhir.resources(recorded, "r4", NOW))


def test_processes_find_what_one_finds(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes that share the decisions find the same faults as one process."""
    monkeypatch.setattr(batches, "LEAST_DECISIONS", 20)
    monkeypatch.setattr(batches, "_MOST", 3)
    database = connect(database_url)
    migrate(database)
    record(database)
    for hours in (0, 0, 1):  # the last batch is an hour before the others
        answer(database, NOW - timedelta(hours=hours), range(30))
        seal(database, NOW)
    before = verify_database(database, url=database_url)
    unlock(database)
    sql(
        "UPDATE decision SET allowed = NOT allowed WHERE id IN (7, 100)",
        "DELETE FROM decision WHERE id = 120",
        "DELETE FROM decision WHERE subscription = '' AND id > 130",
        "UPDATE decision SET subscription = 'nowhere' WHERE id = 140",
    )(database)
    single = verify_database(database)
    monkeypatch.delattr(batches, "read_span")  # nothing is read here
    several = verify_database(database, url=database_url)
    close_all(database)
    assert [(finding.kind, finding.where) for finding in before.findings] == [
        ("clock set back", f"decision {number}") for number in (124, 125, 126)
    ]
    kinds = {"clock set back", "changed row", "deleted row", "row without a leaf"}
    assert {finding.kind for finding in several.findings} == kinds
    assert set(several.findings) == set(single.findings)
    assert (several.rows, several.dropped) == (single.rows, single.dropped)
    assert [tree.rows for tree in several.trees] == [tree.rows for tree in single.trees]


def rewrite(database: Database) -> None:
    """Change rows, and make every leaf, node and tree anew so that they agree with the rows."""
    unlock(database)
    database.execute_sql("UPDATE event SET actor = 'mallory' WHERE id = 210")
    database.execute_sql("UPDATE decision SET allowed = NOT allowed WHERE id = 7")
    for table in ("leaf", "node", "tree", "seal", "checkpoint", "secret"):
        database.execute_sql(f"DELETE FROM {table}")
    from authz.record.events import enter_existing  # noqa: PLC0415

    with database.atomic():
        enter_existing(database)
    seal(database, NOW)


def test_a_rewritten_history_is_found_by_who_kept_a_checkpoint(
    recorded: Database, signer: Signer, tmp_path: Path
) -> None:
    """A rewritten history agrees with itself, also under a new key, but not with an old checkpoint or the old key."""
    kept = "\n".join(format_note(note) for note in checkpoint(recorded, signer, NOW))
    rewrite(recorded)
    assert verification(recorded).ok
    assert (verification(recorded, kept).problem or "").startswith(("rewritten history: ", "truncated tail: "))
    with pytest.raises(Conflict, match="nothing was signed"):
        checkpoint(recorded, signer, NOW)
    checkpoint(recorded, Signer.make(str(tmp_path / "mallory"), signer.key.name), NOW)
    assert verification(recorded).ok
    problem = verification(recorded, None, str(signer.key)).problem or ""
    assert problem.startswith("rewritten history: checkpoint")
    assert "not signed by this key" in problem


def test_a_forged_checkpoint_is_found(recorded: Database, signer: Signer) -> None:
    """A checkpoint with another root under the old signature is found, whether it was kept or is in the database."""
    note = next(note for note in checkpoint(recorded, signer, NOW) if note.origin.endswith("/north"))
    forged = format_note(note).replace(base64.b64encode(note.root).decode(), base64.b64encode(bytes(32)).decode())
    assert "forged checkpoint: " in str(verify_database(recorded, forged, str(signer.key)).findings[0])
    unlock(recorded)
    parameter = recorded.param
    recorded.execute_sql(f"UPDATE checkpoint SET note = {parameter} WHERE tree = 'north'", (forged,))
    assert (verification(recorded, None, str(signer.key)).problem or "").startswith("forged checkpoint: ")


def test_a_clock_set_back_is_found(recorded: Database, signer: Signer) -> None:
    """An answer whose instant lies before that of an earlier answer is found, though every hash is right."""
    answer(recorded, NOW - timedelta(hours=1), range(1))
    seal(recorded, NOW)
    assert (verification(recorded).problem or "").startswith(f"clock set back: decision {ANSWERS + 1} ")
