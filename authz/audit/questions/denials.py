"""Denied attempts, by who tried, what was tried and why not (Q17)."""

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When, offset

_BY = {
    "practitioner": "CASE WHEN actor <> '' THEN actor ELSE subject END",
    "patient": "CASE WHEN resource_type = 'patient' THEN resource ELSE '' END",
    "client": "CAST(client_id AS TEXT)",
    "reason": "reason",
}


@question("Q17", "resource denials days patients_a_day colleagues_a_day first last enumeration", "decisions", days=90)
def denied_attempts(
    audit: Audit, *, by: str = "practitioner", since: When = None, until: When = None, many: int = 20
) -> Found:
    """Who was denied how often, about how many patients and recipients on one day, and does it look like trying?

    Grouped by ``practitioner`` (on whose behalf it was asked), ``patient``, ``client`` or ``reason``; `resource` is the
    one counted. Trying is to be denied about `many` different patients, or with as many different recipients, on one
    day. Within 90 days unless said otherwise.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        f"""SELECT who, SUM(denials), COUNT(*), MAX(patients), MAX(recipients), MIN(begun), MAX(ended) FROM (
            SELECT {_BY[by]} AS who, "at" - ("at" + :offset) % :day AS started, COUNT(*) AS denials,
                COUNT(DISTINCT CASE WHEN resource_type = 'patient' THEN resource END) AS patients,
                COUNT(DISTINCT CASE WHEN action = 'receive' THEN subject END) AS recipients,
                MIN("at") AS begun, MAX("at") AS ended
            FROM decision WHERE NOT allowed AND "at" >= :since AND "at" < :until GROUP BY 1, 2) AS daily
        GROUP BY who ORDER BY 2 DESC, 1 LIMIT :most""",
        since=begin,
        until=end,
        offset=offset(end, audit.tz),
        day=86_400_000_000,
        most=MOST_ROWS + 1,
    )
    every = audit.decided(
        """SELECT COUNT(*) FROM decision WHERE "at" >= :since AND "at" < :until""", since=begin, until=end
    )
    told = [(*row, by != "patient" and (row[3] >= many or row[4] >= many)) for row in rows]
    return Found(told, int(every[0][0]))
