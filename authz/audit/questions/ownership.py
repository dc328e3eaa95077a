"""Whose patient: the chain of owners, what former owners still did, patients without a working owner (Q4, Q9, Q12)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When

_MONTH = 30 * 86_400_000_000


@question(
    "Q4", "hop owner since until origin given_by end_cause previous_owner returned grant", "grants of this patient"
)
def ownership(audit: Audit, *, patient: str) -> Found:
    """Who owned this patient, from when until when, and who moved them?"""
    rows = audit.rows(
        """SELECT practitioner_id, started_at, ended_at, origin, given_by, end_cause, id FROM "grant"
        WHERE patient_id = :patient AND role = 'owner' AND started_at <= :now ORDER BY started_at, id""",
        patient=patient,
        now=audit.micros,
    )
    told = []
    for hop, (owner, *life, grant) in enumerate(rows):
        before = [row[0] for row in rows[:hop]]
        told.append((hop + 1, owner, *life, before[-1] if before else None, owner in before, grant))
    return Found(told, audit.number('SELECT COUNT(*) FROM "grant" WHERE patient_id = :patient', patient=patient))


@question("Q4", "patient hops owners returns hops_per_month first last", "patients", days=365)
def transfer_chains(audit: Audit, *, since: When = None, until: When = None, hops: int = 2) -> Found:
    """Which patients were handed on at least so many times, and which came back to somebody who had owned them?

    Those with a transfer in the last year unless said otherwise; the chain is counted from its beginning.
    """
    begin, end = audit.period(since, until)
    rows = audit.rows(
        """WITH held AS (
            SELECT patient_id, practitioner_id, started_at,
                ROW_NUMBER() OVER (PARTITION BY patient_id, practitioner_id ORDER BY started_at, id) AS turn
            FROM "grant" WHERE role = 'owner' AND started_at < :until)
        SELECT patient_id, COUNT(*) - 1, COUNT(DISTINCT practitioner_id), SUM(CASE WHEN turn > 1 THEN 1 ELSE 0 END),
            MIN(started_at), MAX(started_at)
        FROM held GROUP BY patient_id HAVING COUNT(*) > :hops AND MAX(started_at) >= :since
        ORDER BY 2 DESC, 1 LIMIT :most""",
        since=begin,
        until=end,
        hops=hops,
        most=MOST_ROWS + 1,
    )
    told = [(*row[:4], row[1] / max(1.0, (row[5] - row[4]) / _MONTH), *row[4:]) for row in rows]
    return Found(told, audit.number("SELECT COUNT(*) FROM patient"))


@question(
    "Q9",
    "at practitioner action patient subscription rule grant ended lag decision",
    "permitted views of patients",
    days=365,
)
def former_owner_access(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """Who saw a patient that they had handed over, without anything that gave it to them again? There must be none.

    Compares the decisions with the grants and standing shares, apart from the policy.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        """SELECT d.at, d.subject, d.action, d.resource, p.subscription_id, d.rule, d."grant", MAX(o.ended_at),
            (d.at - MAX(o.ended_at)), d.id
        FROM "grant" o
        JOIN patient p ON p.id = o.patient_id
        JOIN decision d ON d.resource_type = 'patient' AND d.resource = o.patient_id AND d.subject = o.practitioner_id
        WHERE o.role = 'owner' AND o.ended_at < d.at AND d.subject_type = 'practitioner' AND d.action = 'view'
            AND d.allowed AND d.at >= :since AND d.at < :until
            AND NOT EXISTS (SELECT 1 FROM "grant" g WHERE g.patient_id = d.resource
                AND g.practitioner_id = d.subject AND g.started_at <= d.at AND g.ended_at >= d.at)
            AND NOT EXISTS (SELECT 1 FROM standing_share s
                JOIN "grant" g ON g.practitioner_id = s.owner_id AND g.role = 'owner'
                WHERE s.colleague_id = d.subject AND g.patient_id = d.resource AND s.started_at <= d.at
                    AND s.ended_at >= d.at AND g.started_at <= d.at AND g.ended_at >= d.at)
        GROUP BY d.id, d.at, d.subject, d.action, d.resource, p.subscription_id, d.rule, d."grant"
        ORDER BY d.at, d.id LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    told = [(*row[:8], row[8] // 1_000_000, row[9]) for row in rows]
    return Found(told, permitted_views(audit, begin, end))


def permitted_views(audit: Audit, begin: int, end: int) -> int:
    """How many permitted views of patients there are in a period."""
    counted = audit.decided(
        """SELECT COUNT(*) FROM decision WHERE resource_type = 'patient' AND action = 'view' AND allowed
        AND reason <> 'searched' AND "at" >= :since AND "at" < :until""",
        since=begin,
        until=end,
    )
    return int(counted[0][0])


_ORPHANS = """
SELECT p.id, p.subscription_id, 'no owner' AS why, NULL AS owner, CAST(NULL AS BIGINT) AS held,
    CAST(NULL AS BIGINT) AS share, p.started_at
FROM patient p WHERE p.started_at <= :now AND p.ended_at > :now AND NOT EXISTS (
    SELECT 1 FROM "grant" g WHERE g.patient_id = p.id AND g.role = 'owner'
        AND g.started_at <= :now AND g.ended_at > :now)
UNION ALL
SELECT p.id, p.subscription_id, 'two owners', g.practitioner_id, g.id, NULL, g.started_at
FROM patient p JOIN "grant" g ON g.patient_id = p.id AND g.role = 'owner' AND g.started_at <= :now AND g.ended_at > :now
WHERE EXISTS (SELECT 1 FROM "grant" o WHERE o.patient_id = p.id AND o.role = 'owner' AND o.id <> g.id
    AND o.started_at <= :now AND o.ended_at > :now)
UNION ALL
SELECT p.id, p.subscription_id, 'the owner does not work here', g.practitioner_id, g.id, NULL,
    (SELECT MAX(m.ended_at) FROM membership m WHERE m.practitioner_id = g.practitioner_id
        AND m.subscription_id = p.subscription_id AND m.ended_at <= :now)
FROM patient p JOIN "grant" g ON g.patient_id = p.id AND g.role = 'owner' AND g.started_at <= :now AND g.ended_at > :now
WHERE p.started_at <= :now AND p.ended_at > :now AND NOT EXISTS (
    SELECT 1 FROM membership m WHERE m.practitioner_id = g.practitioner_id AND m.subscription_id = p.subscription_id
        AND m.role IN ('member', 'manager') AND m.started_at <= :now AND m.ended_at > :now)
UNION ALL
SELECT h.patient_id, p.subscription_id, 'nobody owned them for a time', h.practitioner_id, h.id, NULL, h.ended_at
FROM (SELECT g.*, LEAD(g.started_at) OVER (PARTITION BY g.patient_id ORDER BY g.started_at, g.id) AS next
    FROM "grant" g WHERE g.role = 'owner' AND g.started_at <= :now) h
JOIN patient p ON p.id = h.patient_id WHERE h.next > h.ended_at
UNION ALL
SELECT NULL, s.subscription_id, 'a standing share of somebody who does not work here', s.owner_id, NULL, s.id,
    (SELECT MAX(m.ended_at) FROM membership m WHERE m.practitioner_id = s.owner_id
        AND m.subscription_id = s.subscription_id AND m.ended_at <= :now)
FROM standing_share s WHERE s.started_at <= :now AND s.ended_at > :now AND NOT EXISTS (
    SELECT 1 FROM membership m WHERE m.practitioner_id = s.owner_id AND m.subscription_id = s.subscription_id
        AND m.role IN ('member', 'manager') AND m.started_at <= :now AND m.ended_at > :now)
"""


@question("Q12", "patient subscription why owner grant standing_share since", "patients")
def orphans(audit: Audit) -> Found:
    """Which patients have no owner who works there, or two, or had none for a time? Which standing shares are of
    leavers?
    """
    rows = audit.rows(f"{_ORPHANS} ORDER BY 2, 1, 3, 5 LIMIT :most", now=audit.micros, most=MOST_ROWS + 1)
    checked = "SELECT COUNT(*) FROM patient WHERE started_at <= :now AND ended_at > :now"
    return Found(rows, audit.number(checked, now=audit.micros))
