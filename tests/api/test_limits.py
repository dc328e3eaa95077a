"""Each limit of docs/reference/http.md: at the limit a request is taken, one beyond it is refused before any work."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from api import limits
from api.limits import LIMITS, Limit
from authz.database import Database
from authz.models import Event, RecordedDecision
from tests.support.acting import login
from tests.support.documents import page
from tests.support.http import App, As, assert_problem, question

Ask = Callable[[int], Any]


def test_every_limit_is_documented() -> None:
    """The table of docs/reference/http.md and the limits in the code are the same, in the same order."""
    section = page("docs/reference/http.md").partition("## Limits")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| (.+) \|$", section, re.MULTILINE)
    written = [(bounds, int(number.replace(",", "")), answer) for bounds, number, answer in rows]
    beyond = {entry.status: "the rest is left out" if entry.status == 200 else str(entry.status) for entry in LIMITS}
    known = [(entry.bounds, entry.number, beyond[entry.status]) for entry in LIMITS]
    assert written == known


def items(count: int, **more: Any) -> dict[str, Any]:
    return question(evaluations=[more] * count)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"1" + b"]" * (levels - 1) + b"}"


BY_APP: dict[str, Callable[[App, int], Any]] = {
    "bytes of a body (`CAREGRANT_MAX_BODY`)": lambda app, size: app.ask(json.dumps(question()).encode().ljust(size)),
    "levels of nesting in JSON": lambda app, size: app.ask(nested(size)),
    "items of `evaluations`": lambda app, size: app.ask(items(size), "/access/v1/evaluations"),
    "items of `evaluations` that ask to be explained": lambda app, size: app.ask(
        items(size, context={"explain": True}), "/access/v1/evaluations"
    ),
    "characters of an `X-Request-ID`": lambda app, size: app.ask(question(), X_Request_ID="x" * size),
}
BY_PERSON: dict[str, Callable[[Any, int], Any]] = {
    "query parameters": lambda she, size: she.call("GET", "/v1/me?" + "&".join(["a=1"] * size)),
    "patients in one request of `/v1`": lambda she, size: she.call(
        "POST", "/v1/shares", {"patients": [f"x-{number}" for number in range(size)], "colleague": login("pete")}
    ),
    "characters of an id": lambda she, size: she.call("GET", f"/v1/colleagues?patient={'x' * size}"),
    "characters of a reference": lambda she, size: she.call(
        "POST", "/v1/patients", {"name": "n", "reference": "r" * size}
    ),
    "characters of a name": lambda she, size: she.call("POST", "/v1/patients", {"name": "n" * size}),
    "characters of a login": lambda she, size: she.call(
        "POST", "/v1/patients/p-1/shares", {"colleague": "a" * (size - len("@x.example")) + "@x.example"}
    ),
    "characters of a reason": lambda she, size: she.call(
        "POST", "/v1/patients/p-1/shares", {"colleague": login("pete"), "reason": "r" * size}
    ),
    "characters of `q`": lambda she, size: she.call("GET", f"/v1/patients?q={'q' * size}"),
    "characters of an `Idempotency-Key`": lambda she, size: she.call(
        "POST", "/v1/patients", {"name": "Pat"}, Idempotency_Key="k" * size
    ),
}
ELSEWHERE = {
    "seconds until a body has arrived (`CAREGRANT_RECEIVE_SECONDS`)",
    "bytes of all headers",
    "characters of path and query",
    "fields of a form",
    "results of a page of a search",
    "patients selected on the pages",
    "errors reported for one request",
    "rows that one relation of an entity leads to",
    "tries of a practitioner to begin an emergency access, in a minute",
    "emergency accesses of a practitioner that begin in 24 hours",
}
"""Tried below, over a real server in tests/api/test_gateway_served.py, in tests/api/test_emergencies.py, or in
tests/operations/test_relations.py.
"""

UNKNOWN = {"characters of an id"}
"""An id that is too long is as unknown as one that does not exist (T1): the answer is the same."""


def test_every_limit_is_tried() -> None:
    """Every limit of the code has a test in this folder."""
    assert {entry.bounds for entry in LIMITS} == {*BY_APP, *BY_PERSON, *ELSEWHERE}


def limit(bounds: str) -> Limit:
    return next(entry for entry in LIMITS if entry.bounds == bounds)


@pytest.mark.parametrize("bounds", list(BY_APP))
def test_an_app_at_the_limit_and_beyond(flask: Flask, database: Database, bounds: str) -> None:
    """An app's request at a limit is answered; one beyond it is refused, and nothing is decided."""
    app, known = App(flask, database, "decide", "audit"), limit(bounds)
    assert BY_APP[bounds](app, known.number).status_code in (200, 400 if "nesting" in bounds else 200)
    before = RecordedDecision.select().count(database)
    refused = BY_APP[bounds](app, known.number + 1)
    assert refused.status_code == known.status, refused.text
    assert len(refused.text) < 2000
    assert RecordedDecision.select().count(database) == before


@pytest.mark.parametrize("bounds", list(BY_PERSON))
def test_a_practitioner_at_the_limit_and_beyond(as_: As, database: Database, bounds: str) -> None:
    """A practitioner's request at a limit is accepted; one beyond it is refused, and nothing changes."""
    alice, known = as_("alice"), limit(bounds)
    taken = BY_PERSON[bounds](alice, known.number)
    assert taken.status_code != known.status or "more than" not in taken.text
    before = Event.select().count(database)
    refused = BY_PERSON[bounds](alice, known.number + 1)
    assert refused.status_code == (404 if bounds in UNKNOWN else known.status), refused.text
    assert len(refused.text) < 2000
    assert Event.select().count(database) == before


def test_many_errors_are_told_in_few_words(as_: As) -> None:
    """The answer to a body of many unknown members lists some errors and the number of the others."""
    refused = as_("alice").call("POST", "/v1/patients", {f"m{number}" * 20: 1 for number in range(5000)})
    errors = assert_problem(refused, 422, "invalid")["errors"]
    assert len(errors) == limits.MOST_ERRORS + 1
    assert errors[-1]["message"] == f"has {5001 - limits.MOST_ERRORS} more errors"
    assert len(refused.data) < 10_000


def test_a_page_of_results_has_a_limit(flask: Flask, database: Database) -> None:
    """A page size beyond the largest is reduced to the largest."""
    search = {**question(), "resource": {"type": "patient"}, "page": {"limit": limits.MOST_RESULTS + 1}}
    assert App(flask, database, "decide").ask(search, "/access/v1/search/resource").status_code == 200


def test_a_list_is_charged_by_its_length(flask: Flask, database: Database) -> None:
    """Ten items count as one request against the rate, before they are answered."""
    app = App(flask, database, "decide")
    database.execute_sql(f"UPDATE client SET rate = {30}")
    assert app.ask(items(200), "/access/v1/evaluations").status_code == 200
    assert app.ask(items(200), "/access/v1/evaluations").status_code == 429
    assert limits.extra_requests(1) == 0
    assert limits.extra_requests(1000) == 99


def test_nothing_is_parsed_for_nobody(flask: Flask) -> None:
    """A request without a credential is 401 on every route with a body, before the body is parsed."""
    client, tried = flask.test_client(), 0
    for rule in flask.url_map.iter_rules():
        methods = (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
        if not rule.rule.startswith(("/v1/", "/access/")):
            continue
        for method in methods:
            path = re.sub(r"<[^>]+>", "1", rule.rule)
            answer = client.open(path, method=method, data=b'{"a":' + b"[" * 100_000, content_type="application/json")
            assert answer.status_code == 401, (method, path, answer.text)
            tried += 1
    assert tried > 15


def test_a_form_has_few_fields(flask: Flask) -> None:
    """A form with the most fields is accepted; one field more is refused before any field is decoded."""
    client = flask.test_client()
    path, kind = "/patients/p-1/share", "application/x-www-form-urlencoded"
    forms = ["&".join(["a=1"] * size) for size in (limits.MOST_FIELDS, limits.MOST_FIELDS + 1)]
    answers = [client.post(path, data=form, content_type=kind).status_code for form in forms]
    assert answers == [303, 413]
