"""Shares: past their purpose, given by or to the wrong person, and how wide they are (Q7, Q10, Q11, Q23)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When

_DAY = 86_400_000_000


@question(
    "Q7",
    "Which shares have outlived their purpose: open for long, unused for long, or of a patient who is gone?",
    "live shares",
)
def stale_shares(audit: Audit, *, open_days: int = 365, unused_days: int = 180) -> QuestionResult:
    """Return one row for each live share that is stale, with the reasons in `why`."""
    now = audit.micros
    opened, unused = now - open_days * _DAY, now - unused_days * _DAY
    table = audit.decision_table(
        """WITH live AS (
            SELECT g.id, g.patient_id, p.subscription_id, g.practitioner_id, g.given_by, g.started_at, g.ended_at,
                p.ended_at AS gone, (SELECT MAX(d.at) FROM decision d WHERE d.resource_type = 'patient'
                    AND d.resource = g.patient_id AND d.subject_type = 'practitioner' AND d.subject = g.practitioner_id
                    AND d.action = 'view' AND d.allowed AND d.at >= g.started_at AND d.at <= :now) AS used
            FROM "grant" g JOIN patient p ON p.id = g.patient_id
            WHERE g.role = 'viewer' AND g.started_at <= :now AND g.ended_at > :now)
        SELECT id AS "grant", patient_id AS patient, subscription_id AS subscription, practitioner_id AS practitioner,
            given_by AS given_by, started_at AS since, ended_at AS until, NULL AS open_days, used AS last_used,
            NULL AS why, gone AS _gone
        FROM live WHERE started_at < :opened OR COALESCE(used, started_at) < :unused OR gone <= :now
        ORDER BY started_at, id LIMIT :most""",
        now=now,
        opened=opened,
        unused=unused,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        reasons = {
            f"open for more than {open_days} days": row["since"] < opened,
            f"not used for {unused_days} days": (row["last_used"] or row["since"]) < unused,
            "the patient is gone": row["_gone"] <= now,
        }
        row["open_days"] = (now - row["since"]) // _DAY
        row["why"] = "; ".join(reason for reason, holds in reasons.items() if holds)
    live = """SELECT COUNT(*) FROM "grant" WHERE role = 'viewer' AND started_at <= :now AND ended_at > :now"""
    return QuestionResult(table, audit.number(live, now=now))


@question(
    "Q10",
    "Which grants were given by somebody who did not own the patient then, nor might hand them over as a manager?",
    "grants and standing shares",
    days=365,
)
def given_by_others(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each grant and standing share that began in the period and had the wrong giver."""
    begin, end = audit.period(since, until)
    table = audit.table(
        """SELECT g.id AS "grant", NULL AS standing_share, g.patient_id AS patient, p.subscription_id AS subscription,
            g.practitioner_id AS practitioner, g.origin AS origin, g.given_by AS given_by, g.started_at AS at,
            'the giver did not own the patient' AS why
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        WHERE g.origin <> 'imported' AND g.started_at >= :since AND g.started_at < :until
            AND NOT (g.origin = 'created' AND g.given_by = g.practitioner_id)
            AND NOT (g.origin = 'emergency' AND g.given_by = g.practitioner_id
                AND EXISTS (SELECT 1 FROM emergency e WHERE e.grant_id = g.id))
            AND NOT (g.origin = 'undo' AND EXISTS (SELECT 1 FROM "grant" u WHERE u.patient_id = g.patient_id
                AND u.role = 'owner' AND u.end_cause = 'undo' AND u.ended_at = g.started_at))
            AND NOT EXISTS (SELECT 1 FROM "grant" o WHERE o.patient_id = g.patient_id AND o.id <> g.id
                AND o.role = 'owner' AND o.practitioner_id = g.given_by
                AND o.started_at <= g.started_at AND o.ended_at >= g.started_at)
            AND NOT (g.origin = 'transfer' AND EXISTS (SELECT 1 FROM membership m
                WHERE m.practitioner_id = g.given_by AND m.subscription_id = p.subscription_id AND m.role = 'manager'
                    AND m.started_at <= g.started_at AND m.ended_at >= g.started_at))
        UNION ALL
        SELECT NULL, s.id, NULL, s.subscription_id, s.colleague_id, 'standing share', s.given_by, s.started_at,
            'not given by the owner'
        FROM standing_share s
        WHERE s.given_by <> '' AND s.given_by <> s.owner_id AND s.started_at >= :since AND s.started_at < :until
        ORDER BY 8, 1, 2 LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    return QuestionResult(table, _count_begun(audit, begin, end))


_MEMBER = """SELECT 1 FROM membership m WHERE m.practitioner_id = {who} AND m.subscription_id = {where}
    AND m.role IN ('member', 'manager')"""
_LICENCE = """SELECT 1 FROM licence l WHERE l.subscription_id = {where}
    AND l.started_at <= {at} AND l.ended_at >= {at}"""


def _select_obstacle(who: str, where: str, at: str) -> str:
    """Return SQL for why a practitioner could not hold anything at a clinic at an instant; NULL if they could."""
    member, licence = _MEMBER.format(who=who, where=where), _LICENCE.format(where=where, at=at)
    return f"""CASE WHEN NOT EXISTS ({member}) THEN 'never a member of this clinic'
        WHEN NOT EXISTS ({member} AND m.started_at <= {at} AND m.ended_at >= {at}) THEN 'not a member then'
        WHEN NOT EXISTS ({licence}) THEN 'the subscription had lapsed' END"""


@question(
    "Q11",
    "Which grants cross clinics, or went to somebody who was no live member of the patient's clinic at that instant?",
    "grants and standing shares",
    days=365,
)
def given_to_others(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each grant and standing share that began in the period and had the wrong recipient.

    A grant names the practitioner; the e-mail by which it was given is not stored.
    """
    begin, end = audit.period(since, until)
    table = audit.table(
        f"""SELECT * FROM (
            SELECT g.id AS "grant", NULL AS standing_share, g.patient_id AS patient, p.subscription_id AS subscription,
                g.practitioner_id AS practitioner, g.origin AS origin, g.given_by AS given_by, g.started_at AS at,
                {_select_obstacle("g.practitioner_id", "p.subscription_id", "g.started_at")} AS why
            FROM "grant" g JOIN patient p ON p.id = g.patient_id
            WHERE g.started_at >= :since AND g.started_at < :until
            UNION ALL
            SELECT NULL, s.id, NULL, s.subscription_id, s.colleague_id, 'standing share', s.given_by,
                s.started_at, {_select_obstacle("s.colleague_id", "s.subscription_id", "s.started_at")} AS why
            FROM standing_share s WHERE s.started_at >= :since AND s.started_at < :until) AS begun
        WHERE why IS NOT NULL ORDER BY at, "grant", standing_share LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    return QuestionResult(table, _count_begun(audit, begin, end))


@question(
    "Q23",
    "What does each standing share open: how many patients, with content or not, and was it used at all?",
    "live standing shares",
)
def standing_shares(audit: Audit) -> QuestionResult:
    """Return one row for each live standing share.

    A share of one patient opens that patient and nothing less, so that there is nothing to list for it.
    """
    table = audit.decision_table(
        """SELECT s.id AS standing_share, s.owner_id AS owner, s.colleague_id AS colleague,
            s.subscription_id AS subscription, s.content AS content, s.started_at AS since, s.ended_at AS until,
            (SELECT COUNT(*) FROM "grant" g JOIN patient p ON p.id = g.patient_id
                WHERE g.practitioner_id = s.owner_id AND g.role = 'owner' AND p.subscription_id = s.subscription_id
                    AND g.started_at <= :now AND g.ended_at > :now) AS patients,
            (SELECT COUNT(*) FROM decision d WHERE d.standing_share = s.id AND d.allowed AND d.at <= :now) AS accesses,
            (SELECT MAX(d.at) FROM decision d WHERE d.standing_share = s.id AND d.allowed AND d.at <= :now) AS last_used
        FROM standing_share s WHERE s.started_at <= :now AND s.ended_at > :now
        ORDER BY s.id LIMIT :most""",
        now=audit.micros,
        most=MOST_ROWS + 1,
    )
    return QuestionResult(table, len(table))


def _count_begun(audit: Audit, begin: int, end: int) -> int:
    """Count the grants and standing shares that began in a period."""
    return audit.number(
        """SELECT (SELECT COUNT(*) FROM "grant" WHERE started_at >= :since AND started_at < :until)
        + (SELECT COUNT(*) FROM standing_share WHERE started_at >= :since AND started_at < :until)""",
        since=begin,
        until=end,
    )
