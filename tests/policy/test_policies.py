"""The decision table of `policies/README.md`, asked cell by cell, and each rule shown to be guarded by it."""

import re
from collections.abc import Iterator

import pytest

from authz.database import Database, connect
from authz.errors import PolicyRefused
from authz.policy.compiler import compile_texts, load
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.decision_table import ACTIONS, ASKED, CELLS, POLICIES, question
from tests.support.people import CAST, NOW

RULES = {f"R{number}" for number in range(1, 11)}


@pytest.fixture
def clinic(database: Database) -> Database:
    people.fill(database)
    return database


@pytest.fixture
def pdp(clinic: Database) -> PDP:
    return PDP(clinic, load(POLICIES), clock=lambda: NOW)


def answer(pdp: PDP, title: str, kind: str, action: str) -> str:
    subject, resource = question(title, kind)
    told = pdp.explain(subject, action, resource)
    if told.decision.allowed:
        return f"yes {told.decision.rule}"
    return f"no {told.nearest.first_unmet_rule if told.nearest else None}"


def test_the_table_is_complete() -> None:
    """Each table has a row for each kind of subject and a column for each action of the contract, and no other."""
    assert {title for title, *_ in CELLS} == set(ASKED)
    for title in ASKED:
        mine = [(kind, action) for one, kind, action, _ in CELLS if one == title]
        resource = ASKED[title](CAST["owner"])[0]
        assert sorted(mine) == sorted((kind, action) for kind in CAST for action in ACTIONS[resource])
    assert all(re.fullmatch(r"(yes|no) R\d+", cell) and cell.split()[1] in RULES for *_, cell in CELLS)


def test_every_cell_as_an_evaluation(pdp: PDP) -> None:
    """Each cell is the decision and its rule; a permit carries the rule, a denial the condition that fails."""
    for title, kind, action, cell in CELLS:
        assert answer(pdp, title, kind, action) == cell, (title, kind, action)


def test_every_cell_as_both_searches(pdp: PDP) -> None:
    """The resource is found for the subject, and the subject for the resource, exactly where the cell says yes."""
    for title, kind, action, cell in CELLS:
        subject, resource = question(title, kind)
        found = pdp.search_resources(subject, action, resource[0])
        who = pdp.search_subjects("practitioner", action, resource)
        actions = pdp.search_actions(subject, resource)
        expected = cell.startswith("yes")
        assert (resource[1] in found, subject[1] in who, action in actions) == (expected,) * 3, (title, kind, action)


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
    ("oscar", "view", ("patient", "p-old"), "a patient that has ended, asked about by the owner"),
    ("carol", "view", ("document", "alice-on-oscar"), "a document about a patient who is not the owner's"),
    ("alice", "view", ("document", "alice-on-oscar"), "an author who does not view the patient"),
    ("alice", "edit", ("document", "alice-on-oscar"), "an author who does not view the patient, editing"),
    ("carol", "view", ("document", "library-bob"), "library content of somebody who shares nothing"),
    ("carl", "view", ("document", "library-alice"), "a standing share without content"),
]


def test_what_comes_close_is_denied(pdp: PDP) -> None:
    """Each edge of the rules: a fact that almost permits, and does not."""
    for who, action, resource, why in EDGES:
        assert not pdp.evaluate(("practitioner", who), action, resource).allowed, why


def test_a_standing_share_without_content_opens_documents_of_patients(pdp: PDP) -> None:
    """Content is about the library: documents of the owner's patients follow the patients."""
    assert pdp.evaluate(("practitioner", "carl"), "view", ("document", "by-alice")).allowed


def test_the_policies_and_the_page_carry_the_same_numbers() -> None:
    """Each rule of the page is marked in a policy file, and each mark is a rule of the page."""
    marked = {mark for path in POLICIES.glob("*.polar") for mark in re.findall(r'"(R\d+)" in', path.read_text("utf-8"))}
    listed = set(re.findall(r"^\| (R\d+) \|", (POLICIES / "README.md").read_text("utf-8"), re.MULTILINE))
    assert marked == listed == RULES


def mutants() -> Iterator[tuple[str, str, str]]:
    """(file, line, mutated file) for each line of a policy with a condition dropped or a word swapped."""
    swaps = [
        ('"owner"', '"viewer"'),
        ('"viewer"', '"owner"'),
        ('["member", "manager"]', '["member", "manager", "auditor"]'),
        ('["manager"]', '["member", "manager"]'),
        ('["auditor"]', '["member"]'),
        ("<= now", "<= fact.ended_at"),
        ("now < fact.ended_at", "fact.started_at <= now"),
    ]
    for path in sorted(POLICIES.glob("*.polar")):
        lines = path.read_text("utf-8").split("\n")
        for number, line in enumerate(lines):
            code = line.strip()
            if not code or code.startswith("#") or " in practitioner.rules" in code:
                continue
            if code == "live(patient);":  # said for readers: the compiler adds it to every policy
                continue
            if code.endswith(" and") and line.startswith("    "):
                yield path.name, f"{number + 1} dropped: {code}", "\n".join(lines[:number] + lines[number + 1 :])
            if code.endswith(";") and line.startswith("    ") and lines[number - 1].strip().endswith(" and"):
                kept = [*lines[: number - 1], lines[number - 1].rstrip().removesuffix(" and") + ";"]
                yield path.name, f"{number + 1} dropped: {code}", "\n".join(kept + lines[number + 1 :])
            if re.fullmatch(r'"\w+" if "\w+";', code):
                yield path.name, f"{number + 1} dropped: {code}", "\n".join(lines[:number] + lines[number + 1 :])
            for old, new in swaps:
                if old in line and "roles =" not in line:
                    changed = line.replace(old, new, 1)
                    yield (
                        path.name,
                        f"{number + 1} {old} -> {new}",
                        "\n".join([*lines[:number], changed, *lines[number + 1 :]]),
                    )


def test_every_line_of_the_policies_is_guarded(sqlite_url: str) -> None:
    """Dropping a condition or swapping a word of any policy line makes some answer above wrong, or is refused."""
    database = connect(sqlite_url)
    database.connect()
    people.fill(database)
    texts = {path.name: path.read_text("utf-8") for path in [*POLICIES.glob("*.polar"), POLICIES / "types.toml"]}
    survivors = []
    for file, what, text in mutants():
        try:
            policy = compile_texts({**texts, file: text})
        except PolicyRefused:
            continue
        mutant = PDP(database, policy, clock=lambda: NOW)
        closed = not any(mutant.evaluate(("practitioner", who), action, to).allowed for who, action, to, _ in EDGES)
        if closed and all(answer(mutant, title, kind, action) == cell for title, kind, action, cell in CELLS):
            survivors.append(f"{file}:{what}")
    database.close()
    assert not survivors, "\n".join(survivors)
