"""The service with the cast in it, and apps that ask it."""

from typing import Any

import pytest
from flask import Flask

from authz.database import Database
from tests.support import people
from tests.support.acting import served_since
from tests.support.authzen import BASE, Answer, answered
from tests.support.http import App, service


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
        body = answered(app.ask({"evaluations": list(items), **more}, f"{BASE}/evaluations"))
        assert "decision" not in body
        return [decision["decision"] for decision in body["evaluations"]]

    return ask
