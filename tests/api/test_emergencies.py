"""`/v1`: an emergency access begins by id or number, is listed for those who audit, and somebody else reviews it."""

import pytest
from flask import Flask

from api.app import create_app
from api.limits import EMERGENCY_TRIES
from api.v1 import requests, responses
from authz.database import Database
from authz.domain import parse_instant
from authz.models import Patient
from authz.operations.emergency import MOST_A_DAY
from authz.policy.pdp import PDP
from authz.settings import Settings
from tests.support import people
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.http import As, answered, assert_problem
from tests.support.people import NOW
from tests.support.v1 import app

BODY = {"patient": "p-1", "purpose": "ETREAT", "reason": "Collapsed"}


@pytest.fixture
def flask(database: Database, settings: Settings) -> Flask:
    """Return the service under a policy with emergency access."""
    people.fill(database)
    Patient.update(reference="MRN 7").where(Patient.id == "p-1").execute(database)
    served = Settings(development_key=settings.development_key, emergency_minutes=30)
    return create_app(served, PDP(database, EMERGENCY_POLICY, clock=lambda: NOW))


def test_from_the_beginning_to_the_review(as_: As) -> None:
    """The answer and the owner's notice say until when; auditors list it, and review it after its end."""
    oscar, heidi, dan = as_("oscar"), as_("heidi"), as_("dan")
    named = {**BODY, "patient": None, "reference": "MRN 7"}
    first, again = (
        answered(oscar.call("POST", "/v1/emergencies", named, Idempotency_Key="e-1"), 201) for _ in range(2)
    )
    assert first == again
    responses.OpenedEmergencyBody.model_validate(first)
    grant = first["grant"]
    assert (grant["patient"], grant["role"], grant["origin"], grant["reason"]) == (
        "p-1",
        "viewer",
        "emergency",
        "Collapsed",
    )
    assert (parse_instant(grant["until"]) - parse_instant(grant["started_at"])).total_seconds() == 30 * 60
    assert oscar.get("/v1/patients/p-1")["until"] == grant["until"]
    (notice,) = as_("alice").get("/v1/notifications")["items"]
    assert (notice["kind"], notice["colleague"], notice["until"]) == ("emergency:opened", "oscar", grant["until"])
    path = "/v1/subscriptions/north/emergencies"
    listed = heidi.get(f"{path}?due=true&limit=1")
    responses.EmergenciesBody.model_validate(listed)
    assert [row["id"] for row in listed["items"]] == [first["emergency"]]
    assert_problem(oscar.call("GET", path), 403, "forbidden")
    review = f"/v1/emergencies/{first['emergency']}/review"
    verdict = {"verdict": "unjustified", "note": "No call was received"}
    assert_problem(heidi.call("POST", review, verdict), 409, "conflict")
    answered(dan.call("DELETE", f"/v1/patients/p-1/shares/{grant['id']}"), 204)
    assert_problem(oscar.call("GET", "/v1/patients/p-1"), 404, "not-found")
    reviewed = answered(heidi.call("POST", review, verdict))
    responses.EmergencyBody.model_validate(reviewed)
    assert (reviewed["verdict"], reviewed["reviewer"], reviewed["ended_by"]) == ("unjustified", "heidi", "dan")
    assert heidi.get(f"{path}?due=true")["items"] == []
    assert heidi.get(path)["items"] == [reviewed]


def test_a_key_of_another_clinic(flask: Flask, database: Database) -> None:
    """A clinic's own key opens and lists nothing of another clinic, for somebody who works at both."""
    city, north = (app(flask, database, "act", who="mia", tenant=clinic) for clinic in ("city", "north"))
    bodies = [{**BODY, **named} for named in ({"patient": "p-1"}, {"reference": "MRN 7", "patient": None})]
    for body in bodies:
        assert_problem(city.call("POST", "/v1/emergencies", body), 404, "not-found")
    opened = answered(north.call("POST", "/v1/emergencies", bodies[1]), 201)
    assert opened["grant"]["patient"] == "p-1"
    assert_problem(city.call("GET", "/v1/subscriptions/north/emergencies"), 404, "not-found")


def test_bad_input(as_: As) -> None:
    """A purpose, a verdict or a member that is not known is refused with its place; so is a reason without a word."""
    oscar = as_("oscar")
    for change, pointer in (({"purpose": "X"}, "/purpose"), ({"until": "2030-01-01T00:00:00Z"}, "/until")):
        problem = assert_problem(oscar.call("POST", "/v1/emergencies", {**BODY, **change}), 422, "invalid")
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert_problem(oscar.call("POST", "/v1/emergencies", {**BODY, "reason": "-"}), 422, "invalid", "reason")
    assert_problem(as_("heidi").call("POST", "/v1/emergencies/1/review", {"verdict": "keep"}), 422, "invalid")


def test_t20_tries_and_accesses_have_limits(as_: As) -> None:
    """T20: somebody who tries one number after the other is stopped, and so is the eleventh access of a day."""
    oscar, ned = as_("oscar"), as_("ned")
    for number in range(EMERGENCY_TRIES):
        tried = {**BODY, "patient": None, "reference": f"MRN {1000 + number}"}
        assert_problem(oscar.call("POST", "/v1/emergencies", tried), 404, "not-found")
    assert_problem(oscar.call("POST", "/v1/emergencies", BODY), 429, "too-many")
    for number in range(MOST_A_DAY):
        opened = answered(ned.call("POST", "/v1/emergencies", {**BODY, "reason": f"Fall {number}"}), 201)
        answered(ned.call("DELETE", f"/v1/patients/p-1/shares/{opened['grant']['id']}"), 204)
    response = ned.call("POST", "/v1/emergencies", {**BODY, "reason": "Another fall"})
    assert_problem(response, 429, "too-many")
    assert 86_000 < int(response.headers["Retry-After"]) <= 86_400


def test_the_examples_of_the_document(as_: As, database: Database) -> None:
    """The examples in the OpenAPI document are bodies that the routes accept."""
    Patient.update(reference="MRN 2024/17").where(Patient.id == "p-1").execute(database)
    document = answered(as_("oscar").call("GET", "/openapi.json"))
    example = document["paths"]["/v1/emergencies"]["post"]["requestBody"]["content"]["application/json"]["example"]
    requests.EmergencyRequest.model_validate(example)
    answered(as_("oscar").call("POST", "/v1/emergencies", example), 201)
