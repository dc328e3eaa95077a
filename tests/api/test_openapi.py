"""The OpenAPI document is complete, its examples work, and the page made from it needs no network."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from authz.database import Database
from authz.models import Grant, Notification, StandingShare
from tests.support import people
from tests.support.acting import login
from tests.support.http import App, service
from tests.support.people import NOW


@pytest.fixture
def flask(sqlite_database: Database) -> Flask:
    people.fill(sqlite_database)
    return service(sqlite_database, public_url="https://pdp.example")


@pytest.fixture
def document(flask: Flask) -> Any:
    response = flask.test_client().get("/openapi.json")
    assert response.content_type == "application/json"
    return response.json


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_in_it(flask: Flask, document: Any) -> None:
    """The document has every JSON route of Flask's list, and every reference in it resolves."""
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in flask.url_map.iter_rules()
        if rule.rule.startswith(("/v1/", "/access/v1/", "/.well-known/")) or rule.rule in ("/healthz", "/readyz")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, path) for method, path, _ in operations(document)} >= routes
    assert document["openapi"] == "3.1.0"
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        node = document
        for step in reference.split("/"):
            node = node[step]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_each_example_works(flask: Flask, document: Any) -> None:
    """Each operation, called with its example in a new clinic, answers as the document says."""
    tried = 0
    for method, path, operation in operations(document):
        if "emergencies" in path:  # the shipped policy has no emergency access: tests/api/test_emergencies.py
            continue
        with flask.app_context():
            database = flask.extensions["caregrant"].database
        headers = {}
        if operation["security"]:
            app = App(flask, database, "decide", "act", "admin", "audit")
            headers = {"Authorization": f"Bearer {app.key}"}
        if "practitioner" in str(operation["security"]):
            headers["X-On-Behalf-Of"] = login("dan" if "membership" in path else "alice")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        url = placed(database, path)
        with database.atomic() as transaction:
            if path.endswith("/undo"):
                sent = {"colleague": login("pete")}
                flask.test_client().post("/v1/patients/p-1/transfer", headers=headers, json=sent)
            response = flask.test_client().open(url, method=method, headers=headers, json=body)
            status = next(int(status) for status in operation["responses"] if status < "300")
            if "tenant" not in path:
                assert response.status_code == status, (method, path, response.text)
            transaction.rollback()
        tried += 1
    assert tried > 30


def placed(database: Database, path: str) -> str:
    """Return a path with existing ids in its variable parts."""
    notice = {
        "subscription": "north",
        "at": NOW,
        "kind": "share:given",
        "patient": "p-1",
        "colleague": "bob",
        "actor": "alice",
    }
    numbers = {
        "grant": Grant.select(Grant.id).where(Grant.practitioner == "bob").tuples().execute(database)[0][0],
        "share": StandingShare.select(StandingShare.id)
        .where(StandingShare.owner == "alice")
        .tuples()
        .execute(database)[0][0],
        "notification": Notification.insert(practitioner="alice", **notice).execute(database),
    }
    named = {"patient": "p-1", "subscription": "north", "practitioner": "pete", "kind": "document", "tenant": "t"}
    named["entity"] = "by-alice"
    return path.format(**named, **numbers)


def test_the_page_needs_no_network(flask: Flask, document: Any) -> None:
    """The page shows every operation and example, and loads no script, font or style from another site."""
    response = flask.test_client().get("/docs")
    page = response.text
    assert response.content_type == "text/html; charset=utf-8"
    for method, path, operation in operations(document):
        assert f"<code>{method} {path}</code>" in page
        assert operation["summary"] in page.replace("&#39;", "'")
    assert not re.findall(r"<(?:script|link|img|iframe)|(?:src|href)=\"(?:https?:)?//|url\(|@import", page)
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
