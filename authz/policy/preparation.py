"""Preparation: the database prepares every statement of a policy before the policy serves, so that none fails later.

A database has limits of its own, such as SQLite's 64 tables of a join: a policy may compile, and still be refused by
the database that it decides on.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping

import peewee

from authz.database import FAULTS, Database, database_connection, discard_connection
from authz.errors import Fault, PolicyRefused, Unavailable
from authz.policy.compiler import CompiledPolicy, ListQuery, Query
from authz.policy.plan import Plan
from authz.policy.plans import Plans, Question

_DECISIONS: tuple[Question, ...] = (
    "evaluation",
    "evaluations",
    "resources",
    "subjects",
    "common subjects",
    "matrix",
)
_LISTS: tuple[Question, ...] = ("list by name", "list by id")
_REFUSALS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE)
_SHUTDOWNS = ("08", "25", "40", "53", "55", "57", "58", "XX")
"""The classes of PostgreSQL's errors that are about the server, the session or a lock, not about the statement."""

_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

Prepared = tuple[str, str, Plan, tuple[Query, ...]]
"""A statement: the ends and the action that it is about, the kind of question, the plan, and the queries."""


def require_preparable(policy: CompiledPolicy, database: Database) -> int:
    """Prepare every statement of a policy; return their number. Nothing is executed.

    Raises `PolicyRefused` with a fault for each question that the database cannot answer, and `Unavailable`.
    """
    faults, count = dict[str, Fault](), 0
    with database_connection(database):
        for what, kind, plan, queries in _statements(Plans(policy, database)):
            count += 1
            refusal = None if what in faults else _refusal(database, plan.sql)
            if refusal is not None:
                why = f"{_NAMES[database.dialect]} cannot run the statement for {what} ({kind}): {refusal}"
                faults[what] = _fault(queries, why)
    if faults:
        raise PolicyRefused(list(faults.values()))
    return count


def _statements(plans: Plans) -> Iterator[Prepared]:
    """Yield the plans of every kind of question, for an app of every subscription and for an app of one."""
    policy = plans.policy
    for source, of_role in ((policy.queries, False), (policy.role_queries, True)):
        for (subject, resource), queries in source.items():
            ends = (policy.types.types[subject].name, policy.types.types[resource].name)
            listed = policy.types.types[resource].table == "patient"
            for action in dict.fromkeys(query.action or "any action" for query in queries):
                questions = (*(() if of_role else _askable(policy, subject, resource)), *(_LISTS if listed else ()))
                for tenant in (None, "any"):
                    yield from _of_action(plans, questions, (ends[0], action, ends[1]), tenant, of_role)
                    wanted, listed_action = (ListQuery(role=action), "view") if of_role else (ListQuery(), action)
                    filtered = plans.filtered(wanted, ends[0], listed_action, ends[1], tenant) if listed else None
                    if filtered is not None:
                        yield f"{ends[0]} {action} {ends[1]}", "filtered list", filtered.plan, filtered.queries
            if not of_role:
                for tenant in (None, "any"):
                    yield from _of_action(plans, ("actions",), (ends[0], "", ends[1]), tenant, of_role)


def _askable(policy: CompiledPolicy, subject: str, resource: str) -> tuple[Question, ...]:
    """Return the questions about two types: a type that is not stored cannot be searched for."""
    unstored = {"subjects": subject, "common subjects": subject, "resources": resource}
    refused = {question for question, polar in unstored.items() if not policy.types.types[polar].stored}
    if refused:
        refused |= {"matrix", "common subjects"}
    return tuple(question for question in _DECISIONS if question not in refused)


def _of_action(
    plans: Plans, questions: tuple[Question, ...], names: tuple[str, str, str], tenant: str | None, of_role: bool
) -> Iterator[Prepared]:
    subject, action, resource = names
    what = f"{subject} {action or 'any action'} {resource}"
    for question in questions:
        planned = plans.plan(question, subject, action, resource, tenant, of_role)
        if planned is not None:
            yield what, question, planned.plan, planned.queries
    if action and not of_role:
        for plan in plans.probes(subject, action, resource, tenant).plans:
            yield what, "explanation", plan, plans.queries(subject, action, resource)


def _refusal(database: Database, sql: str) -> str | None:
    """Return why the database refuses a statement, None if it can run. Raises `Unavailable`."""
    connection = database.connection()
    try:
        if database.dialect == "sqlite":
            connection.execute(f"EXPLAIN {sql}", _Nothing())
        else:
            with database.atomic():
                connection.execute(f"PREPARE caregrant_check AS {_numbered(sql)}")
                connection.execute("DEALLOCATE caregrant_check")
    except FAULTS as error:
        if _is_refusal(error):
            return str(error).strip().split("\n")[0]
        discard_connection(database, error)
        raise Unavailable(str(error).strip()) from error
    return None


def _is_refusal(error: Exception) -> bool:
    """Return whether an error is about the statement, and not about a database that cannot answer."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSALS
    state = getattr(error, "sqlstate", None)
    return state is not None and not state.startswith(_SHUTDOWNS) and not isinstance(error, peewee.PeeweeException)


def _numbered(sql: str) -> str:
    """Return a statement with PostgreSQL's own placeholders: ``%(now)s`` becomes ``$1``."""
    numbers: dict[str, int] = {}
    return re.sub(r"%\((\w+)\)s", lambda match: f"${numbers.setdefault(match[1], len(numbers) + 1)}", sql)


def _fault(queries: tuple[Query, ...], why: str) -> Fault:
    """Return the fault at the place of the first condition of the queries."""
    place = next((condition.place for query in queries for condition in query.conditions if condition.place), None)
    return place.fault(why) if place else Fault("the policy", 0, 0, why)


class _Nothing(dict[str, object]):
    """Arguments of which each is NULL."""

    def __missing__(self, name: str) -> Mapping[str, object] | None:
        return None
