"""Facts with an id (clinics, practitioners, patients, apps, reviews) are told by events: those that stand, once."""

from datetime import UTC, datetime
from typing import Any


def up(migrator: Any, db: Any) -> None:
    from authz.record.adoption import adopt_facts  # noqa: PLC0415 - as the record tells them

    # The record of this release reads the column that 0019 adds.
    db.execute_sql("ALTER TABLE subscription ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC'")
    adopt_facts(db, datetime.now(UTC))
