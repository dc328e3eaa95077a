"""Entities of declared types over HTTP: versions, refusals, clinics and the record."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from authz.database import Database, gather_statistics
from authz.database.statements import insert_rows
from authz.domain import FOREVER, FOREVER_MICROS, to_micros
from authz.errors import NotFound
from authz.models import Entity, EntityLink, Event, Grant, Licence, Membership, Patient, Practitioner, Subscription
from authz.operations import end_entity, put_entity
from authz.operations import entity as entity_operations
from authz.policy.pdp import PDP
from authz.policy.plan import Arguments
from authz.policy.plans import Question
from authz.record import replay_facts, serialize_entity
from tests.support import people
from tests.support.acting import by, pdp_of
from tests.support.http import Person, answered, assert_problem, service
from tests.support.people import NOW
from tests.support.v1 import app


@pytest.fixture
def flask(database: Database) -> Flask:
    people.fill(database)
    return service(database)


@pytest.fixture
def admin(flask: Flask, database: Database) -> Person:
    return app(flask, database, "admin")


def put(caller: Person, name: str = "d-1", kind: str = "document", **properties: Any) -> Any:
    return caller.call("PUT", f"/v1/entities/{kind}/{name}", {"properties": properties})


def test_a_document_follows_its_patient(database: Database) -> None:
    """A document follows its patient from its first version to its end; old versions answer for the past."""
    people.fill(database)
    bob, doc = ("practitioner", "bob"), ("document", "d-1")
    pdp = pdp_of(database)
    for later, patient in ((1, "p-1"), (2, "p-oscar"), (2, "p-1"), (3, "p-1")):
        properties = {"patient": patient, "title": "Knee"}
        assert (
            put_entity(pdp, actor=by("", later), kind="document", entity="d-1", properties=properties)["properties"]
            == properties
        )
    end_entity(pdp, actor=by("", 4), kind="document", entity="d-1")
    at = [NOW + timedelta(seconds=later) for later in (0, 1, 2, 3.9, 4)]
    assert [pdp.evaluate(bob, "view", doc, now=instant).allowed for instant in at] == [False, True, True, True, False]
    with pytest.raises(NotFound):
        end_entity(pdp, actor=by("", 5), kind="document", entity="d-1")
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    assert kinds == ["entity:started", *["entity:ended", "entity:started"] * 2, "entity:ended"]


def test_what_it_does_is_recorded_and_can_be_replayed(admin: Person, database: Database) -> None:
    """Events have ids and a digest, never a title, and replay finds a version that was changed by hand."""
    answered(put(admin, patient="p-1", author="bob", title="Knee plan of Pat"))
    answered(put(admin, patient="p-1", author="bob", title="Hip plan of Pat"))
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(database)[0]
    assert (last.kind, last.subscription, last.patient) == ("entity:started", "north", "p-1")
    assert last.body["after"]["links"] == {"patient": "p-1", "author": "bob"}
    assert "plan" not in str([event.body for event in Event.select().execute(database)])
    assert [difference for difference in replay_facts(database)[1] if '"d-1"' in difference.row] == []
    Entity.update(properties={"title": "Arm plan"}).where(Entity.id == "d-1", Entity.ended_at == FOREVER).execute(
        database
    )
    assert sorted(difference.side for difference in replay_facts(database)[1] if '"d-1"' in difference.row) == [
        "stored",
        "told",
    ]


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"colour": "red"}, "document has no property 'colour'"),
        ({"title": 5}, "document.title: 5 is not a string"),
        ({"title": ["a"]}, "document.title"),
        ({"patient": {"id": "p-1"}}, "document.patient"),
        ({"patient": "p-none"}, "patient: there is no patient 'p-none'"),
        ({"author": "none"}, "author: there is no practitioner 'none'"),
        ({"id": "x"}, "document has no property 'id'"),
    ],
)
def test_what_is_not_declared_is_refused(admin: Person, database: Database, properties: Any, why: str) -> None:
    """An unknown or wrongly typed property, or a relation to nothing, is 422 with the reason, and nothing is stored."""
    before = Entity.select().count(database)
    assert_problem(put(admin, **properties), 422, "invalid", why)
    assert Entity.select().count(database) == before


def test_types_that_are_not_declared(admin: Person) -> None:
    """A built-in type, an unknown type, an id with a space and an unknown member are refused."""
    for kind in ("patient", "nothing"):
        assert_problem(put(admin, kind=kind), 404, "not-found")
        assert_problem(admin.call("DELETE", f"/v1/entities/{kind}/x"), 404, "not-found")
    assert_problem(put(admin, "a b"), 422, "invalid", "visible")
    assert_problem(admin.call("PUT", "/v1/entities/document/d", {"title": "x"}), 422, "invalid", "/title")


def post(caller: Person, **properties: Any) -> Any:
    return caller.call("POST", "/v1/entities/document", {"properties": properties})


def test_a_key_of_one_clinic_changes_its_own(flask: Flask, admin: Person, database: Database) -> None:
    """For a clinic's key another clinic's entity does not exist, and an entity without a clinic cannot be added."""
    north, city = (app(flask, database, "admin", tenant=clinic) for clinic in ("north", "city"))
    made = answered(post(north, patient="p-1", author="bob"), 201)["id"]
    elsewhere = assert_problem(post(city, patient="p-1"), 422, "invalid")
    nothing = assert_problem(post(city, patient="p-0"), 422, "invalid")
    assert str(elsewhere).replace("p-1", "p-0") == str(nothing)
    assert_problem(post(city, author="bob"), 422, "invalid")
    assert_problem(post(city, title="x"), 422, "invalid", "nothing in them leads")
    answered(post(city, author="frank"), 201)
    for call in (put(city, made, patient="p-city"), city.call("DELETE", f"/v1/entities/document/{made}")):
        assert_problem(call, 404, "not-found")
    assert answered(put(north, made, patient="p-1", author="bob", title="Knee"))["id"] == made
    assert north.call("DELETE", f"/v1/entities/document/{made}").status_code == 204
    answered(put(admin, "d-3", title="anybody's"))
    assert_problem(app(flask, database, "decide").call("PUT", "/v1/entities/document/d-9", {}), 403, "forbidden")


def test_t33_an_entity_stays_with_its_clinic(flask: Flask, admin: Person, database: Database) -> None:
    """T33: a clinic's key cannot take over another clinic's entity, even if the people work for both clinics."""
    north, city = (app(flask, database, "admin", tenant=clinic) for clinic in ("north", "city"))
    own = answered(post(north, author="mia"), 201)["id"]  # mia works in both clinics
    assert_problem(put(city, own, author="frank"), 404, "not-found")
    assert_problem(city.call("DELETE", f"/v1/entities/document/{own}"), 404, "not-found")
    answered(put(north, own, author="mia", title="still North's"))
    rows = Entity.select().where(Entity.id == own).order_by(Entity.pk).execute(database)
    assert [row.subscription for row in rows] == ["north", "north"]
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(database)[0]
    assert (last.subscription, last.body["after"]["subscription"]) == ("north", "north")
    assert [difference for difference in replay_facts(database)[1] if own in difference.row] == []
    # A decision asked within the other clinic knows no more of it.
    pdp, doc = pdp_of(database), ("document", own)
    mia, later = ("practitioner", "mia"), FOREVER - timedelta(days=1)
    decisions = [pdp.evaluate(mia, "view", doc, now=later, tenant=tenant) for tenant in (None, "north", "city")]
    assert [decision.allowed for decision in decisions] == [True, True, False]
    Entity.update(subscription="city").where(Entity.id == own).execute(database)
    assert [difference for difference in replay_facts(database)[1] if own in difference.row] != []


def test_t33_ids_are_the_operators(flask: Flask, admin: Person, database: Database) -> None:
    """T33: a clinic's key cannot choose an id, so that it neither learns nor takes the ids of others."""
    city = app(flask, database, "admin", tenant="city")
    answered(put(admin, "taken", patient="p-1"))
    answers = [put(city, name, patient="p-city") for name in ("taken", "free", "a b")]
    assert len({(answer.status_code, answer.data) for answer in answers}) == 1
    assert_problem(answers[0], 404, "not-found")
    assert Entity.select().where(Entity.id == "free").count(database) == 0


@pytest.fixture
def older(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store entities by events of before 0.2, which name no clinic; one was changed and one ended since."""

    def as_before(row: Any, links: Any) -> dict[str, Any]:
        contents = serialize_entity(row, links)
        del contents["subscription"]
        return contents

    with monkeypatch.context() as before:
        before.setattr(entity_operations, "serialize_entity", as_before)
        for name, properties in OLDER.items():
            answered(put(admin, name, **properties))
    answered(put(admin, "d-old", patient="p-1", title="Knee"))
    assert admin.call("DELETE", "/v1/entities/document/d-older").status_code == 204


OLDER: dict[str, dict[str, str]] = {
    "d-old": {"patient": "p-1"},
    "d-older": {"patient": "p-1", "author": "mia"},
    "d-authors": {"author": "mia"},
    "d-nobodys": {"title": "Knee"},
}
"""The clinic of Mia's document cannot be proven, because she works in two; a patient proves the clinic."""


@pytest.mark.usefixtures("older")
def test_events_of_before_tell_no_clinic(database: Database) -> None:
    """A version of an older event has the clinic that its relations prove; for some nothing is proven."""
    replay = replay_facts(database)
    assert [each for each in replay.differences if any(f'"{name}"' in each.row for name in OLDER)] == []
    assert replay.unproven == ["document:d-authors"]


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize(
    ("name", "clinic", "sides"),
    [
        ("d-old", "city", ["stored", "told"]),
        ("d-old", "", ["stored", "told"]),
        ("d-older", "city", ["stored", "told"]),
        ("d-authors", "city", []),
        ("d-authors", "", []),
        ("d-authors", "harbour", ["stored", "told"]),
        ("d-nobodys", "north", ["stored", "told"]),
    ],
)
def test_a_clinic_that_the_upgrade_cannot_have_given(
    database: Database, name: str, clinic: str, sides: list[str]
) -> None:
    """Replay finds an old version that was moved to another clinic, if the relations prove its clinic."""
    Entity.update(subscription=clinic).where(Entity.id == name).execute(database)
    differences = replay_facts(database).differences
    assert sorted({difference.side for difference in differences if f'"{name}"' in difference.row}) == sides


@pytest.mark.parametrize(
    ("properties", "owner"),
    [
        ({"patient": "p-1", "author": "frank"}, "north"),
        ({"author": "bob"}, "north"),
        ({"author": "mia"}, ""),  # has worked in two
        ({"title": "x"}, ""),
    ],
)
def test_what_the_operator_writes_belongs_where_it_leads(
    admin: Person, database: Database, properties: Any, owner: str
) -> None:
    """The operator's entity gets the clinic of its patient, else that of its people, else it stays the operator's."""
    answered(put(admin, "d-9", **properties))
    assert [row.subscription for row in Entity.select().where(Entity.id == "d-9").execute(database)] == [owner]


MANY = 3000
LIFE = (to_micros(people.LONG_AGO), FOREVER_MICROS)


def crowd(database: Database) -> None:
    """Fill a database with the cast and many others in clinics of ten, each with a patient and a document."""
    people.fill(database)
    spans, others = ("started_at", "ended_at"), ("given_by", "reason", "ended_by", "end_cause")
    names = {f"x-{number}": f"clinic-{number // 10}" for number in range(MANY)}
    clinics = sorted(set(names.values()))
    with database.atomic():
        insert_rows(database, Subscription, ("id", "name"), [(clinic, "") for clinic in clinics])
        insert_rows(database, Licence, ("subscription", *spans), [(clinic, *LIFE) for clinic in clinics])
        logins = [(name, f"{name}@clinic.example", "") for name in names]
        insert_rows(database, Practitioner, ("id", "login", "name"), logins)
        works = [(name, clinic, "member", *LIFE) for name, clinic in names.items()]
        insert_rows(database, Membership, ("practitioner", "subscription", "role", *spans), works)
        patients = [(name, clinic, "", *LIFE) for name, clinic in names.items()]
        insert_rows(database, Patient, ("id", "subscription", "name", *spans), patients)
        owns = [(name, name, "owner", "created", "", "", "", "", *LIFE) for name in names]
        insert_rows(database, Grant, ("patient", "practitioner", "role", "origin", *others, *spans), owns)
        rows = [("document", name, "{}", *LIFE) for name in names]
        insert_rows(database, Entity, ("type", "id", "properties", *spans), rows)
        keys = Entity.select(Entity.pk, Entity.id).where(Entity.id.in_(list(names))).tuples().execute(database)
        links = [(key, relation, "document", name) for key, name in keys for relation in ("patient", "author")]
        insert_rows(database, EntityLink, ("entity", "property", "type", "target"), links)


def statements(pdp: PDP, tenant: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the SQL, with its arguments, of every kind of question about documents."""
    ends = ("practitioner", "", "document")  # every action
    kinds: tuple[Question, ...] = ("evaluation", "evaluations", "resources", "subjects", "actions")
    plans = [planned.plan for kind in kinds if (planned := pdp._plans.plan(kind, *ends, tenant))]
    plans += pdp._plans.probes(*ends, tenant).plans
    assert len(plans) == len(kinds) + 1
    for plan in plans:
        values: Arguments = {"subject": "bob", "resource": "north-plan", "now": to_micros(NOW), "tenant": tenant}
        values |= {"after": "", "limit": 50, "pairs": '[["bob", "north-plan"]]'}
        yield plan.sql, dict(plan.bind(values, {}))


def read_through(database: Database, sql: str, values: dict[str, Any]) -> list[str]:
    """Return the steps of a statement's plan that read a table, or all of a type, instead of looking rows up."""
    if database.dialect == "sqlite":
        steps = [step for *_, step in database.connection().execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        return [step for step in steps if re.search(r"SCAN [tl]\d|SCAN entity|AUTOMATIC|\(type=\? AND id>\?\)", step)]
    ((plan,),) = database.connection().execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values).fetchall()
    waiting, scans = [plan[0]["Plan"]], []
    for step in waiting:
        waiting += step.get("Plans", [])
        table = step.get("Relation Name")
        rows = step["Actual Rows"] * step["Actual Loops"] + step.get("Rows Removed by Filter", 0)
        if table in ("entity", "entity_link", "grant", "patient") and (step["Node Type"] == "Seq Scan" or rows > 100):
            scans.append(f"{step['Node Type']} on {table}: {rows} rows")
    return scans


@pytest.mark.parametrize("tenant", [None, "north"])
def test_a_relation_is_looked_up_and_never_scanned(database: Database, tenant: str | None) -> None:
    """A question about documents looks up its entities, links, grants and patients, and scans no table."""
    crowd(database)
    gather_statistics(database)
    questions = statements(pdp_of(database), tenant)
    assert [step for sql, values in questions for step in read_through(database, sql, values)] == []


def test_nor_is_it_before_there_are_statistics(sqlite_database: Database) -> None:
    """Without SQLite's statistics, as in a service that was filled since its start, no table is scanned either."""
    crowd(sqlite_database)
    questions = statements(pdp_of(sqlite_database), None)
    assert [step for sql, values in questions for step in read_through(sqlite_database, sql, values)] == []
