"""Leavers and lapses: what was permitted to somebody who did not work there any more (Q8)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When


@question(
    "Q8",
    "What was permitted to somebody whose membership or subscription had ended at that instant? There must be none.",
    "permitted decisions about patients",
    days=365,
)
def allowed_after_leaving(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each such decision.

    Compares the decisions with the memberships and licences, without asking the policy. A search permits nothing.
    """
    begin, end = audit.period(since, until)
    table = audit.decision_table(
        """SELECT d.at AS at, d.subject AS practitioner, d.action AS action, d.resource AS patient,
            p.subscription_id AS subscription, d.rule AS rule, d."grant" AS "grant",
            CASE WHEN EXISTS (SELECT 1 FROM membership m WHERE m.practitioner_id = d.subject
                AND m.subscription_id = p.subscription_id AND m.started_at <= d.at AND m.ended_at >= d.at)
                THEN 'the subscription had lapsed' ELSE 'no membership' END AS why,
            NULL AS ended, NULL AS lag, d.id AS decision,
            (SELECT MAX(m.ended_at) FROM membership m WHERE m.practitioner_id = d.subject
                AND m.subscription_id = p.subscription_id AND m.ended_at < d.at) AS _membership_ended,
            (SELECT MAX(l.ended_at) FROM licence l WHERE l.subscription_id = p.subscription_id
                AND l.ended_at < d.at) AS _licence_ended
        FROM decision d JOIN patient p ON p.id = d.resource
        WHERE d.resource_type = 'patient' AND d.subject_type = 'practitioner' AND d.allowed AND d.reason <> 'searched'
            AND d.at >= :since AND d.at < :until
            AND (NOT EXISTS (SELECT 1 FROM membership m WHERE m.practitioner_id = d.subject
                    AND m.subscription_id = p.subscription_id AND m.started_at <= d.at AND m.ended_at >= d.at)
                OR NOT EXISTS (SELECT 1 FROM licence l WHERE l.subscription_id = p.subscription_id
                    AND l.started_at <= d.at AND l.ended_at >= d.at))
        ORDER BY d.at, d.id LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        lapsed = row["why"] == "the subscription had lapsed"
        ended = row["_licence_ended"] if lapsed else row["_membership_ended"]
        row["ended"] = ended
        row["lag"] = None if ended is None else (row["at"] - ended) // 1_000_000
    checked = audit.decision_number(
        """SELECT COUNT(*) FROM decision WHERE resource_type = 'patient' AND allowed AND reason <> 'searched'
        AND "at" >= :since AND "at" < :until""",
        since=begin,
        until=end,
    )
    return QuestionResult(table, checked)
