"""Requests that wait together: each key is looked up once, one statement asks, and every answer is as it is alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from flask import Flask

from api import auth
from api.gateway import Gateway
from api.gateway.lanes import EVALUATION
from api.gateway.proxies import Proxies
from api.gateway.receiving import ReceivedRequest
from authz.callers import clients
from authz.callers.clients import add_client, list_clients, revoke_client
from authz.database import Database
from authz.errors import Unavailable
from authz.models import RecordedDecision
from authz.policy.pdp import PDP
from authz.record import get_decision_log
from tests.support.http import question
from tests.support.people import NOW

Answers = list[tuple[int, dict[str, Any]]]


def send_group(flask: Flask, database: Database, *requests: tuple[str, object]) -> Answers:
    """Answer requests, each a key and a body, as one group; return their statuses and bodies."""
    gateway = Gateway(flask, Proxies(""), get_decision_log(database), largest=2**20, seconds=5)
    loop = asyncio.new_event_loop()
    sent: list[list[Any]] = [[] for _ in requests]
    with gateway._group():
        for messages, (key, body) in zip(sent, requests, strict=True):
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            scope: dict[str, Any] = {"method": "POST", "path": "/access/v1/evaluation", "query_string": b""}
            scope |= {"client": ("192.0.2.1", 1), "server": ("x", "80"), "scheme": "http"}
            scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
            send: Any = messages.append
            request = ReceivedRequest(EVALUATION, scope, orjson.dumps(body), send, loop.create_future())
            gateway._answer(request, late=False)
        assert not any(sent), "an answer was sent before its group was answered"
    loop.close()
    for start, body in sent:
        if start["status"] == 200:
            assert dict(start["headers"])[b"Content-Length"] == str(len(body["body"])).encode()
    return [(start["status"], orjson.loads(body["body"])) for start, body in sent]


def without_instants(answers: Sequence[tuple[int, dict[str, Any]]]) -> list[Any]:
    for _, body in answers:
        body.get("context", {}).pop("evaluated_at", None)
    return list(answers)


@pytest.fixture
def key(flask: Flask, database: Database) -> str:
    return add_client(database, name="app", scopes=("decide", "audit"), now=NOW)


def test_a_group_answers_as_each_alone(
    flask: Flask, database: Database, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of every kind of question is answered as each question alone, by one statement, and recorded once."""
    of_city = add_client(database, name="city's", scopes=("decide",), subscription="city", now=NOW)
    denied_to_explain = {**question("bob"), "context": {"explain": True}}
    bodies: list[tuple[str, object]] = [
        (key, question("bob")),
        (key, question("frank")),
        (of_city, question("bob")),
        (key, {**question("bob"), "resource": {"type": "planet", "id": "p-1"}}),
        (key, {**question("bob"), "action": {"name": "fly"}}),
        (key, {"subject": {}}),
        (key, denied_to_explain),
        (of_city, denied_to_explain),
    ]
    single = [send_group(flask, database, body)[0] for body in bodies]
    assert [status for status, _ in single] == [200, 200, 200, 200, 200, 400, 200, 403]
    sizes: list[int] = []
    evaluate_many = PDP.evaluate_many

    def counted(self: PDP, questions: Any, **options: Any) -> Any:
        sizes.append(len(questions))
        return evaluate_many(self, questions, **options)

    monkeypatch.setattr(PDP, "evaluate_many", counted)
    before = RecordedDecision.select().count(database)
    grouped = send_group(flask, database, *bodies)
    assert without_instants(grouped) == without_instants(single)
    assert sorted(sizes) == [1, 4], "one statement for the questions of each tenant"
    assert RecordedDecision.select().count(database) == before + 6


def test_a_key_is_looked_up_once(flask: Flask, database: Database, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests of a group share the look-up of their key; the next group looks it up again."""
    looked_up: list[str] = []
    find_client = clients.find_client

    def counted(database: Database, key: str, **options: Any) -> Any:
        looked_up.append(key)
        return find_client(database, key, **options)

    monkeypatch.setattr(auth, "find_client", counted)
    for _ in range(2):
        assert [status for status, _ in send_group(flask, database, *[(key, question("bob"))] * 5)] == [200] * 5
    assert looked_up == [key, key]


def test_a_revoked_key_opens_no_group(flask: Flask, database: Database, key: str) -> None:
    """A key that was revoked before the group began is refused, and the other keys of the group are not."""
    other = add_client(database, name="other", scopes=("decide",), now=NOW)
    assert [status for status, _ in send_group(flask, database, (key, question("bob")))] == [200]
    (number,) = (row["id"] for row in list_clients(database) if row["name"] == "app")
    revoke_client(database, client=number, now=NOW)
    statuses = [status for status, _ in send_group(flask, database, (key, question("bob")), (other, question("bob")))]
    assert statuses == [401, 200]


def test_each_request_of_a_group_is_charged(database: Database, flask: Flask) -> None:
    """The look-up is shared, the rate is not: of three requests of an app with a rate of two, one is refused."""
    key = add_client(database, name="slow", scopes=("decide",), rate=2, now=NOW)
    answers = send_group(flask, database, *[(key, question("bob"))] * 3)
    assert sorted(status for status, _ in answers) == [200, 200, 429]


def test_a_group_without_a_database_is_refused(
    flask: Flask, database: Database, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database cannot answer, each request of the group is refused, and none is recorded."""

    def fails(*_: Any, **__: Any) -> Any:
        raise Unavailable("the database is gone")

    before = RecordedDecision.select().count(database)
    monkeypatch.setattr(PDP, "evaluate_many", fails)
    answers = send_group(flask, database, *[(key, question("bob"))] * 3)
    assert [(status, body["type"]) for status, body in answers] == [(503, "/problems/unavailable")] * 3
    assert RecordedDecision.select().count(database) == before


def test_requests_are_counted_when_they_are_answered(flask: Flask, database: Database, key: str) -> None:
    """The metrics count a request of a group with the status of its answer."""
    from api.ops.meters import meters  # noqa: PLC0415

    requests = meters().requests.labels("/access/v1/evaluation", "POST", 200)
    before = requests._value.get()
    send_group(flask, database, *[(key, question("bob"))] * 3)
    assert requests._value.get() == before + 3
