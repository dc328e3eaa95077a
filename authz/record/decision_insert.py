"""The INSERT statement of the decision log. It looks up the tenant of each question.

The tenant is the subscription of the resource, with the role of the subject in this subscription at the instant of the
question. Both are stored with the answer, so that a reader of the record need not rebuild the facts of that instant.
"""

from collections.abc import Sequence
from functools import cache

import orjson

from authz.database import Database
from authz.database.statements import RECORD_LOCK, statement_batches
from authz.domain import Values
from authz.models import RecordedDecision

ANSWER_COLUMNS = (
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
"""The columns that the caller knows; subscription and membership are looked up."""

# An entity of a declared type belongs to the subscription of the patient of its relation `patient`. Of several roles
# the strongest counts.
_INSERT = """WITH {first}asked ({columns}) AS ({rows}), located AS (SELECT asked.*, CASE resource_type
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
FROM located{after}"""
_TYPES = {"BIGINT": "BIGINT", "BOOL": "BOOLEAN"}


# On PostgreSQL a statement can be a whole transaction: it takes the lock before the rows get their ids.
_LOCK_FIRST = f"""recording AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({RECORD_LOCK}),
    set_config('synchronous_commit', {{}}, true)), """
_SYNCHRONOUS_COMMIT = {True: "current_setting('synchronous_commit')", False: "'off'"}


@cache
def _insert(columns: tuple[str, ...], count: int, first: str = "") -> str:
    """Return the statement that inserts `count` rows; 0: PostgreSQL's, which takes all rows as one JSON array.

    psycopg neither caches nor prepares a statement with hundreds of parameters. An element of JSONB is read without
    parsing the array again.
    """
    fields = [RecordedDecision._meta.fields[name] for name in columns]
    names = ", ".join(f'"{field.column_name}"' for field in fields)
    types = [_TYPES.get(field.field_type, "TEXT") for field in fields]
    if count:
        row = ", ".join(f"CAST(? AS {name})" for name in types)
        rows = f"VALUES {', '.join([f'({row})'] * count)}"
    else:
        values = ", ".join(f"CAST(answer ->> {number} AS {name})" for number, name in enumerate(types))
        rows = f"SELECT {values} FROM jsonb_array_elements(%s::jsonb) AS answers (answer)"
    text = _INSERT.replace("{first}", first).replace("{after}", ", recording" if first else "")
    return text.replace("{columns}", names).replace("{rows}", rows)


def insert_decisions(database: Database, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Insert answers, each a tuple in the order of `columns`, with their tenant. Raises Peewee's errors."""
    if database.dialect == "postgresql":
        database.execute_sql(_insert(columns, 0), [orjson.dumps(rows).decode()])
        return
    for batch in statement_batches(rows):
        database.execute_sql(_insert(columns, len(batch)), [value for row in batch for value in row])


def insert_in_own_transaction(
    database: Database, columns: tuple[str, ...], rows: Sequence[Values], *, durable: bool
) -> None:
    """Insert answers on PostgreSQL by one statement, which is a transaction of its own.

    `durable`: return only after the answers are on the disk, by the settings of the server. Raises Peewee's errors.
    """
    sql = _insert(columns, 0, _LOCK_FIRST.format(_SYNCHRONOUS_COMMIT[durable]))
    database.execute_sql(sql, [orjson.dumps(rows).decode()])
