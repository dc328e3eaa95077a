"""Shares: past their purpose, given by or to somebody who might not, and how wide they are (Q7, Q10, Q11, Q23)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When

_DAY = 86_400_000_000


@question("Q7", "grant patient subscription practitioner given_by since until open_days last_used why", "live shares")
def stale_shares(audit: Audit, *, open_days: int = 365, unused_days: int = 180) -> Found:
    """Which shares have outlived their purpose: open for long, unused for long, or of a patient who is gone?"""
    now = audit.micros
    rows = audit.decided(
        """WITH live AS (
            SELECT g.id, g.patient_id, p.subscription_id, g.practitioner_id, g.given_by, g.started_at, g.ended_at,
                p.ended_at AS gone, (SELECT MAX(d.at) FROM decision d WHERE d.resource_type = 'patient'
                    AND d.resource = g.patient_id AND d.subject_type = 'practitioner' AND d.subject = g.practitioner_id
                    AND d.action = 'view' AND d.allowed AND d.at >= g.started_at AND d.at <= :now) AS used
            FROM "grant" g JOIN patient p ON p.id = g.patient_id
            WHERE g.role = 'viewer' AND g.started_at <= :now AND g.ended_at > :now)
        SELECT id, patient_id, subscription_id, practitioner_id, given_by, started_at, ended_at, used, gone FROM live
        WHERE started_at < :opened OR COALESCE(used, started_at) < :unused OR gone <= :now
        ORDER BY started_at, id LIMIT :most""",
        now=now,
        opened=now - open_days * _DAY,
        unused=now - unused_days * _DAY,
        most=MOST_ROWS + 1,
    )
    told = []
    for *life, used, gone in rows:
        begun = life[5]
        why = {
            f"open for more than {open_days} days": begun < now - open_days * _DAY,
            f"not used for {unused_days} days": (used or begun) < now - unused_days * _DAY,
            "the patient is gone": gone <= now,
        }
        said = "; ".join(reason for reason, holds in why.items() if holds)
        told.append((*life, (now - begun) // _DAY, used, said))
    live = """SELECT COUNT(*) FROM "grant" WHERE role = 'viewer' AND started_at <= :now AND ended_at > :now"""
    return Found(told, audit.number(live, now=now))


@question(
    "Q10",
    "grant standing_share patient subscription practitioner origin given_by at why",
    "grants and standing shares",
    days=365,
)
def given_by_others(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """Which grants were given by somebody who did not own the patient then, nor might hand them over as a manager?"""
    begin, end = audit.period(since, until)
    rows = audit.rows(
        """SELECT g.id, NULL, g.patient_id, p.subscription_id, g.practitioner_id, g.origin, g.given_by, g.started_at,
            'the giver did not own the patient'
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        WHERE g.origin <> 'imported' AND g.started_at >= :since AND g.started_at < :until
            AND NOT (g.origin = 'created' AND g.given_by = g.practitioner_id)
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
    return Found(rows, _begun(audit, begin, end))


_MEMBER = """SELECT 1 FROM membership m WHERE m.practitioner_id = {who} AND m.subscription_id = {where}
    AND m.role IN ('member', 'manager')"""
_LICENCE = """SELECT 1 FROM licence l WHERE l.subscription_id = {where}
    AND l.started_at <= {at} AND l.ended_at >= {at}"""


def _barred(who: str, where: str, at: str) -> str:
    """SQL for why somebody could not hold anything at a clinic at an instant; NULL: they could."""
    member, licence = _MEMBER.format(who=who, where=where), _LICENCE.format(where=where, at=at)
    return f"""CASE WHEN NOT EXISTS ({member}) THEN 'never a member of this clinic'
        WHEN NOT EXISTS ({member} AND m.started_at <= {at} AND m.ended_at >= {at}) THEN 'not a member then'
        WHEN NOT EXISTS ({licence}) THEN 'the subscription had lapsed' END"""


@question(
    "Q11",
    "grant standing_share patient subscription practitioner origin given_by at why",
    "grants and standing shares",
    days=365,
)
def given_to_others(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """Which grants cross clinics, or went to somebody who was no live member of the patient's clinic at that instant?

    A grant is bound to the practitioner, so that the e-mail by which it was given is not stored.
    """
    begin, end = audit.period(since, until)
    rows = audit.rows(
        f"""SELECT * FROM (
            SELECT g.id, NULL AS share, g.patient_id, p.subscription_id, g.practitioner_id, g.origin, g.given_by,
                g.started_at, {_barred("g.practitioner_id", "p.subscription_id", "g.started_at")} AS why
            FROM "grant" g JOIN patient p ON p.id = g.patient_id
            WHERE g.started_at >= :since AND g.started_at < :until
            UNION ALL
            SELECT NULL, s.id, NULL, s.subscription_id, s.colleague_id, 'standing share', s.given_by,
                s.started_at, {_barred("s.colleague_id", "s.subscription_id", "s.started_at")} AS why
            FROM standing_share s WHERE s.started_at >= :since AND s.started_at < :until) AS given
        WHERE why IS NOT NULL ORDER BY started_at, id, share LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    return Found(rows, _begun(audit, begin, end))


@question(
    "Q23",
    "standing_share owner colleague subscription content since until patients accesses last_used",
    "live standing shares",
)
def standing_shares(audit: Audit) -> Found:
    """What does each standing share open: how many patients, with content or not, and was it used at all?

    What a share of one patient opens is not narrowed down any further, so that there is nothing more to list.
    """
    rows = audit.decided(
        """SELECT s.id, s.owner_id, s.colleague_id, s.subscription_id, s.content, s.started_at, s.ended_at,
            (SELECT COUNT(*) FROM "grant" g JOIN patient p ON p.id = g.patient_id
                WHERE g.practitioner_id = s.owner_id AND g.role = 'owner' AND p.subscription_id = s.subscription_id
                    AND g.started_at <= :now AND g.ended_at > :now) AS owned,
            (SELECT COUNT(*) FROM decision d WHERE d.standing_share = s.id AND d.allowed AND d.at <= :now) AS uses,
            (SELECT MAX(d.at) FROM decision d WHERE d.standing_share = s.id AND d.allowed AND d.at <= :now) AS used
        FROM standing_share s WHERE s.started_at <= :now AND s.ended_at > :now
        ORDER BY s.id LIMIT :most""",
        now=audit.micros,
        most=MOST_ROWS + 1,
    )
    return Found(rows, len(rows))


def _begun(audit: Audit, begin: int, end: int) -> int:
    return audit.number(
        """SELECT (SELECT COUNT(*) FROM "grant" WHERE started_at >= :since AND started_at < :until)
        + (SELECT COUNT(*) FROM standing_share WHERE started_at >= :since AND started_at < :until)""",
        since=begin,
        until=end,
    )
