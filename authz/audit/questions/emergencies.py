"""Emergency accesses: why, for how long, what was read, and who reviewed them (Q14)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.domain import Row

_MINUTE = 60_000_000
_MONTH = 30 * 86_400_000_000

_ACCESSES = """
SELECT g.id AS "grant", g.patient_id AS patient, p.subscription_id AS subscription, g.practitioner_id AS practitioner,
    e.purpose AS purpose, g.reason AS reason, g.started_at AS since, g.ended_at AS until, g.ended_by AS ended_by,
    g.end_cause AS end_cause, NULL AS minutes,
    (SELECT COUNT(*) FROM decision d WHERE d."grant" = g.id AND d.subject_type = 'practitioner'
        AND d.subject = g.practitioner_id AND d.action = 'view' AND d.allowed AND d.at <= :now) AS accesses,
    (SELECT MAX(d.at) FROM decision d WHERE d."grant" = g.id AND d.subject_type = 'practitioner'
        AND d.subject = g.practitioner_id AND d.action = 'view' AND d.allowed AND d.at <= :now) AS last_used,
    (SELECT COUNT(*) FROM "grant" o WHERE o.practitioner_id = g.practitioner_id AND o.origin = 'emergency'
        AND o.started_at > g.started_at - :month AND o.started_at <= g.started_at) AS times,
    e.due_at AS due, e.verdict AS verdict, e.reviewer_id AS reviewer, e.reviewed_at AS reviewed_at, NULL AS late,
    NULL AS state, NULL AS why, e.id AS _emergency, e.ends_at AS _ends_at,
    CASE WHEN EXISTS (SELECT 1 FROM "grant" o WHERE o.patient_id = g.patient_id AND o.origin = 'emergency'
        AND o.practitioner_id = e.reviewer_id) THEN 1 ELSE 0 END AS _own
FROM "grant" g JOIN patient p ON p.id = g.patient_id LEFT JOIN emergency e ON e.grant_id = g.id
WHERE g.origin = 'emergency' AND g.started_at >= :since AND g.started_at < :until
ORDER BY g.started_at, g.id LIMIT :most"""


@question(
    "Q14",
    "Who opened a patient in an emergency, why and for how long, what did they read, and who reviewed it, and when?",
    "emergency accesses",
    days=365,
)
def emergency_accesses(audit: Audit, *, since: When = None, until: When = None, many: int = 3) -> QuestionResult:
    """Return one row for each emergency access that began in the period, with what is wrong with it in `why`.

    An access that ended in its time has its own end; `minutes` are those that it lasted. `many` is how many accesses
    of one practitioner in thirty days are many.
    """
    begin, end = audit.period(since, until)
    values = {"since": begin, "until": end, "now": audit.micros, "month": _MONTH}
    table = audit.decision_table(_ACCESSES, **values, most=MOST_ROWS + 1)
    for row in table.rows:
        _describe(row, audit.micros, many)
    return QuestionResult(table, len(table))


def _describe(row: Row, now: int, many: int) -> None:
    """Fill in what follows from the columns of an access, as of an instant."""
    if row["verdict"] is not None and row["reviewed_at"] > now:
        row["verdict"], row["reviewer"] = "", None
    is_reviewed, is_due = bool(row["verdict"]), row["verdict"] == ""
    row["reviewed_at"] = row["reviewed_at"] if is_reviewed else None
    row["verdict"] = row["verdict"] or None
    row["minutes"] = (min(row["until"], now) - row["since"]) // _MINUTE
    row["late"] = row["reviewed_at"] > row["due"] if is_reviewed else None
    is_overdue = is_due and row["due"] < now
    row["state"] = row["verdict"] or ("overdue" if is_overdue else "due")
    findings = {
        "without a statement": row["_emergency"] is None,
        "lasts longer than it was given for": row["_ends_at"] is not None and row["until"] > row["_ends_at"],
        "never used": row["until"] <= now and not row["accesses"],
        "reviewed by somebody who opened the patient too": is_reviewed and bool(row["_own"]),
        "reviewed late": bool(row["late"]),
        "not reviewed in time": is_overdue,
        f"{row['times']} in 30 days": row["times"] >= many,
    }
    row["why"] = "; ".join(finding for finding, holds in findings.items() if holds) or None
