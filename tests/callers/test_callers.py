"""Rates of callers, the life of keys, and refusals that are counted and logged."""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from authz.callers.clients import add_client, find_client, list_clients, revoke_client, rotate_client
from authz.callers.rates import Rates
from authz.database import Database, close_all, connect
from authz.errors import NotFound, TooMany
from authz.models import Event, RecordedDecision, RequestCount
from tests.support import people
from tests.support.http import App, Person, answered, assert_problem, question, service
from tests.support.people import NOW

HALF_PAST = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def flask(sqlite_database: Database) -> Flask:
    people.fill(sqlite_database)
    return service(sqlite_database)


def spent(rates: Rates, caller: str, times: int, at: datetime = HALF_PAST, rate: int | None = None) -> int:
    """Return how many of some requests are accepted."""
    for number in range(times):
        try:
            rates.spend(caller, at, rate=rate)
        except TooMany:
            return number
    return times


def test_a_rate_is_counted_over_every_process(database: Database, database_url: str) -> None:
    """Two processes on one database share one rate, to a sixtieth; the next minute is new."""
    process, other_process = Rates(database, 600), Rates(connect(database_url), 600)
    assert spent(process, "a", 300) == 300
    assert 290 <= spent(other_process, "a", 1000) <= 310
    assert spent(process, "a", 1000) <= 10
    assert spent(process, "b", 5) == 5
    with pytest.raises(TooMany) as refused:
        other_process.spend("a", HALF_PAST)
    assert refused.value.seconds == 30
    assert spent(other_process, "a", 700, HALF_PAST + timedelta(seconds=30)) == 600
    close_all(other_process._database)


def test_a_rate_of_its_own(sqlite_database: Database) -> None:
    """A small rate is exact; each caller has a rate of its own; a rate of 0 is unlimited."""
    rates = Rates(sqlite_database, 0)
    assert spent(rates, "small", 10, rate=3) == 3
    assert spent(rates, "any", 1000) == 1000
    assert [row.caller for row in RequestCount.select().execute(sqlite_database)] == ["small"]


def test_most_requests_tell_the_database_nothing(sqlite_database: Database) -> None:
    """At the usual rate the requests of a second take one statement."""
    rates = Rates(sqlite_database, 600_000)
    spent(rates, "a", 5000)
    assert RequestCount.select().execute(sqlite_database)[0].requests == 1
    rates.spend("a", HALF_PAST + timedelta(seconds=1))
    assert RequestCount.select().execute(sqlite_database)[0].requests == 5001


def test_too_many_requests_are_429(flask: Flask, sqlite_database: Database) -> None:
    """Beyond its rate a caller gets 429 with Retry-After; other callers are answered; a batch counts for more."""
    key = add_client(sqlite_database, name="hasty", scopes=("decide", "audit"), rate=3, now=NOW)
    hasty = Person(flask, {"Authorization": f"Bearer {key}"})
    statuses = [hasty.call("POST", "/access/v1/evaluation", question()).status_code for _ in range(2)]
    assert statuses == [200, 200]
    batch = {"evaluations": [question()] * 300}
    refused = hasty.call("POST", "/access/v1/evaluations", batch)
    assert_problem(refused, 429, "too-many")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert_problem(hasty.call("GET", "/v1/events"), 429, "too-many")
    assert App(flask, sqlite_database).ask(question()).status_code == 200


def test_t4_an_app_is_no_oracle_for_other_clinics(flask: Flask, sqlite_database: Database) -> None:
    """T4: to an app, people of other clinics look like nobody; its questions are recorded and limited."""
    key = add_client(sqlite_database, name="city's", scopes=("decide",), subscription="city", rate=9, now=NOW)
    city = Person(flask, {"Authorization": f"Bearer {key}"})
    base, view = "/access/v1", {"name": "view"}

    def learnt(who: str, patient: str) -> list[Any]:
        subject, resource = {"type": "practitioner", "id": who}, {"type": "patient", "id": patient}
        bodies = {
            "evaluation": {"subject": subject, "action": view, "resource": resource},
            "search/subject": {"subject": {"type": "practitioner"}, "action": view, "resource": resource},
            "search/resource": {"subject": subject, "action": view, "resource": {"type": "patient"}},
            "search/action": {"subject": subject, "resource": resource},
        }
        responses = [answered(city.call("POST", f"{base}/{path}", body)) for path, body in bodies.items()]
        return [responses[0]["decision"], *(response["results"] for response in responses[1:])]

    assert learnt("alice", "p-1") == learnt("nobody", "p-none") == [False, [], [], []]
    rows = (
        RecordedDecision.select(RecordedDecision.client, RecordedDecision.subject, RecordedDecision.resource)
        .tuples()
        .execute(sqlite_database)
    )
    (number,) = {client for client, *_ in rows}
    assert number is not None
    assert {(who, what) for _, who, what in rows} >= {("alice", "p-1"), ("", "p-1"), ("alice", "")}
    own = city.call("POST", f"{base}/evaluation", question("frank", what=("patient", "p-city")))
    assert answered(own)["decision"] is True
    assert_problem(city.call("POST", f"{base}/evaluation", question()), 429, "too-many")


def test_keys_are_listed_rotated_and_revoked(database: Database) -> None:
    """A rotated key replaces the old one at once; a revoked key is refused at once."""
    old = add_client(database, name="app", scopes=("decide",), now=NOW)
    (listed,) = list_clients(database)
    assert set(listed) == {"id", "name", "scopes", "subscription", "rate", "created_at", "revoked_at"}
    new = rotate_client(database, client=listed["id"], now=NOW)
    assert find_client(database, old, now=NOW) is None
    client = find_client(database, new, now=NOW)
    assert client is not None
    assert (client.id, client.name) == (listed["id"], "app")
    revoke_client(database, client=listed["id"], now=NOW)
    assert find_client(database, new, now=NOW) is None
    for unusable in (listed["id"], 99):
        with pytest.raises(NotFound):
            rotate_client(database, client=unusable, now=NOW)
        with pytest.raises(NotFound):
            revoke_client(database, client=unusable, now=NOW)
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    assert kinds == ["client:added", "client:rotated", "client:revoked"]


def counted(auditor: App, name: str) -> float:
    """Return the value of a counter as Prometheus reads it."""
    text = auditor.client.get("/metrics", headers={"Authorization": f"Bearer {auditor.key}"}).text
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(match[1]) if match else 0


@pytest.mark.parametrize(
    ("kind", "credential"), [("key", "cg_secret-of-somebody"), ("token", "a.secret-of-somebody.c"), ("none", "")]
)
def test_what_is_refused_is_counted_and_logged(
    flask: Flask, sqlite_database: Database, caplog: pytest.LogCaptureFixture, kind: str, credential: str
) -> None:
    """Each kind of bad credential is counted and logged, without the secret."""
    auditor = App(flask, sqlite_database, "audit")
    name = f'caregrant_credentials_refused_total{{kind="{kind}"}}'
    before = counted(auditor, name)
    with caplog.at_level(logging.WARNING):
        assert_problem(
            auditor.ask(question(), Authorization=f"Bearer {credential}", X_Request_ID="r-1"), 401, "unauthenticated"
        )
    assert counted(auditor, name) == before + 1
    assert f"kind={kind}" in caplog.text
    assert "somebody" not in caplog.text


def test_metrics_are_for_auditors_of_everything(flask: Flask, sqlite_database: Database) -> None:
    """Only a key of all clinics with `audit` reads the metrics of decisions and requests."""
    auditor = App(flask, sqlite_database, "decide", "audit")
    before = counted(auditor, 'caregrant_decisions_total{decision="permit"}')
    answered(auditor.ask({"evaluations": [question(), question("oscar")]}, "/access/v1/evaluations"))
    assert counted(auditor, 'caregrant_decisions_total{decision="permit"}') == before + 1
    route = 'caregrant_requests_total{method="POST",route="/access/v1/evaluations",status="200"}'
    assert counted(auditor, route) >= 1
    for scopes, tenant in ((("decide",), None), (("audit",), "north")):
        app = App(flask, sqlite_database, *scopes, subscription=tenant)
        refused = app.client.get("/metrics", headers={"Authorization": f"Bearer {app.key}"})
        assert_problem(refused, 403, "forbidden")
