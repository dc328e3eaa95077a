"""The time zone of each clinic, in which the pages show and read days; instants stay UTC."""

from typing import Any

_ADD_TIME_ZONE = "ALTER TABLE subscription ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC'"


def up(migrator: Any, db: Any) -> None:
    if "time_zone" not in {column.name for column in db.get_columns("subscription")}:
        db.execute_sql(_ADD_TIME_ZONE)
