"""An auditor's connection changes no fact and reads names only with a recorded reason, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from authz.audit import questions as ask
from authz.audit.permissions import NAMES, grant_statements, names_readable
from authz.audit.session import Audit, open_audit
from authz.database import Database, close_all, connect
from authz.errors import Unavailable
from authz.models import FACTS, MODELS, Client, Entity, Event, Practitioner, RecordedDecision, Review
from tests.support.acting import served_since
from tests.support.audit_arguments import required_arguments
from tests.support.people import LONG_AGO, NOW, fill
from tests.support.tampering import tell_facts

WHY = "the patient asked for it"
DECIDING: list[Any] = [*FACTS, Entity, Client, RecordedDecision, Review]


@pytest.fixture(params=["sqlite", "postgresql"])
def audit(request: pytest.FixtureRequest) -> Iterator[Audit]:
    """Yield an audit of the cast; on PostgreSQL by a role that `caregrant audit role` has made."""
    url = request.getfixturevalue(f"{request.param}_url")
    database = connect(url)
    database.connect()
    fill(database)
    served_since(database, LONG_AGO)
    tell_facts(database)
    close_all(database)
    with closing(open_audit(made_role(url, "compliance"), as_of=NOW, reader="compliance")) as opened:
        yield opened


def made_role(url: str, name: str, *, names: bool = False) -> str:
    """Return the URL of the same database for a role of this name, with the grants that the command prints.

    A role belongs to the server, its grants to the database, which is gone when the next test makes the role anew.
    """
    if not url.startswith("postgresql"):
        return url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {name}".encode())
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        for statement in grant_statements(name, names=names):
            connection.execute(statement.encode())
    return url.replace("//caregrant@", f"//{name}@")


def test_every_question_can_be_asked(audit: Audit) -> None:
    """On an auditor's connection every question has its answer, but those that read names it may not read."""
    for question in ask.QUESTIONS:
        if question.name != "who_is":
            question(audit, **required_arguments(question))
    assert audit.verification.ok
    unread = [] if audit.database.dialect == "sqlite" else ["practitioner", "patient", "client"]
    assert audit.verification.report.unread == unread


@pytest.mark.parametrize("table", [model._meta.table_name for model in DECIDING])
def test_no_fact_is_changed(audit: Audit, table: str) -> None:
    """An auditor's connection cannot add, change or delete a row of a fact or of the record."""
    for connection in (audit.database, audit.writing):
        for sql in (f'DELETE FROM "{table}"', f'UPDATE "{table}" SET id = id', f'INSERT INTO "{table}" DEFAULT VALUES'):
            refuses(audit, connection, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM event",
        "DROP TABLE event",
        "ALTER TABLE patient ADD COLUMN x INTEGER",
        "CREATE TABLE x (y INTEGER)",
        "CREATE TRIGGER x AFTER INSERT ON event BEGIN DELETE FROM patient; END",
        "ATTACH 'x.db' AS x",
        "PRAGMA writable_schema = 1",
        "DROP TRIGGER event_update",
        "SELECT value FROM secret",
        "SELECT key_hash FROM client",
    ],
)
def test_nothing_else_is_done(audit: Audit, sql: str) -> None:
    """An auditor's connection cannot create or drop a table, or touch a trigger or a secret."""
    for connection in (audit.database, audit.writing):
        if "SELECT" in sql and connection is audit.writing and audit.database.dialect == "sqlite":
            continue  # what only records reads what it must
        refuses(audit, connection, sql)


def refuses(audit: Audit, connection: Database, sql: str) -> None:
    events = Event.select().count(audit.database)
    with pytest.raises(
        Exception, match=r"(?i)prohibit|not authorized|read-?only|permission denied|must be owner|syntax"
    ):
        connection.execute_sql(sql)
    connection.close()
    assert Event.select().count(audit.database) == events


@pytest.mark.parametrize(("table", "column"), [(table, name) for table, names in NAMES.items() for name in names])
def test_names_are_not_read(audit: Audit, table: str, column: str) -> None:
    """An auditor's own SQL statement reads no name."""
    with pytest.raises(Unavailable, match=r"(?i)prohibited|permission denied"), audit.snapshot():
        audit.rows(f"SELECT {column} FROM {table}")
    with audit.snapshot():
        assert audit.rows(f"SELECT id FROM {table}")


def test_names_are_read_with_a_reason(request: pytest.FixtureRequest, sqlite_url: str) -> None:
    """A question with a recorded reason reads names; the auditor's own SQL statement still does not."""
    database = connect(sqlite_url)
    database.connect()
    fill(database)
    close_all(database)
    with closing(open_audit(sqlite_url, as_of=NOW)) as opened:
        assert list(ask.who_is(opened, practitioner="alice", reason=WHY).frame.name) == ["Alice"]
        ask.accounting(opened, patient="p-1", names=True, reason=WHY)
        statement = "SELECT name FROM practitioner WHERE id = 'alice'"
        with opened.snapshot():
            with names_readable(opened.database):
                assert opened.rows(statement) == [("Alice",)]
            with pytest.raises(Unavailable, match="prohibited"), opened.snapshot():
                opened.rows(statement)


def test_a_role_that_reads_names(postgresql_url: str) -> None:
    """Only a role with `--names` gets names, with a reason; without it the question is refused and not recorded."""
    database = connect(postgresql_url)
    database.connect()
    fill(database)
    with closing(open_audit(made_role(postgresql_url, "letters", names=True), as_of=NOW)) as opened:
        assert list(ask.who_is(opened, practitioner="alice", reason=WHY).frame.name) == ["Alice"]
    events = Event.select().count(database)
    compliance = open_audit(made_role(postgresql_url, "compliance"), as_of=NOW)
    with closing(compliance), pytest.raises(Unavailable, match="permission denied"):
        ask.who_is(compliance, practitioner="alice", reason=WHY)
    assert Event.select().count(database) == events
    close_all(database)


def test_every_column_is_granted_or_hidden() -> None:
    """The role is granted every column of every table, but names, keys and secrets."""
    text = "\n".join(grant_statements('odd "name"', names=False))
    assert 'TO "odd ""name""";' in text
    granted = {column for line in text.splitlines() for column in line.split('"')[1::2]}
    columns = {field.column_name for model in MODELS for field in model._meta.sorted_fields}
    assert {"name", "search_key"} <= columns
    assert 'GRANT SELECT ("id", "login") ON "practitioner"' in text
    assert "key_hash" not in granted
    assert not {'"secret"', '"answer"', '"spent"'} & set(text.split())
    assert Practitioner._meta.table_name in granted
