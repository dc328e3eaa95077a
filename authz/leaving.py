"""The shares that end with a practitioner's practice in a clinic (R11): read alike by operations and by imports."""

from authz.database import Database

PRACTISING = ("member", "manager")
"""The roles of those who practise; an auditor does not."""
_SHARES = """SELECT g.id, g.patient_id FROM "grant" g JOIN patient p ON p.id = g.patient_id
    WHERE g.practitioner_id = {0} AND g.role = 'viewer' AND g.ended_at > {0} AND g.ended_at > g.started_at
    AND p.subscription_id = {0}
    ORDER BY g.id"""


def held_shares(database: Database, practitioner: str, subscription: str, now: int) -> list[tuple[int, str]]:
    """The viewer grants, each its number and its patient, that a practitioner holds in a clinic and that have not ended
    at `now` (microseconds).
    """
    sql = _SHARES.format(database.param)
    return list(database.execute_sql(sql, (practitioner, now, subscription)).fetchall())
