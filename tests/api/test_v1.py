"""`/v1` as a practitioner's app uses it: the story, every route by everybody, and one shape for every refusal."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from api.v1 import events
from authz.database import Database
from authz.domain import format_instant
from authz.models import Event, Grant, RecordedDecision
from authz.record import read_events
from authz.settings import Settings
from tests.support import people
from tests.support.acting import login, served_since
from tests.support.http import As, Person, answered, assert_problem, headers, question, service
from tests.support.people import CAST, NOW
from tests.support.v1 import app, ids


def operator_for(flask: Flask, database: Database, who: str) -> Person:
    """Return an app of the operator, which alone may choose ids, on behalf of somebody."""
    return app(flask, database, "act", who=who)


def test_the_story(as_: As) -> None:
    """Alice shares, ends, transfers and shares everything with Oscar; each step shows in lists and notices."""
    alice, oscar = as_("alice"), as_("oscar")
    body = {"colleague": "Oscar@Clinic.example"}
    shared = answered(alice.call("POST", "/v1/patients/p-1/shares", body), 201)
    assert (shared["practitioner"], shared["role"], shared["until"]) == ("oscar", "viewer", None)
    seen = oscar.get("/v1/patients/p-1")
    assert (seen["role"], seen["owner"], seen["actions"]) == ("viewer", "alice", ["view", "give_up", "receive"])
    assert alice.call("DELETE", f"/v1/patients/p-1/shares/{shared['id']}").status_code == 204
    assert_problem(oscar.call("GET", "/v1/patients/p-1"), 404, "not-found")
    moved = answered(alice.call("POST", "/v1/patients/p-1/transfer", {"colleague": login("oscar")}))
    assert (moved["owner"], moved["previous_owner"]) == ("oscar", "alice")
    assert [kept["practitioner"] for kept in moved["kept_shares"]] == ["bob", "erin"]
    assert_problem(alice.call("GET", "/v1/patients/p-1"), 404, "not-found")
    assert oscar.call("POST", "/v1/patients/p-1/transfer", {"colleague": login("alice")}).status_code == 200
    everyone = {"colleague": login("oscar"), "content": True}
    everything = answered(alice.call("POST", "/v1/standing-shares", everyone), 201)
    new = answered(alice.call("POST", "/v1/patients", {"name": "New One"}), 201)
    assert new["id"] in ids(oscar.get("/v1/patients"))
    assert ids(oscar.get("/v1/standing-shares")) == [everything["id"]]
    assert alice.call("DELETE", f"/v1/standing-shares/{everything['id']}").status_code == 204
    assert new["id"] not in ids(oscar.get("/v1/patients"))
    kinds = [notification["kind"] for notification in oscar.get("/v1/notifications")["items"]]
    assert kinds == [
        "standing_share:ended",
        "standing_share:received",
        "transfer:given",
        "transfer:received",
        "share:ended",
        "share:received",
    ]


def test_access_and_colleagues(as_: As) -> None:
    """The owner and managers list who has access; colleagues are the people who can receive, without oneself."""
    for who in ("alice", "dan"):
        listed = as_(who).get("/v1/patients/p-1/access")["items"]
        assert [(grant["practitioner"], grant["role"]) for grant in listed] == [
            ("alice", "owner"),
            ("bob", "viewer"),
            ("erin", "viewer"),
        ]
        assert (listed[0]["name"], listed[0]["login"]) == ("Alice", "alice@clinic.example")
    assert_problem(as_("bob").call("GET", "/v1/patients/p-1/access"), 403, "forbidden")
    assert_problem(as_("oscar").call("GET", "/v1/patients/p-1/access"), 404, "not-found")
    of_patient = ids(as_("alice").get("/v1/colleagues?patient=p-1"))
    assert of_patient == ids(as_("alice").get("/v1/colleagues"))
    assert "bob" in of_patient
    assert not {"alice", "erin", "heidi", "frank"} & set(of_patient)
    assert ids(as_("alice").get("/v1/colleagues?q=OSC")) == ["oscar"]
    assert_problem(as_("bob").call("GET", "/v1/colleagues?patient=p-1"), 403, "forbidden")
    assert ids(as_("heidi").get("/v1/colleagues")) == []


def test_me(as_: As) -> None:
    """`/v1/me` gives a practitioner's id and login and their live memberships."""
    answer = as_("mia").get("/v1/me")
    assert (answer["id"], answer["login"]) == ("mia", "mia@clinic.example")
    assert [membership["subscription"] for membership in answer["memberships"]] == ["city", "north"]
    assert as_("erin").get("/v1/me")["memberships"] == []


def test_lists_in_pages(as_: As, flask: Flask, database: Database) -> None:
    """Pages of patients follow without a gap; `q` and `role` only narrow the patients that one may view."""
    alice, bob = as_("alice"), as_("bob")
    operator = operator_for(flask, database, "alice")
    for number in range(7):
        operator.call("POST", "/v1/patients", {"id": f"n-{number}", "name": f"Anna Å {number}"})
    items, cursor = [], ""
    while True:
        page = alice.get(f"/v1/patients?limit=3&cursor={cursor}")
        items += ids(page)
        if page["next"] is None:
            break
        cursor = page["next"]
    assert items == [*(f"n-{number}" for number in range(7)), "p-1"]
    assert ids(alice.get("/v1/patients?q=ANNA%20%C3%A5%205")) == ["n-5"]
    assert ids(alice.get("/v1/patients?q=n-&role=owner")) == []
    assert ids(alice.get("/v1/patients?q=n-3")) == ["n-3"]
    assert ids(bob.get("/v1/patients?q=Anna")) == []
    assert ids(bob.get("/v1/patients?role=viewer")) == ["p-1"]
    assert ids(bob.get("/v1/patients?role=owner")) == []
    until = bob.get("/v1/patients")["items"][0]["until"]
    assert until == "2076-05-19T12:00:00Z"


def test_t23_what_is_hidden_shows_in_no_list(as_: As, flask: Flask, database: Database) -> None:
    """T23: patients hidden from Bob change no list, page, count or order of his, nor the record of it."""
    operator, hiding = operator_for(flask, database, "alice"), operator_for(flask, database, "oscar")
    served_since(database, NOW)
    for number in range(5):
        operator.call("POST", "/v1/patients", {"id": f"m-{number}", "name": f"Mara {number}"})
        as_("alice").call("POST", f"/v1/patients/m-{number}/shares", {"colleague": login("bob")})
    bob, auditor = as_("bob"), app(flask, database, "decide", "audit")
    lists = ("", "q=Mara", "q=m-3", "q=Mara+9", "q=m-1x", "role=viewer", "role=owner", "left=true")

    def everything() -> list[Any]:
        """Return every page of each list, the results of a search, and their sizes in the record."""
        before, answers = RecordedDecision.select().count(database), list[Any]()
        for narrowed in lists:
            cursor = ""
            while cursor is not None:
                answers.append(bob.get(f"/v1/patients?{narrowed}&limit=2&cursor={cursor}"))
                cursor = answers[-1]["next"]
        search = question("bob", context={"at": format_instant(datetime.now(UTC))}, page={"limit": 4})
        answers.append(answered(auditor.call("POST", "/access/v1/search/resource", search))["results"])
        sizes = (
            RecordedDecision.select(RecordedDecision.size)
            .order_by(RecordedDecision.id)
            .offset(before)
            .tuples()
            .execute(database)
        )
        return [*answers, list(sizes)]

    without_hidden = everything()
    assert [result["id"] for result in without_hidden[-2]] == [f"m-{number}" for number in range(4)]
    for number in range(10):
        for name in (f"a-{number}", f"m-{number}x", f"z-{number}"):
            hiding.call("POST", "/v1/patients", {"id": name, "name": f"Mara {number}"})
    assert everything() == without_hidden
    for hidden in ("owner=oscar", "sort=owner", "subscription=north"):
        assert_problem(bob.call("GET", f"/v1/patients?{hidden}"), 422, "invalid")


def test_t14_a_manager_lists_what_leavers_left(as_: As) -> None:
    """T14: only a manager lists the patients of leavers, and transfers them in one request."""
    assert ids(as_("dan").get("/v1/patients?left=true")) == ["p-left"]
    assert ids(as_("alice").get("/v1/patients?left=true")) == []
    assert ids(as_("dan").get("/v1/patients")) == []
    body = {"patients": ["p-left"], "colleague": login("oscar")}
    moved = answered(as_("dan").call("POST", "/v1/transfers", body))
    assert [transfer["owner"] for transfer in moved["items"]] == ["oscar"]
    assert ids(as_("dan").get("/v1/patients?left=true")) == []


def test_several_at_once(as_: As, flask: Flask, database: Database) -> None:
    """A batch is carried out whole or not at all; each refusal names its patient; the events share a batch id."""
    alice, operator = as_("alice"), operator_for(flask, database, "alice")
    for number in range(3):
        operator.call("POST", "/v1/patients", {"id": f"n-{number}", "name": "N"})
    body = {"patients": ["n-0", "p-city", "p-none"], "colleague": login("bob")}
    answer = assert_problem(alice.call("POST", "/v1/shares", body), 422, "batch-refused")
    assert [error["pointer"] for error in answer["errors"]] == ["/patients/1", "/patients/2"]
    assert answer["errors"][0]["message"] == answer["errors"][1]["message"]
    done = answered(alice.call("POST", "/v1/shares", body | {"patients": ["n-0", "n-1", "n-2"]}))
    assert [share["patient"] for share in done["items"]] == ["n-0", "n-1", "n-2"]
    last = Event.select().order_by(Event.id.desc()).limit(3).execute(database)
    assert {event.body["batch"] for event in last} == {done["batch"]}


def test_t16_a_key_answers_once(as_: As, flask: Flask, database: Database, settings: Settings) -> None:
    """T16: an idempotency key repeats the answer to the same request, refuses another body, and is one caller's."""
    alice = as_("alice")
    body = {"colleague": login("oscar")}
    first, again = (
        answered(alice.call("POST", "/v1/patients/p-1/shares", body, Idempotency_Key="k-1"), 201) for _ in range(2)
    )
    assert first == again
    assert Grant.select().where(Grant.patient == "p-1", Grant.practitioner == "oscar").count(database) == 1
    other = alice.call("POST", "/v1/patients/p-1/shares", {"colleague": login("pete")}, Idempotency_Key="k-1")
    assert_problem(other, 422, "key-reused")
    mine = as_("bob").call("POST", "/v1/patients", {"name": "B"}, Idempotency_Key="k-1")
    assert mine.status_code == 201
    through = app(flask, database, "act", who="alice")
    added = through.call("POST", "/v1/patients", {"name": "C"}, Idempotency_Key="k-1")
    assert added.status_code == 201
    path = f"/v1/patients/p-1/shares/{first['id']}"
    for _ in range(2):
        assert alice.call("DELETE", path, Idempotency_Key="k-2").status_code == 204
    assert_problem(alice.call("DELETE", path, Idempotency_Key="k-3"), 404, "not-found")
    assert_problem(alice.call("POST", "/v1/patients", {"name": "D"}, Idempotency_Key="k" * 256), 422, "invalid")


def test_t5_one_refusal_for_every_recipient(as_: As) -> None:
    """T5: every recipient who cannot receive gets the same refusal, byte for byte."""
    logins = ["none@x.example", login("frank"), login("erin"), login("heidi"), login("grace"), "x", ""]
    for path in ("/v1/patients/p-1/shares", "/v1/patients/p-1/transfer", "/v1/standing-shares"):
        answers = [as_("alice").call("POST", path, {"colleague": email}) for email in logins]
        assert len({answer.data for answer in answers}) == 1
        assert_problem(answers[0], 422, "recipient-not-eligible")
    assert_problem(as_("alice").call("POST", "/v1/standing-shares", {"colleague": login("alice")}), 422, "self-target")


def test_t3_through_an_app(as_: As, flask: Flask, database: Database) -> None:
    """T3: an app with the scope acts for a person it names, within its clinic; the record names both."""
    through = app(flask, database, "act", tenant="north", who="alice")
    assert through.call("POST", "/v1/patients/p-1/shares", {"colleague": login("oscar")}).status_code == 201
    event = Event.select().order_by(Event.id.desc()).limit(1).execute(database)[0]
    assert (event.actor, event.client is not None, event.address) == ("alice", True, "127.0.0.1")
    assert_problem(app(flask, database, "act").call("GET", "/v1/me"), 403, "forbidden", "X-On-Behalf-Of")
    assert_problem(app(flask, database, "decide", who="alice").call("GET", "/v1/me"), 403, "forbidden", "scope act")
    city = app(flask, database, "act", tenant="city", who="mia")
    assert ids(city.get("/v1/patients")) == []
    outside = app(flask, database, "act", tenant="city", who="alice").call("GET", "/v1/me")
    unknown = app(flask, database, "act", tenant="city", who="none").call("GET", "/v1/me")
    assert assert_problem(outside, 403, "forbidden") == assert_problem(unknown, 403, "forbidden")
    both = as_("bob").call("GET", "/v1/me", X_On_Behalf_Of=login("alice"))
    assert_problem(both, 403, "forbidden", "its own login")


BAD: list[tuple[str, str, Any, int, str, str]] = [
    ("POST", "/v1/patients", b"{", 400, "bad-request", "not JSON"),
    ("POST", "/v1/patients", b"[" * 5000, 400, "bad-request", ""),
    ("POST", "/v1/patients", b'{"name": "a", "name": "b"}', 400, "bad-request", "twice"),
    ("POST", "/v1/patients", [], 400, "bad-request", "object"),
    ("POST", "/v1/patients", {}, 422, "invalid", "/name"),
    ("POST", "/v1/patients", {"name": 3}, 422, "invalid", "/name"),
    ("POST", "/v1/patients", {"name": ""}, 422, "invalid", ""),
    ("POST", "/v1/patients", {"name": "a\x00b"}, 422, "invalid", "NUL"),
    ("POST", "/v1/patients", {"name": "x", "id": "p-9"}, 422, "invalid", "/id"),
    ("POST", "/v1/patients", {"name": "x", "id": "p-city"}, 422, "invalid", "/id"),
    ("POST", "/v1/patients", {"name": "x", "reference": "r" * 65}, 422, "invalid", "64"),
    ("POST", "/v1/patients", {"name": "\u200b"}, 422, "invalid", "invisible"),
    ("POST", "/v1/patients", {"name": " \u3000 "}, 422, "invalid", "some of them visible"),
    ("GET", "/v1/patients?sort=owner", None, 422, "invalid", "sort"),
    ("POST", "/v1/patients", {"name": "x", "owner": "bob"}, 422, "invalid", "/owner"),
    ("POST", "/v1/patients", {"name": "x", "a/b~c": 1}, 422, "invalid", "'/a~1b~0c'"),
    ("POST", "/v1/patients/p-1/shares", {"colleague": login("pete"), "role": "owner"}, 422, "invalid", "/role"),
    ("POST", "/v1/patients/p-1/shares", {"colleague": login("pete"), "until": "tomorrow"}, 422, "invalid", "/until"),
    (
        "POST",
        "/v1/patients/p-1/shares",
        {"colleague": login("pete"), "until": "2020-01-01T00:00:00Z"},
        422,
        "invalid",
        "",
    ),
    ("POST", "/v1/patients/p-1/shares", {"colleague": login("pete"), "reason": "r" * 501}, 422, "invalid", "reason"),
    ("POST", "/v1/patients/p-1/transfer", {"colleague": login("pete"), "end_shares": "yes"}, 422, "invalid", "/end"),
    ("POST", "/v1/shares", {"colleague": login("pete"), "patients": []}, 422, "invalid", "at least one"),
    ("POST", "/v1/shares", {"colleague": login("pete"), "patients": ["p-1", "p-1"]}, 422, "invalid", "twice"),
    ("GET", "/v1/patients?limit=0", None, 422, "invalid", "limit"),
    ("GET", "/v1/patients?limit=x", None, 422, "invalid", "limit"),
    ("GET", "/v1/patients?cursor=%21", None, 422, "invalid", "cursor"),
    ("GET", "/v1/patients?owner=alice", None, 422, "invalid", "owner"),
    ("GET", "/v1/patients?role=boss", None, 422, "invalid", "role"),
    ("GET", "/v1/nothing", None, 404, "not-found", ""),
    ("PATCH", "/v1/patients", {}, 405, "method-not-allowed", ""),
    ("DELETE", "/v1/patients/p-1/shares/x", None, 404, "not-found", ""),
    ("POST", "/v1/patients", b"x" * 1_100_000, 413, "too-large", ""),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "kind", "detail"), BAD)
def test_bad_input(
    as_: As, database: Database, method: str, path: str, body: Any, status: int, kind: str, detail: str
) -> None:
    """T18: malformed input is refused in the one error shape with its place, and nothing changes."""
    before = Event.select().count(database)
    answer = assert_problem(as_("alice").call(method, path, body), status, kind)
    assert detail in str(answer)
    assert Event.select().count(database) == before


def test_conflicts(as_: As, flask: Flask, database: Database) -> None:
    """Sharing twice, transferring to the owner and adding a taken id are 409."""
    alice = as_("alice")
    assert_problem(alice.call("POST", "/v1/patients/p-1/shares", {"colleague": login("bob")}), 409, "conflict")
    assert_problem(as_("dan").call("POST", "/v1/patients/p-1/transfer", {"colleague": login("alice")}), 409, "conflict")
    operator = operator_for(flask, database, "alice")
    assert_problem(operator.call("POST", "/v1/patients", {"name": "x", "id": "p-city"}), 409, "conflict")
    assert_problem(operator.call("POST", "/v1/patients", {"name": "x", "id": "a b"}), 422, "invalid", "visible")


def test_provisioning(flask: Flask, database: Database, as_: As) -> None:
    """An app with `admin` builds a clinic; repeating changes nothing; an ended membership ends access at once."""
    admin = app(flask, database, "admin")
    assert admin.call("PUT", "/v1/subscriptions/new", {"name": "New Clinic"}).status_code == 200
    for who in ("nina", "nils"):
        body = {"login": login(who), "name": who.title()}
        assert admin.call("PUT", f"/v1/practitioners/{who}", body).status_code == 200
        for _ in range(2):
            assert admin.call("PUT", f"/v1/memberships/new/{who}", {"role": "member"}).status_code == 200
    added = answered(as_("nina").call("POST", "/v1/patients", {"name": "Pat"}), 201)["id"]
    as_("nina").call("POST", f"/v1/patients/{added}/shares", {"colleague": login("nils")})
    assert ids(as_("nils").get("/v1/patients")) == [added]
    assert admin.call("DELETE", "/v1/memberships/new/nils").status_code == 204
    assert ids(as_("nils").get("/v1/patients")) == []
    assert_problem(admin.call("DELETE", "/v1/memberships/new/nils"), 404, "not-found")
    assert admin.call("PUT", "/v1/subscriptions/new", {"name": "New Clinic", "live": False}).status_code == 200
    assert ids(as_("nina").get("/v1/patients")) == []
    assert_problem(admin.call("PUT", "/v1/memberships/new/nils", {"role": "boss"}), 422, "invalid")
    assert_problem(as_("dan").call("PUT", "/v1/subscriptions/north", {"name": "Mine"}), 403, "forbidden")
    assert as_("dan").call("DELETE", "/v1/memberships/north/pete").status_code == 204
    tenant = app(flask, database, "admin", tenant="city")
    assert_problem(
        tenant.call("PUT", "/v1/practitioners/alice", {"login": "evil@x.example", "name": "A"}), 403, "forbidden"
    )
    assert_problem(tenant.call("DELETE", "/v1/memberships/north/alice"), 404, "not-found")
    assert_problem(tenant.call("PUT", "/v1/subscriptions/north", {"name": "x"}), 403, "forbidden")


def test_notices(as_: As, flask: Flask, database: Database) -> None:
    """Both sides get notices; people see and mark only their own, once or all at once."""
    alice, bob = as_("alice"), as_("bob")
    operator = operator_for(flask, database, "alice")
    for number in range(3):
        operator.call("POST", "/v1/patients", {"id": f"n-{number}", "name": "N"})
        alice.call("POST", f"/v1/patients/n-{number}/shares", {"colleague": login("bob")})
    page = bob.get("/v1/notifications?limit=2")
    assert [notification["patient"] for notification in page["items"]] == ["n-2", "n-1"]
    rest = bob.get(f"/v1/notifications?cursor={page['next']}")
    assert [notification["patient"] for notification in rest["items"]] == ["n-0"]
    first = rest["items"][0]["id"]
    for _ in range(2):
        assert answered(bob.call("POST", f"/v1/notifications/{first}/read"))["read"] is True
    assert first not in ids(bob.get("/v1/notifications?unread=true"))
    assert_problem(alice.call("POST", f"/v1/notifications/{first}/read"), 404, "not-found")


def test_a_batch_of_notices(as_: As, flask: Flask, database: Database) -> None:
    """A batch is an item for each patient, read as a whole; what one did oneself is read from the start."""
    operator = operator_for(flask, database, "alice")
    names = [f"n-{number}" for number in range(3)]
    for name in names:
        operator.call("POST", "/v1/patients", {"id": name, "name": "N"})
    body = {"patients": names, "colleague": login("bob"), "until": "2065-01-31T00:00:00Z"}
    answered(as_("alice").call("POST", "/v1/shares", body))
    items = as_("bob").get("/v1/notifications?unread=true")["items"]
    assert [item["patient"] for item in items] == ["n-2", "n-1", "n-0"]
    assert len({item["batch"] for item in items}) == 1
    assert {(item["until"], item["grant"] is None) for item in items} == {("2065-01-31T00:00:00Z", False)}
    assert answered(as_("bob").call("POST", f"/v1/notifications/{items[1]['id']}/read"))["read"] is True
    assert as_("bob").get("/v1/notifications?unread=true")["items"] == []
    assert [item["read"] for item in as_("alice").get("/v1/notifications")["items"]] == [True, True, True]


def test_the_feed(flask: Flask, database: Database, as_: As) -> None:
    """An app reads the events after the last one it saw; a clinic's key gets that clinic's events alone."""
    audit = app(flask, database, "audit")
    last = audit.get("/v1/events")["next"]
    assert audit.get(f"/v1/events?after={last}")["items"] == []
    as_("alice").call("POST", "/v1/patients/p-1/shares", {"colleague": login("oscar")}, X_Request_ID="r-7")
    (event,) = audit.get(f"/v1/events?after={last}")["items"]
    assert (event["kind"], event["patient"], event["actor"], event["request_id"]) == (
        "grant:started",
        "p-1",
        "alice",
        "r-7",
    )
    assert (event["before"], event["after"]["practitioner"]) == (None, "oscar")
    tenant = app(flask, database, "audit", tenant="city").get(f"/v1/events?after={last}")["items"]
    assert [(event["kind"], event["subscription"]) for event in tenant] == [("client:added", "city")]
    assert_problem(app(flask, database, "decide").call("GET", "/v1/events"), 403, "forbidden")
    assert_problem(as_("alice").call("GET", "/v1/events"), 403, "forbidden")
    for wrong in ("after=-1", "after=x", "wait=31", "limit=1001"):
        assert_problem(audit.call("GET", f"/v1/events?{wrong}"), 422, "invalid")


def test_the_feed_waits(flask: Flask, database: Database, as_: As, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that waits gets the next event as soon as it is recorded."""
    audit, alice = app(flask, database, "audit"), as_("alice")
    last = audit.get("/v1/events")["next"]
    body = {"colleague": login("oscar")}
    found_nothing = threading.Event()

    def read_and_tell(*arguments: Any, **options: Any) -> list[Any]:
        rows = read_events(*arguments, **options)
        if not rows:
            found_nothing.set()
        return rows

    monkeypatch.setattr(events, "read_events", read_and_tell)

    def share() -> None:
        assert found_nothing.wait(30)
        alice.call("POST", "/v1/patients/p-1/shares", body)
        database.close()

    sharing = threading.Thread(target=share)
    sharing.start()
    items = audit.get(f"/v1/events?after={last}&wait=20")["items"]
    sharing.join()
    assert [event["kind"] for event in items] == ["grant:started"]


def test_what_is_read_is_recorded(as_: As, database: Database) -> None:
    """Opening a patient, a refusal and a search of patients each leave a row in the record."""
    before = RecordedDecision.select().count(database)
    as_("alice").get("/v1/patients/p-1")
    as_("oscar").call("GET", "/v1/patients/p-1")
    as_("oscar").get("/v1/patients")
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    recorded = [(row.actor, row.subject, row.action, row.resource, row.allowed, row.reason, row.size) for row in rows]
    assert recorded == [
        ("alice", "alice", "view", "p-1", True, "permitted", None),
        ("oscar", "oscar", "view", "p-1", False, "denied", None),
        ("oscar", "oscar", "view", "", True, "searched", 1),
    ]


# Every route by everybody. A route without a line here fails; `*` stands for those who are not named.

BODIES: dict[str, Any] = {
    "/v1/patients": {"name": "X"},
    "/v1/patients/p-1/shares": {"colleague": login("pete")},
    "/v1/patients/p-1/transfer": {"colleague": login("pete")},
    "/v1/patients/p-1": {"name": "X"},
    "/v1/patients/p-1/end": {},
    "/v1/shares": {"patients": ["p-1"], "colleague": login("pete")},
    "/v1/transfers": {"patients": ["p-1"], "colleague": login("pete")},
    "/v1/transfers/undo": {"patients": ["p-1"]},
    "/v1/emergencies": {"patient": "p-1", "purpose": "ETREAT", "reason": "Collapsed"},
    "/v1/emergencies/1/review": {"verdict": "justified"},
    "/v1/standing-shares": {"colleague": login("pete")},
    "/v1/subscriptions/north": {"name": "North Clinic"},
    "/v1/practitioners/pete": {"login": login("pete"), "name": "Pete"},
    "/v1/memberships/north/pete": {"role": "member"},
    "/v1/entities/document": {"properties": {"patient": "p-1"}},
    "/v1/entities/document/d-1": {"properties": {"patient": "p-1"}},
}
KINDS = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    409: "conflict",
    422: "recipient-not-eligible",
}
LEAST = {"bob": 403, "carol": 403, "*": 404}
MEMBERS = dict.fromkeys(("alice", "bob", "carol", "oscar", "ned"), 403)
WORKING = {"alice": 201, "bob": 201, "carol": 201, "oscar": 201, "dan": 201, "ned": 201}
EVERYBODY: dict[str, dict[str, int]] = {
    "GET /v1/me": {"*": 200},
    "GET /v1/patients": {"*": 200},
    "POST /v1/patients": {**WORKING, "frank": 201, "*": 404},
    "GET /v1/patients/p-1": {"alice": 200, "bob": 200, "carol": 200, "*": 404},
    "PATCH /v1/patients/p-1": {"alice": 200, "dan": 200, **LEAST},
    "POST /v1/patients/p-1/end": {"alice": 204, "dan": 204, **LEAST},
    "GET /v1/patients/p-1/access": {"alice": 200, "dan": 200, **LEAST},
    "POST /v1/patients/p-1/shares": {"alice": 201, "dan": 403, **LEAST},
    "PATCH /v1/patients/p-1/shares/{erin}": {"alice": 200, "dan": 200, **LEAST},
    "DELETE /v1/patients/p-1/shares/{erin}": {"alice": 204, "dan": 204, **LEAST},
    "POST /v1/patients/p-1/transfer": {"alice": 200, "dan": 200, **LEAST},
    "POST /v1/shares": {"alice": 200, "dan": 403, **LEAST},
    "POST /v1/transfers": {"alice": 200, "dan": 200, **LEAST},
    "POST /v1/patients/p-1/transfer/undo": {"alice": 403, "dan": 403, **LEAST},
    "POST /v1/patients/p-sent/transfer/undo": {"ned": 409, "dan": 403, "*": 404},
    "POST /v1/transfers/undo": {"alice": 403, "dan": 403, **LEAST},
    "POST /v1/emergencies": {"alice": 403, "dan": 403, **LEAST},  # the shipped policy has no emergency access
    "GET /v1/subscriptions/north/emergencies": {"dan": 200, "heidi": 200, **MEMBERS, "*": 404},
    "POST /v1/emergencies/1/review": {"*": 404},
    "POST /v1/standing-shares": {**WORKING, "*": 422},
    "GET /v1/standing-shares": {"*": 200},
    "DELETE /v1/standing-shares/{carol}": {"alice": 204, "carol": 204, "*": 404},
    "GET /v1/colleagues": {"*": 200},
    "GET /v1/notifications": {"*": 200},
    "POST /v1/notifications/1/read": {"*": 404},
    "GET /v1/events": {"*": 403},
    "PUT /v1/subscriptions/north": {"*": 403},
    "PUT /v1/practitioners/pete": {"*": 403},
    "POST /v1/entities/document": {"*": 403},
    "PUT /v1/entities/document/d-1": {"*": 403},
    "DELETE /v1/entities/document/d-1": {"*": 403},
    "PUT /v1/memberships/north/pete": {
        "dan": 200,
        "alice": 403,
        "bob": 403,
        "carol": 403,
        "oscar": 403,
        "ned": 403,
        "heidi": 403,
        "*": 404,
    },
    "DELETE /v1/memberships/north/pete": {
        "dan": 204,
        "alice": 403,
        "bob": 403,
        "carol": 403,
        "oscar": 403,
        "ned": 403,
        "heidi": 403,
        "*": 404,
    },
}


def routes(flask: Flask) -> Iterator[str]:
    for rule in flask.url_map.iter_rules():
        if rule.rule.startswith("/v1/"):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield f"{method} {re.sub(r'<[a-z]+>', '*', rule.rule)}"


def test_no_route_is_left_out(flask: Flask) -> None:
    """The table of routes below has every route of Flask's own list."""
    tried = set()
    for line in EVERYBODY:
        method, path = line.split()
        for pattern in routes(flask):
            if re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]+"), f"{method} {path}"):
                tried.add(pattern)
    assert tried == set(routes(flask))


@pytest.mark.parametrize("who", [person.id for person in CAST.values()] + ["", "bad"])
@pytest.mark.parametrize("line", list(EVERYBODY))
def test_every_route_by_everybody(sqlite_database: Database, settings: Settings, line: str, who: str) -> None:
    """T31: each person of the cast gets the expected status on every route; without a good credential, 401."""
    people.fill(sqlite_database)
    flask = service(sqlite_database, development_key=settings.development_key)
    sent = {"": {}, "bad": {"Authorization": "Bearer x.y.z"}}.get(who)
    person = Person(flask, headers(settings, who) if sent is None else sent)
    method, path = line.split()
    erin = Grant.select().where(Grant.practitioner == "erin", Grant.patient == "p-1").execute(sqlite_database)[0].id
    path = path.replace("{erin}", str(erin)).replace("{carol}", "1")
    BODIES[f"/v1/patients/p-1/shares/{erin}"] = {"until": "2060-01-01T00:00:00Z"}
    expected = EVERYBODY[line].get(who, EVERYBODY[line]["*"])
    if who in ("", "bad"):
        expected = 401
    if who == "nobody":
        expected = 403
    response = person.call(method, path, BODIES.get(path) if method in ("POST", "PUT", "PATCH") else None)
    assert response.status_code == expected, response.text
    if expected >= 400:
        assert_problem(response, expected, KINDS[expected])
