"""Emergency accesses: the grant, its purpose, and its review by another person."""

from typing import Any

from authz.domain import FOREVER_MICROS

_TYPES = {
    "sqlite": {"serial": "INTEGER NOT NULL PRIMARY KEY", "id": "TEXT", "big": "INTEGER"},
    "postgresql": {"serial": "BIGSERIAL NOT NULL PRIMARY KEY", "id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_STATEMENTS = [
    f"""CREATE TABLE emergency (id {{serial}}, grant_id {{big}} NOT NULL REFERENCES "grant" (id),
        subscription_id {{id}} NOT NULL REFERENCES subscription (id), purpose TEXT NOT NULL
        CHECK (purpose IN ('ETREAT', 'TREAT', 'BTG')), started_at {{big}} NOT NULL, ends_at {{big}} NOT NULL,
        due_at {{big}} NOT NULL, reviewer_id {{id}} REFERENCES practitioner (id), reviewed_at {{big}} NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('', 'justified', 'unjustified')), CHECK (started_at < ends_at),
        CHECK ((verdict = '') = (reviewer_id IS NULL)), CHECK ((verdict = '') = (reviewed_at = {FOREVER_MICROS})))""",
    "CREATE UNIQUE INDEX emergency_grant_id ON emergency (grant_id)",
    "CREATE INDEX emergency_subscription_id_reviewed_at_id ON emergency (subscription_id, reviewed_at, id)",
]
_SQLITE = [
    """CREATE TRIGGER emergency_reviewed BEFORE UPDATE ON emergency WHEN old.verdict <> ''
        BEGIN SELECT RAISE(ABORT, 'a review of an emergency access is never changed'); END""",
    """CREATE TRIGGER emergency_delete BEFORE DELETE ON emergency
        BEGIN SELECT RAISE(ABORT, 'an emergency access is never deleted'); END""",
]
_POSTGRESQL = [
    """CREATE FUNCTION caregrant_keep_emergency() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'an emergency access is never deleted, and its review is never changed'; END $$""",
    """CREATE TRIGGER emergency_reviewed BEFORE UPDATE ON emergency FOR EACH ROW WHEN (old.verdict <> '')
        EXECUTE FUNCTION caregrant_keep_emergency()""",
    """CREATE TRIGGER emergency_delete BEFORE DELETE OR TRUNCATE ON emergency
        FOR EACH STATEMENT EXECUTE FUNCTION caregrant_keep_emergency()""",
]


def up(migrator: Any, db: Any) -> None:
    statements = [*_STATEMENTS, *(_SQLITE if db.dialect == "sqlite" else _POSTGRESQL)]
    for statement in statements:
        db.execute_sql(statement.format(**_TYPES[db.dialect]) if statement in _STATEMENTS else statement)
