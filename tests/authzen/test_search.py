"""The searches (AuthZEN 8): subjects, resources and actions that are permitted, page by page."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from authz.database import Database
from authz.models import Grant, Patient, RecordedDecision
from tests.support import people
from tests.support.authzen import BASE, answered, result_ids
from tests.support.http import App, assert_problem

SUBJECT, RESOURCE, ACTION = (f"{BASE}/search/{what}" for what in ("subject", "resource", "action"))
VIEW, P1 = {"name": "view"}, {"type": "patient", "id": "p-1"}
ALICE = {"type": "practitioner", "id": "alice"}
WHO = {"subject": {"type": "practitioner"}, "action": VIEW, "resource": P1}
WHAT = {"subject": ALICE, "action": VIEW, "resource": {"type": "patient"}}
WHICH = {"subject": ALICE, "resource": P1}
ALL = {SUBJECT: WHO, RESOURCE: WHAT, ACTION: WHICH}


def test_42_46_results_are_what_is_permitted(app: App) -> None:
    """A search finds exactly what is permitted, through shares too, and only things of the type searched for."""
    assert result_ids(app.ask(WHO, SUBJECT)) == ["alice", "bob", "carl", "carol"]
    assert result_ids(app.ask(WHAT, RESOURCE)) == ["p-1"]
    body = answered(app.ask(WHICH, ACTION))
    assert list(body) == ["page", "results"]
    assert [result["name"] for result in body["results"]] == [
        "edit",
        "end",
        "end_share",
        "list_access",
        "receive",
        "share",
        "transfer",
        "view",
    ]
    assert answered(app.ask(WHAT, RESOURCE))["results"] == [{"type": "patient", "id": "p-1"}]


@pytest.mark.parametrize("path", ALL)
def test_43_44_45_49_what_is_looked_for_has_no_say(app: App, path: str) -> None:
    """An id or action of the searched kind, a context and unknown members do not change the results."""
    body: dict[str, Any] = {part: dict(held) for part, held in ALL[path].items()}
    plain = result_ids(app.ask(body, path))
    if path == ACTION:
        body["action"] = {"name": 5}
    else:
        body["subject" if path == SUBJECT else "resource"]["id"] = {"any": "thing"}
    body |= {"context": {"time": "now"}, "page": None, "extra": [1]}
    body["subject"]["properties"] = {"role": "owner"}
    assert result_ids(app.ask(body, path)) == plain != []


@pytest.mark.parametrize("path", ALL)
def test_47_what_is_unknown_is_an_empty_answer(app: App, path: str) -> None:
    """A search with an unknown id, type or action is 200 with no results (c-4-6)."""
    bodies = []
    for part, held in ALL[path].items():
        for key in held:
            if (path, part) not in ((SUBJECT, "subject"), (RESOURCE, "resource")) or key == "type":
                bodies.append({**ALL[path], part: {**held, key: "none"}})
    for body in bodies:
        assert answered(app.ask(body, path)) == {"page": {"next_token": "", "count": 0}, "results": []}, body


@pytest.mark.parametrize("path", ALL)
def test_48_what_is_required_is_required(app: App, path: str) -> None:
    """A required part or member that is absent or of another type is 400 (c-4-7)."""
    for part, held in ALL[path].items():
        bodies = [{key: value for key, value in ALL[path].items() if key != part}]
        for key in held:
            rest: dict[str, Any] = {name: value for name, value in held.items() if name != key}
            bodies += [{**ALL[path], part: rest}, {**ALL[path], part: rest | {key: 1}}]
        for body in bodies:
            assert_problem(app.ask(body, path), 400, "bad-request", f"/{part}")


@pytest.fixture
def many(database: Database, app: App) -> App:
    """Add thirty patients of Alice."""
    for number in range(30):
        people.add(database, Patient, id=f"q-{number:02}", subscription="north", name="Q")
        people.add(database, Grant, patient=f"q-{number:02}", practitioner="alice", role="owner", origin="created")
    return app


def pages(app: App, path: str, body: dict[str, Any], **page: Any) -> list[list[str]]:
    """Return the results of every page of a search."""
    shown, token = [], ""
    while True:
        answer = answered(app.ask({**body, "page": {**page, "token": token}}, path))
        shown.append([result.get("id") or result["name"] for result in answer["results"]])
        assert answer["page"]["count"] == len(shown[-1])
        token = answer["page"]["next_token"]
        if not token:
            return shown


def test_50_51_52_pages_follow_one_another(many: App) -> None:
    """The pages hold each result once, in order, whatever the limit; the last page's token is empty."""
    whole = result_ids(many.ask(WHAT, RESOURCE))
    assert len(whole) == 31
    for limit in (1, 7, 30, 31, 32, 5000, 10**30):
        paged = pages(many, RESOURCE, WHAT, limit=limit, properties={"x": 1}, other=2)
        assert [len(page) for page in paged[:-1]] == [limit] * (len(paged) - 1)
        assert [result for page in paged for result in page] == whole
    assert pages(many, SUBJECT, WHO, limit=3) == [["alice", "bob", "carl"], ["carol"]]
    assert [len(page) for page in pages(many, ACTION, WHICH, limit=4)] == [4, 4]


def test_53_54_a_token_is_for_its_question_alone(many: App, flask: Flask, database: Database) -> None:
    """A page token is refused with another limit, question, path or caller, and if it was altered."""
    first = answered(many.ask({**WHAT, "page": {"limit": 3}}, RESOURCE))["page"]["next_token"]
    pages = [{"token": first}, {"token": first, "limit": 3}]
    assert {tuple(result_ids(many.ask({**WHAT, "page": page}, RESOURCE))) for page in pages} == {
        ("q-02", "q-03", "q-04")
    }
    same = {**WHAT, "page": {"token": first}}
    others = [
        {**same, "page": {"token": first, "limit": 4}},
        {**same, "subject": {"type": "practitioner", "id": "bob"}},
        {**same, "action": {"name": "share"}},
        {**same, "context": {"x": 1}},
        *({**same, "page": {"token": wrong}} for wrong in ("x", "é", "AAAA" * 20, first[:-2], first + "AA", first[4:])),
    ]
    for body in others:
        assert_problem(many.ask(body, RESOURCE), 400, "bad-request", "/page/token")
    assert_problem(many.ask({**WHO, "page": {"token": first}}, SUBJECT), 400, "bad-request", "/page/token")
    assert_problem(App(flask, database).ask(same, RESOURCE), 400, "bad-request", "/page/token")


def test_55_a_limit_of_nothing(many: App) -> None:
    """`limit: 0` gives no results and a token; a negative number, a fraction and a text are 400."""
    body = answered(many.ask({**WHAT, "page": {"limit": 0}}, RESOURCE))
    assert (body["results"], body["page"]["count"], bool(body["page"]["next_token"])) == ([], 0, True)
    limits: list[Any] = [-1, 1.5, "3", True, []]
    for wrong in limits:
        assert_problem(many.ask({**WHAT, "page": {"limit": wrong}}, RESOURCE), 400, "bad-request", "/page/limit")
    shapes: list[Any] = ["x", [], 3]
    for wrong in shapes:
        assert_problem(many.ask({**WHAT, "page": wrong}, RESOURCE), 400, "bad-request", "/page")


def test_the_past_and_the_record(many: App, auditor: App, database: Database) -> None:
    """Each page is recorded as a search; only a key with `audit` may search at a past instant."""
    began, then = datetime.now(UTC), {**WHO, "context": {"at": "2025-05-30T12:00:00Z"}}
    assert_problem(many.ask(then, SUBJECT), 403, "forbidden", "audit")
    assert "xena" in result_ids(auditor.ask(then, SUBJECT))
    (past,) = RecordedDecision.select().execute(database)
    assert (past.at, past.asked_at >= began) == (datetime(2025, 5, 30, 12, tzinfo=UTC), True)
    before = RecordedDecision.select().count(database)
    pages(many, RESOURCE, WHAT, limit=20)
    many.ask(WHICH, ACTION)
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    searches = [(row.reason, row.subject, row.action, row.resource_type, row.resource) for row in rows]
    assert searches == [("searched", "alice", "view", "patient", "")] * 2 + [
        ("searched", "alice", "", "patient", "p-1")
    ]
    assert all(began <= row.asked_at == row.at for row in rows)
