"""Where a question belongs: the subscription of the resource asked about, and the subject's membership there.

Looked up when the answer is recorded, by one statement for all of a batch, so that a reader of the record need not
rebuild the facts of that instant.
"""

from collections.abc import Sequence

import orjson

from authz.database import Database

_ASKED = {
    "sqlite": """SELECT key AS n, json_extract(value, '$[0]') AS subject_type, json_extract(value, '$[1]') AS subject,
        json_extract(value, '$[2]') AS resource_type, json_extract(value, '$[3]') AS resource,
        json_extract(value, '$[4]') AS instant FROM json_each(?)""",
    "postgresql": """SELECT n, value ->> 0 AS subject_type, value ->> 1 AS subject, value ->> 2 AS resource_type,
        value ->> 3 AS resource, (value ->> 4)::bigint AS instant
        FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS asked (value, n)""",
}
# An entity of a declared type belongs where the patient of its relation `patient` does.
_PLACED = """WITH asked AS MATERIALIZED ({}), placed AS MATERIALIZED (
    SELECT asked.*, CASE resource_type
        WHEN 'patient' THEN (SELECT subscription_id FROM patient WHERE id = resource)
        WHEN 'subscription' THEN (SELECT id FROM subscription WHERE id = resource)
        ELSE (SELECT p.subscription_id FROM entity e
            JOIN entity_link l ON l.entity_id = e.pk AND l.property = 'patient' JOIN patient p ON p.id = l.target
            WHERE e.type = resource_type AND e.id = resource AND e.started_at <= instant AND instant < e.ended_at)
    END AS place FROM asked)
SELECT COALESCE(place, ''), COALESCE((SELECT m.role FROM membership m
    WHERE subject_type = 'practitioner' AND m.practitioner_id = subject AND m.subscription_id = place
    AND m.started_at <= instant AND instant < m.ended_at
    ORDER BY CASE m.role WHEN 'manager' THEN 1 WHEN 'member' THEN 2 ELSE 3 END LIMIT 1), '')
FROM placed ORDER BY n"""
_SQL = {dialect: _PLACED.format(asked) for dialect, asked in _ASKED.items()}

Question = tuple[str, str, str, str, int]
"""Subject type and id, resource type and id, the instant asked about in microseconds."""


def places(database: Database, questions: Sequence[Question]) -> list[tuple[str, str]]:
    """For each question the subscription and the membership; of several roles the one that may most."""
    return list(database.execute_sql(_SQL[database.dialect], (orjson.dumps(questions).decode(),)).fetchall())
