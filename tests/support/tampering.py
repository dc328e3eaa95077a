"""Tampering with a database, and both verifiers, which must give the same verdict on it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from authz.audit.export.log import log_lines
from authz.audit.integrity.verification import verify_database
from authz.audit.verify import LogReport, LogVerifier, VerifierKey, parse_notes
from authz.callers.clients import add_client
from authz.database import Database
from authz.domain import to_micros
from authz.models import Emergency, Grant, Review
from authz.record import Actor, NewEvent, append
from authz.record.adoption import adopt_facts
from authz.record.erasure import erase
from authz.record.facts import NOUNS, stored_facts
from authz.record.leaves import canonical
from tests.support.people import NOW
from tests.support.sample_record import record


def unlock(database: Database) -> None:
    """Disable the triggers and foreign keys of the record, as somebody with access to the database could."""
    if database.dialect == "postgresql":
        for table in ("event", "decision", "leaf", "seal", "checkpoint", "patient", "review", "emergency"):
            database.execute_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        return
    triggers = database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        database.execute_sql(f"DROP TRIGGER {name}")
    database.execute_sql("PRAGMA foreign_keys = 0")


def sql(*statements: str) -> Callable[[Database], None]:
    """Return a function that executes these statements."""

    def run(database: Database) -> None:
        for statement in statements:
            database.execute_sql(statement)

    return run


def fill_all(database: Database) -> None:
    """Fill a record with a row in every table that decides or proves: an app, a review, an erased reason."""
    record(database)
    add_client(database, name="reader", scopes=["decide"], subscription="north", now=NOW)
    share = Grant.select(Grant.id).where(Grant.patient == "p-1", Grant.role == "viewer").limit(1)
    ((grant,),) = share.tuples().execute(database)
    columns = {"campaign": "spring", "grant": grant, "reviewer": "dan", "verdict": "keep"}
    with database.atomic():
        number = Review.insert(at=NOW, subscription="north", due_at=NOW, **columns).execute(database)
        body = {**columns, "review": str(number), "grant": str(grant)}
        append(database, Actor("dan", NOW), [NewEvent("review:given", "north", body, "p-1")])
        stated: Any = {"grant": grant, "purpose": "BTG", "started_at": NOW, "ends_at": NOW + timedelta(hours=3)}
        number = Emergency.insert(subscription="north", due_at=NOW + timedelta(days=3), **stated).execute(database)
        append(database, Actor("dan", NOW), [NewEvent("emergency:started", "north", {"emergency": str(number)}, "p-1")])
    erase(database, Actor("", NOW), "patient:p-5")


def judge(database: Database, kept: str = "", key: str | None = None, now: datetime | None = None) -> LogReport:
    """Return the report of `audit verify`; require the same verdict of the verifier that reads the exported log."""
    report = verify_database(database, kept, key, now=now)
    whom = VerifierKey.parse(key) if key else None
    lines = [json.loads(canonical(line)) for line in log_lines(database, whom.name if whom else "")]
    lone_report = LogVerifier(parse_notes(kept), whom, now=None if now is None else to_micros(now)).read(lines)
    assert lone_report.verdict.word == report.verdict.word, (str(lone_report.verdict), str(report.verdict))
    assert (lone_report.proven, lone_report.leaves, lone_report.unsealed) == (
        report.proven,
        report.leaves,
        report.unsealed,
    )
    return report


def tell_facts(database: Database) -> None:
    """Append events for facts that a test wrote without any."""
    with database.atomic():
        adopt_facts(database, NOW)
        for noun, _, row in stored_facts(database):
            if noun in (*NOUNS, "entity"):
                append(database, Actor("", NOW), [NewEvent(f"{noun}:imported", "", {"before": None, "after": row})])


def put_aside(database: Database, statement: str) -> None:
    """Change an append-only table, as a person with full rights on the database can."""
    if database.dialect == "sqlite":
        for timing in ("update", "delete"):
            database.execute_sql(f"DROP TRIGGER policy_text_{timing}")
    else:
        database.execute_sql("ALTER TABLE policy_text DISABLE TRIGGER policy_text_append_only")
    database.execute_sql(statement)
