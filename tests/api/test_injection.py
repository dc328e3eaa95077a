"""Hostile text in every field that a caller can fill is looked up as it is, and never becomes part of a statement."""

from typing import Any
from urllib.parse import quote

import pytest

from api.app import create_app
from authz.database import Database
from authz.models import Patient
from authz.policy.pdp import PDP
from authz.settings import Settings
from tests.support import people
from tests.support.acting import POLICY, login
from tests.support.http import App, answered, question
from tests.support.v1 import app, ids

MARK = "zq7"
HOSTILE = [
    f"{MARK}'",
    f"{MARK}'OR'1'='1",
    f'{MARK}"--',
    f"{MARK}');DELETE;--",
    f"{MARK}%s%(p0)s%(subject)s%",
    f"{MARK}:p0:subject?1",
    f"{MARK}\\",
    f"{MARK}$1{{0}}",
    f"{MARK}_%",
    f"{MARK}\u02bc\uff07",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_t24_text_is_a_parameter(database: Database, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """T24: hostile text in any field of a request is matched literally and stands in no SQL statement."""
    people.fill(database)
    pdp, statements = PDP(database, POLICY), list[str]()
    flask = create_app(Settings(), pdp)
    patients = Patient.select().count(database)
    execute = database.execute_sql

    def noted(sql: str, *values: Any) -> Any:
        statements.append(sql)
        return execute(sql, *values)

    monkeypatch.setattr(database, "execute_sql", noted)
    alice, admin = app(flask, database, "act", who="alice"), app(flask, database, "admin")
    asking, path = App(flask, database), quote(text, safe="")
    answered(alice.call("POST", "/v1/patients", {"id": text, "name": text, "subscription": "north"}), 201)
    answered(admin.call("PUT", f"/v1/entities/document/{path}", {"properties": {"patient": text, "title": text}}))

    assert ids(alice.get(f"/v1/patients?q={path}")) == [text]
    assert ids(app(flask, database, "act", who="bob").get(f"/v1/patients?q={path}")) == []
    assert alice.get(f"/v1/patients/{path}")["name"] == text
    for kind in ("patient", "document"):
        assert answered(asking.ask(question("alice", what=(kind, text))))["decision"] is True
        assert answered(asking.ask(question("bob", what=(kind, text))))["decision"] is False
    for body in (
        question(text),
        question(action=text),
        question(what=(text, "p-1")),
        question("oscar", context={"purpose": text, "x": text}),
        {**question("oscar"), "subject": {"type": "practitioner", "id": "oscar", "properties": {"id": text}}},
    ):
        assert answered(asking.ask(body))["decision"] is False
    results = answered(asking.ask({**question("alice"), "page": {"limit": 1}}, "/access/v1/search/resource"))
    assert [result["id"] for result in results["results"]] == ["p-1"]
    refused: list[tuple[str, str, Any]] = [
        ("GET", f"/v1/patients?cursor={path}", None),
        ("GET", f"/v1/patients?role={path}", None),
        ("GET", f"/v1/patients?{path}=1", None),
        ("GET", f"/v1/colleagues?patient={path}x", None),
        ("DELETE", f"/v1/patients/p-1/shares/{path}", None),
        ("POST", "/v1/patients/p-1/shares", {"colleague": f"{text}@clinic.example"}),
        ("POST", "/v1/patients/p-1/shares", {"colleague": login("oscar"), "until": text}),
        ("POST", "/v1/transfers", {"patients": [text, f"{text}x"], "colleague": login("oscar")}),
        ("POST", "/v1/transfers/undo", {"patients": [text, f"{text}x"]}),
        ("POST", "/v1/emergencies", {"patient": f"{text}x", "purpose": "ETREAT", "reason": "R"}),
        ("POST", "/v1/emergencies", {"reference": text, "subscription": text, "purpose": "BTG", "reason": text}),
        ("POST", f"/v1/emergencies/{path}/review", {"verdict": "justified"}),
        ("POST", "/v1/standing-shares", {"colleague": login("oscar"), "subscription": text}),
    ]
    assert {alice.call(*request).status_code for request in refused} <= {404, 409, 422}

    statements += [planned.plan.sql for planned in pdp._plans.cached.values()]
    assert len(statements) > 100
    assert [sql for sql in statements if MARK in sql] == []
    assert Patient.select().count(database) == patients + 1
