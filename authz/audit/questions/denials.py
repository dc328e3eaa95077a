"""Denied attempts, by who tried, what was tried and why it was denied (Q17)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When, utc_offset

_GROUPS = {
    "practitioner": "CASE WHEN actor <> '' THEN actor ELSE subject END",
    "patient": "CASE WHEN resource_type = 'patient' THEN resource ELSE '' END",
    "client": "CAST(client_id AS TEXT)",
    "reason": "reason",
}


@question(
    "Q17",
    "Who was denied how often, about how many patients and recipients on one day, and does it look like trying?",
    "decisions",
    days=90,
)
def denied_attempts(
    audit: Audit, *, by: str = "practitioner", since: When = None, until: When = None, many: int = 20
) -> QuestionResult:
    """Return one row for each of those that `by` groups by, by default of the last 90 days.

    `by` is ``practitioner`` (on whose behalf an app asked), ``patient``, ``client`` or ``reason``; `resource` is the
    one counted. Somebody looks like trying who is denied about `many` different patients, or with as many different
    recipients, on one day.
    """
    begin, end = audit.period(since, until)
    table = audit.decision_table(
        f"""SELECT tried AS resource, SUM(denied) AS denials, COUNT(*) AS days, MAX(patients) AS patients_a_day,
            MAX(recipients) AS colleagues_a_day, MIN(earliest) AS first, MAX(latest) AS last, NULL AS enumeration
        FROM (
            SELECT {_GROUPS[by]} AS tried, "at" - ("at" + :offset) % :day AS midnight, COUNT(*) AS denied,
                COUNT(DISTINCT CASE WHEN resource_type = 'patient' THEN resource END) AS patients,
                COUNT(DISTINCT CASE WHEN action = 'receive' THEN subject END) AS recipients,
                MIN("at") AS earliest, MAX("at") AS latest
            FROM decision WHERE NOT allowed AND "at" >= :since AND "at" < :until GROUP BY 1, 2) AS daily
        GROUP BY tried ORDER BY 2 DESC, 1 LIMIT :most""",
        since=begin,
        until=end,
        offset=utc_offset(end, audit.tz),
        day=86_400_000_000,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        row["enumeration"] = by != "patient" and max(row["patients_a_day"], row["colleagues_a_day"]) >= many
    checked = audit.decision_number(
        """SELECT COUNT(*) FROM decision WHERE "at" >= :since AND "at" < :until""", since=begin, until=end
    )
    return QuestionResult(table, checked)
