"""Notices of a batch, with their share and its end, of shares that end by their date, and by a daily e-mail."""

from typing import Any

from authz.domain import FOREVER_MICROS

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER", "bool": "INTEGER", "serial": "INTEGER NOT NULL PRIMARY KEY"},
    "postgresql": {
        "id": 'TEXT COLLATE "C"',
        "big": "BIGINT",
        "bool": "BOOLEAN",
        "serial": "BIGSERIAL NOT NULL PRIMARY KEY",
    },
}
_STATEMENTS = [
    "ALTER TABLE notification ADD COLUMN batch {id} NOT NULL DEFAULT ''",
    "ALTER TABLE notification ADD COLUMN size INTEGER NOT NULL DEFAULT 1",
    'ALTER TABLE notification ADD COLUMN "grant" {big}',
    "ALTER TABLE notification ADD COLUMN standing_share {big}",
    f"ALTER TABLE notification ADD COLUMN until {{big}} NOT NULL DEFAULT {FOREVER_MICROS}",
    "CREATE INDEX notification_listed ON notification (practitioner_id, id) WHERE size > 0",
    "CREATE INDEX notification_batch ON notification (batch, id) WHERE batch <> ''",
    "CREATE TABLE notice_position (kind {id} NOT NULL PRIMARY KEY, ended_at {big} NOT NULL, number {big} NOT NULL)",
    f"""CREATE INDEX grant_ends ON "grant" (ended_at, id)
        WHERE role = 'viewer' AND end_cause = '' AND ended_at < {FOREVER_MICROS}""",
    f"""CREATE INDEX standing_share_ends ON standing_share (ended_at, id)
        WHERE end_cause = '' AND ended_at < {FOREVER_MICROS}""",
    """CREATE TABLE digest (practitioner_id {id} NOT NULL PRIMARY KEY REFERENCES practitioner (id),
        wanted {bool} NOT NULL, next_at {big} NOT NULL, newest {big} NOT NULL)""",
    "CREATE INDEX digest_due ON digest (next_at) WHERE wanted",
    """CREATE TABLE mail (id {serial}, practitioner_id {id} NOT NULL REFERENCES practitioner (id), at {big} NOT NULL,
        token {id} NOT NULL, tries INTEGER NOT NULL, next_at {big} NOT NULL, state TEXT NOT NULL,
        CHECK (state IN ('waiting', 'sent', 'failed', 'dropped')))""",
    "CREATE INDEX mail_state_next_at ON mail (state, next_at)",
    f"UPDATE notification SET read_at = at WHERE actor = practitioner_id AND read_at = {FOREVER_MICROS}",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
