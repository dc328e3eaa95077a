"""Operations: who did it and from where on each event, notifications, answers kept for a repeated request."""

from typing import Any

_TYPES = {
    "sqlite": {"serial": "INTEGER NOT NULL PRIMARY KEY", "id": "TEXT", "big": "INTEGER"},
    "postgresql": {"serial": "BIGSERIAL NOT NULL PRIMARY KEY", "id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}

_STATEMENTS = [
    "ALTER TABLE event ADD COLUMN patient {id} NOT NULL DEFAULT ''",
    "ALTER TABLE event ADD COLUMN actor {id} NOT NULL DEFAULT ''",
    "ALTER TABLE event ADD COLUMN client {big}",
    "ALTER TABLE event ADD COLUMN request_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE event ADD COLUMN address TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX event_patient_id ON event (patient, id)",
    """CREATE TABLE notification (id {serial}, at {big} NOT NULL,
        practitioner_id {id} NOT NULL REFERENCES practitioner (id), kind TEXT NOT NULL, patient {id} NOT NULL,
        colleague {id} NOT NULL, actor {id} NOT NULL, read_at {big} NOT NULL, subscription {id} NOT NULL)""",
    "CREATE INDEX notification_practitioner_id_id ON notification (practitioner_id, id)",
    """CREATE TABLE answer (caller {id} NOT NULL, key {id} NOT NULL, fingerprint TEXT NOT NULL,
        status INTEGER NOT NULL, body TEXT NOT NULL, created_at {big} NOT NULL, subscription {id} NOT NULL,
        PRIMARY KEY (caller, key))""",
]

# A practitioner may ask without an app in between; SQLite cannot relax a column, so that the table is made anew.
_SQLITE_DECISION = [
    "DROP TRIGGER decision_update",
    "DROP TRIGGER decision_delete",
    """CREATE TABLE decision_new (id INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, asked_at INTEGER NOT NULL,
        client_id INTEGER REFERENCES client (id), request_id TEXT NOT NULL, subject_type TEXT NOT NULL,
        subject TEXT NOT NULL, action TEXT NOT NULL, resource_type TEXT NOT NULL, resource TEXT NOT NULL,
        allowed INTEGER NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL, "grant" INTEGER,
        policy_version TEXT NOT NULL)""",
    "INSERT INTO decision_new SELECT * FROM decision",
    "DROP TABLE decision",
    "ALTER TABLE decision_new RENAME TO decision",
    "CREATE INDEX decision_resource_type_resource_at ON decision (resource_type, resource, at)",
    *(
        f"CREATE TRIGGER decision_{timing.lower()} BEFORE {timing} ON decision "
        "BEGIN SELECT RAISE(ABORT, 'decision is append-only'); END"
        for timing in ("UPDATE", "DELETE")
    ),
]
_POSTGRESQL_DECISION = ["ALTER TABLE decision ALTER COLUMN client_id DROP NOT NULL"]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
    for statement in _SQLITE_DECISION if db.dialect == "sqlite" else _POSTGRESQL_DECISION:
        db.execute_sql(statement)
