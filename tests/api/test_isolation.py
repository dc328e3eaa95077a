"""No caller of one clinic learns of another: in a world without the others, every answer is the same.

Two databases: one with North, City and Harbour, one from which all but North was taken. Whatever a caller of North
asks, over every route, the two services answer alike, to the byte: status, headers, counts, cursors, texts of errors;
and with as many statements, so that the time tells nothing either. Ids that callers choose are among what is asked:
another clinic's, free ones, and such as cannot be.
"""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from werkzeug.test import TestResponse

from api.ops.route_documentation import RouteDocumentation
from authz.callers.clients import add_client
from authz.callers.tokens import sign_token
from authz.database import Database, close_all, connect
from authz.models import Entity
from authz.record.commitments import read_secrets
from authz.record.facts import DIGEST_OWNER
from authz.settings import Settings
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.people import NOW

ELSEWHERE = {"frank", "grace", "gus", "p-city", "p-harbour", "city", "harbour"}
PEOPLE = ["mia", "alice", "mia", "bob", "dan", "erin", "mia", "frank", "grace", "nobody"]  # mia works in both
IDS: dict[str, list[str]] = {
    "patient": ["p-1", "p-oscar", "p-left", "p-city", "p-harbour", "p-none"],
    "practitioner": PEOPLE,
    "subscription": ["north", "city", "harbour", "none"],
    "document": [
        "by-alice",
        "library-alice",
        "library-mia",
        "city-mia",
        "library-frank",
        "north-plan",
        "harbour-plan",
        "none",
    ],
}
PARTS = {
    **IDS,
    "kind": ["document"] * 3 + ["patient", "none"],
    "entity": IDS["document"],
    "grant": [str(number) for number in range(1, 8)],
    "share": [str(number) for number in range(1, 10)],
    "notification": ["1", "2"],
    "emergency": ["1", "2"],
    "tenant": ["x"],
}
_TAKEN = [
    "DELETE FROM entity_link WHERE entity_id IN (SELECT entity_id FROM entity_link WHERE target IN {0})",
    "DELETE FROM entity WHERE id LIKE '%frank' OR id LIKE '%grace' OR id = 'harbour-plan'",
    'DELETE FROM "grant" WHERE patient_id IN {0}',
    "DELETE FROM standing_share WHERE subscription_id IN {0} OR owner_id IN {0} OR colleague_id IN {0}",
    "DELETE FROM membership WHERE subscription_id IN {0} OR practitioner_id IN {0}",
    "DELETE FROM patient WHERE id IN {0}",
    "DELETE FROM practitioner WHERE id IN {0}",
    "DELETE FROM licence WHERE subscription_id IN {0}",
    "DELETE FROM subscription WHERE id IN {0}",
]


class World:
    """A service with its database; counts the statements that the service sends."""

    def __init__(self, database: Database, key_file: str) -> None:
        self.database = database
        self.flask: Flask = service(database, development_key=key_file, public_url="http://127.0.0.1:8000", rate=0)
        # Whether the schema is still known is asked once a second, whatever is asked for: here not at all.
        self.flask.extensions["caregrant.readiness"]._schema_checked = float("inf")
        self.statements = 0
        self._counting = database.connection()

    def ask(self, request: dict[str, Any]) -> tuple[TestResponse, int]:
        """Return the answer to a request, and the number of statements that it took."""
        taken: list[str] = []
        self._counting.set_trace_callback(taken.append)
        response = self.flask.test_client().open(**request)
        self._counting.set_trace_callback(None)
        return response, len(taken)


@pytest.fixture(scope="module")
def worlds(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, World, dict[str, str]]]:
    """Yield the world with every clinic, the world with North alone, and the credentials of North's callers."""
    folder = tmp_path_factory.mktemp("worlds")
    key_file, pair, keys = str(folder / "key.json"), [], {}
    for name in ("every", "north"):
        shutil.copy(sqlite_template, folder / f"{name}.db")
        database = connect(f"sqlite:///{folder}/{name}.db")
        database.connect()
        people.fill(database)
        read_secrets(database, [DIGEST_OWNER], create=True)  # else the first event makes it
        if name == "every":  # by somebody who works in both, for the other
            people.document(database, "city-mia", author="mia")
            Entity.update(subscription="city").where(Entity.id == "city-mia").execute(database)
        if name == "north":
            with database.atomic():
                for statement in _TAKEN:
                    database.execute_sql(statement.format(tuple(sorted(ELSEWHERE))))
        pair.append(World(database, key_file))
    for scopes in ("decide audit", "decide", "act", "admin", "audit"):
        keys[scopes] = add_client(pair[0].database, name="app", scopes=scopes.split(), subscription="north", now=NOW)
    rows = list(pair[0].database.execute_sql("SELECT * FROM client").fetchall())
    marks = ", ".join("?" * len(rows[0]))
    for row in rows:
        pair[1].database.execute_sql(f"INSERT INTO client VALUES ({marks})", row)
    for row in pair[0].database.execute_sql("SELECT * FROM event").fetchall():
        pair[1].database.execute_sql(f"INSERT INTO event VALUES ({', '.join('?' * len(row))})", row)
    token = Settings(development_key=key_file)
    keys |= {f"token {who}": sign_token(token, login(who), datetime.now(UTC), 3600) for who in ("bob", "dan", "oscar")}
    yield pair[0], pair[1], keys
    for world in pair:
        close_all(world.database)


def ref(draw: Any, kinds: tuple[str, ...]) -> dict[str, str]:
    kind = draw(some.sampled_from(kinds))
    return {"type": kind, "id": draw(some.sampled_from(IDS[kind]))}


def question(draw: Any, *, explain: bool) -> dict[str, Any]:
    actions = ["view", "receive", "edit", "audit", "list_access", "add_patient"]
    return {
        "subject": ref(draw, ("practitioner",) * 5 + ("document",)),
        "action": {"name": draw(some.sampled_from(actions))},
        "resource": ref(draw, ("patient", "document", "subscription") * 2 + ("practitioner",)),
        "context": {"explain": True} if explain and draw(some.booleans()) else {},
    }


def body_of(draw: Any, rule: str, *, explain: bool) -> Any:
    """Draw a body for a route."""
    colleague = draw(some.sampled_from([login(who) for who in PEOPLE]))
    if "evaluations" in rule:
        many = [question(draw, explain=explain) for _ in range(draw(some.integers(1, 4)))]
        return {"evaluations": many}
    if rule.startswith("/access"):
        limit = draw(some.integers(0, 4))
        return {**question(draw, explain=explain), "page": {"limit": limit}}
    patients = draw(some.lists(some.sampled_from(IDS["patient"]), min_size=1, max_size=2, unique=True))
    bodies: dict[str, Any] = {
        "/v1/patients": {
            "name": "New",
            **draw(some.sampled_from([{}, {}, {"id": "p-city"}, {"id": "p-none"}, {"id": "a b"}])),
            **draw(some.sampled_from([{}, {"reference": "MRN 1"}, {"reference": "MRN 2"}])),
            "subscription": draw(some.sampled_from(IDS["subscription"])),
        },
        "/v1/shares": {"patients": patients, "colleague": colleague},
        "/v1/transfers": {"patients": patients, "colleague": colleague},
        "/v1/transfers/undo": {"patients": patients},
        "/v1/emergencies": {
            **draw(some.sampled_from([{"patient": patients[0]}, {"reference": "MRN 1"}])),
            "purpose": "ETREAT",
            "reason": "Collapsed",
        },
        "/v1/emergencies/<emergency>/review": {"verdict": "justified"},
        "/v1/standing-shares": {"colleague": colleague, "subscription": draw(some.sampled_from(IDS["subscription"]))},
        "/v1/subscriptions/<subscription>": {"name": "North"},
        "/v1/practitioners/<practitioner>": {"login": "new@clinic.example", "name": "New"},
        "/v1/memberships/<subscription>/<practitioner>": {"role": "member"},
    }
    if rule.startswith("/v1/entities"):
        patient = draw(some.sampled_from([*IDS["patient"], None]))
        return {"properties": {"patient": patient, "author": draw(some.sampled_from([*PEOPLE, None]))}}
    return bodies.get(rule, {"colleague": colleague})


@some.composite
def requests(draw: Any, rules: list[tuple[str, str, str]], keys: dict[str, str]) -> dict[str, Any]:
    """Draw a request of a caller of North, to any route."""
    method, rule, needed = draw(
        some.sampled_from([entry for entry in rules if entry[1].startswith("/access")] * 3 + rules)
    )
    tokens = [name for name in keys if name.startswith("token")]
    fitting = {
        "decide": ["decide audit", "decide"],
        "practitioner": ["act", *tokens],
        "manager": ["admin", "act", *tokens],
    }
    caller = draw(some.sampled_from(fitting.get(needed, [needed if needed in keys else "decide"]) * 6 + sorted(keys)))
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: draw(some.sampled_from(PARTS[part[1]])), rule)
    headers = {"Authorization": f"Bearer {keys[caller]}", "X-Request-ID": "r"}
    if caller == "act":
        headers["X-On-Behalf-Of"] = login(draw(some.sampled_from(PEOPLE)))
    query = {}
    if method == "GET" and rule == "/v1/patients":
        queries = [{}, {"limit": "1"}, {"q": "Patient"}, {"q": "mrn 1"}, {"q": "p-city"}, {"left": "true"}]
        query = draw(some.sampled_from([*queries, {"role": "viewer"}, {"role": "owner"}, {"sort": "id", "limit": "2"}]))
    elif method == "GET" and rule == "/v1/colleagues":
        query = draw(some.sampled_from([{}, *({"patient": patient} for patient in IDS["patient"])]))
    sent: dict[str, Any] = {"path": path, "method": method, "headers": headers, "query_string": query}
    if method in ("POST", "PUT"):
        sent["json"] = body_of(draw, rule, explain=caller == "decide audit")
    return sent


def comparable(response: TestResponse) -> tuple[Any, ...]:
    """Return an answer without instants, random ids and signatures of cookies, which always differ."""
    headers = sorted(
        (name, re.sub(r"\.[^;]*", "", value) if name == "Set-Cookie" else value)
        for name, value in response.headers
        if name != "Content-Length"
    )
    text = re.sub(
        r"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", response.text
    )
    return response.status_code, headers, text


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=some.data())
def test_the_others_are_as_if_they_were_not_there(
    worlds: tuple[World, World, dict[str, str]], data: some.DataObject
) -> None:
    """Up to five random requests get the same answers in both worlds, with as many statements."""
    every, north, keys = worlds
    rules = [
        (
            method,
            rule.rule,
            getattr(every.flask.view_functions[rule.endpoint], "documentation", RouteDocumentation).caller,
        )
        for rule in every.flask.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if not rule.rule.startswith(("/metrics", "/static"))
    ]
    drawn = data.draw(some.lists(requests(rules, keys), min_size=1, max_size=5))
    with every.database.atomic() as first, north.database.atomic() as second:
        for request in drawn:
            (here, took), (there, there_took) = every.ask(request), north.ask(request)
            assert comparable(here) == comparable(there), request
            assert took == there_took, request
        first.rollback()
        second.rollback()
