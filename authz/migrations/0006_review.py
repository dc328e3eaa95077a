"""Access reviews: who decided on which share, what, and by when it was due."""

from typing import Any

_TYPES = {
    "sqlite": {"serial": "INTEGER NOT NULL PRIMARY KEY", "id": "TEXT", "big": "INTEGER"},
    "postgresql": {"serial": "BIGSERIAL NOT NULL PRIMARY KEY", "id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_STATEMENTS = [
    """CREATE TABLE review (id {serial}, at {big} NOT NULL, campaign {id} NOT NULL,
        subscription_id {id} NOT NULL REFERENCES subscription (id),
        grant_id {big} NOT NULL REFERENCES "grant" (id), reviewer_id {id} NOT NULL REFERENCES practitioner (id),
        verdict TEXT NOT NULL CHECK (verdict IN ('keep', 'revoke')), due_at {big} NOT NULL)""",
    "CREATE INDEX review_grant_id ON review (grant_id)",
    "CREATE UNIQUE INDEX review_campaign_grant_id ON review (campaign, grant_id)",
]
_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER review_{timing.lower()} BEFORE {timing} ON review "
        "BEGIN SELECT RAISE(ABORT, 'review is append-only'); END"
        for timing in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE TRIGGER review_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON review "
        "FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only()"
    ],
}


def up(migrator: Any, db: Any) -> None:
    for statement in [*_STATEMENTS, *_APPEND_ONLY[db.dialect]]:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
