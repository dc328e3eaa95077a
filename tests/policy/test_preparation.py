"""Preparation: a policy that the database cannot run is refused; one with many ways is written in parts."""

import sqlite3
from datetime import timedelta

import pytest

from authz.database import Database
from authz.errors import PolicyRefused, Unavailable
from authz.policy import plans
from authz.policy.compiler import ListQuery, compile_texts, unions
from authz.policy.pdp import PDP
from authz.policy.plan import Arguments, PagePosition
from authz.policy.preparation import require_preparable
from tests.support import people
from tests.support.http import POLICY
from tests.support.people import NOW

_PATIENTS = ("p-1", "p-harbour", "p-city", "p-none")
MANY_TABLES = 'allow(_: Practitioner, "view", patient: Patient) if ' + " and ".join(
    f'g{number} in patient.grants and g{number}.practitioner = p{number} and p{number}.name = "r{number}"'
    for number in range(70)
)


def test_every_statement_of_the_shipped_policy_is_prepared(database: Database) -> None:
    """The database can run all of it, and keeps nothing of the preparation."""
    assert require_preparable(POLICY, database) > 150
    if database.dialect == "postgresql":
        (kept,) = database.execute_sql("SELECT count(*) FROM pg_prepared_statements WHERE name = 'caregrant_check'")
        assert kept == (0,)


def test_a_join_of_too_many_tables_is_refused_where_it_is_written(sqlite_database: Database) -> None:
    """SQLite joins 64 tables: the policy compiles, and is refused for this database, once for each action."""
    policy = compile_texts({"many.polar": f"{MANY_TABLES};"})
    with pytest.raises(PolicyRefused, match="SQLite cannot run the statement for practitioner view patient") as refused:
        require_preparable(policy, sqlite_database)
    places = {(fault.file, fault.line) for fault in refused.value.faults}
    assert places == {("many.polar", 1)}
    assert len(refused.value.faults) == 2, "the action, and the search of actions"


def test_a_database_that_cannot_answer_is_no_refusal(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the database is `Unavailable`: it says nothing about the policy."""

    class Broken:
        def execute(self, *_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    monkeypatch.setattr(sqlite_database, "connection", Broken)
    with pytest.raises(Unavailable, match="disk"):
        require_preparable(POLICY, sqlite_database)


def test_a_union_of_more_than_a_database_takes(database: Database) -> None:
    """A union of 1,200 selects, and a condition of 1,200 alternatives, are written in parts that both databases run."""
    selects = [f"SELECT {number} AS way" for number in range(1200)]
    rows = database.execute_sql(unions.union(selects)).fetchall()
    assert [number for (number,) in rows] == list(range(1200))
    assert len(database.execute_sql(unions.union(selects, "UNION")).fetchall()) == 1200
    (met,) = database.execute_sql(f"SELECT 1 AS met WHERE {unions.any_of(['1 = 2'] * 1199 + ['1 = 1'])}").fetchone()
    assert met == 1


def test_parts_change_no_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements in parts of one or two answer every kind of question as whole statements do."""
    people.fill(database)

    def answers() -> list[object]:
        pdp = PDP(database, POLICY, clock=lambda: NOW)
        ends: list[object] = []
        for who in (*(person.id for person in people.CAST.values()), *people.EXTRAS):
            subject = ("practitioner", who)
            ends.append(pdp.search_resources(subject, "view", "patient"))
            ends.append(pdp.list_resources(subject, "view", "patient", PagePosition(limit=50), now=NOW))
            for patient in _PATIENTS:
                resource = ("patient", patient)
                ends.append(pdp.search_actions(subject, resource))
                ends.append(pdp.explain(subject, "view", resource))
                ends.append(pdp.evaluate(subject, "view", resource, now=NOW - timedelta(days=1)))
        ends.append(list(pdp.matrix("practitioner", "view", "patient")))
        resources = [("patient", patient) for patient in ("p-1", "p-oscar")]
        ends.append(pdp.search_subjects_of_all("practitioner", "receive", resources, now=NOW))
        values: Arguments = {"words": "[]", "text": "", "clinic": "north", "soon": 0, "limit": 50, "offset": 0}
        for role in ("", "viewer"):
            wanted = ListQuery(role=role)
            ends.append(pdp.list_filtered(("practitioner", "carol"), "view", "patient", wanted, values, now=NOW))
        ends.append([pdp.search_subjects("practitioner", "view", ("patient", patient)) for patient in _PATIENTS])
        return ends

    whole = answers()
    monkeypatch.setattr(unions, "_MOST_ARMS", 2)
    monkeypatch.setattr(plans, "_MOST_PROBES", 1)
    assert answers() == whole
