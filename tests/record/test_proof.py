"""Proof: every row is in a tree, trees and checkpoints only grow, and an outsider's verifier agrees."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from playhouse.migrations import Runner

from authz.audit import verify
from authz.audit.export.log import log_lines
from authz.audit.integrity.checkpoints import Signer, checkpoint, format_note
from authz.audit.integrity.proofs import prove_consistency, prove_decision, prove_event
from authz.audit.integrity.verification import verification
from authz.database import MIGRATIONS, Database, close_all, connect, migrate
from authz.errors import InvalidInput, NotFound
from authz.models import Event, IdempotentResponse, Patient, PersonalSecret, RecordedDecision, Seal
from authz.record import Actor, seal
from authz.record.erasure import ERASED_NAME, erase
from authz.record.leaves import canonical
from authz.record.merkle import Frontier, consistency, inclusion, leaf_hash, node_hash
from authz.record.trees import node_reader, trees
from tests.support.people import NOW
from tests.support.sample_record import ANSWERS, VIEWS, answer, record

REFERENCE = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
"""The leaves of the Certificate Transparency test vectors."""


# The mathematics.


def test_the_reference_leaves_have_the_reference_root() -> None:
    """The trees are those of RFC 6962: the eight leaves of its reference implementation give its root."""
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in REFERENCE]
    root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert Frontier().append(leaves)[0].root.hex() == root
    assert verify.root_of(leaves).hex() == root


def test_roots_agree_with_another_implementation() -> None:
    """At every size up to 70, in whatever portions leaves are appended, the root equals that of pymerkle."""
    from pymerkle import InmemoryTree  # noqa: PLC0415

    other, edge, random_ = InmemoryTree(algorithm="sha256"), Frontier(), random.Random(6)
    while edge.size < 70:
        entries = [str(edge.size + at).encode() for at in range(random_.choice((1, 1, 2, 5, 16)))]
        edge, _ = edge.append([leaf_hash(entry) for entry in entries])
        for entry in entries:
            other.append_entry(entry)
        assert edge.root == other.get_root()


@given(st.integers(1, 200), st.data())
def test_proofs_prove_and_nothing_else(size: int, data: st.DataObject) -> None:
    """A leaf is proven in its tree, and a tree in a later one; another leaf, place or root is not proven."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]

    def node(level: int, index: int) -> bytes:
        return leaves[index] if level == 0 else node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    number, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    root, old_root = verify.root_of(leaves), verify.root_of(leaves[:old])
    path = inclusion(node, number, size)
    assert verify.is_included(root, size, number, leaves[number], path)
    assert not verify.is_included(root, size, number, leaf_hash(b"other"), path)
    assert not verify.is_included(root, size, (number + 1) % (size + 1), leaves[number], path)
    between = consistency(node, old, size)
    assert verify.is_consistent(old, old_root, size, root, between)
    assert not verify.is_consistent(old, leaf_hash(b"other"), size, root, between)
    assert old in (0, size) or not verify.is_consistent(old, old_root, size, leaf_hash(b"other"), between)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner),
    max_leaves=8,
)


@given(VALUES)
def test_leaves_are_canonical(value: Any) -> None:
    """Service and verifier both serialize a leaf to the bytes of RFC 8785."""
    assert canonical(value) == verify.canonical(value) == rfc8785.dumps(value)


# The record.


def test_every_row_is_in_a_tree(recorded: Database) -> None:
    """Each event and each sealed answer is in its subscription's tree; answers that are not sealed are counted."""
    verify_database = verification(recorded)
    assert (verify_database.ok, verify_database.problem, verify_database.report.unsealed) == (True, None, 0)
    assert set(verify_database.sizes) == {"", "north", "city", "harbour"}
    seals = Seal.select().count(recorded)
    assert verify_database.report.rows == Event.select().count(recorded) + ANSWERS + seals
    assert {name: edge.root.hex() for name, edge in trees(recorded).items()} == verify_database.roots
    answer(recorded, NOW, range(3))
    assert verification(recorded).report.unsealed == 3
    assert seal(recorded, NOW) == 3
    assert seal(recorded, NOW) == 0
    assert verification(recorded).ok


def test_stored_nodes_make_the_proofs(recorded: Database, signer: Signer) -> None:
    """The verifier alone proves an event and a decision from a few hashes, and refuses a changed one."""
    checkpoint(recorded, signer, NOW)
    event, decision = prove_event(recorded, 200), prove_decision(recorded, 45)
    assert "event 200 is leaf" in verify.check_proof(event, signer.key)
    assert "decision 45 is in leaf" in verify.check_proof(decision, signer.key)
    assert len(event["path"]) <= 8
    for proof, part in ((event, "leaf"), (decision, "row"), (decision, "leaf")):
        with pytest.raises(verify.Malformed):
            verify.check_proof({**proof, part: {**proof[part], "id": 7}}, signer.key)
    with pytest.raises(NotFound):
        prove_event(recorded, 10**6)
    answer(recorded, NOW, range(1))
    with pytest.raises(InvalidInput, match="not sealed"):
        prove_decision(recorded, ANSWERS + 1)
    nodes = node_reader(recorded, "north")
    assert nodes(3, 1) == node_hash(nodes(2, 2), nodes(2, 3))


def test_a_checkpoint_goes_on_from_the_last(recorded: Database, signer: Signer) -> None:
    """A tree with new leaves gets a new checkpoint that is consistent with the old; a tree without keeps its own."""
    first = {note.origin: note for note in checkpoint(recorded, signer, NOW)}
    assert {note.signature_fault(signer.key) for note in first.values()} == {""}
    answer(recorded, NOW, range(2))
    second = {note.origin: note for note in checkpoint(recorded, signer, NOW)}
    assert second["clinic.example/log/north"].size == first["clinic.example/log/north"].size + 1
    assert second["clinic.example/log/harbour"] == first["clinic.example/log/harbour"]
    for proof in prove_consistency(recorded, "\n".join(format_note(note) for note in first.values())):
        assert "begins with" in verify.check_proof(proof, signer.key)
    assert verification(recorded, format_note(first["clinic.example/log/north"]), str(signer.key)).ok


def test_a_note_is_in_the_form_of_c2sp(recorded: Database, signer: Signer) -> None:
    """A note is origin, size, root, an empty line, `— name base64(key id, signature)`, and the name is the origin."""
    note = next(note for note in checkpoint(recorded, signer, NOW) if note.origin.endswith("/north"))
    form = r"clinic\.example/log/north\n\d+\n[A-Za-z0-9+/]{43}=\n\n— clinic\.example/log/north [A-Za-z0-9+/=]+\n"
    assert re.fullmatch(form, format_note(note))
    assert verify.parse_notes(format_note(note) + "\n" + format_note(note)) == [note, note]
    assert verify.VerifierKey.parse(str(signer.key)) == signer.key
    assert signer.path.stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidInput, match="never written over"):
        Signer.make(str(signer.path), "other")


# Erasure.


def test_a_person_is_erased_and_the_trees_stand(recorded: Database, signer: Signer) -> None:
    """Erasure removes addresses, reasons and the secret; the log stays whole and says who was erased."""
    kept = "\n".join(format_note(note) for note in checkpoint(recorded, signer, NOW))
    erased = erase(recorded, Actor("", NOW), "practitioner:bob")
    assert erased.decisions == sum(number % 3 > 0 for number in range(VIEWS))
    assert (
        not RecordedDecision.select()
        .where(RecordedDecision.actor == "bob", RecordedDecision.address != "")
        .exists(recorded)
    )
    assert Event.select().where(Event.address == "192.0.2.7").count(recorded) > 0
    assert erase(recorded, Actor("", NOW), "patient:p-5").events == 1
    assert not Event.select().where(Event.reason == "on leave").exists(recorded)
    assert (
        not PersonalSecret.select()
        .where(PersonalSecret.whose.in_(["practitioner:bob", "patient:p-5"]))
        .exists(recorded)
    )
    assert verification(recorded, kept, str(signer.key)).ok
    with pytest.raises(NotFound):
        erase(recorded, Actor("", NOW), "practitioner:bob")
    unlocked = Event.update(kind="x")
    with pytest.raises(Exception, match="append-only"):
        unlocked.execute(recorded)


def test_a_patients_name_and_reference_are_erased(recorded: Database, signer: Signer) -> None:
    """Erasure removes name, reference and stored responses of a patient; two events name the patient by id alone."""
    kept = "\n".join(format_note(note) for note in checkpoint(recorded, signer, NOW))
    Patient.update(name="Zoltan Unique", reference="MRN 77", search_key="zoltan unique").where(
        Patient.id == "p-5"
    ).execute(recorded)
    columns = {"caller": "x", "fingerprint": "", "status": 201, "created_at": NOW, "subscription": "north"}
    for patient in ("p-5", "p-55"):
        IdempotentResponse.insert(key=patient, body=f'{{"id":"{patient}","name":"Zoltan Unique"}}', **columns).execute(
            recorded
        )
    before = Event.select().count(recorded)
    assert erase(recorded, Actor("", NOW), "patient:p-5").patient == 2
    row = Patient.select().where(Patient.id == "p-5").execute(recorded)[0]
    assert (row.name, row.reference, row.search_key.strip()) == (ERASED_NAME, "", "(erased)")
    assert [response.key for response in IdempotentResponse.select().execute(recorded)] == ["p-55"]
    changed, erased = Event.select().order_by(Event.id).offset(before).execute(recorded)
    assert (changed.kind, changed.patient, changed.body["changed"]) == ("patient:changed", "p-5", ["name", "reference"])
    assert ERASED_NAME not in str(changed.body)
    assert (erased.kind, erased.body["whose"], erased.body["patient"]) == ("record:erased", "patient:p-5", 2)
    assert verification(recorded, kept, str(signer.key)).ok
    with pytest.raises(NotFound):
        erase(recorded, Actor("", NOW), "patient:p-5")
    assert erase(recorded, Actor("", NOW), "patient:p-6").events == 0, "a patient who has only a name is erased too"


# Outside.


@pytest.fixture
def exported(sqlite_url: str, signer: Signer, tmp_path: Path) -> Iterator[Path]:
    """Write the log and a checkpoint to files, next to a copy of the verifier script."""
    database = connect(sqlite_url)
    database.connect()
    record(database)
    notes = checkpoint(database, signer, NOW)
    (tmp_path / "kept").write_text("\n".join(format_note(note) for note in notes))
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in log_lines(database)))
    shutil.copy(verify.__file__, tmp_path / "lone.py")
    yield tmp_path
    close_all(database)


def lone(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script in an interpreter that cannot import this project."""
    return subprocess.run(
        [sys.executable, "-P", "lone.py", *arguments], cwd=where, capture_output=True, text=True, check=False
    )


def test_the_verifier_runs_alone(exported: Path, signer: Signer) -> None:
    """Without our code the verifier accepts an exported log, and refuses it with a changed or missing line."""
    verifier = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert (verifier.returncode, verifier.stderr) == (0, "")
    assert "\nVERIFIED: " in verifier.stdout
    text = (exported / "log").read_text()
    (exported / "log").write_text(text.replace('"actor": "alice"', '"actor": "erin"', 1))
    verifier = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert verifier.returncode == 1
    assert "NOT VERIFIED: changed row: event " in verifier.stdout
    hidden = [{**line, "rows": None} if "rows" in line else line for line in map(json.loads, text.splitlines())]
    (exported / "log").write_text("".join(json.dumps(line) + "\n" for line in hidden))
    verifier = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert "NOT VERIFIED: deleted row: decisions " in verifier.stdout
    (exported / "log").write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert lone(exported, "log").stderr == "verify: the log is damaged: its end is not there\n"
    bare = [{name: value for name, value in line.items() if name != "rows"} for line in hidden]
    (exported / "log").write_text("".join(json.dumps(line) + "\n" for line in bare))
    assert lone(exported, "log").stderr == "verify: this is no exported log: 'rows'\n"
    assert "import authz" not in (exported / "lone.py").read_text()
    assert "from authz" not in (exported / "lone.py").read_text()


def test_a_record_of_before_goes_into_its_trees(database_url: str, tmp_path: Path) -> None:
    """An upgrade puts events and answers from before the trees into the trees."""
    database = connect(database_url if database_url.startswith("postgresql") else f"sqlite:///{tmp_path}/old.db")
    if database.dialect == "postgresql":
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            database.execute_sql(statement)
    Runner(database, str(MIGRATIONS)).up("0004_decision_context")
    for statement in (
        "INSERT INTO event (at, kind, subscription, body, patient, address) "
        "VALUES (1, 'patient:added', 'north', '{}', 'p-1', '192.0.2.1'), (2, 'client:added', '', '{}', '', '')",
        "INSERT INTO decision (at, asked_at, request_id, subject_type, subject, action, resource_type, resource, "
        "allowed, reason, rule, policy_version, subscription) VALUES "
        "(3, 3, 'r', 'practitioner', 'alice', 'view', 'patient', 'p-1', true, 'permitted', 'R3', 'f', 'north')",
    ):
        database.execute_sql(statement)
    assert migrate(database)[0] == "0005_proof"
    before = verification(database)
    assert (before.ok, before.problem, before.sizes, before.report.unsealed) == (True, None, {"": 1, "north": 1}, 1)
    assert seal(database, NOW) == 1
    after = verification(database)
    assert (after.ok, after.sizes, after.report.rows) == (True, {"": 1, "north": 2}, 4)
    close_all(database)
