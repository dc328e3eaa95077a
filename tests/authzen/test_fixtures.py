"""The certification scenario and the search interop, as policy directories with their facts, over HTTP."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from authz.database import Database
from authz.importing import import_facts
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.settings import Settings
from tests.support.authzen import BASE, answered, result_ids
from tests.support.http import App
from tests.support.people import NOW

HERE = Path(__file__).parent
ALICE, BOB = ({"type": "user", "id": who} for who in ("alice", "bob"))
ADMIN = {**BOB, "properties": {"role": "admin"}}
RECORD_1, RECORD_2 = ({"type": "record", "id": f"record-{number}"} for number in (1, 2))
ARCHIVED = {"properties": {"status": "archived"}}
READ, WRITE, DELETE = ({"name": name} for name in ("read", "write", "delete"))
SOFT, HARD = ({**DELETE, "properties": {"soft": soft}} for soft in (True, False))


@pytest.fixture
def scenario(database: Database) -> Callable[[str], App]:
    """Return a function: the app of a service with the policy and the facts of a folder beside this file."""

    def start(name: str) -> App:
        policy = load(HERE / name)
        with (HERE / name / "facts.ndjson").open("rb") as facts:
            import_facts(database, facts, policy.types, now=NOW - timedelta(hours=1))
        return App(create_app(Settings(), PDP(database, policy, clock=lambda: NOW)), database)

    return start


DECISIONS: list[tuple[Any, Any, Any, bool]] = [
    (ALICE, READ, RECORD_1, True),
    (ALICE, WRITE, RECORD_1, True),
    (BOB, READ, RECORD_1, True),
    (BOB, WRITE, RECORD_1, False),
    (ALICE, READ, RECORD_2, True),
    (ALICE, WRITE, {**RECORD_1, **ARCHIVED}, False),
    ({**ALICE, "properties": {"role": "admin"}}, WRITE, {**RECORD_1, **ARCHIVED}, True),
    (ADMIN, WRITE, {**RECORD_2, **ARCHIVED}, True),
    (ALICE, SOFT, RECORD_1, True),
    (ALICE, HARD, RECORD_1, False),
    (ALICE, DELETE, RECORD_1, False),
    (BOB, SOFT, RECORD_1, False),
    ({**ALICE, "properties": {"role": 5}}, WRITE, {**RECORD_1, **ARCHIVED}, False),
    ({"type": "user", "id": "nobody", "properties": {"role": "admin"}}, WRITE, {**RECORD_1, **ARCHIVED}, False),
]


def test_14_20_22_24_62_certification_decisions(scenario: Callable[[str], App]) -> None:
    """The certification's decisions are as expected, singly and in a batch, and the same when asked again."""
    app = scenario("certification")
    bodies = [{"subject": who, "action": what, "resource": which} for who, what, which, _ in DECISIONS]
    expected = [allowed for *_, allowed in DECISIONS]
    for _ in range(2):
        assert [answered(app.ask(body))["decision"] for body in bodies] == expected
    decisions = answered(app.ask({"evaluations": bodies}, f"{BASE}/evaluations"))["evaluations"]
    assert [decision["decision"] for decision in decisions] == expected
    assert decisions[12]["context"]["reason_admin"] == {"400": "subject.role is not of the kind string"}


def test_14_42_certification_searches(scenario: Callable[[str], App]) -> None:
    """The certification's searches find what the policy permits, with the role and status of the request."""
    app = scenario("certification")
    who = {"subject": {"type": "user"}}
    assert result_ids(app.ask({**who, "action": READ, "resource": RECORD_1}, f"{BASE}/search/subject")) == [
        "alice",
        "bob",
    ]
    assert result_ids(
        app.ask({**who, "action": WRITE, "resource": {**RECORD_2, **ARCHIVED}}, f"{BASE}/search/subject")
    ) == ["bob"]
    what = {"resource": {"type": "record"}}
    assert result_ids(app.ask({**what, "subject": ALICE, "action": READ}, f"{BASE}/search/resource")) == [
        "record-1",
        "record-2",
    ]
    assert result_ids(app.ask({**what, "subject": ADMIN, "action": WRITE}, f"{BASE}/search/resource")) == ["record-2"]
    assert result_ids(app.ask({"subject": ALICE, "resource": RECORD_1}, f"{BASE}/search/action")) == ["read", "write"]
    archived = {"subject": ADMIN, "resource": {**RECORD_2, **ARCHIVED}}
    assert result_ids(app.ask(archived, f"{BASE}/search/action")) == ["write"]


def test_15_the_search_interop(scenario: Callable[[str], App]) -> None:
    """Every search and evaluation of the interop scenario gives what the scenario's three rules say."""
    app = scenario("interop")
    lines = [json.loads(line)["entity"] for line in (HERE / "interop/facts.ndjson").read_text().splitlines()]
    users, records = (
        {entity["id"]: entity["properties"] for entity in lines if entity["type"] == kind}
        for kind in ("user", "record")
    )

    def permitted(who: str, action: str, which: str) -> bool:
        user, record = users[who], records[which]
        owns, near = record["owner"] == who, record["department"] == user["department"]
        manager = user["role"] == "manager"
        return owns or bool({"view": near or manager, "edit": near and manager, "delete": False}[action])

    for who in users:
        subject = {"type": "user", "id": who}
        for action in ("view", "edit", "delete"):
            question = {"subject": subject, "action": {"name": action}, "resource": {"type": "record"}}
            expected = sorted(which for which in records if permitted(who, action, which))
            assert result_ids(app.ask(question, f"{BASE}/search/resource")) == expected
            items = [{"resource": {"type": "record", "id": which}} for which in records]
            decisions = answered(app.ask({**question, "evaluations": items}, f"{BASE}/evaluations"))["evaluations"]
            assert [decision["decision"] for decision in decisions] == [
                permitted(who, action, which) for which in records
            ]
    for which in records:
        resource = {"type": "record", "id": which}
        for action in ("view", "edit", "delete"):
            question = {"subject": {"type": "user"}, "action": {"name": action}, "resource": resource}
            expected = sorted(who for who in users if permitted(who, action, which))
            assert result_ids(app.ask(question, f"{BASE}/search/subject")) == expected
        expected = [action for action in ("delete", "edit", "view") if permitted("alice", action, which)]
        question = {"subject": {"type": "user", "id": "alice"}, "resource": resource}
        assert result_ids(app.ask(question, f"{BASE}/search/action")) == expected
