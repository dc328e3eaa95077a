"""`/v1`: a transfer is undone by the app of the one who made it, in one request for one patient or several."""

import pytest
from flask import Flask

from authz.database import Database
from authz.domain import parse_instant
from authz.models import Event, Grant
from authz.operations import UNDO_TIME
from tests.support.acting import login
from tests.support.http import As, answered, assert_problem
from tests.support.v1 import app, ids


def test_one_patient(as_: As, database: Database) -> None:
    """A transfer's answer says until when it may be undone; an undo lists the shares that came back or are lost."""
    alice, body = as_("alice"), {"colleague": login("oscar"), "end_shares": True}
    moved = answered(alice.call("POST", "/v1/patients/p-1/transfer", body))
    (grant,) = Grant.select().where(Grant.patient == "p-1", Grant.practitioner == "oscar").execute(database)
    assert parse_instant(moved["undo_until"]) == grant.started_at + UNDO_TIME == grant.undo_until
    path = "/v1/patients/p-1/transfer/undo"
    first, again = (answered(alice.call("POST", path, Idempotency_Key="u-1")) for _ in range(2))
    assert first == again
    assert (first["patient"], first["owner"], first["receiver"]) == ("p-1", "alice", "oscar")
    assert [(share["practitioner"], share["origin"]) for share in first["returned_shares"]] == [("bob", "undo")]
    assert [(share["practitioner"], share["until"]) for share in first["lost_shares"]] == [("erin", None)]
    assert first["returned_shares"][0]["until"] == "2076-05-19T12:00:00Z"
    assert [share["practitioner"] for share in alice.get("/v1/patients/p-1/access")["items"]] == ["alice", "bob"]
    assert_problem(as_("oscar").call("GET", "/v1/patients/p-1"), 404, "not-found")
    answer = assert_problem(alice.call("POST", path), 409, "conflict")
    assert answer["detail"] == "The transfer has been undone already."
    kinds = [notification["kind"] for notification in as_("oscar").get("/v1/notifications")["items"]]
    assert kinds == ["transfer:undone", "transfer:received"]


@pytest.mark.parametrize("who", ["alice", "dan"])
def test_several(as_: As, database: Database, who: str) -> None:
    """Several patients are undone whole or not at all, with each refusal in its place, and events of one batch."""
    new = [answered(as_("alice").call("POST", "/v1/patients", {"name": "N"}), 201)["id"] for _ in range(2)]
    sender, oscar = as_(who), as_("oscar")
    answered(sender.call("POST", "/v1/transfers", {"patients": new, "colleague": login("oscar")}))
    refused = assert_problem(
        sender.call("POST", "/v1/transfers/undo", {"patients": [new[0], "p-none"]}), 422, "batch-refused"
    )
    assert [error["pointer"] for error in refused["errors"]] == ["/patients/1"]
    done = answered(sender.call("POST", "/v1/transfers/undo", {"patients": new}))
    assert [(each["patient"], each["owner"]) for each in done["items"]] == [(patient, "alice") for patient in new]
    events = Event.select().where(Event.kind == "transfer:undone").execute(database)
    assert [event.body["batch"] for event in events] == 2 * [done["batch"]]
    answered(sender.call("POST", "/v1/transfers", {"patients": new, "colleague": login("oscar")}))
    assert oscar.call("PATCH", f"/v1/patients/{new[1]}", {"name": "Other"}).status_code == 200
    refused = assert_problem(sender.call("POST", "/v1/transfers/undo", {"patients": new}), 422, "batch-refused")
    assert [(error["pointer"], error["message"]) for error in refused["errors"]] == [
        ("/patients/1", "The colleague who received the patient has already changed something.")
    ]
    assert set(new) <= set(ids(oscar.get("/v1/patients")))


def test_through_an_app(as_: As, flask: Flask, database: Database) -> None:
    """An app undoes on behalf of the sender; for an app of another clinic there is nothing to undo."""
    answered(as_("alice").call("POST", "/v1/patients/p-1/transfer", {"colleague": login("oscar")}))
    other = app(flask, database, "act", tenant="city", who="mia")
    assert_problem(other.call("POST", "/v1/patients/p-1/transfer/undo"), 404, "not-found")
    own = app(flask, database, "act", tenant="north", who="alice")
    assert answered(own.call("POST", "/v1/patients/p-1/transfer/undo"))["owner"] == "alice"
