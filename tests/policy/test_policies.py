"""The decision table of `policies/README.md`, asked cell by cell, and what comes close to a permit."""

import re
from pathlib import Path

import pytest

from authz.database import Database
from authz.policy.compiler import compile_texts, load
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from tests.support import people
from tests.support.decision_table import ACTIONS, CELLS, POLICIES, RESOURCES, question
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.people import CAST, NOW

RULES = {f"R{number}" for number in range(1, 13)} - {"R11"}
"""The rules of the policy; R11 is one of the operations."""


@pytest.fixture
def clinic(database: Database) -> Database:
    people.fill(database)
    return database


@pytest.fixture
def pdp(clinic: Database) -> PDP:
    return PDP(clinic, load(POLICIES), clock=lambda: NOW)


def answer(pdp: PDP, title: str, kind: str, action: str) -> str:
    subject, resource = question(title, kind)
    explanation = pdp.explain(subject, action, resource)
    if explanation.decision.allowed:
        return f"yes {explanation.decision.rule}"
    return f"no {explanation.nearest.first_unmet_rule if explanation.nearest else None}"


def test_the_table_is_complete() -> None:
    """Each table has a row for each kind of subject and a column for each action of the contract, and no other."""
    assert {title for title, *_ in CELLS} == set(RESOURCES)
    for title in RESOURCES:
        mine = [(kind, action) for table, kind, action, _ in CELLS if table == title]
        resource = RESOURCES[title](CAST["owner"])[0]
        assert sorted(mine) == sorted((kind, action) for kind in CAST for action in ACTIONS[resource])
    assert all(re.fullmatch(r"(yes|no) R\d+", cell) and cell.split()[1] in RULES for *_, cell in CELLS)


def test_every_cell_as_an_evaluation(pdp: PDP) -> None:
    """Each cell is the decision and its rule; a permit carries the rule, a denial the condition that fails."""
    for title, kind, action, cell in CELLS:
        assert answer(pdp, title, kind, action) == cell, (title, kind, action)


def test_every_cell_as_both_searches(pdp: PDP) -> None:
    """Both searches and the search of actions find a pair exactly if its cell says yes."""
    for title, kind, action, cell in CELLS:
        subject, resource = question(title, kind)
        resources = pdp.search_resources(subject, action, resource[0])
        who = pdp.search_subjects("practitioner", action, resource)
        actions = pdp.search_actions(subject, resource)
        expected = cell.startswith("yes")
        assert (resource[1] in resources, subject[1] in who, action in actions) == (expected,) * 3, (
            title,
            kind,
            action,
        )


def test_shared_with_me_is_the_role_viewer(pdp: PDP) -> None:
    """The patients shared with a person are those that a rule for viewers permits, whether owned as well or not."""
    for person in CAST.values():
        subject, page = ("practitioner", person.id), PagePosition(limit=100, by_name=False)
        shared = [patient for patient, _ in pdp.list_resources_of_role(subject, "viewer", "patient", page, now=NOW)]
        explained = {
            patient: pdp.explain(subject, "view", ("patient", patient)).derivations
            for patient in pdp.search_resources(subject, "view", "patient")
        }
        rules = {
            patient: {derivation.rule for derivation in derivations if not derivation.unmet}
            for patient, derivations in explained.items()
        }
        assert shared == [patient for patient in sorted(rules) if rules[patient] & {"R4", "R5"}], person
        for tenant in ("north", "city"):
            of_tenant = pdp.list_resources_of_role(subject, "viewer", "patient", page, now=NOW, tenant=tenant)
            assert {patient for patient, _ in of_tenant} <= set(shared)


def test_a_role_that_no_block_declares_lists_nothing(clinic: Database) -> None:
    """A role that no block declares lists nothing, and a role that cannot be compiled is a warning."""
    page = PagePosition(limit=100)
    rule = 'allow(p: Practitioner, "view", x: Patient) if g in x.grants and g.practitioner = p;'
    policy = compile_texts({"p.polar": rule})
    pdp = PDP(clinic, policy)
    assert pdp.list_resources(("practitioner", "bob"), "view", "patient", page, now=NOW)
    assert pdp.list_resources_of_role(("practitioner", "bob"), "viewer", "patient", page, now=NOW) == []
    assert pdp.list_resources_of_role(("robot", "bob"), "viewer", "patient", page, now=NOW) == []
    block = 'actor Practitioner {}\nresource Patient { roles = ["viewer"]; permissions = ["view"]; }\n'
    odd = 'has_role(p: Practitioner, "viewer", x: Patient) if owns(p, x);\nowns(p, x) if not owns(p, x);\n'
    assert compile_texts({"p.polar": block + rule + odd}).warnings == (
        "the role viewer of Patient cannot be searched: p.polar:4:19: owns depends on its own negation, "
        "which has no meaning; leave the negation out",
    )


def test_no_rule_number_stands_in_the_code() -> None:
    """No code names a rule number: numbers are in the policies alone."""
    code = [path for folder in ("authz", "api") for path in (POLICIES.parent / folder).rglob("*.py")]
    assert code
    assert [path for path in code if re.search(r"""(["'])R\d+\1(?! in actor)""", _without_docstrings(path))] == []


def _without_docstrings(path: Path) -> str:
    return re.sub(r'"""[\s\S]*?"""', "", path.read_text("utf-8"))


EDGES = [
    ("zoe", "view", ("patient", "p-1"), "a share that has not begun"),
    ("xena", "view", ("patient", "p-1"), "a share that has ended"),
    ("ned", "view", ("patient", "p-1"), "a standing share that has ended"),
    ("ned", "view", ("document", "library-alice"), "a standing share with content that has ended"),
    ("mia", "view", ("patient", "p-1"), "a standing share in another clinic"),
    ("olga", "view", ("patient", "p-1"), "a standing share by a viewer: not of what is shared with them"),
    ("pete", "view", ("patient", "p-left"), "a standing share by a leaver"),
    ("pete", "view", ("document", "library-erin"), "library content of a leaver"),
    ("pete", "view", ("document", "library-heidi"), "library content of an auditor"),
    ("heidi", "view", ("patient", "p-1"), "a standing share with an auditor"),
    ("heidi", "view", ("document", "library-alice"), "library content shared with an auditor"),
    ("dan", "list_access", ("patient", "p-old"), "a patient that has ended, asked about by the manager"),
    ("dan", "end", ("patient", "p-old"), "a patient that has ended, ended by the manager"),
    ("oscar", "edit", ("patient", "p-old"), "a patient that has ended, renamed by the owner"),
    ("zoe", "undo_transfer", ("patient", "p-sent"), "a transfer after which the patient was transferred on"),
    ("zoe", "undo_transfer", ("patient", "p-oscar"), "a transfer whose time is over at this instant"),
    ("erin", "undo_transfer", ("patient", "p-left"), "a transfer by a leaver"),
    ("dan", "undo_transfer", ("patient", "p-sent"), "somebody else's transfer, undone by a manager"),
    ("olga", "undo_transfer", ("patient", "p-sent"), "the receiver of a transfer"),
    ("oscar", "view", ("patient", "p-old"), "a patient that has ended, asked about by the owner"),
    ("carol", "view", ("document", "alice-on-oscar"), "a document about a patient who is not the owner's"),
    ("alice", "view", ("document", "alice-on-oscar"), "an author who does not view the patient"),
    ("alice", "edit", ("document", "alice-on-oscar"), "an author who does not view the patient, editing"),
    ("carol", "view", ("document", "library-bob"), "library content of somebody who shares nothing"),
    ("carl", "view", ("document", "library-alice"), "a standing share without content"),
]


def test_what_comes_close_is_denied(pdp: PDP) -> None:
    """At each edge of the rules a fact that almost permits does not permit."""
    for who, action, resource, why in EDGES:
        assert not pdp.evaluate(("practitioner", who), action, resource).allowed, why


def test_a_standing_share_without_content_opens_documents_of_patients(pdp: PDP) -> None:
    """A standing share without content still opens documents of the owner's patients, which follow the patients."""
    assert pdp.evaluate(("practitioner", "carl"), "view", ("document", "by-alice")).allowed


def test_the_policies_and_the_page_say_the_same() -> None:
    """The rules of the page and the numbered comments of the policy files have the same numbers and sentences."""
    page = (POLICIES / "README.md").read_text("utf-8")
    sentences = dict(re.findall(r"^\| (R\d+) \| (.*?) \|", page, re.MULTILINE))
    assert EMERGENCY_POLICY.sentences == sentences
    del sentences["R13"]  # the optional rule
    assert load(POLICIES).sentences == sentences
    assert set(load(POLICIES).sentences) == RULES
