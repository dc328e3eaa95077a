"""The requirements of all endpoints: content type, JSON, members, credentials, the request's id."""

from typing import Any

import pytest
from flask import Flask

from authz.database import Database
from authz.models import RecordedDecision
from tests.support import people
from tests.support.authzen import BASE
from tests.support.http import App, assert_problem, question, service

PATHS = [
    f"{BASE}/{what}" for what in ("evaluation", "evaluations", "search/subject", "search/resource", "search/action")
]
BAD: dict[str, bytes] = {
    "an array": b"[]",
    "a number": b"5",
    "a string": b'"x"',
    "null": b"null",
    "nothing": b"",
    "half": b'{"subject":',
    "two": b"{} {}",
    "NaN": b'{"context": {"x": NaN}}',
    "infinity": b'{"context": {"x": -Infinity}}',
    "a float beyond a double": b'{"context": {"x": 1e999}}',
    "an integer beyond a double": b'{"context": {"x": 1' + b"0" * 400 + b"}}",
    "an integer without end": b'{"context": {"x": 1' + b"0" * 9000 + b"}}",
    "a member twice": b'{"context": {"x": {"a": 1, "a": 1}}}',
    "a lone surrogate": b'{"context": {"x": "\\ud800"}}',
    "a lone surrogate as a name": b'{"context": {"\\udc00": 1}}',
    "not UTF-8": b'{"context": "\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "arrays nested deep": b'{"context": ' + b"[" * 100_000,
    "arrays nested deep, and closed": b'{"context": {"x": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "objects nested deep": b'{"a":' * 100_000,
}


@pytest.fixture
def flask(sqlite_database: Database) -> Flask:
    people.fill(sqlite_database)
    return service(sqlite_database)


@pytest.fixture
def app(flask: Flask, sqlite_database: Database) -> App:
    return App(flask, sqlite_database)


@pytest.mark.parametrize("path", PATHS)
def test_8_9_14_16_what_is_no_good_json_is_400(app: App, sqlite_database: Database, path: str) -> None:
    """A body that is not an object in strict JSON is 400, and nothing is decided."""
    for body in BAD.values():
        assert_problem(app.ask(body, path), 400, "bad-request")
    assert RecordedDecision.select().count(sqlite_database) == 0


@pytest.mark.parametrize("path", PATHS)
def test_7_the_content_type_is_json(app: App, path: str) -> None:
    """Another content type is 400 (c-2-4-3); a charset parameter is allowed."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonl", "x", ""):
        assert_problem(app.ask(b"{}", path, Content_Type=kind), 400, "bad-request", "Content-Type")
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        assert app.ask(question(), path, Content_Type=kind).status_code == 200


WRONG: list[Any] = [None, "alice", 5, True, [], {}, {"type": 1, "id": "x"}, {"type": None, "id": "x"}]


@pytest.mark.parametrize("path", PATHS)
def test_10_11_15_a_part_that_is_missing_or_of_another_type_is_400(app: App, path: str) -> None:
    """A required part that is absent, null or of another type is 400 with its place."""
    for part in ("subject", "resource", "action"):
        if part == "action" and path.endswith("action"):
            continue
        for wrong in WRONG if part != "action" else [*WRONG[:6], {"name": 1}, {"name": None}]:
            assert_problem(app.ask({**question(), part: wrong}, path), 400, "bad-request", f"/{part}")
        rest = {name: value for name, value in question().items() if name != part}
        assert_problem(app.ask(rest, path), 400, "bad-request", f"/{part} is required")
    for wrong in ("x", 1, [], True):
        malformed: dict[str, Any] = {**question(), "context": wrong}
        assert_problem(app.ask(malformed, path), 400, "bad-request", "/context")
        malformed = {**question(), "subject": {**question()["subject"], "properties": wrong}}
        assert_problem(app.ask(malformed, path), 400, "bad-request", "/subject/properties")


@pytest.mark.parametrize("path", PATHS)
def test_12_13_17_18_19_20_whatever_else_comes_is_ignored(app: App, path: str) -> None:
    """Unknown members, any properties, any order and a null context do not change the answer."""
    plain = app.ask(question(), path).json
    free: dict[str, Any] = {"deep": {"er": [1, None, {"x": 1.5}]}, "null": None, "n": 2**53, "text": "ä\U0001f600"}
    sent: dict[str, Any] = {
        part: {**dict(reversed(held.items())), "properties": free, "unknown": free} for part, held in question().items()
    }
    sent = {"unknown": free, **dict(reversed(sent.items())), "context": free}
    for body in (sent, {**question(), "context": None, "options": None}):
        assert app.ask(body, path).json == plain


@pytest.mark.parametrize("path", PATHS)
def test_57_58_credentials(app: App, flask: Flask, sqlite_database: Database, path: str) -> None:
    """Without a good credential the answer is 401 with a challenge; 403 concerns the app and not the subject."""
    for malformed in ("", "Bearer", "Bearer cg_wrong", "Bearer a.b.c", "Basic YTpi", "bearer"):
        refused = app.ask(b"{", path, Authorization=malformed)
        assert_problem(refused, 401, "unauthenticated")
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="caregrant"'
    assert_problem(App(flask, sqlite_database, "admin").ask(question(), path), 403, "forbidden", "decide")
    assert app.ask(question("oscar"), path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_59_60_the_request_id_comes_back(app: App, path: str) -> None:
    """The request id comes back on 200, 400, 401, 405 and 413; without one the service makes one."""
    for name in ("r-1", "not a uuid / ä", "x" * 256):
        answers = [
            app.ask(question(), path, X_Request_ID=name),
            app.ask(b"{", path, X_Request_ID=name),
            app.ask(b"{}", path, X_Request_ID=name, Authorization=""),
            app.ask(b" " * 1_048_577, path, X_Request_ID=name),
            app.client.get(path, headers={"X-Request-ID": name}),
        ]
        assert [answer.status_code for answer in answers] == [200, 400, 401, 413, 405]
        assert {answer.headers["X-Request-ID"] for answer in answers} == {name}
    assert app.ask(question(), path).headers["X-Request-ID"]


def test_21_23_25_56_a_denial_is_an_answer(app: App) -> None:
    """A denial, also about unknown things, is 200 with a boolean and a context."""
    for body in (question("oscar"), question("none"), question(what=("robot", "r")), question(action="fly")):
        answer = app.ask(body)
        assert (answer.status_code, answer.json["decision"], type(answer.json["context"])) == (200, False, dict)  # type: ignore[index]
