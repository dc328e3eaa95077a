"""The record is proven: each way of tampering with it is found and named, by the verifier alone."""

import base64
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from playhouse.migrations import Runner

from authz.audit import batches, verify
from authz.audit.checkpoints import Signer, checkpoint, full
from authz.audit.log import log_lines
from authz.audit.proof import verification, verified
from authz.audit.proofs import prove_consistency, prove_decision, prove_event
from authz.database import MIGRATIONS, Database, connect, migrate, shut
from authz.errors import Conflict, InvalidInput, NotFound
from authz.models import Decision, Event, Leaf, PersonalSecret, Seal
from authz.record import Act, seal
from authz.record.erasing import erase
from authz.record.leaves import canonical
from authz.record.proof import nodes_of, trees
from authz.record.tree import Edge, consistency, inclusion, leaf_hash, node_hash
from tests.people import NOW
from tests.recorded import ANSWERS, ASKED, answer, record

REFERENCE = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
"""The leaves of the Certificate Transparency test vectors."""


# The mathematics.


def test_the_reference_leaves_have_the_reference_root() -> None:
    """The trees are those of RFC 6962: the eight leaves of its reference implementation give its root."""
    leaves = [leaf_hash(bytes.fromhex(one)) for one in REFERENCE]
    root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert Edge().grown(leaves)[0].root.hex() == root
    assert verify.root_of(leaves).hex() == root


def test_roots_agree_with_another_implementation() -> None:
    """At every size up to 70, however the leaves came, the root is that of pymerkle."""
    from pymerkle import InmemoryTree  # noqa: PLC0415

    other, edge, random_ = InmemoryTree(algorithm="sha256"), Edge(), random.Random(6)
    while edge.size < 70:
        some = [str(edge.size + at).encode() for at in range(random_.choice((1, 1, 2, 5, 16)))]
        edge, _ = edge.grown([leaf_hash(one) for one in some])
        for one in some:
            other.append_entry(one)
        assert edge.root == other.get_root()


@given(st.integers(1, 200), st.data())
def test_proofs_prove_and_nothing_else(size: int, data: st.DataObject) -> None:
    """Each leaf is proven in each tree, each tree in each later one; another leaf, place or root is not."""
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]

    def node(level: int, index: int) -> bytes:
        return leaves[index] if level == 0 else node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    number, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    root, old_root = verify.root_of(leaves), verify.root_of(leaves[:old])
    path = inclusion(node, number, size)
    assert verify.included(root, size, number, leaves[number], path)
    assert not verify.included(root, size, number, leaf_hash(b"other"), path)
    assert not verify.included(root, size, (number + 1) % (size + 1), leaves[number], path)
    between = consistency(node, old, size)
    assert verify.consistent(old, old_root, size, root, between)
    assert not verify.consistent(old, leaf_hash(b"other"), size, root, between)
    assert old in (0, size) or not verify.consistent(old, old_root, size, leaf_hash(b"other"), between)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner),
    max_leaves=8,
)


@given(VALUES)
def test_leaves_are_canonical(value: Any) -> None:
    """What the service writes and what the verifier writes are the bytes of RFC 8785."""
    assert canonical(value) == verify.canonical(value) == rfc8785.dumps(value)


# The record.


@pytest.fixture
def recorded(database: Database) -> Database:
    record(database)
    return database


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.make(str(tmp_path / "key"), "clinic.example/log")


def test_every_row_is_in_a_tree(recorded: Database) -> None:
    """Events and sealed answers are all covered, each in its subscription's tree; what is not sealed is counted."""
    found = verification(recorded)
    assert (found.ok, found.problem, found.unsealed) == (True, None, 0)
    assert set(found.sizes) == {"", "north", "city", "harbour"}
    seals = Seal.select().count(recorded)
    assert found.rows_checked == Event.select().count(recorded) + ANSWERS + seals
    assert {name: edge.root.hex() for name, edge in trees(recorded).items()} == found.roots
    answer(recorded, NOW, range(3))
    assert verification(recorded).unsealed == 3
    assert seal(recorded, NOW) == 3
    assert seal(recorded, NOW) == 0
    assert verification(recorded).ok


def test_stored_nodes_make_the_proofs(recorded: Database, signer: Signer) -> None:
    """An event and a decision are proven with some hashes, by the verifier alone, and only as they are."""
    checkpoint(recorded, signer, NOW)
    event, decision = prove_event(recorded, 200), prove_decision(recorded, 45)
    assert "event 200 is leaf" in verify.proven(event, signer.key)
    assert "decision 45 is in leaf" in verify.proven(decision, signer.key)
    assert len(event["path"]) <= 8
    for proof, part in ((event, "leaf"), (decision, "row"), (decision, "leaf")):
        with pytest.raises(verify.Malformed):
            verify.proven({**proof, part: {**proof[part], "id": 7}}, signer.key)
    with pytest.raises(NotFound):
        prove_event(recorded, 10**6)
    answer(recorded, NOW, range(1))
    with pytest.raises(InvalidInput, match="not sealed"):
        prove_decision(recorded, ANSWERS + 1)
    nodes = nodes_of(recorded, "north")
    assert nodes(3, 1) == node_hash(nodes(2, 2), nodes(2, 3))


def test_a_checkpoint_goes_on_from_the_last(recorded: Database, signer: Signer) -> None:
    """A tree that has grown is signed anew, with a proof from the old; one that has not keeps its checkpoint."""
    first = {note.origin: note for note in checkpoint(recorded, signer, NOW)}
    assert all(not note.signed_by(signer.key) for note in first.values())
    answer(recorded, NOW, range(2))
    second = {note.origin: note for note in checkpoint(recorded, signer, NOW)}
    assert second["clinic.example/log/north"].size == first["clinic.example/log/north"].size + 1
    assert second["clinic.example/log/harbour"] == first["clinic.example/log/harbour"]
    for proof in prove_consistency(recorded, "\n".join(full(note) for note in first.values())):
        assert "begins with" in verify.proven(proof, signer.key)
    assert verification(recorded, full(first["clinic.example/log/north"]), str(signer.key)).ok


def test_a_note_is_in_the_form_of_c2sp(recorded: Database, signer: Signer) -> None:
    """Origin, size, root, an empty line, `— name base64(key id, signature)`: the name is the origin."""
    note = next(one for one in checkpoint(recorded, signer, NOW) if one.origin.endswith("/north"))
    form = r"clinic\.example/log/north\n\d+\n[A-Za-z0-9+/]{43}=\n\n— clinic\.example/log/north [A-Za-z0-9+/=]+\n"
    assert re.fullmatch(form, full(note))
    assert verify.notes_in(full(note) + "\n" + full(note)) == [note, note]
    assert verify.Key.parse(str(signer.key)) == signer.key
    assert signer.path.stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidInput, match="never written over"):
        Signer.make(str(signer.path), "other")


# Tampering. Whoever does it may write what they like, triggers or not.


def unlock(database: Database) -> None:
    """Put the triggers of the record and its keys aside, as somebody with the database in their hands would."""
    if database.dialect == "postgresql":
        for table in ("event", "decision", "leaf", "seal", "checkpoint"):
            database.execute_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        return
    found = database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in found:
        database.execute_sql(f"DROP TRIGGER {name}")
    database.execute_sql("PRAGMA foreign_keys = 0")


def sql(*statements: str) -> Callable[[Database], None]:
    def work(database: Database) -> None:
        for statement in statements:
            database.execute_sql(statement)

    return work


def swap(database: Database) -> None:
    """Two events of one tree exchange all but their ids."""
    columns = ("at", "kind", "patient", "actor", "client", "request_id", "address", "reason", "body")
    one, other = (
        database.execute_sql(f"SELECT {', '.join(columns)} FROM event WHERE id = {number}").fetchone()
        for number in (202, 204)
    )
    for number, row in ((202, other), (204, one)):
        said = dict(zip(columns, row, strict=True))
        Event.update(said).where(Event.id == number).execute(database)


def truncate(database: Database) -> None:
    """The last leaves of a tree go, with their rows, and the tree is told to be what it was before."""
    lines = [line for line in log_lines(database) if "hash" in line or "tree" in line]
    begin = next(at for at, line in enumerate(lines) if line.get("tree") == "north")
    leaves = [bytes.fromhex(line["hash"]) for line in lines[begin + 1 :][: lines[begin]["size"]]][:-5]
    edge, _ = Edge().grown(leaves)
    gone = Leaf.select(Leaf.event).where(Leaf.tree == "north", Leaf.number >= edge.size)
    Event.delete().where(Event.id.in_([one for (one,) in gone.tuples().execute(database) if one])).execute(database)
    seals = Leaf.select(Leaf.seal).where(Leaf.tree == "north", Leaf.number >= edge.size)
    for (one,) in list(seals.tuples().execute(database)):
        for number, last in Seal.select(Seal.first, Seal.last).where(Seal.id == one).tuples().execute(database):
            which = (Decision.subscription == "north", Decision.id.between(number, last))
            Decision.delete().where(*which).execute(database)
        Seal.delete().where(Seal.id == one).execute(database)
    Leaf.delete().where(Leaf.tree == "north", Leaf.number >= edge.size).execute(database)
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
        "changed row: decisions ",
    ),
    "a decision's address": (sql("UPDATE decision SET address = '' WHERE id = 7"), "changed row: decisions "),
    "a deleted event": (sql("DELETE FROM event WHERE id = 210"), "deleted row: event 210"),
    "a deleted decision": (sql("DELETE FROM decision WHERE id = 7"), "deleted row: decisions "),
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
        sql("INSERT INTO seal SELECT id + 9000, at, subscription, month, first, last, upto, 0, root FROM seal"),
        "row without a leaf: seal 9001",
    ),
    "a seal": (sql("UPDATE seal SET count = count + 1 WHERE id = 1"), "changed row: seal 1"),
    "a node": (sql("UPDATE node SET number = number + 70 WHERE level = 4 AND number = 0"), "changed row: node "),
    "a tree": (sql("UPDATE tree SET size = size + 1 WHERE name = 'north'"), "truncated tail: leaf "),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sealed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, str]]:
    """Each database in turn with a record, what was kept of its checkpoints, and the key; tests leave it as it was."""
    there = tmp_path_factory.mktemp("sealed")
    sqlite = f"sqlite:///{there}/caregrant.db"
    database = connect(sqlite if request.param == "sqlite" else request.getfixturevalue("postgresql_module_url"))
    migrate(database)
    record(database)
    key = Signer.make(str(there / "key"), "clinic.example/log")
    yield database, "\n".join(full(note) for note in checkpoint(database, key, NOW)), str(key.key)
    shut(database)


@pytest.mark.parametrize("what", list(TAMPERING))
def test_tampering_is_found_and_named(what: str, sealed: tuple[Any, str, str]) -> None:
    """Each way of changing the record is found by the verifier, and named with the first row that shows it."""
    database, kept, key = sealed
    work, name = TAMPERING[what]
    with database.atomic() as transaction:
        unlock(database)
        work(database)
        found = verification(database, kept, key)
        transaction.rollback()
    assert not found.ok
    assert (found.problem or "").startswith(name), found.problem
    assert verification(database, kept, key).ok


def test_processes_find_what_one_finds(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes that share the decisions find what one finds, whatever is wrong and wherever they meet."""
    monkeypatch.setattr(batches, "WORTH_A_PROCESS", 20)
    monkeypatch.setattr(batches, "_MOST", 3)
    database = connect(database_url)
    migrate(database)
    record(database)
    for hours in (0, 0, 1):  # the last batch is an hour before the others
        answer(database, NOW - timedelta(hours=hours), range(30))
        seal(database, NOW)
    before = verified(database, url=database_url)
    unlock(database)
    sql(
        "UPDATE decision SET allowed = NOT allowed WHERE id IN (7, 100)",
        "DELETE FROM decision WHERE id = 120",
        "DELETE FROM decision WHERE subscription = '' AND id > 130",
        "UPDATE decision SET subscription = 'nowhere' WHERE id = 140",
    )(database)
    one = verified(database)
    monkeypatch.delattr(batches, "read_span")  # nothing is read here
    several = verified(database, url=database_url)
    shut(database)
    assert [(found.kind, found.where) for found in before.findings] == [
        ("clock set back", f"decision {number}") for number in (124, 125, 126)
    ]
    kinds = {"clock set back", "changed row", "deleted row", "row without a leaf"}
    assert {found.kind for found in several.findings} == kinds
    assert set(several.findings) == set(one.findings)
    assert (several.rows, several.dropped) == (one.rows, one.dropped)
    assert [tree.rows for tree in several.trees] == [tree.rows for tree in one.trees]


def rewrite(database: Database) -> None:
    """Everything anew: a row changed, and every leaf, node and tree made to agree with it."""
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
    """A history made anew agrees with itself, under a key of its own too; not with an old checkpoint or the old key."""
    kept = "\n".join(full(note) for note in checkpoint(recorded, signer, NOW))
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
    """A checkpoint with another root, and the signature of the first, is forged: kept or in the database."""
    note = next(one for one in checkpoint(recorded, signer, NOW) if one.origin.endswith("/north"))
    forged = full(note).replace(base64.b64encode(note.root).decode(), base64.b64encode(bytes(32)).decode())
    assert "forged checkpoint: " in str(verified(recorded, forged, str(signer.key)).findings[0])
    unlock(recorded)
    parameter = recorded.param
    recorded.execute_sql(f"UPDATE checkpoint SET note = {parameter} WHERE tree = 'north'", (forged,))
    assert (verification(recorded, None, str(signer.key)).problem or "").startswith("forged checkpoint: ")


def test_a_clock_set_back_is_found(recorded: Database, signer: Signer) -> None:
    """Answers recorded as an hour before earlier ones are found, though every hash is right."""
    answer(recorded, NOW - timedelta(hours=1), range(1))
    seal(recorded, NOW)
    assert (verification(recorded).problem or "").startswith(f"clock set back: decision {ANSWERS + 1} ")


def test_no_byte_of_what_the_tree_covers_changes_unnoticed(sqlite_database: Database, signer: Signer) -> None:
    """A hundred times a random byte of a random covered field is changed: each time the verifier says no."""
    record(sqlite_database)
    checkpoint(sqlite_database, signer, NOW)
    unlock(sqlite_database)
    chance = random.Random(100)
    covered = {
        "event": ("id", Event.select().count(sqlite_database)),
        "decision": ("id", ANSWERS),
        "leaf": ("rowid", 0),
        "seal": ("id", Seal.select().count(sqlite_database)),
        "tree": ("rowid", 0),
    }
    for _ in range(100):
        table = chance.choice(list(covered))
        columns = [one.name for one in sqlite_database.get_columns(table)]
        column = chance.choice(columns)
        rows = sqlite_database.execute_sql(f'SELECT * FROM "{table}"').fetchall()
        row = chance.choice(rows)
        was = row[columns.index(column)]
        key = sqlite_database.get_primary_keys(table)
        where = " AND ".join(f'"{one}" = ?' for one in key)
        values = [row[columns.index(one)] for one in key]
        with sqlite_database.atomic() as transaction:
            changed = flipped(was, chance)
            sqlite_database.execute_sql(
                f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE {where}', (changed, *values)
            )
            if sqlite_database.execute_sql("SELECT changes()").fetchone()[0]:
                assert not whole(sqlite_database, signer), (table, column, was, changed)
            transaction.rollback()
    assert verification(sqlite_database, None, str(signer.key)).ok


def whole(database: Database, signer: Signer) -> bool:
    """What the verifier says; a row that cannot even be read is not whole."""
    try:
        return verification(database, None, str(signer.key)).ok
    except (ValueError, TypeError, KeyError, InvalidInput, Conflict):
        return False


def flipped(value: Any, chance: random.Random) -> Any:
    """A value with one byte changed; one that is nothing becomes something."""
    if value is None:
        return 1
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(0, 40)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    if not raw:
        return "x"
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(0, 7)
    return raw.decode(errors="replace") if isinstance(value, str) else bytes(raw)


# Erasure.


def test_a_person_is_erased_and_the_trees_stand(recorded: Database, signer: Signer) -> None:
    """Addresses and reasons go, their secret too; the log is whole as before, and says who was erased."""
    kept = "\n".join(full(note) for note in checkpoint(recorded, signer, NOW))
    erased = erase(recorded, Act("", NOW), "practitioner:bob")
    assert erased.decisions == sum(number % 3 > 0 for number in range(ASKED))
    assert not Decision.select().where(Decision.actor == "bob", Decision.address != "").exists(recorded)
    assert Event.select().where(Event.address == "192.0.2.7").count(recorded) > 0
    assert erase(recorded, Act("", NOW), "patient:p-5").events == 1
    assert not Event.select().where(Event.reason == "on leave").exists(recorded)
    assert (
        not PersonalSecret.select()
        .where(PersonalSecret.whose.in_(["practitioner:bob", "patient:p-5"]))
        .exists(recorded)
    )
    assert verification(recorded, kept, str(signer.key)).ok
    with pytest.raises(NotFound):
        erase(recorded, Act("", NOW), "practitioner:bob")
    unlocked = Event.update(kind="x")
    with pytest.raises(Exception, match="append-only"):
        unlocked.execute(recorded)


# Outside.


@pytest.fixture
def exported(sqlite_url: str, signer: Signer, tmp_path: Path) -> Iterator[Path]:
    """The log and a checkpoint as files, and the verifier as a lone script beside them."""
    database = connect(sqlite_url)
    database.connect()
    record(database)
    notes = checkpoint(database, signer, NOW)
    (tmp_path / "kept").write_text("\n".join(full(note) for note in notes))
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in log_lines(database)))
    shutil.copy(verify.__file__, tmp_path / "lone.py")
    yield tmp_path
    shut(database)


def lone(where: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """The script in an interpreter that finds nothing of ours."""
    return subprocess.run(
        [sys.executable, "-P", "lone.py", *given], cwd=where, capture_output=True, text=True, check=False
    )


def test_the_verifier_runs_alone(exported: Path, signer: Signer) -> None:
    """Without our code it finds an exported log whole, and a changed line not."""
    said = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert (said.returncode, said.stderr) == (0, "")
    assert "VERIFIED against the checkpoint of " in said.stdout
    text = (exported / "log").read_text()
    (exported / "log").write_text(text.replace('"actor": "alice"', '"actor": "erin"', 1))
    said = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert said.returncode == 1
    assert "NOT VERIFIED: changed row: event " in said.stdout
    hidden = [{**one, "rows": None} if "rows" in one else one for one in map(json.loads, text.splitlines())]
    (exported / "log").write_text("".join(json.dumps(line) + "\n" for line in hidden))
    said = lone(exported, "log", "--checkpoint", "kept", "--key", str(signer.key))
    assert "NOT VERIFIED: deleted row: decisions " in said.stdout
    assert f"not checked: {ANSWERS} decisions" in said.stdout
    bare = [{name: value for name, value in one.items() if name != "rows"} for one in hidden]
    (exported / "log").write_text("".join(json.dumps(line) + "\n" for line in bare))
    assert lone(exported, "log").stderr == "verify: this is no exported log: 'rows'\n"
    assert "import authz" not in (exported / "lone.py").read_text()
    assert "from authz" not in (exported / "lone.py").read_text()


def test_a_record_of_before_goes_into_its_trees(database_url: str, tmp_path: Path) -> None:
    """A database with events and answers from before there were trees: they are in them after the upgrade."""
    database = connect(database_url if database_url.startswith("postgresql") else f"sqlite:///{tmp_path}/old.db")
    if database.dialect == "postgresql":
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            database.execute_sql(statement)
    Runner(database, str(MIGRATIONS)).up("0004_decision_context")
    sql(
        "INSERT INTO event (at, kind, subscription, body, patient, address) "
        "VALUES (1, 'patient:added', 'north', '{}', 'p-1', '192.0.2.1'), (2, 'client:added', '', '{}', '', '')",
        "INSERT INTO decision (at, asked_at, request_id, subject_type, subject, action, resource_type, resource, "
        "allowed, reason, rule, policy_version, subscription) VALUES "
        "(3, 3, 'r', 'practitioner', 'alice', 'view', 'patient', 'p-1', true, 'permitted', 'R3', 'f', 'north')",
    )(database)
    assert migrate(database)[0] == "0005_proof"
    before = verification(database)
    assert (before.ok, before.problem, before.sizes, before.unsealed) == (True, None, {"": 1, "north": 1}, 1)
    assert seal(database, NOW) == 1
    after = verification(database)
    assert (after.ok, after.sizes, after.rows_checked) == (True, {"": 1, "north": 2}, 4)
    shut(database)
