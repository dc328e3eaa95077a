"""Notices of a batch, with their share and its end; what the reader did is read already."""

from typing import Any

from authz.domain import FOREVER_MICROS

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER"},
    "postgresql": {"id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_STATEMENTS = [
    "ALTER TABLE notification ADD COLUMN batch {id} NOT NULL DEFAULT ''",
    "ALTER TABLE notification ADD COLUMN size INTEGER NOT NULL DEFAULT 1",
    'ALTER TABLE notification ADD COLUMN "grant" {big}',
    "ALTER TABLE notification ADD COLUMN standing_share {big}",
    f"ALTER TABLE notification ADD COLUMN until {{big}} NOT NULL DEFAULT {FOREVER_MICROS}",
    "CREATE INDEX notification_listed ON notification (practitioner_id, id) WHERE size > 0",
    "CREATE INDEX notification_batch ON notification (batch, id) WHERE batch <> ''",
    f"UPDATE notification SET read_at = at WHERE actor = practitioner_id AND read_at = {FOREVER_MICROS}",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
