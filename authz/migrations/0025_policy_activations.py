"""Indexes that find the policy in force at an instant, and the last policy that was activated."""

from typing import Any

_STATEMENTS = [
    "DROP INDEX event_policy_loaded",
    "CREATE INDEX event_policy_in_force ON event (at, id) WHERE kind IN ('policy:loaded', 'policy:activated')",
    "CREATE INDEX event_policy_activated ON event (id) WHERE kind = 'policy:activated'",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement)
