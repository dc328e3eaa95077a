"""The compiler on known traps: each trap is a small policy with its expected answers."""

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from authz.database import Database
from authz.domain import FOREVER
from authz.models import Entity, EntityLink, Patient
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.people import NOW

ALICE, BOB, OSCAR, NOBODY = (("practitioner", name) for name in ("alice", "bob", "oscar", "nobody"))
PATIENT: Ref = ("patient", "p-1")
ALLOW = 'allow(p: Practitioner, "view", x: Patient)'
BEFORE, AFTER = NOW - timedelta(microseconds=1), NOW + timedelta(microseconds=1)
DOCUMENT = '[document]\npatient = { type = "Patient", reverse = "documents" }'
TYPES = """
[user]
role = { type = "string", from_request = true }
[plan]
author = "Practitioner"
title = "string"
"""


@pytest.fixture
def pdp_of_text(database: Database) -> Callable[[str], PDP]:
    """Return a function that makes a PDP over the cast from the text of a policy."""
    people.fill(database)
    return lambda text: asked_of(database, text)


def compiled(text: str) -> CompiledPolicy:
    return compile_texts({"policy.polar": text, "types.toml": TYPES})


def viewers(pdp: PDP, patient: str = "p-1") -> list[str]:
    """Return the viewers of a patient by a subject search, and assert that evaluations give the same."""
    subjects = pdp.search_subjects("practitioner", "view", ("patient", patient))
    everybody = [person.id for person in people.CAST.values()] + list(people.EXTRAS)
    allowed = [who for who in everybody if pdp.evaluate(("practitioner", who), "view", ("patient", patient)).allowed]
    assert subjects == sorted(allowed)
    return subjects


PdpOfText = Callable[[str], PDP]


def test_an_alternative_about_the_actor_alone(pdp_of_text: PdpOfText) -> None:
    """In `or`, an alternative about the actor alone opens every patient to that actor, and no patient to others."""
    pdp = pdp_of_text(f'{ALLOW} if p.id = "oscar" or (g in x.grants and g.practitioner = p and g.role = "owner");')
    assert viewers(pdp) == ["alice", "oscar"]
    assert viewers(pdp, "p-city") == ["frank", "oscar"]


def test_an_owner_without_any_share_is_not_lost(pdp_of_text: PdpOfText) -> None:
    """An owner without shares is found by a rule with an alternative for shares, because each joins its own rows."""
    pdp = pdp_of_text(
        f"{ALLOW} if (g in x.grants and g.practitioner = p) or (s in p.standing_shares and s.owner.id = x.name);"
    )
    assert viewers(pdp, "p-city") == ["frank"]


def test_two_relations_of_one_type(pdp_of_text: PdpOfText) -> None:
    """A rule may join two grants of a patient, one of the actor and one of somebody else."""
    theirs = 'h in x.grants and h.role = "owner" and h.practitioner != p'
    pdp = pdp_of_text(f"{ALLOW} if g in x.grants and g.practitioner = p and {theirs};")
    assert viewers(pdp) == ["bob", "erin", "xena", "zoe"]


def test_a_relation_through_a_relation(pdp_of_text: PdpOfText) -> None:
    """A rule may go from a patient by its subscription and its memberships to a practitioner."""
    pdp = pdp_of_text(f'{ALLOW} if m in x.subscription.memberships and m.practitioner = p and m.role = "manager";')
    assert viewers(pdp) == ["dan"]


def test_equal_variables_are_one_row(pdp_of_text: PdpOfText) -> None:
    """`g = h` joins the rows of two relations; Oso's own partial evaluation drops it (decision 0002)."""
    rule = 'g in x.grants and h in p.grants and g = h and g.role = "viewer"'
    assert viewers(pdp_of_text(f"{ALLOW} if {rule};")) == ["bob", "erin", "xena", "zoe"]


def test_helpers_without_types_and_an_action_in_a_list(pdp_of_text: PdpOfText) -> None:
    """A helper without types serves every type, and a list of actions permits each of them."""
    pdp = pdp_of_text(
        "live(f) if f.started_at <= now and now < f.ended_at;\n"
        'allow(p: Practitioner, action, x: Patient) if action in ["view", "share"] and g in x.grants and '
        "g.practitioner = p and live(g) and live(x);"
    )
    assert pdp.search_actions(BOB, PATIENT) == ["view", "share"]
    assert viewers(pdp) == ["alice", "bob", "erin"]


def test_a_rule_that_always_allows_permits_only_what_exists(pdp_of_text: PdpOfText) -> None:
    """A rule without a condition permits only a subject and a resource that exist."""
    pdp = pdp_of_text('allow(_: Practitioner, "view", _: Patient);')
    assert len(viewers(pdp)) == 17
    for subject, resource in ((NOBODY, PATIENT), (ALICE, ("patient", "none")), (NOBODY, ("patient", "none"))):
        assert not pdp.evaluate(subject, "view", resource).allowed
    assert pdp.evaluate_many([(NOBODY, "view", PATIENT), (ALICE, "view", PATIENT)])[0].allowed is False
    assert len(list(pdp.matrix("practitioner", "view", "patient"))) == 17 * 6, "p-old has ended"


@pytest.mark.parametrize("stored", [{"ended_at": NOW}, {"started_at": AFTER, "ended_at": FOREVER}])
def test_a_patient_counts_while_they_are_there(database: Database, stored: dict[str, datetime]) -> None:
    """No policy permits access to a patient who has ended or has not begun."""
    people.fill(database)
    Patient.update(stored).where(Patient.id == "p-1").execute(database)
    plan = {"id": "plan", "type": "document", "properties": {}, "started_at": BEFORE, "ended_at": FOREVER}
    key = Entity.insert(plan).execute(database)
    EntityLink.insert(entity=key, property="patient", type="document", target="p-1").execute(database)
    whole, about = 'allow(_: Practitioner, "view", _: Patient);', 'allow(p: Practitioner, "view", x: Document)'
    rules = {
        ("patient", "p-1"): (
            whole,
            f"{ALLOW} if g in x.grants and g.practitioner = p;",
            f"{ALLOW} if x in x.subscription.patients and p.id = p.id;",
        ),
        ("document", "plan"): (
            f"{about} if x.patient.name = x.patient.name and p.id = p.id;",
            f"{about} if g in x.patient.grants and g.practitioner = p;",
            f'{about} if g in p.grants and g.patient = x.patient and g.patient.id = "p-1";',
        ),
    }
    for resource, texts in rules.items():
        for text in texts:
            pdp = PDP(database, compile_texts({"policy.polar": text, "types.toml": DOCUMENT}), clock=lambda: NOW)
            there = BEFORE if "started_at" not in stored else AFTER
            for at, allowed in ((NOW, False), (there, True)):
                assert pdp.evaluate(ALICE, "view", resource, now=at).allowed is allowed, (text, at)
                assert pdp.evaluate_many([(ALICE, "view", resource)], now=at)[0].allowed is allowed
                assert (resource[1] in pdp.search_resources(ALICE, "view", resource[0], now=at)) is allowed
                assert ("alice" in pdp.search_subjects("practitioner", "view", resource, now=at)) is allowed
                assert pdp.search_actions(ALICE, resource, now=at) == (["view"] if allowed else [])
                pairs = [row[:2] for row in pdp.matrix("practitioner", "view", resource[0], now=at)]
                assert (("alice", resource[1]) in pairs) is allowed
    unmet = asked_of(database, whole).explain(ALICE, "view", PATIENT).nearest
    assert unmet is not None
    assert unmet.unmet == ("not so: the patient is live",)


def asked_of(database: Database, text: str) -> PDP:
    return PDP(database, compiled(text), clock=lambda: NOW)


def test_no_rule_denies(pdp_of_text: PdpOfText) -> None:
    """A policy without an allow rule denies with a reason, and has a warning."""
    pdp = pdp_of_text("live(f) if f.started_at <= now;")
    assert viewers(pdp) == []
    assert pdp.evaluate(ALICE, "view", PATIENT).reason == "unknown_action"
    assert pdp.policy.warnings == ("no rule is called allow: this policy denies everything",)


def test_any_action(pdp_of_text: PdpOfText) -> None:
    """A rule with a variable as action permits every action, also one that no rule names."""
    pdp = pdp_of_text(
        'allow(p: Practitioner, _, x: Patient) if p.id = "bob" and x.id = "p-1";\n'
        + ALLOW
        + ' if p.id = "alice" and x.id = "p-1";'
    )
    assert pdp.evaluate(BOB, "dance", PATIENT).allowed
    assert not pdp.evaluate(ALICE, "dance", PATIENT).allowed
    assert viewers(pdp) == ["alice", "bob"]


def test_what_comes_with_the_request(pdp_of_text: PdpOfText) -> None:
    """Values of a request are parameters: an absent value is nil, a wrong type is denied, and no text is SQL."""
    pdp = pdp_of_text(f'{ALLOW} if p.id = "alice" and x.id = "p-1" and p.request.context.purpose = "care";')

    def answer(**context: object) -> tuple[bool, str]:
        decision = pdp.evaluate(ALICE, "view", PATIENT, request={"context": context})
        return decision.allowed, decision.reason

    assert answer(purpose="care") == (True, "permitted")
    assert answer(purpose="' OR '1'='1") == (False, "denied")
    assert answer() == (False, "denied")
    assert answer(purpose=None) == (False, "denied")
    for wrong in (1, True, ["care"], {"care": 1}):
        assert answer(purpose=wrong) == (False, "wrong_type")
    assert pdp.evaluate_many([(ALICE, "view", PATIENT)], requests=[{"context": {"purpose": "care"}}])[0].allowed
    assert pdp.search_resources(ALICE, "view", "patient", request={"context": {"purpose": "care"}}) == ["p-1"]
    assert pdp.search_resources(ALICE, "view", "patient") == []


def test_each_question_of_a_batch_brings_its_own(pdp_of_text: PdpOfText) -> None:
    """Each question of a batch has request values of its own, and gets the decision that it gets singly."""
    operands: dict[str, tuple[str, list[object]]] = {
        '= "care"': ("context", ["care", "%s", None, 1]),
        "= true": ("action", [True, False, 1]),
        "> 3": ("context", [4, 3, 2**63, "4"]),
        "< 2.5": ("context", [2, 2.5, -(10**300), True]),
        ">= x.started_at": ("context", ["2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z", 5]),
    }
    names = {operand: f"v{at}" for at, operand in enumerate(operands)}
    conditions = " and ".join(f"p.request.{part}.{names[operand]} {operand}" for operand, (part, _) in operands.items())
    pdp = pdp_of_text(f'{ALLOW} if x.id = "p-1" and {conditions};')
    good = {names[operand]: values[0] for operand, (_, values) in operands.items()}
    requests = []
    for operand, (part, values) in operands.items():
        for value in values:
            for absent in (False, True):
                values_of_request = {key: good[key] for key in good if not (absent and key == names[operand])}
                values_of_request |= {} if absent else {names[operand]: value}
                requests.append({"action": values_of_request, "context": values_of_request} | {part: values_of_request})
    questions = [(ALICE if at % 3 else BOB, "view", PATIENT) for at in range(len(requests))]
    many = pdp.evaluate_many(questions, requests=requests)
    singly = [
        pdp.evaluate(*question, request=values_of_request)
        for question, values_of_request in zip(questions, requests, strict=True)
    ]
    assert many == singly
    assert {decision.reason for decision in many} == {"permitted", "denied", "wrong_type"}
    assert {decision.detail for decision in many} >= {
        "context.v0 is not of the kind string",
        "context.v2 is not of the kind integer",
    }


def test_a_property_from_the_request_wins(database: Database) -> None:
    """A property with `from_request` in the question wins over the stored one, but cannot make a subject exist."""
    people.add(database, Entity, type="user", id="una", properties={"role": "guest"})
    people.fill(database)
    pdp = PDP(database, compiled('allow(u: User, "view", _: Patient) if u.role = "admin";'), clock=lambda: NOW)
    una: Ref = ("user", "una")
    assert not pdp.evaluate(una, "view", PATIENT).allowed
    assert pdp.evaluate(una, "view", PATIENT, request={"subject": {"role": "admin"}}).allowed
    assert not pdp.evaluate(("user", "none"), "view", PATIENT, request={"subject": {"role": "admin"}}).allowed


QUOTED = [
    "it's",
    'say "x"',
    "100%",
    "%s %(p0)s %(subject)s",
    "a:b :now",
    "?1",
    "back\\\\slash",
    "emoji 🌿 نص",
    "; DROP TABLE patient; --",
]


@pytest.mark.parametrize("text", QUOTED)
def test_literals_are_quoted(database: Database, text: str) -> None:
    """T24: a literal of a policy is compared unchanged, whatever characters it has, on both databases."""
    people.fill(database)
    literal = text.replace("\\", "\\\\").replace('"', '\\"')
    people.add(database, Patient, id="odd", subscription="north", name=text)
    pdp = PDP(database, compiled(f'{ALLOW} if p.id = "alice" and x.name = "{literal}";'), clock=lambda: NOW)
    assert pdp.search_resources(ALICE, "view", "patient") == ["odd"]
    assert pdp.evaluate(ALICE, "view", ("patient", "odd")).allowed
    assert [entry.resource for entry in pdp.matrix("practitioner", "view", "patient")] == ["odd"]


def test_the_version_is_the_text() -> None:
    """Each byte and each file name changes the version, but not the order of the files."""
    texts = {"a.polar": f"{ALLOW};".replace("p:", "_:").replace("x:", "_:"), "types.toml": TYPES}
    assert compile_texts(texts).version == compile_texts(dict(reversed(texts.items()))).version
    others = [
        {**texts, "a.polar": texts["a.polar"] + " "},
        {"b.polar": texts["a.polar"], "types.toml": TYPES},
        {**texts, "types.toml": TYPES + "\n"},
        {"a.polar": texts["a.polar"]},
    ]
    assert len({compile_texts(each).version for each in (texts, *others)}) == 5


def test_alternatives_of_one_literal_are_one_derivation() -> None:
    """Derivations that differ in one literal become one with a list; derivations that differ in two stay two."""

    def derivations(body: str) -> int:
        return sum(len(queries) for queries in compiled(f"{ALLOW} if x.id = p.id and ({body});").queries.values())

    assert derivations('p.name = "a" or p.name = "b" or p.name = "c"') == 1
    assert derivations('(p.name = "a" and x.name = "a") or (p.name = "b" and x.name = "b")') == 2
    assert derivations('(p.name = "a" or p.name = "b") and (x.name = "c" or x.name = "d")') == 1


def test_merging_keeps_the_answer(pdp_of_text: PdpOfText) -> None:
    """Alternatives that differ in a pair of literals are not merged, so that no other pair is permitted."""
    pdp = pdp_of_text(f'{ALLOW} if (p.id = "alice" and x.id = "p-1") or (p.id = "bob" and x.id = "p-city");')
    assert [entry[:2] for entry in pdp.matrix("practitioner", "view", "patient")] == [
        ("alice", "p-1"),
        ("bob", "p-city"),
    ]


def test_the_same_row_twice_is_read_once() -> None:
    """Two conditions on the same row are one row of the query."""
    policy = compiled(
        "member(p, s) if m in p.memberships and m.subscription = s;\n"
        f"{ALLOW} if member(p, x.subscription) and member(p, x.subscription);"
    )
    ((query,),) = policy.queries.values()
    assert [row.type for row in query.rows] == ["Membership"]


def test_one_statement_a_question(sqlite_database: Database) -> None:
    """Every kind of question is one statement, and its plan is made once."""
    people.fill(sqlite_database)
    pdp = PDP(sqlite_database, compiled("\n".join(f'{ALLOW} if p.id = "alice" and x.name = p.name;' for _ in range(5))))
    connection: sqlite3.Connection = sqlite_database.connection()
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    questions: list[Callable[[], object]] = [
        lambda: pdp.evaluate(ALICE, "view", PATIENT),
        lambda: pdp.evaluate_many([(ALICE, "view", PATIENT), (BOB, "view", PATIENT)] * 50),
        lambda: pdp.search_resources(ALICE, "view", "patient"),
        lambda: pdp.search_subjects("practitioner", "view", PATIENT),
        lambda: pdp.search_actions(ALICE, PATIENT),
        lambda: list(pdp.matrix("practitioner", "view", "patient")),
    ]
    for ask in questions:
        for _ in range(2):
            seen.clear()
            ask()
            assert len(seen) == 1
    plans = dict(pdp._plans.cached)
    for ask in questions:
        ask()
    assert pdp._plans.cached == plans


def test_ids_that_are_none(pdp_of_text: PdpOfText) -> None:
    """A text that cannot be an id is denied, also in a batch."""
    pdp = pdp_of_text('allow(_: Practitioner, "view", _: Patient);')
    for name in ("", "a\0b", "x" * 129, "tab\t"):
        assert not pdp.evaluate(("practitioner", name), "view", PATIENT).allowed
        assert pdp.search_resources(("practitioner", name), "view", "patient") == []
    many = pdp.evaluate_many([(("practitioner", "a\0b"), "view", PATIENT), (ALICE, "view", PATIENT)])
    assert [decision.allowed for decision in many] == [False, True]


def test_a_batch_of_many_kinds_keeps_its_order(pdp_of_text: PdpOfText) -> None:
    """A batch of several types and actions, known or unknown, is answered in its order."""
    pdp = pdp_of_text(
        f'{ALLOW} if p.id = "alice" and x.id = "p-1";\n'
        'allow(p: Practitioner, "edit", x: Subscription) if p.id = x.name;'
    )
    asks = [
        (ALICE, "view", PATIENT),
        (BOB, "view", PATIENT),
        (ALICE, "edit", ("subscription", "north")),
        (ALICE, "fly", PATIENT),
        (("robot", "r"), "view", PATIENT),
        (ALICE, "view", PATIENT),
    ] * 400
    answers = pdp.evaluate_many(asks)
    reasons = ["permitted", "denied", "denied", "unknown_action", "unknown_type", "permitted"]
    assert [decision.reason for decision in answers[:6]] == reasons
    assert answers == [pdp.evaluate(*question) for question in asks[:6]] * 400
