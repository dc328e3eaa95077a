"""Where a question belongs: the subscription of the resource asked about, and the subject's membership there.

Looked up by the statement that records the answer, so that a reader of the record need not rebuild the facts of that
instant.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

from authz.database import Database, pipelined
from authz.database.statements import RECORD_LOCK, by_statement
from authz.models import RecordedDecision

COLUMNS = (
    "at",
    "asked_at",
    "client",
    "request_id",
    "subject_type",
    "subject",
    "action",
    "resource_type",
    "resource",
    "allowed",
    "reason",
    "rule",
    "grant",
    "standing_share",
    "policy_version",
    "actor",
    "address",
    "purpose",
    "size",
)
"""What is known of an answer when it comes; subscription and membership are looked up."""

# An entity of a declared type belongs where the patient of its relation `patient` does; of several roles the one that
# may most counts.
_INSERT = """WITH {first}asked ({columns}) AS (VALUES {rows}), placed AS (SELECT asked.*, CASE resource_type
        WHEN 'patient' THEN (SELECT subscription_id FROM patient WHERE id = resource)
        WHEN 'subscription' THEN (SELECT id FROM subscription WHERE id = resource)
        ELSE (SELECT p.subscription_id FROM entity e
            JOIN entity_link l ON l.entity_id = e.pk AND l.property = 'patient' JOIN patient p ON p.id = l.target
            WHERE e.type = resource_type AND e.id = resource AND e.started_at <= at AND at < e.ended_at)
    END AS place FROM asked)
INSERT INTO decision ({columns}, subscription, membership)
SELECT {columns}, COALESCE(place, ''), COALESCE((SELECT m.role FROM membership m
    WHERE subject_type = 'practitioner' AND m.practitioner_id = subject AND m.subscription_id = place
    AND m.started_at <= at AND at < m.ended_at
    ORDER BY CASE m.role WHEN 'manager' THEN 1 WHEN 'member' THEN 2 ELSE 3 END LIMIT 1), '')
FROM placed{after}"""
_TYPES = {"BIGINT": "BIGINT", "BOOL": "BOOLEAN"}


# On PostgreSQL a statement can be a whole transaction: the lock comes before the ids, which the rows get last.
_FIRST = f"""recording AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({RECORD_LOCK}),
    set_config('synchronous_commit', {{}}, true)), """
_DURABLE = {True: "current_setting('synchronous_commit')", False: "'off'"}


@cache
def _insert(columns: tuple[str, ...], count: int, param: str, first: str = "") -> str:
    fields = [RecordedDecision._meta.fields[name] for name in columns]
    names = ", ".join(f'"{field.column_name}"' for field in fields)
    row = ", ".join(f"CAST({param} AS {_TYPES.get(field.field_type, 'TEXT')})" for field in fields)
    text = _INSERT.replace("{first}", first).replace("{after}", ", recording" if first else "")
    return text.replace("{columns}", names).replace("{rows}", ", ".join([f"({row})"] * count))


def insert_decisions(database: Database, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert answers, each a tuple in the order of `columns`, with where they belong. Raises Peewee's errors."""
    for some in by_statement(rows):
        sql = _insert(columns, len(some), database.param)
        database.execute_sql(sql, [value for row in some for value in row])


def record_alone(
    database: Database, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], *, durable: bool
) -> None:
    """Insert answers on PostgreSQL, in a transaction of their own: one statement, if one takes them all. `durable`: not
    before they are on the disk, as the server is set. Raises Peewee's errors.
    """
    portions = list(by_statement(rows))
    with pipelined(database) if len(portions) > 1 else nullcontext():
        for some in portions:
            sql = _insert(columns, len(some), database.param, _FIRST.format(_DURABLE[durable]))
            database.execute_sql(sql, [value for row in some for value in row])
