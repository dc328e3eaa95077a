"""`POST /access/v1/evaluations` (AuthZEN 7): defaults, semantics, errors of an item, the form of a single decision."""

from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from authz.database import Database
from authz.models import RecordedDecision
from authz.policy.execution import send
from tests.support.authzen import BASE, Answer, answered
from tests.support.http import App, assert_problem, question

PATH = f"{BASE}/evaluations"
ALICE, OSCAR = ({"type": "practitioner", "id": who} for who in ("alice", "oscar"))
P1 = {"type": "patient", "id": "p-1"}
VIEW, SHARE = {"name": "view"}, {"name": "share"}
WHOLE = {"subject": ALICE, "action": VIEW, "resource": P1}


def test_26_39_a_batch_is_answered_in_order(batch: Answer) -> None:
    """A batch gets one decision for each item, in the order of the items, and no overall decision."""
    items = [question("alice"), question("oscar"), question("bob", "share"), question("bob"), question("alice", "fly")]
    assert batch(*items) == [True, False, False, True, False]


@pytest.mark.parametrize("empty", [{}, {"evaluations": []}, {"evaluations": None}])
def test_27_without_items_it_is_one_evaluation(app: App, empty: dict[str, Any]) -> None:
    """If `evaluations` is absent, empty or null, the request is a single evaluation (c-3-4-2, c-3-4-3)."""
    body = answered(app.ask({**WHOLE, **empty}, PATH))
    assert (body["decision"], set(body)) == (True, {"decision", "context"})
    assert_problem(app.ask({"subject": ALICE, "action": VIEW, **empty}, PATH), 400, "bad-request", "/resource")


def test_28_an_item_takes_what_it_leaves_out_from_the_top(batch: Answer) -> None:
    """A part that an item leaves out is taken from the top; an item's own part replaces it; `{}` takes all."""
    items = [{}, {"subject": OSCAR}, {"action": SHARE}, {"subject": OSCAR, "action": {"name": "receive"}}]
    assert batch(*items, **WHOLE) == [True, False, True, True]
    assert batch({"resource": P1}, {"resource": {"type": "patient", "id": "none"}}, subject=ALICE, action=VIEW) == [
        True,
        False,
    ]


def test_29_a_default_is_replaced_whole(app: App) -> None:
    """An item's own part replaces the default whole: a resource without a type is an error of the item (c-3-2-7)."""
    items = [{"resource": {"id": "p-1"}}, {"subject": {"id": "alice"}}, {"resource": P1}]
    decisions = answered(app.ask({**WHOLE, "evaluations": items}, PATH))["evaluations"]
    assert [decision["decision"] for decision in decisions] == [False, False, True]
    assert decisions[0]["context"]["error"]["message"] == "/resource/type is required"


def test_30_context_is_replaced_whole(auditor: App) -> None:
    """An item's context replaces the default context whole; no member of the default is left."""
    items = [{}, {"context": {"purpose": "care"}}, {"context": None}]
    whole = {**WHOLE, "subject": OSCAR, "context": {"explain": True}}
    decisions = answered(auditor.ask({**whole, "evaluations": items}, PATH))["evaluations"]
    assert ["ways" in decision["context"] for decision in decisions] == [True, False, True]


def test_31_defaults_that_no_item_uses_are_not_looked_at(batch: Answer) -> None:
    """A default that no item uses is not validated: the interop scenario sends `"resource": {}` (todo)."""
    assert batch(WHOLE, resource={}, context={}) == [True]
    assert batch({**WHOLE, "context": {}}, subject=5, action="x", resource=[], context="y") == [True]


def test_32_33_unknown_members_are_ignored(batch: Answer) -> None:
    """Unknown members at the top, in items and in the options are ignored."""
    assert batch({**WHOLE, "note": 1}, x=1, options={"other": {"deep": []}}) == [True]
    assert batch(WHOLE, options={}) == batch(WHOLE, options=None) == [True]


@pytest.mark.parametrize("options", [{"evaluations_semantic": "any"}, {"evaluations_semantic": 1}, "x", []])
def test_34_another_semantic_is_400(app: App, options: Any) -> None:
    """An unknown semantic is 400, and so are options that are not an object."""
    assert_problem(app.ask({"evaluations": [WHOLE], "options": options}, PATH), 400, "bad-request", "/options")


YES: dict[str, Any] = {}
NO: dict[str, Any] = {"subject": OSCAR}
ERROR: dict[str, Any] = {"resource": "p-1"}
SEMANTICS: dict[str, list[tuple[list[Any], list[bool]]]] = {
    "execute_all": [([YES, NO, ERROR, YES], [True, False, False, True])],
    "deny_on_first_deny": [
        ([YES, NO, YES], [True, False]),
        ([YES, ERROR, YES], [True, False]),
        ([YES, YES], [True, True]),
        ([NO], [False]),
    ],
    "permit_on_first_permit": [
        ([NO, YES, NO], [False, True]),
        ([ERROR, NO, YES, YES], [False, False, True]),
        ([NO, ERROR], [False, False]),
        ([YES, NO], [True]),
    ],
}


@pytest.mark.parametrize("semantic", SEMANTICS)
def test_35_36_37_38_semantics_end_where_they_end(batch: Answer, database: Database, semantic: str) -> None:
    """Each semantic ends the array at its first denial, error or permit; only answered items are recorded."""
    for items, expected in SEMANTICS[semantic]:
        before = RecordedDecision.select().count(database)
        assert batch(*items, **WHOLE, options={"evaluations_semantic": semantic}) == expected
        rows = (
            RecordedDecision.select(RecordedDecision.allowed)
            .order_by(RecordedDecision.id)
            .offset(before)
            .tuples()
            .execute(database)
        )
        assert [allowed for (allowed,) in rows] == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(some.sampled_from([YES, NO, ERROR, {"action": SHARE}]), min_size=1, max_size=12), some.data())
def test_37_a_batch_is_its_items_one_by_one(batch: Answer, items: list[Any], data: some.DataObject) -> None:
    """A batch gives the decisions of its items asked one by one, up to the end that its semantic sets."""
    singly = [batch(item, **WHOLE)[0] for item in items]
    for semantic, end in (("deny_on_first_deny", False), ("permit_on_first_permit", True), ("execute_all", None)):
        until = singly.index(end) + 1 if end in singly else len(singly)
        assert batch(*items, **WHOLE, options={"evaluations_semantic": semantic}) == singly[:until]


def test_40_41_an_item_without_a_part_is_a_denial(app: App, database: Database) -> None:
    """An item without a subject is false with the cause in its context, status 200 (c-3-4-1), and recorded so."""
    decisions = answered(app.ask({"evaluations": [{"action": VIEW, "resource": P1}]}, PATH))["evaluations"]
    assert [decision["decision"] for decision in decisions] == [False]
    assert decisions[0]["context"]["error"] == {"status": 400, "message": "/subject is required"}
    row = RecordedDecision.select().order_by(RecordedDecision.id.desc()).limit(1).execute(database)[0]
    assert (row.reason, row.allowed, row.subject, row.resource) == ("malformed", False, "", "p-1")


@pytest.mark.parametrize("evaluations", [{}, "x", 1, [1], [[]], [None]])
def test_40_a_payload_of_another_form_is_400(app: App, evaluations: Any) -> None:
    """`evaluations` that is not an array of objects is 400."""
    assert_problem(app.ask({"evaluations": evaluations, **WHOLE}, PATH), 400, "bad-request", "/evaluations")


def test_35_an_item_in_the_future_is_an_error_of_that_item(auditor: App) -> None:
    """An item about the future is an error of that item; other items are answered for their own instants."""
    then = ["2999-01-01T00:00:00Z", "2025-05-30T12:00:00Z", None]
    items = [{"context": {"at": at}} for at in then]
    body = answered(
        auditor.ask({**WHOLE, "subject": {"type": "practitioner", "id": "xena"}, "evaluations": items}, PATH)
    )
    assert [decision["decision"] for decision in body["evaluations"]] == [False, True, False]
    assert body["evaluations"][0]["context"]["reason"] == "malformed"


def test_many_items_take_few_statements(
    app: App, flask: Flask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand items with one action and type take one SQL statement, whatever their contexts."""
    statements: list[str] = []

    def counted(database: Database, sql: str, arguments: Any) -> Any:
        statements.append(sql)
        return send(database, sql, arguments)

    monkeypatch.setattr("authz.policy.evaluation.send", counted)
    people = ["alice", "oscar", "bob", "nobody", "x" * 500] * 200
    items = [question(who, context={"number": at}) for at, who in enumerate(people)]
    decisions = answered(app.ask({"evaluations": items}, PATH))["evaluations"]
    assert [decision["decision"] for decision in decisions] == [who in ("alice", "bob") for who in people]
    assert len(statements) == 1
    assert RecordedDecision.select().count(database) == 1000
