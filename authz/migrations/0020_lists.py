"""Lists of patients: an index in the order in which one received them, and the patients that a person has selected."""

from typing import Any

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER"},
    "postgresql": {"id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_STATEMENTS = [
    'CREATE INDEX grant_newest ON "grant" (practitioner_id, role, started_at, id)',
    """CREATE TABLE kept_selection (token {id} NOT NULL PRIMARY KEY, practitioner {id} NOT NULL, patients TEXT NOT NULL,
        kept_at {big} NOT NULL)""",
    "CREATE INDEX kept_selection_kept_at ON kept_selection (kept_at)",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
