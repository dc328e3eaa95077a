"""The limits of a clinic's key, a manager and a leaver in other clinics (decision 0007)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from authz.callers.clients import add_client
from authz.database import Database
from authz.models import Membership, Notification, RecordedDecision
from authz.operations import end_membership
from authz.record import Actor
from tests.support.acting import login, pdp_of
from tests.support.http import As, Person, answered, assert_problem
from tests.support.people import NOW


def app(flask: Flask, database: Database, scope: str, tenant: str | None, who: str | None = None) -> Person:
    key = add_client(database, name="app", scopes=[scope], subscription=tenant, now=NOW)
    behalf = {"X-On-Behalf-Of": login(who)} if who else {}
    return Person(flask, {"Authorization": f"Bearer {key}", **behalf})


def leave(database: Database, who: str) -> None:
    end_membership(pdp_of(database), actor=Actor("", datetime.now(UTC)), subscription="north", practitioner=who)


def test_t30_notices_are_told_where_they_belong(flask: Flask, database: Database, as_: As) -> None:
    """T30: a clinic's key reads and marks only that clinic's notices; their owner, without a key, all of them."""
    shared = {"colleague": login("mia")}
    answered(as_("frank").call("POST", "/v1/patients/p-city/shares", shared), 201)
    (notice,) = as_("mia").get("/v1/notifications")["items"]
    assert notice["patient"] == "p-city"
    north = app(flask, database, "act", "north", "mia")
    assert north.get("/v1/notifications")["items"] == []
    assert_problem(north.call("POST", f"/v1/notifications/{notice['id']}/read"), 404, "not-found")
    city = app(flask, database, "act", "city", "mia")
    assert answered(city.call("POST", f"/v1/notifications/{notice['id']}/read"))["read"] is True


def test_t8_a_leaver_is_told_nothing_more(database: Database, as_: As) -> None:
    """T8, T15: a leaver reads no notices or standing shares, ends none, and an old key repeats no answer to them."""
    body, key = {"colleague": login("oscar")}, {"Idempotency_Key": "k"}
    first = answered(as_("alice").call("POST", "/v1/patients/p-1/shares", body, **key), 201)
    share, *_ = as_("alice").get("/v1/standing-shares")["items"]
    assert as_("alice").get("/v1/notifications")["items"]
    assert answered(as_("alice").call("POST", "/v1/patients/p-1/shares", body, **key), 201) == first
    leave(database, "alice")
    assert as_("alice").get("/v1/standing-shares")["items"] == as_("alice").get("/v1/notifications")["items"] == []
    before = RecordedDecision.select().where(RecordedDecision.subject == "alice").count(database)
    assert_problem(as_("alice").call("DELETE", f"/v1/standing-shares/{share['id']}"), 404, "not-found")
    assert_problem(as_("alice").call("POST", "/v1/patients/p-1/shares", body, **key), 404, "not-found")
    assert RecordedDecision.select().where(RecordedDecision.subject == "alice").count(database) == before + 2


def test_t7_nobody_is_pulled_into_a_clinic(flask: Flask, database: Database, as_: As) -> None:
    """T7: managers and clinic keys give roles only to people who worked there; others are 404, like nobody."""
    for caller in (as_("dan"), app(flask, database, "admin", "north")):
        answers = [caller.call("PUT", f"/v1/memberships/north/{who}", {"role": "member"}) for who in ("frank", "ghost")]
        assert assert_problem(answers[0], 404, "not-found") == assert_problem(answers[1], 404, "not-found")
        answered(caller.call("PUT", "/v1/memberships/north/erin", {"role": "member"}))
    assert (
        not Membership.select()
        .where(Membership.practitioner == "frank", Membership.subscription == "north")
        .count(database)
    )
    assert as_("dan").get("/v1/colleagues?q=frank")["items"] == []
    answered(app(flask, database, "admin", None).call("PUT", "/v1/memberships/north/frank", {"role": "member"}))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("practitioners/new", {"login": "grace@clinic.example", "name": "N"}),
        ("practitioners/new", {"login": "free@clinic.example", "name": "N"}),
        ("practitioners/grace", {"login": "grace@clinic.example", "name": "Grace"}),
        ("practitioners/grace", {"login": "x@clinic.example", "name": "G"}),
        ("subscriptions/harbour", {"name": "Harbour Clinic", "live": True}),
        ("subscriptions/none", {"name": "None"}),
    ],
)
def test_t32_a_clinics_key_provisions_nothing_of_all(flask: Flask, database: Database, path: str, body: Any) -> None:
    """T32, T5: a clinic's key gets one refusal for people and clinics, and its lapsed clinic does not resume."""
    key = app(flask, database, "admin", "harbour")
    assert_problem(
        key.call("PUT", f"/v1/{path}", body),
        403,
        "forbidden",
        "The key of one clinic may not change this; use the operator's key.",
    )


NUL = [
    ("GET", "/v1/patients/a%00b", None, 404),
    ("GET", "/v1/patients/a%00b/access", None, 404),
    ("POST", "/v1/patients/a%00b/shares", {"colleague": login("bob")}, 404),
    ("DELETE", "/v1/patients/a%00b/shares/1", None, 404),
    ("PUT", "/v1/memberships/north/a%00b", {"role": "member"}, 404),
    ("GET", "/v1/colleagues?patient=a%00b", None, 422),
    ("GET", "/v1/patients?q=a%00b", None, 422),
    ("GET", "/v1/patients?cursor=AA", None, 422),
    ("POST", "/v1/patients", {"name": "N", "subscription": "a\0b"}, 422),
    ("POST", "/v1/standing-shares", {"colleague": login("bob"), "subscription": "a\0b"}, 422),
    ("POST", "/v1/shares", {"colleague": login("bob"), "patients": ["a\0b"]}, 422),
    ("POST", "/v1/patients/p-1/shares", {"colleague": "a\0b@x.example"}, 422),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), NUL)
def test_the_character_nul(as_: As, method: str, path: str, body: Any, status: int) -> None:
    """T26: text with NUL is refused alike on both databases, with 404 or 422."""
    assert as_("dan").call(method, path, body).status_code == status


def test_t17_too_many_are_refused_before_any_is_asked(as_: As, database: Database) -> None:
    """T17: a batch beyond the cap is refused before anything is evaluated, recorded or locked."""
    before = RecordedDecision.select().count(database)
    body = {"colleague": login("bob"), "patients": [f"p-{number}" for number in range(20_000)]}
    assert_problem(as_("alice").call("POST", "/v1/shares", body), 422, "invalid", "at most 1000")
    assert RecordedDecision.select().count(database) == before


def test_t12_who_loses_a_share_by_a_transfer_is_told(as_: As, database: Database) -> None:
    """T12: a transfer with `end_shares` notifies both sides of each ended share, in the share's clinic."""
    body = {"colleague": login("oscar"), "end_shares": True}
    answered(as_("alice").call("POST", "/v1/patients/p-1/transfer", body))
    rows = Notification.select().where(Notification.kind == "share:ended").order_by(Notification.id).execute(database)
    parties = [(row.practitioner_id, row.colleague, row.subscription) for row in rows]
    assert parties == [
        (practitioner, colleague, "north")
        for who in ("bob", "erin")
        for practitioner, colleague in ((who, "alice"), ("alice", who))
    ]
