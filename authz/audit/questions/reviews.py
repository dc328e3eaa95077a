"""Separation of duties, and the access review: what to decide on, and what came of it (Q15, Q16)."""

from collections.abc import Mapping, Sequence
from typing import Any

from authz.audit.catalog.parameters import require_reason
from authz.audit.catalog.question import Found, question
from authz.audit.permissions import names_readable
from authz.audit.session import MOST_ROWS, Audit

_DAY = 86_400_000_000
_SHARES = "grant standing_share patient practitioner given_by since until last_used"
_USED = """(SELECT MAX(d.at) FROM decision d WHERE d.resource_type = 'patient' AND d.resource = g.patient_id
    AND d.subject_type = 'practitioner' AND d.subject = g.practitioner_id AND d.action = 'view' AND d.allowed
    AND d.at >= g.started_at AND d.at <= :now)"""
_STANDING_USED = """(SELECT MAX(d.at) FROM decision d WHERE d.subject_type = 'practitioner'
    AND d.subject = s.colleague_id AND d.standing_share = s.id AND d.allowed AND d.at <= :now)"""
_GRANTS = f"""SELECT g.id AS "grant", NULL AS share, g.patient_id, g.practitioner_id, g.given_by, g.started_at,
    g.ended_at, {_USED} AS used{{}} FROM "grant" g JOIN patient p ON p.id = g.patient_id{{}}
    WHERE p.subscription_id = :subscription AND g.role = 'viewer' AND g.started_at <= :now"""
_STANDING = f"""SELECT NULL, s.id, NULL, s.colleague_id, s.owner_id, s.started_at, s.ended_at, {_STANDING_USED}{{}}
    FROM standing_share s{{}} WHERE s.subscription_id = :subscription AND s.started_at <= :now"""
_LAST = """ LEFT JOIN review r ON r.id = (SELECT MAX(x.id) FROM review x WHERE x.{} = {}.id AND x.at <= :now)"""
_VERDICT = ", r.campaign, r.reviewer_id, r.verdict, r.at, r.due_at"


@question("Q15", "why practitioner patient subscription grant at", "grants, reviews and memberships")
def separation_of_duties(audit: Audit) -> Found:
    """Who gave themselves a grant, reviewed a share of their own, or audits and practises in one clinic at once?"""
    rows = audit.rows(
        """SELECT 'gave it to themselves' AS why, g.practitioner_id, g.patient_id, p.subscription_id, g.id,
            g.started_at
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        WHERE g.given_by = g.practitioner_id AND g.origin <> 'created' AND g.started_at <= :now
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
    return Found(rows, checked)


@question("Q16", f"{_SHARES} campaign reviewer verdict reviewed_at due late state", "shares")
def access_review(audit: Audit, *, subscription: str, every_days: int = 365) -> Found:
    """How far is the review of a clinic's shares: kept, revoked, revoke not carried out, overdue, never reviewed?

    One row for each share that is live, and for each that was reviewed; overdue after `every_days`. A standing share is
    of no one patient, and its owner gave it.
    """
    now = audit.micros
    rows = audit.decided(
        f"""{_GRANTS.format(_VERDICT, _LAST.format("grant_id", "g"))} AND (g.ended_at > :now OR r.id IS NOT NULL)
        UNION ALL
        {_STANDING.format(_VERDICT, _LAST.format("standing_share_id", "s"))}
            AND (s.ended_at > :now OR r.id IS NOT NULL)
        ORDER BY 6, 1, 2 LIMIT :most""",
        subscription=subscription,
        now=now,
        most=MOST_ROWS + 1,
    )
    told = []
    for *share, campaign, reviewer, verdict, at, due in rows:
        late = None if at is None else at > due
        state = _state(verdict, at, share[6], now, every_days)
        told.append((*share, campaign, reviewer, verdict, at, due, late, state))
    return Found(told, len(told))


def _state(verdict: str | None, at: int | None, ended: int, now: int, every_days: int) -> str:
    if verdict is None or at is None:
        return "never reviewed"
    if verdict == "revoke":
        return "revoked" if ended <= now else "revoke not carried out"
    return "overdue" if at < now - every_days * _DAY else "kept"


_SHEET = """SELECT NULL, s.id, NULL, s.colleague_id, s.owner_id, s.given_by, s.reason, s.started_at, s.ended_at
    FROM standing_share s
    WHERE s.subscription_id = :subscription AND s.started_at <= :now AND s.ended_at > :now
    UNION ALL
    SELECT g.id, NULL, g.patient_id, g.practitioner_id, o.practitioner_id, g.given_by, g.reason,
        g.started_at, g.ended_at
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


@question(
    "Q16",
    "grant standing_share patient patient_name practitioner name owner given_by reason since until accesses purposes "
    "last_used verdict",
    "live shares",
)
def review_sheet(audit: Audit, *, subscription: str, names: bool = False, reason: str = "") -> Found:
    """Which shares of a clinic are live, each to be decided on: keep or revoke?

    `verdict` is empty, to be filled in; ``caregrant audit review`` carries the sheet out. Standing shares come first:
    each opens all that its owner has. Names only with `names` and a `reason` why the reviewer needs them, which is
    recorded.
    """
    if names:
        require_reason(reason)
    values = {"subscription": subscription, "now": audit.micros}
    rows = audit.rows(_SHEET, **values, most=MOST_ROWS + 1)
    uses, standing_uses = (_uses(audit.decided(sql, **values)) for sql in (_USES, _STANDING_USES))
    patients = _named(audit, "SELECT id, name FROM patient WHERE subscription_id = :subscription", values, names)
    people = _named(audit, _COLLEAGUES, values, names)
    lines = []
    for grant, share, patient, who, *rest in sorted(rows, key=lambda row: row[1] is None):
        used = standing_uses.get(share) if grant is None else uses.get(grant)
        shown = (patients.get(patient), who, people.get(who))
        lines.append((grant, share, patient, *shown, *rest, *(used or (0, None, None)), None))
    return Found(lines, len(lines))


_COLLEAGUES = """SELECT DISTINCT w.id, w.name FROM practitioner w JOIN membership m ON m.practitioner_id = w.id
    WHERE m.subscription_id = :subscription"""


def _named(audit: Audit, sql: str, values: Mapping[str, Any], names: bool) -> dict[str, str]:
    if not names:
        return {}
    with names_readable(audit.database):
        return dict(audit.rows(sql, **values))


def _uses(rows: Sequence[Sequence[Any]]) -> dict[int, tuple[int, str, int]]:
    """How often each share was used, for which purposes, and when last."""
    uses: dict[int, tuple[int, str, int]] = {}
    for share, purpose, count, last in rows:
        before = uses.get(share, (0, "", 0))
        purposes = ", ".join(filter(None, (before[1], purpose)))
        uses[share] = (before[0] + count, purposes, max(before[2], last))
    return uses
