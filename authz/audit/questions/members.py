"""Leavers and lapses: what was permitted to somebody who did not work there any more (Q8)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When


@question(
    "Q8",
    "at practitioner action patient subscription rule grant why ended lag decision",
    "permitted decisions about patients",
    days=365,
)
def allowed_after_leaving(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """What was permitted to somebody whose membership or subscription had ended at that instant? There must be none.

    Compares the decisions with the memberships and licences, apart from the policy. A search permits nothing.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        """SELECT d.at, d.subject, d.action, d.resource, p.subscription_id, d.rule, d."grant",
            CASE WHEN EXISTS (SELECT 1 FROM membership m WHERE m.practitioner_id = d.subject
                AND m.subscription_id = p.subscription_id AND m.started_at <= d.at AND m.ended_at >= d.at)
                THEN 'the subscription had lapsed' ELSE 'no membership' END,
            (SELECT MAX(m.ended_at) FROM membership m WHERE m.practitioner_id = d.subject
                AND m.subscription_id = p.subscription_id AND m.ended_at < d.at),
            (SELECT MAX(l.ended_at) FROM licence l WHERE l.subscription_id = p.subscription_id AND l.ended_at < d.at),
            d.id
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
    told = []
    for at, *what, why, left, lapsed, decision in rows:
        ended = lapsed if why == "the subscription had lapsed" else left
        told.append((at, *what, why, ended, None if ended is None else (at - ended) // 1_000_000, decision))
    counted = audit.decided(
        """SELECT COUNT(*) FROM decision WHERE resource_type = 'patient' AND allowed AND reason <> 'searched'
        AND "at" >= :since AND "at" < :until""",
        since=begin,
        until=end,
    )
    return Found(told, int(counted[0][0]))
