"""What changed in a clinic between two dates, or between two reviews: gained, lost, by whom and why (Q28)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When
from authz.errors import InvalidInput

_CHANGED = "started_at < :until AND ended_at >= :since AND NOT (started_at < :since AND ended_at >= :until)"
_HELD = """SELECT practitioner, patient, how, "grant", standing_share, started_at, ended_at, given_by, ended_by,
    origin, end_cause, reason FROM (
    SELECT g.practitioner_id AS practitioner, g.patient_id AS patient,
        CASE WHEN g.role = 'owner' THEN 'owner' ELSE 'share' END AS how, g.id AS "grant",
        CAST(NULL AS BIGINT) AS standing_share, g.started_at, g.ended_at, g.given_by, g.ended_by, g.origin, g.end_cause,
        g.reason
    FROM "grant" g JOIN patient p ON p.id = g.patient_id WHERE p.subscription_id = :subscription
    UNION ALL
    SELECT colleague_id, owner_id, 'standing share', NULL, id, started_at, ended_at, given_by, ended_by, '', end_cause,
        reason
    FROM standing_share WHERE subscription_id = :subscription
    UNION ALL
    SELECT practitioner_id, NULL, role, NULL, NULL, started_at, ended_at, '', '', '', '', ''
    FROM membership WHERE subscription_id = :subscription) AS held"""


@question(
    "Q28",
    "change at practitioner how patient owner grant standing_share given_by origin ended_by end_cause reason "
    "since until",
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
) -> Found:
    """What changed in this clinic between two dates, or two reviews: who gained or lost what, by whom, and why?

    A grant on a patient, what an owner shares with a colleague, a membership (`how` is then the role). What was gained
    and lost in between is there, too. A review stands for the instant of its last verdict.
    """
    begin, end = audit.period(since, until)
    begin = _review(audit, subscription, since_review) if since_review else begin
    end = _review(audit, subscription, until_review) if until_review else end
    if begin > end:
        raise InvalidInput("since_review: lies after until")
    values = {"subscription": subscription, "since": begin, "until": end}
    rows = audit.rows(
        f"{_HELD} WHERE {_CHANGED} ORDER BY started_at, practitioner, patient, how LIMIT :most",
        **values,
        most=MOST_ROWS + 1,
    )
    told = []
    for who, patient, how, grant, share, started, ended, given_by, ended_by, origin, cause, reason in rows:
        gained, lost = started >= begin, ended < end
        change = "gained and lost" if gained and lost else "gained" if gained else "lost"
        about = (None, patient) if share is not None else (patient, None)
        life = (started, ended)
        row = (who, how, *about, grant, share, given_by, origin, ended_by, cause, reason, *life)
        told.append((change, started if gained else ended, *row))
    checked = audit.number(f"SELECT COUNT(*) FROM ({_HELD}) AS every", subscription=subscription)
    return Found(sorted(told, key=lambda row: row[1]), checked, (begin, end))


def _review(audit: Audit, subscription: str, campaign: str) -> int:
    sql = "SELECT MAX(at) FROM review WHERE campaign = :campaign AND subscription_id = :subscription"
    at = audit.rows(sql, campaign=campaign, subscription=subscription)[0][0]
    if at is None:
        raise InvalidInput(f"the review {campaign} decided on nothing of {subscription}")
    return int(at)
