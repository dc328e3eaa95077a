"""`PATCH /v1/patients/<patient>/shares/<grant>`: the end and the reason of a share."""

from typing import Any

import pytest

from authz.database import Database
from authz.models import Event, Grant
from tests.support.acting import login
from tests.support.http import As, answered, assert_problem

LATER = "2065-01-01T00:00:00Z"


@pytest.fixture
def path(as_: As) -> str:
    """Return the path of a share of alice's with oscar that has an end."""
    body = {"colleague": login("oscar"), "until": "2060-01-01T00:00:00Z", "reason": "on leave"}
    shared = answered(as_("alice").call("POST", "/v1/patients/p-1/shares", body), 201)
    return f"/v1/patients/p-1/shares/{shared['id']}"


@pytest.mark.parametrize(
    ("body", "until", "reason"),
    [
        ({"until": LATER}, LATER, "on leave"),
        ({"until": None}, None, "on leave"),
        ({"reason": "longer leave"}, "2060-01-01T00:00:00Z", "longer leave"),
        ({"until": "2059-01-01T01:00:00+01:00", "reason": ""}, "2059-01-01T00:00:00Z", ""),
    ],
)
def test_what_is_left_out_stays(as_: As, path: str, body: dict[str, Any], until: str | None, reason: str) -> None:
    """Each member changes what it names; null is no end; the answer and the list of access show the share as it is."""
    changed = answered(as_("alice").call("PATCH", path, body))
    assert (changed["practitioner"], changed["until"], changed["reason"]) == ("oscar", until, reason)
    assert changed in as_("alice").get("/v1/patients/p-1/access")["items"]
    assert as_("oscar").get("/v1/patients/p-1")["until"] == until
    assert as_("oscar").get("/v1/notifications")["items"][0]["kind"] == "share:changed"


def test_a_key_changes_once(as_: As, path: str, database: Database) -> None:
    """The same request with the same key is answered alike, and changes nothing that came after it."""
    alice, key = as_("alice"), {"Idempotency_Key": "k"}
    first = answered(alice.call("PATCH", path, {"until": LATER}, **key))
    answered(alice.call("PATCH", path, {"until": None}))
    assert answered(alice.call("PATCH", path, {"until": LATER}, **key)) == first
    assert as_("oscar").get("/v1/patients/p-1")["until"] is None
    assert Event.select().where(Event.kind == "grant:changed").count(database) == 2
    assert_problem(alice.call("PATCH", path, {"reason": "x"}, **key), 422, "key-reused")


@pytest.mark.parametrize(
    ("who", "body", "status", "kind"),
    [
        ("alice", {}, 422, "invalid"),
        ("alice", {"until": "2020-01-01T00:00:00Z"}, 422, "invalid"),
        ("alice", {"until": "2065-01-01"}, 422, "invalid"),
        ("alice", {"until": LATER, "colleague": "x"}, 422, "invalid"),
        ("alice", {"reason": "x" * 501}, 422, "invalid"),
        ("dan", {"until": LATER}, 403, "forbidden"),
        ("oscar", {"until": LATER}, 403, "forbidden"),
        ("frank", {"until": LATER}, 404, "not-found"),
    ],
)
def test_refusals(as_: As, path: str, database: Database, who: str, body: Any, status: int, kind: str) -> None:
    """A refusal has the usual shape, and nothing is changed."""
    assert_problem(as_(who).call("PATCH", path, body), status, kind)
    row = Grant.select().where(Grant.practitioner == "oscar", Grant.patient == "p-1").execute(database)[0]
    assert (row.ended_at.year, row.reason) == (2060, "on leave")


def test_a_share_of_another_patient_is_not_there(as_: As, path: str) -> None:
    """The number of a share counts only under its own patient, and a number that cannot be is not there."""
    number = path.rpartition("/")[2]
    for wrong in (f"p-city/shares/{number}", f"p-oscar/shares/{number}", "p-1/shares/x", "p-1/shares/9" * 30):
        assert_problem(as_("alice").call("PATCH", f"/v1/patients/{wrong}", {"until": LATER}), 404, "not-found")
