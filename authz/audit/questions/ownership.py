"""Ownership: the chain of owners, access by former owners, patients without a working owner (Q4, Q9, Q12)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When

_MONTH = 30 * 86_400_000_000


@question("Q4", "Who owned this patient, from when until when, and who moved them?", "grants of this patient")
def ownership(audit: Audit, *, patient: str) -> QuestionResult:
    """Return one row for each owner of the patient, in order."""
    table = audit.table(
        """SELECT NULL AS hop, practitioner_id AS owner, started_at AS since, ended_at AS until, origin, given_by,
            end_cause, NULL AS previous_owner, NULL AS returned, id AS "grant"
        FROM "grant" WHERE patient_id = :patient AND role = 'owner' AND started_at <= :now ORDER BY started_at, id""",
        patient=patient,
        now=audit.micros,
    )
    owners: list[str] = []
    for hop, row in enumerate(table.rows, 1):
        row["hop"] = hop
        row["previous_owner"] = owners[-1] if owners else None
        row["returned"] = row["owner"] in owners
        owners.append(row["owner"])
    checked = audit.number('SELECT COUNT(*) FROM "grant" WHERE patient_id = :patient', patient=patient)
    return QuestionResult(table, checked)


@question(
    "Q4",
    "Which patients were handed on at least so many times, and which came back to somebody who had owned them?",
    "patients",
    days=365,
)
def transfer_chains(audit: Audit, *, since: When = None, until: When = None, hops: int = 2) -> QuestionResult:
    """Return one row for each patient with at least `hops` transfers, the last of them in the period.

    The period is the last year by default. The chain is counted from its beginning.
    """
    begin, end = audit.period(since, until)
    table = audit.table(
        """WITH owned AS (
            SELECT patient_id, practitioner_id, started_at,
                ROW_NUMBER() OVER (PARTITION BY patient_id, practitioner_id ORDER BY started_at, id) AS turn
            FROM "grant" WHERE role = 'owner' AND started_at < :until)
        SELECT patient_id AS patient, COUNT(*) - 1 AS hops, COUNT(DISTINCT practitioner_id) AS owners,
            SUM(CASE WHEN turn > 1 THEN 1 ELSE 0 END) AS returns, NULL AS hops_per_month, MIN(started_at) AS first,
            MAX(started_at) AS last
        FROM owned GROUP BY patient_id HAVING COUNT(*) > :hops AND MAX(started_at) >= :since
        ORDER BY 2 DESC, 1 LIMIT :most""",
        since=begin,
        until=end,
        hops=hops,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        row["hops_per_month"] = row["hops"] / max(1.0, (row["last"] - row["first"]) / _MONTH)
    return QuestionResult(table, audit.number("SELECT COUNT(*) FROM patient"))


@question(
    "Q9",
    "Who saw a patient that they had handed over, without anything that gave it to them again? There must be none.",
    "permitted views of patients",
    days=365,
)
def former_owner_access(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each such decision.

    Compares the decisions with the grants and standing shares, without asking the policy.
    """
    begin, end = audit.period(since, until)
    table = audit.decision_table(
        """SELECT d.at AS at, d.subject AS practitioner, d.action AS action, d.resource AS patient,
            p.subscription_id AS subscription, d.rule AS rule, d."grant" AS "grant", MAX(o.ended_at) AS ended,
            (d.at - MAX(o.ended_at)) AS lag, d.id AS decision
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
    for row in table.rows:
        row["lag"] //= 1_000_000
    return QuestionResult(table, permitted_views(audit, begin, end))


def permitted_views(audit: Audit, begin: int, end: int) -> int:
    """Return how many permitted views of patients there are in a period."""
    return audit.decision_number(
        """SELECT COUNT(*) FROM decision WHERE resource_type = 'patient' AND action = 'view' AND allowed
        AND reason <> 'searched' AND "at" >= :since AND "at" < :until""",
        since=begin,
        until=end,
    )


_ORPHANS = """
SELECT p.id AS patient, p.subscription_id AS subscription, 'no owner' AS why, NULL AS owner,
    CAST(NULL AS BIGINT) AS "grant", CAST(NULL AS BIGINT) AS standing_share, p.started_at AS since
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


@question(
    "Q12",
    "Which patients have no owner who works there, or two, or had none for a time? Which standing shares are of "
    "leavers?",
    "patients",
)
def orphans(audit: Audit) -> QuestionResult:
    """Return one row for each fault, with the fault in `why`."""
    table = audit.table(f"{_ORPHANS} ORDER BY 2, 1, 3, 5 LIMIT :most", now=audit.micros, most=MOST_ROWS + 1)
    live = "SELECT COUNT(*) FROM patient WHERE started_at <= :now AND ended_at > :now"
    return QuestionResult(table, audit.number(live, now=audit.micros))
