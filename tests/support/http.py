"""Apps and people who send requests to the application, and the one shape of every error."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from authz.callers.clients import add_client
from authz.callers.tokens import sign_token
from authz.database import Database
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.settings import Settings, shipped_folder
from tests.support.acting import login
from tests.support.people import NOW

POLICY = load(shipped_folder("policies"))
EVALUATION = "/access/v1/evaluation"


def service(database: Database, **settings: Any) -> Flask:
    """Return the application on a test's database, at the instant of the cast."""
    return create_app(Settings(**settings), PDP(database, POLICY, clock=lambda: NOW))


class App:
    """An app with a key: `ask` posts JSON (or bytes as they are) to a path."""

    def __init__(self, flask: Flask, database: Database, *scopes: str, subscription: str | None = None) -> None:
        self.key = add_client(database, name="app", scopes=scopes or ("decide",), subscription=subscription, now=NOW)
        self.client: FlaskClient = flask.test_client()

    def ask(self, body: Any, path: str = EVALUATION, **headers: str) -> TestResponse:
        """Post a body; a header is given by name, with underscores for hyphens."""
        sent_headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        sent_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        payload = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.client.post(path, headers=sent_headers, **payload)


class Person:
    """A practitioner with a token, as their own client or through an app."""

    def __init__(self, flask: Flask, headers: Mapping[str, str]) -> None:
        self.client: FlaskClient = flask.test_client()
        self.headers = dict(headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        """Send a request; a body of bytes is sent unchanged."""
        sent_headers = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        sent: dict[str, Any] = {}
        if isinstance(body, bytes):
            sent = {"data": body, "content_type": "application/json"}
        elif body is not None:
            sent = {"json": body}
        return self.client.open(path, method=method, headers=sent_headers, **sent)

    def get(self, path: str) -> Any:
        return answered(self.call("GET", path))


def answered(response: TestResponse, status: int = 200) -> Any:
    """Return the JSON of an answer with this status."""
    assert response.status_code == status, response.text
    return response.json


def question(
    who: str = "alice", action: str = "view", what: tuple[str, str] = ("patient", "p-1"), **more: Any
) -> dict[str, Any]:
    """Return an evaluation request."""
    return {
        "subject": {"type": "practitioner", "id": who},
        "action": {"name": action},
        "resource": {"type": what[0], "id": what[1]},
        **more,
    }


def assert_problem(response: TestResponse, status: int, kind: str, detail: str = "") -> dict[str, Any]:
    """Require a problem of this status and kind, with a request id and no other members; return it."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert response.headers["X-Request-ID"]
    body: dict[str, Any] = response.json or {}
    assert set(body) <= {"type", "title", "status", "detail", "errors"}
    assert (body["type"], body["status"]) == (f"/problems/{kind}", status)
    assert detail in body["detail"]
    return body


As = Callable[[str], Person]


def headers(settings: Settings, who: str) -> dict[str, str]:
    """Return the headers of somebody of the cast with a token of the development key."""
    return {"Authorization": f"Bearer {sign_token(settings, login(who), datetime.now(UTC), 60)}"}
