"""Was the right party told? (Q19)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When


@question(
    "Q19",
    "Who was not told of what they received, or of what was ended for them?",
    "grants and standing shares that began or were ended",
    days=365,
)
def notices_missing(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each notice that is not there.

    A notice is written together with the change and has the same instant. Nobody is told of imported history. A share
    that ended before it began counted for nobody.
    """
    begin, end = audit.period(since, until)
    values = {"since": begin, "until": end}
    table = audit.table(
        """SELECT c.at AS at, c.patient AS patient, c.practitioner AS practitioner, c.id AS "grant", c.kind AS missing
        FROM (
            SELECT started_at AS at, patient_id AS patient, practitioner_id AS practitioner, id,
                CASE WHEN role = 'viewer' THEN 'share:received' WHEN origin = 'undo' THEN 'transfer:returned'
                    ELSE 'transfer:received' END AS kind
            FROM "grant" WHERE origin IN ('share', 'transfer', 'undo') AND started_at >= :since AND started_at < :until
            UNION ALL
            SELECT ended_at, patient_id, practitioner_id, id, 'transfer:undone' FROM "grant"
            WHERE end_cause = 'undo' AND ended_at >= :since AND ended_at < :until
            UNION ALL
            SELECT g.started_at, g.patient_id, o.practitioner_id, g.id, 'emergency:opened' FROM "grant" g
            JOIN "grant" o ON o.patient_id = g.patient_id AND o.role = 'owner'
                AND o.started_at <= g.started_at AND o.ended_at > g.started_at
            WHERE g.origin = 'emergency' AND g.started_at >= :since AND g.started_at < :until
            UNION ALL
            SELECT ended_at, patient_id, practitioner_id, id,
                CASE WHEN origin = 'emergency' THEN 'emergency:ended' ELSE 'share:ended' END FROM "grant"
            WHERE role = 'viewer' AND end_cause IN ('ended', 'given_up')
                AND ended_at > started_at AND ended_at >= :since AND ended_at < :until
            UNION ALL
            SELECT started_at, '', colleague_id, NULL, 'standing_share:received' FROM standing_share
            WHERE given_by <> '' AND started_at >= :since AND started_at < :until
            UNION ALL
            SELECT ended_at, '', colleague_id, NULL, 'standing_share:ended' FROM standing_share
            WHERE end_cause IN ('ended', 'given_up') AND ended_at > started_at
                AND ended_at >= :since AND ended_at < :until) AS c
        WHERE NOT EXISTS (SELECT 1 FROM notification n WHERE n.practitioner_id = c.practitioner AND n.kind = c.kind
            AND n.patient = c.patient AND n.at = c.at)
        ORDER BY 1, 4 LIMIT :most""",
        **values,
        most=MOST_ROWS + 1,
    )
    checked = audit.number(
        """SELECT (SELECT COUNT(*) FROM "grant" WHERE origin IN ('share', 'transfer', 'undo', 'emergency')
                AND started_at >= :since AND started_at < :until)
            + (SELECT COUNT(*) FROM "grant" WHERE end_cause = 'undo' AND ended_at >= :since AND ended_at < :until)
            + (SELECT COUNT(*) FROM "grant" WHERE role = 'viewer' AND end_cause IN ('ended', 'given_up')
                AND ended_at > started_at AND ended_at >= :since AND ended_at < :until)
            + (SELECT COUNT(*) FROM standing_share WHERE given_by <> ''
                AND started_at >= :since AND started_at < :until)
            + (SELECT COUNT(*) FROM standing_share WHERE end_cause IN ('ended', 'given_up') AND ended_at > started_at
                AND ended_at >= :since AND ended_at < :until)""",
        **values,
    )
    return QuestionResult(table, checked)
