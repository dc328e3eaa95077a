"""Patterns in who shares with whom: both ways, in a circle, one person as the hub (Q18)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit

# Who shares something with whom at one instant: a patient's owner with a viewer, or everything.
_EDGES = """WITH edge AS (
    SELECT giver, taker, SUM(shares) AS shares FROM (
        SELECT o.practitioner_id AS giver, g.practitioner_id AS taker, COUNT(*) AS shares
        FROM "grant" g JOIN "grant" o ON o.patient_id = g.patient_id AND o.role = 'owner'
            AND o.started_at <= :now AND o.ended_at > :now
        WHERE g.role = 'viewer' AND g.started_at <= :now AND g.ended_at > :now
        GROUP BY o.practitioner_id, g.practitioner_id
        UNION ALL
        SELECT owner_id, colleague_id, COUNT(*) FROM standing_share
        WHERE started_at <= :now AND ended_at > :now GROUP BY owner_id, colleague_id) AS given
    GROUP BY giver, taker)"""


@question("Q18", "pattern practitioner colleague shares colleagues", "pairs of who shares with whom")
def sharing_patterns(audit: Audit, *, hub: int = 10) -> Found:
    """Who shares with each other, who shares in a circle of three, and with whom do at least so many colleagues share?

    Whether a patient is a colleague or a relative is not stored, so that it cannot be asked.
    """
    rows = audit.rows(
        f"""{_EDGES}
        SELECT 'reciprocal' AS pattern, a.giver, a.taker, a.shares + b.shares, NULL AS colleagues
        FROM edge a JOIN edge b ON b.giver = a.taker AND b.taker = a.giver WHERE a.giver < a.taker
        UNION ALL
        SELECT 'circular', a.giver, a.taker, a.shares + b.shares + c.shares, 3
        FROM edge a JOIN edge b ON b.giver = a.taker JOIN edge c ON c.giver = b.taker AND c.taker = a.giver
        WHERE a.giver < a.taker AND a.giver < b.taker AND a.taker <> b.taker
        UNION ALL
        SELECT 'hub', taker, NULL, SUM(shares), COUNT(*) FROM edge GROUP BY taker HAVING COUNT(*) >= :hub
        ORDER BY 1, 4 DESC, 2, 3 LIMIT :most""",
        now=audit.micros,
        hub=hub,
        most=MOST_ROWS + 1,
    )
    return Found(rows, audit.number(f"{_EDGES} SELECT COUNT(*) FROM edge", now=audit.micros))
