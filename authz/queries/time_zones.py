"""The time zones of clinics, in which the pages show days.

The reader may know the clinic or the patient already: nothing here asks the policy.
"""

from collections.abc import Sequence
from datetime import tzinfo

from authz.database import database_connection
from authz.database.statements import select_in
from authz.domain import time_zone
from authz.policy.pdp import PDP


def zones_of_clinics(pdp: PDP, subscriptions: Sequence[str]) -> dict[str, tzinfo]:
    """Return the time zone of each of these subscriptions."""
    return _zones(pdp, "SELECT id, time_zone FROM subscription WHERE id", subscriptions)


def zones_of_patients(pdp: PDP, patients: Sequence[str]) -> dict[str, tzinfo]:
    """Return the time zone of the subscription of each of these patients."""
    sql = "SELECT p.id, s.time_zone FROM patient p JOIN subscription s ON s.id = p.subscription_id WHERE p.id"
    return _zones(pdp, sql, patients)


def _zones(pdp: PDP, sql: str, ids: Sequence[str]) -> dict[str, tzinfo]:
    if not ids:
        return {}
    with database_connection(pdp.database):
        return {key: time_zone(name) for key, name in select_in(pdp.database, sql, sorted(set(ids)))}
