"""The demonstration clinic: every rule of the policies shows in it."""

import pytest

from authz.database import Database
from authz.errors import Conflict
from authz.importing import demo
from authz.models import Patient, Practitioner, Subscription
from authz.policy.compiler import compile_texts, load
from authz.policy.pdp import PDP
from authz.settings import shipped_folder
from tests.support.http import service
from tests.support.people import NOW
from tests.support.visitor import Visitor

POLICY = load(shipped_folder("policies"))


@pytest.fixture
def clinic(database: Database) -> Database:
    demo.fill(database, POLICY.types, NOW)
    return database


def test_it_is_small_and_believable(clinic: Database) -> None:
    """The demonstration has three clinics, a dozen people or more and a hundred patients, and is recognized as such."""
    assert Subscription.select().count(clinic) == 3
    assert Practitioner.select().count(clinic) >= 12
    assert Patient.select().count(clinic) == 100
    assert demo.is_demo(clinic)


STORIES = [
    ("alice", "share", ("patient", "p-1"), "R3", "the owner"),
    ("bob", "view", ("patient", "p-1"), "R5", "a share without an end"),
    ("bob", "give_up", ("patient", "p-2"), "R5", "a share with an end"),
    ("bob", "view", ("patient", "p-3"), None, "a share that has ended"),
    ("alice", "transfer", ("patient", "p-4"), "R3", "a patient who came back"),
    ("bob", "view", ("patient", "p-4"), None, "its owner for a while"),
    ("carol", "view", ("patient", "p-5"), "R4", "a standing share"),
    ("noa", "view", ("patient", "p-2"), None, "a colleague without a share"),
    ("noa", "receive", ("patient", "p-2"), "R7", "a colleague may receive"),
    ("dan", "transfer", ("patient", "p-9"), "R6", "the manager, a leaver's patient"),
    ("dan", "view", ("patient", "p-9"), None, "the manager does not open it"),
    ("erin", "view", ("patient", "p-9"), None, "the leaver"),
    ("heidi", "audit", ("subscription", "north"), "R8", "the auditor"),
    ("heidi", "view", ("patient", "p-1"), None, "the auditor practises nothing"),
    ("grace", "view", ("patient", "p-93"), None, "an owner whose clinic lapsed"),
    ("frank", "view", ("patient", "p-1"), None, "another clinic"),
    ("alice", "edit", ("patient", "p-1"), "R10", "the owner corrects a name"),
    ("dan", "end", ("patient", "p-1"), "R10", "a manager ends a patient"),
    ("carol", "view", ("document", "d-1"), "R9", "a document follows its patient"),
    ("bob", "edit", ("document", "d-2"), "R9", "its author edits it"),
    ("carol", "view", ("document", "d-library"), "R9", "library content, shared with content"),
    ("bob", "view", ("document", "d-library"), None, "library content, not shared"),
]


def test_every_rule_shows(clinic: Database) -> None:
    """Each story of the clinic is decided as written, and the stories together show every rule that permits."""
    pdp = PDP(clinic, POLICY, clock=lambda: NOW)
    for who, action, what, rule, why in STORIES:
        assert pdp.evaluate(("practitioner", who), action, what).rule == rule, why
    assert {rule for *_, rule, _ in STORIES} == {None, "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10"}


def test_most_patients_have_the_clinics_own_number(clinic: Database) -> None:
    """Most patients have a reference, and some have none."""
    references = [reference for (reference,) in Patient.select(Patient.reference).tuples().execute(clinic)]
    assert (len(references), references.count("")) == (100, 20)
    assert len(set(references)) == 81
    visitor = Visitor(service(clinic), "alice")
    assert "Ben Abel N-20007" in visitor.get("/patients")
    assert "Ben Abel" in visitor.get("/patients?q=n-20007")


def test_it_never_mixes_with_other_facts(clinic: Database) -> None:
    """Filling a database that is not empty is refused."""
    with pytest.raises(Conflict, match="not empty"):
        demo.fill(clinic, POLICY.types, NOW)


def test_a_policy_without_documents_gets_none(sqlite_database: Database) -> None:
    """With a policy that declares no types the clinic has no documents."""
    bare = compile_texts({"p.polar": 'allow(_: Practitioner, "view", _: Patient);'})
    assert "entity" not in demo.fill(sqlite_database, bare.types, NOW).new
