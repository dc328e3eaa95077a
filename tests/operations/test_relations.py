"""Relations to many and to several types over HTTP, and types that are not stored: changes, clinics and the record."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from authz.database import Database
from authz.errors import InvalidInput
from authz.models import EntityTarget, Event
from authz.operations import put_entity
from authz.policy import entity_properties
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from authz.record import replay_facts
from authz.settings import Settings
from tests.support import people
from tests.support.acting import by
from tests.support.http import App, Person, answered, assert_problem
from tests.support.people import NOW
from tests.support.v1 import app

MUCH_LATER = NOW + timedelta(days=3650)
"""An instant after what an app changes here, by the clock of this machine."""

TYPES = """
[team]
members = { type = ["Practitioner"], reverse = "teams" }

[plan]
patient = "Patient"
readers = { type = ["Practitioner", "Team"], reverse = "plans" }
keeper = { type = ["Practitioner", "Team"], many = false }

[visit]
stored = false
patient = "Patient"
reason = "string"
"""
POLICY = compile_texts(
    {
        "types.toml": TYPES,
        "policy.polar": """
allow(p: Practitioner, "view", x: Plan) if p in x.readers;
allow(p: Practitioner, "view", x: Plan) if t in p.teams and t in x.readers;
allow(p: Practitioner, "keep", x: Plan) if p = x.keeper;
allow(p: Practitioner, "book", v: Visit) if g in v.patient.grants and g.practitioner = p and v.reason = "check-up";
""",
    }
)


def practitioner(name: str) -> dict[str, str]:
    return {"type": "practitioner", "id": name}


def team(name: str) -> dict[str, str]:
    return {"type": "team", "id": name}


@pytest.fixture
def pdp(database: Database) -> PDP:
    people.fill(database)
    return PDP(database, POLICY, clock=lambda: NOW)


@pytest.fixture
def flask(pdp: PDP) -> Flask:
    return create_app(Settings(), pdp)


@pytest.fixture
def admin(flask: Flask, database: Database) -> Person:
    return app(flask, database, "admin")


def put(caller: Person, kind: str, name: str, **properties: Any) -> Any:
    return caller.call("PUT", f"/v1/entities/{kind}/{name}", {"properties": properties})


def readers(pdp: PDP, now: datetime, tenant: str | None = None) -> list[str]:
    return pdp.search_subjects("practitioner", "view", ("plan", "knee"), now=now, tenant=tenant)


def differences(pdp: PDP) -> list[str]:
    """Return the sides of the differences between the events and the tables that are about plans."""
    rows = replay_facts(pdp.database)[1]
    return sorted(difference.side for difference in rows if '"plan"' in difference.row)


def test_a_change_of_the_list_is_a_change_of_the_facts(pdp: PDP) -> None:
    """Each change of a list begins a version with events; the past answers as it was, and events give the tables."""
    lists: list[Any] = [
        [practitioner("alice"), team("crew")],
        [team("crew"), practitioner("alice")],
        [practitioner("bob")],
        [],
    ]
    put_entity(pdp, actor=by("", 0), kind="team", entity="crew", properties={"members": ["carol", "oscar"]})
    for later, named in enumerate(lists):
        put_entity(pdp, actor=by("", later), kind="plan", entity="knee", properties={"readers": named})
    everybody = ["alice", "carol", "oscar"]
    assert [readers(pdp, NOW + timedelta(seconds=later)) for later in (0, 1.5, 2, 2.5, 3)] == [
        everybody,
        everybody,
        ["bob"],
        ["bob"],
        [],
    ]
    events = list(Event.select().order_by(Event.id).execute(pdp.database))
    changes = ["entity:started"] * 2 + ["entity:ended", "entity:started"] * 2
    assert [event.kind for event in events] == changes, "the same list in another order changes nothing"
    assert events[1].body["after"]["links"] == {"readers": [practitioner("alice"), team("crew")]}
    assert events[-1].body["after"]["links"] == {}
    assert differences(pdp) == []
    EntityTarget.update(target="dan").where(EntityTarget.target == "bob").execute(pdp.database)
    assert differences(pdp) == ["stored", "told"]


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"readers": practitioner("bob")}, "plan.readers: "),
        ({"readers": ["bob"]}, 'plan.readers: \'bob\' is not {"type": …, "id": …}'),
        ({"readers": [{"type": "patient", "id": "p-1"}]}, "'patient' is none of the types practitioner, team"),
        ({"readers": [{**practitioner("bob"), "name": "Bob"}]}, "is not {"),
        ({"readers": [practitioner("bob"), practitioner("bob")]}, "names the practitioner 'bob' twice"),
        ({"readers": [practitioner("bob"), practitioner("none")]}, "readers: there is no practitioner 'none'"),
        ({"readers": [practitioner(str(at)) for at in range(4)]}, "leads to 4 rows; at most 3 are allowed"),
        ({"keeper": [practitioner("bob")]}, "plan.keeper: "),
        ({"keeper": practitioner("b\0b")}, "plan.keeper: "),
    ],
)
def test_what_is_no_list_of_targets_is_refused(
    admin: Person, database: Database, monkeypatch: pytest.MonkeyPatch, properties: Any, why: str
) -> None:
    """A malformed target, one of another type, twice or unknown, and too many are refused, and nothing is stored."""
    monkeypatch.setattr(entity_properties, "MOST_TARGETS", 3)
    assert_problem(put(admin, "plan", "knee", **properties), 422, "invalid", why)
    assert EntityTarget.select().count(database) == 0


def test_an_answer_has_the_list_as_it_was_sent(admin: Person, pdp: PDP) -> None:
    """The answer to a change repeats the properties; a target of several types decides by its type."""
    sent = {"readers": [practitioner("alice")], "keeper": practitioner("bob")}
    assert answered(put(admin, "plan", "knee", **sent))["properties"] == sent
    put(admin, "plan", "hip", keeper=team("bob"))
    kept = [pdp.search_resources(("practitioner", who), "keep", "plan", now=MUCH_LATER) for who in ("bob", "alice")]
    assert kept == [["knee"], []]


def test_a_list_belongs_to_its_clinic(flask: Flask, admin: Person, pdp: PDP) -> None:
    """An entity that a clinic's key writes is that clinic's; one that leads to two clinics is the operator's."""
    north, city = (app(flask, pdp.database, "admin", tenant=clinic) for clinic in ("north", "city"))
    why, clinics = "there is no practitioner 'frank'", (None, "north", "city")
    elsewhere = north.call("POST", "/v1/entities/team", {"properties": {"members": ["frank"]}})
    assert_problem(elsewhere, 422, "invalid", why)
    answered(put(admin, "plan", "knee", patient="p-1", readers=[practitioner("bob")]))
    answered(put(north, "plan", "knee", patient="p-1", readers=[practitioner("alice")]))
    assert_problem(put(city, "plan", "knee", readers=[practitioner("frank")]), 404, "not-found")
    assert [readers(pdp, MUCH_LATER, clinic) for clinic in clinics] == [["alice"], ["alice"], []]
    answered(put(admin, "plan", "both", readers=[practitioner("alice"), practitioner("frank")]))
    assert [pdp.exists(("plan", "both"), now=MUCH_LATER, tenant=clinic) for clinic in clinics] == [True, False, False]


VISIT = {"type": "visit", "id": "new", "properties": {"patient": "p-1", "reason": "check-up"}}


def question(who: str, resource: Any = VISIT) -> Any:
    return {"subject": practitioner(who), "action": {"name": "book"}, "resource": resource}


def test_what_comes_with_the_question(flask: Flask, database: Database) -> None:
    """A resource that is not stored is decided by its properties, in every question but a search for itself."""
    asking = App(flask, database, "decide", "audit")
    assert answered(asking.ask(question("bob")))["decision"] is True
    assert answered(asking.ask(question("oscar")))["decision"] is False
    for lacking in ({"patient": "p-1"}, {"reason": "check-up"}, {"patient": "p-none", "reason": "check-up"}, {}):
        assert answered(asking.ask(question("bob", {**VISIT, "properties": lacking})))["decision"] is False
    batch = {"evaluations": [question("bob"), question("bob", {**VISIT, "properties": {"patient": "p-1"}})]}
    answers = answered(asking.ask(batch, "/access/v1/evaluations"))["evaluations"]
    assert [answer["decision"] for answer in answers] == [True, False]
    who = {**question("bob"), "subject": {"type": "practitioner"}}
    results = answered(asking.ask(who, "/access/v1/search/subject"))["results"]
    assert {"bob", "alice"} <= {result["id"] for result in results}
    assert "oscar" not in {result["id"] for result in results}
    explained = answered(asking.ask({**question("oscar"), "context": {"explain": True}}))
    assert "there is no grant" in explained["context"]["reason_admin"]["403"]
    what = asking.ask(question("bob", {"type": "visit"}), "/access/v1/search/resource")
    assert_problem(what, 400, "bad-request", "the type visit is not stored, so its resources cannot be searched for")


def test_a_clinics_key_asks_about_its_own(flask: Flask, database: Database) -> None:
    """Within a clinic a resource that is not stored may lead to that clinic's rows, and to no other's."""
    responses = {
        clinic: App(flask, database, "decide", subscription=clinic).ask(question("bob")) for clinic in ("north", "city")
    }
    assert {clinic: answered(answer)["decision"] for clinic, answer in responses.items()} == {
        "north": True,
        "city": False,
    }


def test_nothing_of_it_is_stored(admin: Person, pdp: PDP) -> None:
    """An entity of a type that is not stored is refused, and so are the matrix and searches for it."""
    assert_problem(put(admin, "visit", "new", patient="p-1"), 422, "invalid", "the type visit is not stored")
    for ask in (
        lambda: pdp.search_resources(("practitioner", "bob"), "book", "visit"),
        lambda: pdp.search_subjects("visit", "view", ("plan", "knee")),
        lambda: list(pdp.matrix("practitioner", "book", "visit")),
    ):
        with pytest.raises(InvalidInput, match="the type visit is not stored"):
            ask()
    assert not pdp.exists(("visit", "new"))
