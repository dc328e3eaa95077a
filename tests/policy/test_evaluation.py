"""`POST /access/v1/evaluation` (AuthZEN 6): a decision with its reason, recorded before it is answered."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from authz.callers.clients import revoke_clients
from authz.database import Database
from authz.domain import format_instant
from authz.models import RecordedDecision
from tests.support import people
from tests.support.acting import served_since
from tests.support.cli import run
from tests.support.decision_table import CELLS
from tests.support.decision_table import question as asked_about
from tests.support.http import EVALUATION, App, assert_problem, question, service
from tests.support.people import FAR_AHEAD, NOW

PAST = format_instant(NOW - timedelta(days=30))


@pytest.fixture
def flask(database: Database) -> Flask:
    people.fill(database)
    served_since(database, people.LONG_AGO)
    return service(database)


@pytest.fixture
def app(flask: Flask, database: Database) -> App:
    return App(flask, database)


@pytest.fixture
def auditor(flask: Flask, database: Database) -> App:
    return App(flask, database, "decide", "audit")


def decided(app: App, body: Any) -> dict[str, Any]:
    response = app.ask(body)
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    answer: dict[str, Any] = response.json or {}
    assert isinstance(answer["decision"], bool)
    return answer


def test_a_permit_carries_its_rule_and_witness(app: App, database: Database) -> None:
    """A permit names the rule, the grant and its end, the policy and the instant."""
    answer = decided(app, question("bob"))
    assert answer["decision"] is True
    context = answer["context"]
    assert (context["reason"], context["rule"], context["until"]) == ("permitted", "R5", format_instant(FAR_AHEAD))
    assert context["grant"].isdigit()
    assert context["evaluated_at"] == format_instant(NOW)
    assert len(context["policy_version"]) == 64
    by_standing_share = decided(app, question("carol"))["context"]
    assert (by_standing_share["rule"], by_standing_share["standing_share"].isdigit()) == ("R4", True)


def test_a_denial_is_an_answer(app: App) -> None:
    """A denial is 200 with a reason, and shows no stored fact unless the app asks for an explanation."""
    answer = decided(app, question("oscar"))
    assert answer["decision"] is False
    assert set(answer["context"]) == {"reason", "policy_version", "evaluated_at"}
    assert answer["context"]["reason"] == "denied"


def test_every_cell_of_the_decision_table(app: App) -> None:
    """Over HTTP each cell of the decision table has the decision and the rule of the table."""
    for title, kind, action, cell in CELLS:
        subject, resource = asked_about(title, kind)
        answer = decided(app, question(subject[1], action, resource))
        assert answer["decision"] is cell.startswith("yes"), (title, kind, action)
        if answer["decision"]:
            assert answer["context"]["rule"] == cell.split()[1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (question("nobody"), "denied"),
        (question(what=("patient", "none")), "denied"),
        (question(action="fly"), "unknown_action"),
        (question(what=("starship", "x")), "unknown_type"),
        ({**question(), "subject": {"type": "robot", "id": "alice"}}, "unknown_type"),
        (question("x" * 5000), "denied"),
        (question("a\0b"), "denied"),
        (question(""), "denied"),
        (question("' OR 1=1 --"), "denied"),
    ],
)
def test_what_is_unknown_is_denied(app: App, body: Any, reason: str, database: Database) -> None:
    """An unknown id, action or type is a decision false with its reason, recorded like any other."""
    assert decided(app, body)["decision"] is False
    assert decided(app, body)["context"]["reason"] == reason
    assert RecordedDecision.select().count(database) == 2


def test_an_explanation_says_why_not(app: App, auditor: App) -> None:
    """For a key with `audit`, `context.explain` adds the failed conditions with their rules, the nearest first."""
    assert_problem(app.ask(question("oscar", context={"explain": True})), 403, "forbidden", "audit")
    context = decided(auditor, question("oscar", context={"explain": True}))["context"]
    assert context["reason_admin"]["403"].startswith("R2: there is no live grant")
    assert {derivation["rule"] for derivation in context["ways"]} == {"R3", "R4", "R5"}
    assert all(derivation["unmet"] for derivation in context["ways"])
    assert context["reason_user"] == {"403": "You do not have access to this."}
    assert "reason_admin" not in decided(auditor, question("alice", context={"explain": True}))["context"]


ALIKE: dict[str, tuple[str, str, tuple[str, str]]] = {
    "a permit": ("bob", "view", ("patient", "p-1")),
    "a permit by a standing share": ("carol", "view", ("patient", "p-1")),
    "a permit about a document": ("alice", "edit", ("document", "by-alice")),
    "nothing shared": ("oscar", "view", ("patient", "p-1")),
    "a leaver": ("erin", "view", ("patient", "p-1")),
    "a lapsed clinic": ("grace", "view", ("patient", "p-harbour")),
    "another clinic": ("frank", "view", ("patient", "p-1")),
    "somebody unknown": ("nobody", "view", ("patient", "p-1")),
    "a patient unknown": ("alice", "view", ("patient", "none")),
    "an action unknown": ("alice", "fly", ("patient", "p-1")),
    "a type unknown": ("alice", "view", ("starship", "p-1")),
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_command_line_explains_alike(sqlite_database: Database, sqlite_url: str, name: str) -> None:
    """`caregrant check --explain --json` explains a pair in the same words as `context.explain`."""
    people.fill(sqlite_database)
    served_since(sqlite_database, people.LONG_AGO)
    who, action, what = ALIKE[name]
    auditor = App(service(sqlite_database), sqlite_database, "decide", "audit")
    answer = decided(auditor, question(who, action, what, context={"explain": True}))
    command = (
        "check",
        f"practitioner:{who}",
        action,
        ":".join(what),
        "--explain",
        "--json",
        "--at",
        format_instant(NOW),
    )
    denied = 3 if name.endswith("unknown") else 1
    printed = json.loads(run(*command, url=sqlite_url, exit_code=0 if answer["decision"] else denied))
    for_people = {"reason_admin", "reason_user"}
    alike = {key: value for key, value in answer["context"].items() if key not in for_people}
    assert printed == printed | alike | {"decision": answer["decision"]}
    assert bool(printed["ways"]) is (name not in ("an action unknown", "a type unknown"))
    assert any(not derivation["unmet"] for derivation in printed["ways"]) is answer["decision"]


def test_the_past_needs_the_audit_scope(app: App, auditor: App) -> None:
    """A key with `audit` may ask about a past instant with `context.at`; no key may ask about the future."""
    then = question("xena", context={"at": format_instant(people.LAST_YEAR - timedelta(days=1))})
    assert_problem(app.ask(then), 403, "forbidden", "audit")
    assert decided(auditor, then)["decision"] is True
    assert decided(auditor, question("xena"))["decision"] is False
    assert_problem(auditor.ask(question(context={"at": "2999-01-01T00:00:00Z"})), 400, "bad-request", "future")
    assert_problem(auditor.ask(question(context={"at": "yesterday"})), 400, "bad-request", "RFC 3339")


def test_a_bound_key_sees_one_subscription(flask: Flask, database: Database) -> None:
    """For City's key a patient of North gets the same denial, and explanation, as a patient that does not exist."""
    city = App(flask, database, "decide", "audit", subscription="city")
    assert decided(city, question("frank", what=("patient", "p-city")))["decision"] is True
    for context in ({}, {"explain": True}):
        north = decided(city, question("alice", context=context))
        none = decided(city, question("alice", what=("patient", "none"), context=context))
        assert north["decision"] is False
        assert north == none
    recorded = list(
        RecordedDecision.select(RecordedDecision.resource, RecordedDecision.allowed).tuples().execute(database)
    )
    assert ("p-1", False) in recorded


def test_properties_and_context_are_free(app: App) -> None:
    """Unknown members, properties and nulls are ignored, and a claim of the caller does not change a stored fact."""
    claimed = question("oscar", context={"purpose": "care", "nested": {"a": [1, None]}}, extra=[1], options=None)
    claimed["subject"]["properties"] = {"role": "owner", "memberships": ["north"]}
    claimed["resource"]["properties"] = {"owner": "oscar"}
    assert decided(app, claimed)["decision"] is False
    assert decided(app, question("alice", context=None))["decision"] is True


MALFORMED: dict[str, tuple[Any, list[str]]] = {
    "no subject": ({**question(), "subject": None}, ["/subject"]),
    "a subject that is a string": ({**question(), "subject": "alice"}, ["/subject"]),
    "no ids": (
        {"subject": {"type": "practitioner"}, "action": {}, "resource": {"id": "p-1"}},
        ["/subject/id", "/action/name", "/resource/type"],
    ),
    "a number for a name": ({**question(), "action": {"name": 1}}, ["/action/name"]),
    "a truth value for an id": ({**question(), "subject": {"type": "practitioner", "id": True}}, ["/subject/id"]),
    "properties that are a list": (
        {**question(), "resource": {"type": "patient", "id": "p-1", "properties": []}},
        ["/resource/properties"],
    ),
    "a context that is a string": ({**question(), "context": "x"}, ["/context"]),
    "an explain that is a word": ({**question(), "context": {"explain": "yes"}}, ["/context/explain"]),
    "an array": (b"[]", [""]),
    "nothing": (b"", [""]),
    "half": (b'{"subject": {"type"', [""]),
    "a member twice": (b'{"subject": {}, "subject": {}}', [""]),
    "NaN": (b'{"context": {"x": NaN}}', [""]),
    "deep": (b'{"a":' * 50_000, [""]),
    "not UTF-8": (b'{"a": "\xff"}', [""]),
    "a lone surrogate": (b'{"a": "\\ud800"}', [""]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_400(app: App, database: Database, name: str) -> None:
    """A malformed request gets a problem that points at each wrong member, and no decision is recorded."""
    body, pointers = MALFORMED[name]
    answer = assert_problem(app.ask(body), 400, "bad-request")
    assert [error["pointer"] for error in answer["errors"]] == pointers
    assert RecordedDecision.select().count(database) == 0


def test_the_content_type_is_json(app: App) -> None:
    """Another content type is 400 (AuthZEN 10.1, c-2-4-3); a charset is no other content type."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert_problem(app.ask(b"{}", Content_Type=kind), 400, "bad-request", "Content-Type")
    assert app.ask(question(), Content_Type="application/json; charset=utf-8").status_code == 200


def test_a_large_body_is_refused(app: App) -> None:
    """A body beyond the limit is 413."""
    assert_problem(app.ask(b" " * 1_048_577), 413, "too-large")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YWxpY2U6eA==", "cg_x"])
def test_no_good_key_is_401(app: App, authorization: str) -> None:
    """Without a good key the response is 401 with a challenge, whatever the body."""
    response = app.ask(b"nonsense", Authorization=authorization)
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_key_is_401_at_once(app: App, database: Database) -> None:
    """The next request after a key was revoked is refused."""
    assert app.ask(question()).status_code == 200
    revoke_clients(database, name="app", now=NOW)
    assert_problem(app.ask(question()), 401, "unauthenticated")


def test_a_key_without_the_scope_is_403(flask: Flask, database: Database) -> None:
    """A key without the scope `decide` gets no decision."""
    assert_problem(App(flask, database, "audit", "admin").ask(question()), 403, "forbidden", "decide")


def test_the_request_id_comes_back(app: App) -> None:
    """A response repeats the caller's request id, or has a new one; an id that cannot be a header is refused."""
    assert app.ask(question(), X_Request_ID="abc 1/ä").headers["X-Request-ID"] == "abc 1/ä"
    assert app.ask(b"", X_Request_ID="abc").headers["X-Request-ID"] == "abc"
    assert len({app.ask(question()).headers["X-Request-ID"] for _ in range(3)}) == 3
    refused = app.ask(question(), X_Request_ID="x" * 300)
    assert_problem(refused, 400, "bad-request", "X-Request-ID")
    assert refused.headers["X-Request-ID"] != "x" * 300


def test_paths_and_methods_that_are_not_there(app: App) -> None:
    """Another method is 405 with what is allowed, another path 404, both as problems."""
    response = app.client.get(EVALUATION)
    assert_problem(response, 405, "method-not-allowed")
    assert "POST" in response.headers["Allow"]
    assert_problem(app.client.get("/nothing"), 404, "not-found")


def test_each_answer_is_recorded(app: App, database: Database) -> None:
    """Each answer is one row with ids, decision, reason and rule, and without the other members of the request."""
    for who in ("bob", "oscar"):
        app.ask(question(who, context={"secret": "clinical text"}), X_Request_ID=f"r-{who}")
    rows = list(RecordedDecision.select().order_by(RecordedDecision.id).execute(database))
    answer = [
        (row.request_id, row.subject, row.action, row.resource, row.allowed, row.reason, row.rule) for row in rows
    ]
    assert answer == [
        ("r-bob", "bob", "view", "p-1", True, "permitted", "R5"),
        ("r-oscar", "oscar", "view", "p-1", False, "denied", ""),
    ]
    assert [(row.at, row.grant is not None) for row in rows] == [(NOW, True), (NOW, False)]
    assert "clinical" not in repr([list(row.__data__.values()) for row in rows])


def test_the_record_says_where_an_answer_belongs(app: App, database: Database) -> None:
    """Each row names the resource's subscription, the subject's role there, a purpose of one word, the address."""
    purposes: list[Any] = ["TREAT", "because Pat asked me to", ["TREAT"], None]
    questions = [("bob", ("patient", "p-1")), ("dan", ("subscription", "north")), ("erin", ("document", "north-plan"))]
    for (who, what), purpose in zip([*questions, ("frank", ("patient", "none"))], purposes, strict=True):
        app.ask(question(who, what=what, context={"purpose": purpose}))
    rows = list(RecordedDecision.select().order_by(RecordedDecision.id).execute(database))
    assert [(row.subscription, row.membership, row.purpose) for row in rows] == [
        ("north", "member", "TREAT"),
        ("north", "manager", "?"),
        ("north", "", "?"),
        ("", "", ""),
    ]
    assert {(row.actor, row.address, row.size) for row in rows} == {("", "127.0.0.1", None)}


def test_what_cannot_be_recorded_is_not_answered(app: App, database: Database) -> None:
    """If a decision cannot be recorded, the response is 503; afterwards decisions are answered again."""
    database.execute_sql("ALTER TABLE decision RENAME TO gone")
    response = app.ask(question())
    assert_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"]
    assert "decision" not in response.text
    database.execute_sql("ALTER TABLE gone RENAME TO decision")
    assert app.ask(question()).status_code == 200


def test_a_broken_database_is_503(app: App, database: Database) -> None:
    """If a table is missing, a question gets 503, neither permit nor denial, and the service is not ready."""
    database.execute_sql('ALTER TABLE "grant" RENAME TO gone')
    assert_problem(app.ask(question()), 503, "unavailable")
    database.execute_sql("ALTER TABLE subscription RENAME TO lost")
    assert_problem(app.client.get("/readyz"), 503, "unavailable")
    assert app.client.get("/healthz").json == {"status": "ok"}
    database.execute_sql("ALTER TABLE lost RENAME TO subscription")
    ready = app.client.get("/readyz").json or {}
    assert (ready["status"], len(ready["policy_version"])) == ("ready", 64)


def test_what_nobody_expected_is_500_and_tells_nothing(app: App, flask: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is a problem without the exception's text, and no decision."""

    def broken(*_arguments: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(flask.extensions["caregrant"], "evaluate", broken)
    response = app.ask(question())
    assert_problem(response, 500, "internal-error")
    assert "secret" not in response.text
