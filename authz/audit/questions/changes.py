"""Changes of access in a clinic between two dates, or between two reviews: gained, lost, by whom and why (Q28)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.errors import InvalidInput

_CHANGED = "since < :until AND until >= :since AND NOT (since < :since AND until >= :until)"
_HELD = """SELECT NULL AS change, NULL AS at, practitioner, how, patient, owner, "grant", standing_share, given_by,
    origin, ended_by, end_cause, reason, since, until FROM (
    SELECT g.practitioner_id AS practitioner, CASE WHEN g.role = 'owner' THEN 'owner'
            WHEN g.origin = 'emergency' THEN 'emergency' ELSE 'share' END AS how,
        g.patient_id AS patient, NULL AS owner, g.id AS "grant", CAST(NULL AS BIGINT) AS standing_share, g.given_by,
        g.origin, g.ended_by, g.end_cause, g.reason, g.started_at AS since, g.ended_at AS until
    FROM "grant" g JOIN patient p ON p.id = g.patient_id WHERE p.subscription_id = :subscription
    UNION ALL
    SELECT colleague_id, 'standing share', NULL, owner_id, NULL, id, given_by, '', ended_by, end_cause, reason,
        started_at, ended_at
    FROM standing_share WHERE subscription_id = :subscription
    UNION ALL
    SELECT practitioner_id, role, NULL, NULL, NULL, NULL, '', '', '', '', '', started_at, ended_at
    FROM membership WHERE subscription_id = :subscription) AS held"""


@question(
    "Q28",
    "What changed in this clinic between two dates, or two reviews: who gained or lost what, by whom, and why?",
    "grants, standing shares and memberships of this clinic",
    days=90,
)
def what_changed(
    audit: Audit,
    *,
    subscription: str,
    since: When = None,
    until: When = None,
    since_review: str = "",
    until_review: str = "",
) -> QuestionResult:
    """Return one row for each grant, standing share and membership that began or ended between the two.

    The `how` of a membership is its role. A review stands for the instant of its last verdict.
    """
    begin, end = audit.period(since, until)
    begin = _instant_of_review(audit, subscription, since_review) if since_review else begin
    end = _instant_of_review(audit, subscription, until_review) if until_review else end
    if begin > end:
        raise InvalidInput("since_review: lies after until")
    table = audit.table(
        f"{_HELD} WHERE {_CHANGED} ORDER BY since, practitioner, COALESCE(patient, owner), how LIMIT :most",
        subscription=subscription,
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        gained, lost = row["since"] >= begin, row["until"] < end
        row["change"] = "gained and lost" if gained and lost else "gained" if gained else "lost"
        row["at"] = row["since"] if gained else row["until"]
    table.rows.sort(key=lambda row: row["at"])
    checked = audit.number(f"SELECT COUNT(*) FROM ({_HELD}) AS everything", subscription=subscription)
    return QuestionResult(table, checked, (begin, end))


def _instant_of_review(audit: Audit, subscription: str, campaign: str) -> int:
    sql = "SELECT MAX(at) FROM review WHERE campaign = :campaign AND subscription_id = :subscription"
    at = audit.rows(sql, campaign=campaign, subscription=subscription)[0][0]
    if at is None:
        raise InvalidInput(f"the review {campaign} decided on nothing of {subscription}")
    return int(at)
