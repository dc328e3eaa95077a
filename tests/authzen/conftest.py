"""The service with the cast in it, and apps that ask it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from authz.database import Database
from tests.support import people
from tests.support.acting import served_since
from tests.support.http import App, service

BASE = "/access/v1"
Answer = Callable[..., Any]


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


@pytest.fixture
def batch(app: App) -> Answer:
    """Return a function that sends a batch with further members, and returns its decisions as truth values."""

    def ask(*items: Any, **more: Any) -> list[bool]:
        told = answered(app.ask({"evaluations": list(items), **more}, f"{BASE}/evaluations"))
        assert "decision" not in told
        return [one["decision"] for one in told["evaluations"]]

    return ask


def answered(response: TestResponse) -> dict[str, Any]:
    """Return the JSON of an answer with status 200."""
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    told: dict[str, Any] = response.json or {}
    return told


def result_ids(response: TestResponse) -> list[str]:
    """Return the ids, or names, of the results of a search."""
    return [one.get("id") or one["name"] for one in answered(response)["results"]]
