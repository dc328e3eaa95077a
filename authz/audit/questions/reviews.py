"""Separation of duties, and the access review: what to decide on, and what came of it (Q15, Q16)."""

from collections.abc import Iterable, Sequence
from typing import Any

from authz.audit.catalog.parameters import require_reason
from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.permissions import names_readable
from authz.audit.session import MOST_ROWS, Audit

_DAY = 86_400_000_000


@question(
    "Q15",
    "Who gave themselves a grant, reviewed an access of their own, or audits and practises in one clinic at once?",
    "grants, reviews and memberships",
)
def separation_of_duties(audit: Audit) -> QuestionResult:
    """Return one row for each fault, with the fault in `why`.

    Whoever opens a patient in an emergency gives themselves a grant. This is a fault without a stated purpose, and as
    long as the review is overdue.
    """
    table = audit.table(
        """SELECT 'gave it to themselves' AS why, g.practitioner_id AS practitioner, g.patient_id AS patient,
            p.subscription_id AS subscription, g.id AS "grant", g.started_at AS at
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        WHERE g.given_by = g.practitioner_id AND g.origin NOT IN ('created', 'undo') AND g.started_at <= :now
            AND NOT (g.origin = 'emergency' AND EXISTS (SELECT 1 FROM emergency e WHERE e.grant_id = g.id))
        UNION ALL
        SELECT 'opened a patient in an emergency, and the review is overdue', g.practitioner_id, g.patient_id,
            e.subscription_id, g.id, e.due_at
        FROM emergency e JOIN "grant" g ON g.id = e.grant_id WHERE e.due_at <= :now AND e.reviewed_at > :now
        UNION ALL
        SELECT 'reviewed an emergency access to a patient whom they opened too', e.reviewer_id, g.patient_id,
            e.subscription_id, g.id, e.reviewed_at
        FROM emergency e JOIN "grant" g ON g.id = e.grant_id
        WHERE e.reviewed_at <= :now AND EXISTS (SELECT 1 FROM "grant" o WHERE o.patient_id = g.patient_id
            AND o.origin = 'emergency' AND o.practitioner_id = e.reviewer_id)
        UNION ALL
        SELECT 'reviewed a share that they gave or hold', r.reviewer_id, g.patient_id, r.subscription_id, g.id, r.at
        FROM review r JOIN "grant" g ON g.id = r.grant_id
        WHERE (g.practitioner_id = r.reviewer_id OR g.given_by = r.reviewer_id) AND r.at <= :now
        UNION ALL
        SELECT 'reviewed a share that they gave or hold', r.reviewer_id, NULL, r.subscription_id, NULL, r.at
        FROM review r JOIN standing_share s ON s.id = r.standing_share_id
        WHERE r.reviewer_id IN (s.owner_id, s.colleague_id, s.given_by) AND r.at <= :now
        UNION ALL
        SELECT 'audits and practises', a.practitioner_id, NULL, a.subscription_id, NULL,
            CASE WHEN a.started_at > m.started_at THEN a.started_at ELSE m.started_at END
        FROM membership a JOIN membership m ON m.practitioner_id = a.practitioner_id
            AND m.subscription_id = a.subscription_id AND m.role IN ('member', 'manager')
            AND m.started_at < a.ended_at AND a.started_at < m.ended_at
        WHERE a.role = 'auditor' AND a.started_at <= :now AND m.started_at <= :now
        ORDER BY 1, 6, 5, 2 LIMIT :most""",
        now=audit.micros,
        most=MOST_ROWS + 1,
    )
    checked = audit.number(
        """SELECT (SELECT COUNT(*) FROM "grant" WHERE started_at <= :now)
        + (SELECT COUNT(*) FROM review WHERE at <= :now)
        + (SELECT COUNT(*) FROM membership WHERE started_at <= :now)""",
        now=audit.micros,
    )
    return QuestionResult(table, checked)


_REVIEWED_SHARES = """
SELECT g.id AS "grant", NULL AS standing_share, g.patient_id AS patient, g.practitioner_id AS practitioner,
    g.given_by AS given_by, g.started_at AS since, g.ended_at AS until,
    (SELECT MAX(d.at) FROM decision d WHERE d.resource_type = 'patient' AND d.resource = g.patient_id
        AND d.subject_type = 'practitioner' AND d.subject = g.practitioner_id AND d.action = 'view' AND d.allowed
        AND d.at >= g.started_at AND d.at <= :now) AS last_used,
    r.campaign AS campaign, r.reviewer_id AS reviewer, r.verdict AS verdict, r.at AS reviewed_at, r.due_at AS due,
    NULL AS late, NULL AS state
FROM "grant" g JOIN patient p ON p.id = g.patient_id
LEFT JOIN review r ON r.id = (SELECT MAX(x.id) FROM review x WHERE x.grant_id = g.id AND x.at <= :now)
WHERE p.subscription_id = :subscription AND g.role = 'viewer' AND g.started_at <= :now
    AND (g.ended_at > :now OR r.id IS NOT NULL)
UNION ALL
SELECT NULL, s.id, NULL, s.colleague_id, s.owner_id, s.started_at, s.ended_at,
    (SELECT MAX(d.at) FROM decision d WHERE d.subject_type = 'practitioner'
        AND d.subject = s.colleague_id AND d.standing_share = s.id AND d.allowed AND d.at <= :now),
    r.campaign, r.reviewer_id, r.verdict, r.at, r.due_at, NULL, NULL
FROM standing_share s
LEFT JOIN review r ON r.id = (SELECT MAX(x.id) FROM review x WHERE x.standing_share_id = s.id AND x.at <= :now)
WHERE s.subscription_id = :subscription AND s.started_at <= :now
    AND (s.ended_at > :now OR r.id IS NOT NULL)
ORDER BY 6, 1, 2 LIMIT :most"""


@question(
    "Q16",
    "How far is the review of a clinic's shares: kept, revoked, revoke not carried out, overdue, never reviewed?",
    "shares",
)
def access_review(audit: Audit, *, subscription: str, every_days: int = 365) -> QuestionResult:
    """Return one row for each share that is live, and for each share that was reviewed.

    A review is overdue after `every_days`. A standing share concerns no single patient; its giver is its owner.
    """
    now = audit.micros
    table = audit.decision_table(_REVIEWED_SHARES, subscription=subscription, now=now, most=MOST_ROWS + 1)
    for row in table.rows:
        at = row["reviewed_at"]
        row["late"] = None if at is None else at > row["due"]
        row["state"] = _state(row["verdict"], at, row["until"], now, every_days)
    return QuestionResult(table, len(table))


def _state(verdict: str | None, at: int | None, ended: int, now: int, every_days: int) -> str:
    if verdict is None or at is None:
        return "never reviewed"
    if verdict == "revoke":
        return "revoked" if ended <= now else "revoke not carried out"
    return "overdue" if at < now - every_days * _DAY else "kept"


_SHEET = """
SELECT NULL AS "grant", s.id AS standing_share, NULL AS patient, NULL AS patient_name, s.colleague_id AS practitioner,
    NULL AS name, s.owner_id AS owner, s.given_by AS given_by, s.reason AS reason, s.started_at AS since,
    s.ended_at AS until, NULL AS accesses, NULL AS purposes, NULL AS last_used, NULL AS verdict
FROM standing_share s
WHERE s.subscription_id = :subscription AND s.started_at <= :now AND s.ended_at > :now
UNION ALL
SELECT g.id, NULL, g.patient_id, NULL, g.practitioner_id, NULL, o.practitioner_id, g.given_by, g.reason,
    g.started_at, g.ended_at, NULL, NULL, NULL, NULL
FROM "grant" g JOIN patient p ON p.id = g.patient_id
LEFT JOIN "grant" o ON o.patient_id = p.id AND o.role = 'owner' AND o.started_at <= :now AND o.ended_at > :now
WHERE p.subscription_id = :subscription AND g.role = 'viewer' AND g.started_at <= :now AND g.ended_at > :now
ORDER BY 2, 3, 1 LIMIT :most"""
_USES = """SELECT g.id AS share, d.purpose, COUNT(*), MAX(d.at) FROM "grant" g JOIN patient p ON p.id = g.patient_id
    JOIN decision d ON d.resource_type = 'patient' AND d.resource = g.patient_id AND d.subject_type = 'practitioner'
        AND d.subject = g.practitioner_id AND d.action = 'view' AND d.at >= g.started_at
    WHERE p.subscription_id = :subscription AND g.role = 'viewer' AND g.started_at <= :now AND g.ended_at > :now
        AND d.allowed AND d.at <= :now GROUP BY g.id, d.purpose ORDER BY g.id, d.purpose"""
_STANDING_USES = """SELECT s.id AS share, d.purpose, COUNT(*), MAX(d.at) FROM standing_share s
    JOIN decision d ON d.standing_share = s.id AND d.subject_type = 'practitioner' AND d.subject = s.colleague_id
    WHERE s.subscription_id = :subscription AND s.started_at <= :now AND s.ended_at > :now
        AND d.allowed AND d.at <= :now GROUP BY s.id, d.purpose ORDER BY s.id, d.purpose"""
_PATIENT_NAMES = "SELECT id, name FROM patient WHERE subscription_id = :subscription"
_COLLEAGUE_NAMES = """SELECT DISTINCT w.id, w.name FROM practitioner w JOIN membership m ON m.practitioner_id = w.id
    WHERE m.subscription_id = :subscription"""


@question("Q16", "Which shares of a clinic are live, each to be decided on: keep or revoke?", "live shares")
def review_sheet(audit: Audit, *, subscription: str, names: bool = False, reason: str = "") -> QuestionResult:
    """Return one row for each live share.

    The reviewer fills in `verdict`; ``caregrant audit review`` carries the sheet out. Standing shares come first: each
    opens all patients of its owner. There are names only with `names` and a `reason` why the reviewer needs them, which
    is recorded.
    """
    if names:
        require_reason(reason)
    values = {"subscription": subscription, "now": audit.micros}
    table = audit.table(_SHEET, **values, most=MOST_ROWS + 1)
    uses = _sum_uses(audit.decision_rows(_USES, **values))
    standing_uses = _sum_uses(audit.decision_rows(_STANDING_USES, **values))
    patients = _names(audit, _PATIENT_NAMES, subscription) if names else {}
    people = _names(audit, _COLLEAGUE_NAMES, subscription) if names else {}
    for row in table.rows:
        standing = row["grant"] is None
        used = standing_uses.get(row["standing_share"]) if standing else uses.get(row["grant"])
        row["accesses"], row["purposes"], row["last_used"] = used or (0, None, None)
        row["patient_name"], row["name"] = patients.get(row["patient"]), people.get(row["practitioner"])
    table.rows.sort(key=lambda row: row["standing_share"] is None)
    return QuestionResult(table, len(table))


def _names(audit: Audit, sql: str, subscription: str) -> dict[str, str]:
    with names_readable(audit.database):
        return dict(audit.rows(sql, subscription=subscription))


def _sum_uses(rows: Iterable[Sequence[Any]]) -> dict[int, tuple[int, str, int]]:
    """Return how often each share was used, for which purposes, and when last."""
    uses: dict[int, tuple[int, str, int]] = {}
    for share, purpose, count, last in rows:
        total, purposes, latest = uses.get(share, (0, "", 0))
        uses[share] = total + count, ", ".join(filter(None, (purposes, purpose))), max(latest, last)
    return uses
