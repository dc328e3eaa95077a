"""Rules that come back to themselves, and negation: against a naive evaluator, and at their limits."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, note, settings

from authz.database import Database, gather_statistics
from authz.domain import FOREVER
from authz.errors import PolicyRefused
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
    """A user who is blocked in a folder does not view it through the folder above; the explanation says why."""
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


FOLDERS = """
[user]
home = "Folder"
[folder]
parent = "Folder"
link = "Folder"
owner = "User"
foe = "User"
gate = "Folder"
[inner]
outer = { type = "Folder", reverse = "inners" }
folder = "Folder"
"""


def folders(database: Database, rules: str, entities: Mapping[Ref, Mapping[str, str]], types: str = FOLDERS) -> PDP:
    store(database, {ANNE: {"home": "ah"}, BOB: {"home": "bh"}, **entities})
    return PDP(database, compile_texts({"p.polar": rules, "types.toml": types}), clock=lambda: NOW)


def test_a_subject_of_one_resource_twice_is_not_one_of_two(database: Database) -> None:
    """A user who reaches one of two resources in two ways is not among the subjects of both."""
    rules = 'allow(u: User, "view", f: Folder) if i in f.inners and i.folder.owner = u;'
    pdp = folders(
        database,
        rules,
        {
            ("folder", "f"): {},
            ("folder", "g"): {},
            ("folder", "a"): {"owner": "anne"},
            ("inner", "1"): {"outer": "f", "folder": "a"},
            ("inner", "2"): {"outer": "f", "folder": "a"},
        },
    )
    assert pdp.search_subjects_of_all("user", "view", [("folder", "f"), ("folder", "g")], now=NOW) == []
    assert pdp.search_subjects_of_all("user", "view", [("folder", "f")], now=NOW) == ["anne"]


def test_a_step_to_a_row_of_the_subject(database: Database) -> None:
    """A step may lead to a row that the subject names; each subject goes to the own one, in lists as in decisions."""
    rules = (
        "p(u: User, f: Folder) if f.owner = u;\n"
        "p(u: User, f: Folder) if g = f.gate and g.gate = g and p(u, u.home);\n"
        'allow(u: User, "view", f: Folder) if p(u, f);'
    )
    homes: dict[Ref, dict[str, str]] = {("folder", "ah"): {"owner": "bob"}, ("folder", "bh"): {"owner": "anne"}}
    pdp = folders(database, rules, {**homes, ("folder", "f"): {"gate": "g"}, ("folder", "g"): {"gate": "g"}})
    assert viewers(pdp, ("folder", "f")) == []
    assert [entry[:2] for entry in pdp.matrix("user", "view", "folder")] == [("anne", "bh"), ("bob", "ah")]


def test_a_step_to_a_third_row_is_refused() -> None:
    """A step that leads back to a row which is neither an end nor the row that changes is refused, not guessed."""
    rules = """
p(u: User, f: Folder) if f.owner = u;
p(u: User, f: Folder) if q(u, f, f.parent);
q(u: User, f: Folder, g: Folder) if q(u, f, g.parent);
q(u: User, f: Folder, g: Folder) if g.foe = u and p(u, f);
allow(u: User, "view", i: Inner) if p(u, i.folder);
"""
    with pytest.raises(PolicyRefused, match="the subject, the resource and one more row decide it"):
        compile_texts({"p.polar": rules, "types.toml": FOLDERS})


def test_tables_of_two_selects_are_two(database: Database) -> None:
    """Two closures that begin at rows of different selects around them are not taken for one."""
    rules = """
inside(x: Folder, z: Folder) if z = x;
inside(x: Folder, z: Folder) if inside(x.parent, z);
clash(x: Folder, y: Folder) if inside(x, z) and inside(y, z);
allow(_: User, "view", f: Folder) if
    not (a in f.inners and not (b in a.folder.inners and not (c in b.folder.inners and not clash(c.folder, b.folder))));
"""
    pdp = folders(
        database,
        rules,
        {
            **{("folder", name): {} for name in "fabc"},
            ("inner", "1"): {"outer": "f", "folder": "a"},
            ("inner", "2"): {"outer": "a", "folder": "b"},
            ("inner", "3"): {"outer": "b", "folder": "c"},
        },
    )
    assert not pdp.evaluate(ANNE, "view", ("folder", "f")).allowed


@pytest.mark.parametrize("negations", [("blocked", "hidden"), ("hidden", "blocked")])
def test_a_rule_that_depends_on_its_negation_is_refused_in_any_order(negations: tuple[str, str]) -> None:
    """A rule that comes back to itself through the second of two negations is refused as through the first."""
    rules = f"""
viewer(u: User, f: Folder) if f.owner = u;
viewer(u: User, f: Folder) if viewer(u, f.parent);
viewer(u: User, f: Folder) if not {negations[0]}(u, f) and not {negations[1]}(u, f);
hidden(u: User, f: Folder) if not viewer(u, f.link);
blocked(u: User, f: Folder) if f.foe = u;
allow(u: User, "view", f: Folder) if viewer(u, f);
"""
    with pytest.raises(PolicyRefused, match="depends on its own negation"):
        compile_texts({"p.polar": rules, "types.toml": FOLDERS})


@pytest.mark.parametrize(
    "condition", ["not x.folder.owner = u", "not (x.folder = f and f.owner = u)", "not blocked(u, x.folder)"]
)
def test_a_negation_permits_nothing_that_the_question_lacks(database: Database, condition: str) -> None:
    """A relation that the question lacks, or that leads nowhere, meets no condition, no negation either (0116)."""
    rules = (
        f'allow(u: User, "make", x: Draft) if {condition};\nblocked(u: User, f: Folder) if f.owner = u;\n'
        'allow(u: User, "see", f: Folder) if blocked(u, f);'
    )
    types = f'{FOLDERS}\n[draft]\nstored = false\nfolder = "Folder"\n'
    pdp = folders(database, rules, {("folder", "a"): {"owner": "anne"}, ("folder", "b"): {"owner": "bob"}}, types)
    resources = [{}, {"folder": "nowhere"}, {"folder": "a"}, {"folder": "b"}]
    permits = [pdp.evaluate(ANNE, "make", ("draft", "new"), request={"resource": each}).allowed for each in resources]
    assert permits == [False, False, False, True]


def test_a_tenant_without_ends_of_its_own(sqlite_database: Database) -> None:
    """The entities of another clinic do not count, also if both the subject and the resource come with the question."""
    types = '[token]\nstored = false\nname = "string"\n[req]\nstored = false\n[team]\nlabel = "string"\nup = "Team"\n'
    rules = 'allow(t: Token, "use", _: Req) if same(g, g) and g.label = t.name;\nsame(g: Team, h: Team) if g = h;\n'
    rules += "same(g: Team, h: Team) if same(g.up, h);"
    row = {"type": "team", "id": "t", "properties": {"label": "x"}, "subscription": "other"}
    Entity.insert(**row, started_at=NOW, ended_at=FOREVER).execute(sqlite_database)
    pdp = PDP(sqlite_database, compile_texts({"p.polar": rules, "types.toml": types}), clock=lambda: NOW)
    request = {"subject": {"name": "x"}}
    permits = {
        tenant: pdp.evaluate(("token", "k"), "use", ("req", "r"), request=request, tenant=tenant).allowed
        for tenant in (None, "other", "mine")
    }
    assert permits == {None: True, "other": True, "mine": False}
