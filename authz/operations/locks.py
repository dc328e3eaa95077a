"""The row locks of an operation: first the patients, ordered by id, then their subscriptions.

Every operation locks in this order, so that no two wait for each other. SQLite needs no row locks: a transaction that
writes locks the whole file.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from authz.database import Database
from authz.database.pending import Pending
from authz.database.statements import execute_in, in_clause
from authz.texts import is_stored_id

# Row locks of PostgreSQL. Under both, other transactions may still insert rows with a foreign key to the locked row.
EXCLUSIVE, SHARED = "FOR NO KEY UPDATE", "FOR SHARE"


class LockedSubscriptions(NamedTuple):
    """Subscriptions after a lock: whether any exists, and the instant of their last event in microseconds."""

    exist: bool
    last_event: int | None


def lock_clause(database: Database, lock: str) -> str:
    """Return the clause that locks the rows of a SELECT, empty on SQLite."""
    return lock if database.dialect == "postgresql" else ""


def lock_patient_rows(database: Database, patients: Sequence[str]) -> Pending[dict[str, str]]:
    """Lock patients; the result is the subscription of each one that exists."""
    sql = "SELECT id, subscription_id FROM patient WHERE id"
    cursor = execute_in(database, sql, sorted(patients), lock=EXCLUSIVE, close=" ORDER BY id")
    return Pending(lambda: dict(cursor.fetchall()))


def lock_subscription_row(database: Database, subscription: str, lock: str) -> Pending[LockedSubscriptions]:
    """Lock a subscription, so that its memberships do not change during the transaction."""
    if not is_stored_id(subscription):
        return Pending(lambda: LockedSubscriptions(False, None))
    condition, values = in_clause(database, [subscription])
    return _lock_subscription_rows(database, condition, values, lock)


def lock_subscriptions_of_patients(database: Database, patients: Sequence[str]) -> Pending[LockedSubscriptions]:
    """Lock the subscriptions of patients, shared with other operations."""
    condition, values = in_clause(database, sorted(patients))
    of_patients = f"IN (SELECT subscription_id FROM patient WHERE id {condition})"
    return _lock_subscription_rows(database, of_patients, values, SHARED)


def _lock_subscription_rows(
    database: Database, condition: str, values: list[Any], lock: str
) -> Pending[LockedSubscriptions]:
    """Send two statements, the same for no subscription as for many, so that the time does not tell (T1)."""
    chosen = f"FROM subscription WHERE id {condition}"
    last = "SELECT at FROM event WHERE subscription = subscription.id ORDER BY event.id DESC LIMIT 1"
    locked = database.execute_sql(f"SELECT id {chosen} ORDER BY id {lock_clause(database, lock)}", values)
    events = database.execute_sql(f"SELECT max(({last})) {chosen}", values)

    def read() -> LockedSubscriptions:
        rows, ((last_event,),) = locked.fetchall(), events.fetchall()
        return LockedSubscriptions(bool(rows), last_event)

    return Pending(read)
