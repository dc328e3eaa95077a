"""Rules that come back to themselves, and negation: against a naive evaluator, and at their limits."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, note, settings

from authz.database import Database, gather_statistics
from authz.domain import FOREVER
from authz.models import Entity, EntityLink, Grant
from authz.policy.compiler import compile_texts
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from tests.support import people, worlds
from tests.support.agreement import COMMON, EXAMPLES, INSTANTS, Fill, agree
from tests.support.naive import NaiveWorld
from tests.support.people import NOW
from tests.support.programs import programs

DRIVE = {
    "types.toml": """
[user]
[group]
[member]
group = { type = "Group", reverse = "members" }
user = "User"
inner = "Group"
[folder]
parent = "Folder"
owner = "User"
team = "Group"
blocked = "Group"
[file]
folder = "Folder"
""",
    "policy.polar": """
# R1. The members of a group are those of its inner groups too.
member(u: User, g: Group) if m in g.members and m.user = u;
member(u: User, g: Group) if m in g.members and member(u, m.inner);
# R2. Who owns a folder, or is in its team, views it.
viewer(u: User, f: Folder) if f.owner = u;
viewer(u: User, f: Folder) if member(u, f.team);
# R3. Who views a folder views what is in it, unless they are blocked there.
viewer(u: User, f: Folder) if viewer(u, f.parent) and not member(u, f.blocked);
allow(u: User, "view", f: Folder) if viewer(u, f);
allow(u: User, "view", f: File) if viewer(u, f.folder);
allow(u: User, "join", g: Group) if not member(u, g);
""",
}
ANNE: Ref = ("user", "anne")
BOB: Ref = ("user", "bob")


@settings(COMMON, max_examples=EXAMPLES // 6)
@given(rows=worlds.facts(), texts=programs(), now=INSTANTS)
def test_random_programs(filled: Fill, rows: list[tuple[Any, dict[str, Any]]], texts: dict[str, str], now: int) -> None:
    """Every random policy with recursion and negation answers as the naive evaluator does, on both databases."""
    note(texts["policy.polar"])
    database = filled(rows)
    agree(database, NaiveWorld(database, texts, now), compile_texts(texts), now)


def store(database: Database, entities: Mapping[Ref, Mapping[str, str]]) -> None:
    """Store entities with their relations."""
    lasting = {"properties": {}, "started_at": NOW, "ended_at": FOREVER}
    rows = [{"type": kind, "id": name, **lasting} for kind, name in entities]
    with database.atomic():
        for begin in range(0, len(rows), 1000):
            Entity.insert_many(rows[begin : begin + 1000]).execute(database)
        keys = {(row.type, row.id): row.pk for row in Entity.select().execute(database)}
        links = [
            {"entity": keys[entity], "property": name, "type": entity[0], "target": target}
            for entity, relations in entities.items()
            for name, target in relations.items()
        ]
        for begin in range(0, len(links), 1000):
            EntityLink.insert_many(links[begin : begin + 1000]).execute(database)
    gather_statistics(database)


def drive(database: Database, entities: Mapping[Ref, Mapping[str, str]]) -> PDP:
    store(database, {ANNE: {}, BOB: {}, **entities})
    return PDP(database, compile_texts(DRIVE), clock=lambda: NOW)


def viewers(pdp: PDP, resource: Ref) -> list[str]:
    """Return the viewers of a resource; assert that evaluations and lists of resources say the same."""
    subjects = pdp.search_subjects("user", "view", resource)
    for who in (ANNE, BOB):
        expected = who[1] in subjects
        assert pdp.evaluate(who, "view", resource).allowed is expected
        assert (resource[1] in pdp.search_resources(who, "view", resource[0])) is expected
    return subjects


def test_a_chain_of_ten_thousand_folders(database: Database) -> None:
    """There is no depth at which the answer changes."""
    last = 10_000
    folders: dict[Ref, dict[str, str]] = {
        ("folder", f"f{n:05}"): {"parent": f"f{n - 1:05}"} if n else {"owner": "anne"} for n in range(last + 1)
    }
    pdp = drive(database, {**folders, ("file", "deep"): {"folder": f"f{last:05}"}})
    assert viewers(pdp, ("file", "deep")) == ["anne"]
    assert viewers(pdp, ("folder", f"f{last:05}")) == ["anne"]
    assert len(pdp.search_resources(ANNE, "view", "folder")) == last + 1


def test_circles_end(database: Database) -> None:
    """Folders that contain each other and groups within each other have an answer."""
    pdp = drive(
        database,
        {
            ("folder", "a"): {"parent": "b", "team": "x"},
            ("folder", "b"): {"parent": "a"},
            ("folder", "self"): {"parent": "self", "owner": "bob"},
            ("group", "x"): {},
            ("group", "y"): {},
            ("member", "1"): {"group": "x", "inner": "y"},
            ("member", "2"): {"group": "y", "inner": "x"},
            ("member", "3"): {"group": "y", "user": "anne"},
        },
    )
    assert viewers(pdp, ("folder", "a")) == viewers(pdp, ("folder", "b")) == ["anne"]
    assert viewers(pdp, ("folder", "self")) == ["bob"]
    assert pdp.search_subjects("user", "join", ("group", "x")) == ["bob"]
    assert [entry[:2] for entry in pdp.matrix("user", "view", "folder")] == [
        ("anne", "a"),
        ("anne", "b"),
        ("bob", "self"),
    ]


def test_a_diamond_of_forty_layers(database: Database) -> None:
    """Two ways through each of forty layers, 2⁴⁰ in all, cost as much as the 120 groups."""
    entities: dict[Ref, dict[str, str]] = {("folder", "f"): {"team": "top0"}}
    for layer in range(40):
        inner = f"top{layer + 1}"
        entities |= {("group", f"{side}{layer}"): {} for side in ("top", "left", "right")}
        for side in ("left", "right"):
            entities["member", f"{side}-above{layer}"] = {"group": f"top{layer}", "inner": f"{side}{layer}"}
            entities["member", f"{side}-below{layer}"] = {"group": f"{side}{layer}", "inner": inner}
    pdp = drive(database, {**entities, ("group", "top40"): {}, ("member", "m"): {"group": "top40", "user": "anne"}})
    assert viewers(pdp, ("folder", "f")) == ["anne"]


def test_a_block_on_the_way(database: Database) -> None:
    """Who is blocked in a folder does not view it through the folder above; the explanation names what is missing."""
    pdp = drive(
        database,
        {
            ("folder", "top"): {"team": "all"},
            ("folder", "middle"): {"parent": "top", "blocked": "few"},
            ("folder", "low"): {"parent": "middle"},
            ("group", "all"): {},
            ("group", "few"): {},
            ("member", "1"): {"group": "all", "user": "anne"},
            ("member", "2"): {"group": "all", "user": "bob"},
            ("member", "3"): {"group": "few", "user": "bob"},
        },
    )
    assert viewers(pdp, ("folder", "top")) == ["anne", "bob"]
    assert viewers(pdp, ("folder", "low")) == ["anne"]
    lost = pdp.explain(BOB, "view", ("folder", "low")).derivations
    assert any("one to which viewer leads from there" in text for each in lost for text in each.unmet)
    joined = pdp.explain(BOB, "join", ("group", "few")).derivations
    assert any("there is none of this" in text for each in joined for text in each.unmet)


@pytest.mark.parametrize("tenant", [None, "north", "city"])
def test_facts_of_another_clinic_do_not_count(database: Database, tenant: str | None) -> None:
    """A chain of shares leads through the facts of the clinic that is asked about alone, negated or not."""
    people.fill(database)
    texts = {
        "policy.polar": """
knows(p: Practitioner, q: Practitioner) if p = q;
knows(p: Practitioner, q: Practitioner) if s in q.standing_shares and knows(p, s.owner);
allow(p: Practitioner, "view", x: Patient) if g in x.grants and knows(p, g.practitioner);
allow(p: Practitioner, "envy", x: Patient) if m in p.memberships and not (g in x.grants and knows(p, g.practitioner))
    and m.subscription = x.subscription;
"""
    }
    pdp = PDP(database, compile_texts(texts), clock=lambda: NOW)
    patients = sorted({row.patient_id for row in Grant.select().execute(database)})
    for action in ("view", "envy"):
        listed = {
            who: pdp.search_resources(("practitioner", who), action, "patient", tenant=tenant)
            for who in ("alice", "oscar", "pete", "frank")
        }
        for patient in patients:
            subjects = pdp.search_subjects("practitioner", action, ("patient", patient), tenant=tenant)
            for who, held in listed.items():
                decision = pdp.evaluate(("practitioner", who), action, ("patient", patient), tenant=tenant)
                assert decision.allowed is (patient in held) is (who in subjects), (who, action, patient)


def test_a_search_takes_no_property_of_its_subjects(sqlite_database: Database) -> None:
    """A property that a request brings counts for the subject of the request alone, also in the steps of a closure."""
    texts = {
        "types.toml": """
[user]
role = { type = "string", from_request = true }
[folder]
parent = "Folder"
owner = "User"
""",
        "policy.polar": "viewer(u: User, f: Folder) if f.owner = u;\n"
        'viewer(u: User, f: Folder) if viewer(u, f.parent) and u.role = "guide";\n'
        'allow(u: User, "view", f: Folder) if viewer(u, f);',
    }
    store(sqlite_database, {ANNE: {}, ("folder", "top"): {"owner": "anne"}, ("folder", "low"): {"parent": "top"}})
    pdp = PDP(sqlite_database, compile_texts(texts), clock=lambda: NOW)
    brought = {"subject": {"role": "guide"}}
    assert pdp.evaluate(ANNE, "view", ("folder", "low"), request=brought).allowed
    assert pdp.search_subjects("user", "view", ("folder", "low"), request=brought) == []
