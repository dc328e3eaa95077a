"""The cells of the decision tables in policies/README.md, and the question of each cell."""

from collections.abc import Iterator
from pathlib import Path

from authz.policy.decision import Ref
from tests.support.people import CAST, Person

POLICIES = Path(__file__).parents[2] / "policies"


ACTIONS = {
    "patient": [
        *("view", "share", "transfer", "end_share", "give_up", "list_access", "receive", "edit", "end"),
        "undo_transfer",
    ],
    "subscription": ["add_patient", "receive", "manage", "audit"],
    "document": ["view", "edit"],
}


def _theirs(person: Person) -> str:
    return "harbour-plan" if person.subscription == "harbour" else "north-plan"


RESOURCES = {
    "On a patient": lambda person: ("patient", person.patient),
    "On a subscription": lambda person: ("subscription", person.subscription),
    "On a document of the patient, written by the subject": lambda person: ("document", f"by-{person.id}"),
    "On a document of the patient, written by somebody else": lambda person: ("document", _theirs(person)),
    "On library content of the subject's own": lambda person: ("document", f"library-{person.id}"),
    "On library content of the owner": lambda _: ("document", "library-alice"),
}


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Yield (table, kind of subject, action, cell) for every cell of the README's decision tables."""
    text = (POLICIES / "README.md").read_text("utf-8").split("## The decision table")[1]
    for section in text.split("### ")[1:]:
        title = section.split("\n")[0]
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in section.split("\n")
            if line.startswith("|") and not line.startswith("|---")
        ]
        for row in rows[1:]:
            for action, cell in zip(rows[0][1:], row[1:], strict=True):
                yield title, row[0], action, cell


CELLS = list(cells())


def question(title: str, kind: str) -> tuple[Ref, Ref]:
    person = CAST[kind]
    resource: Ref = RESOURCES[title](person)
    return ("practitioner", person.id), resource
