"""Patterns in who shares with whom: both ways, in a circle, one person as the hub (Q18)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit

# Who shares something with whom at one instant: a patient's owner with a viewer, or everything.
_EDGES = """WITH edge AS (
    SELECT giver, recipient, SUM(shares) AS shares FROM (
        SELECT o.practitioner_id AS giver, g.practitioner_id AS recipient, COUNT(*) AS shares
        FROM "grant" g JOIN "grant" o ON o.patient_id = g.patient_id AND o.role = 'owner'
            AND o.started_at <= :now AND o.ended_at > :now
        WHERE g.role = 'viewer' AND g.origin <> 'emergency' AND g.started_at <= :now AND g.ended_at > :now
        GROUP BY o.practitioner_id, g.practitioner_id
        UNION ALL
        SELECT owner_id, colleague_id, COUNT(*) FROM standing_share
        WHERE started_at <= :now AND ended_at > :now GROUP BY owner_id, colleague_id) AS pairs
    GROUP BY giver, recipient)"""


@question(
    "Q18",
    "Who shares with each other, who shares in a circle of three, and with whom do at least so many colleagues share?",
    "pairs of who shares with whom",
)
def sharing_patterns(audit: Audit, *, hub: int = 10) -> QuestionResult:
    """Return one row for each pair, circle and hub.

    The database does not say whether a patient is a colleague or a relative, so that this cannot be asked.
    """
    table = audit.table(
        f"""{_EDGES}
        SELECT 'reciprocal' AS pattern, a.giver AS practitioner, a.recipient AS colleague,
            a.shares + b.shares AS shares, NULL AS colleagues
        FROM edge a JOIN edge b ON b.giver = a.recipient AND b.recipient = a.giver WHERE a.giver < a.recipient
        UNION ALL
        SELECT 'circular', a.giver, a.recipient, a.shares + b.shares + c.shares, 3
        FROM edge a JOIN edge b ON b.giver = a.recipient JOIN edge c ON c.giver = b.recipient AND c.recipient = a.giver
        WHERE a.giver < a.recipient AND a.giver < b.recipient AND a.recipient <> b.recipient
        UNION ALL
        SELECT 'hub', recipient, NULL, SUM(shares), COUNT(*) FROM edge GROUP BY recipient HAVING COUNT(*) >= :hub
        ORDER BY 1, 4 DESC, 2, 3 LIMIT :most""",
        now=audit.micros,
        hub=hub,
        most=MOST_ROWS + 1,
    )
    return QuestionResult(table, audit.number(f"{_EDGES} SELECT COUNT(*) FROM edge", now=audit.micros))
