"""The record itself: whole, unaltered, equal to the tables, and who read it (Q21, Q22, Q24)."""

import orjson

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.permissions import names_readable
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.audit.verify import NOT, VERIFIED
from authz.domain import FOREVER, parse_instant, to_micros
from authz.record import replay_facts

_CLOCKS = {
    "event": "the clock of the events",
    "decision": "the clock of the decisions",
}


@question(
    "Q21",
    "Is the record complete and unaltered: the tree against its checkpoint, and no clock set back?",
    "rows of the record",
)
def record_whole(audit: Audit, *, tolerance: int = 300) -> QuestionResult:
    """Return one row for each check.

    A row may be `tolerance` seconds earlier than a row before it: its request waited, or another server took it.
    """
    verdict = audit.verification.verdict
    rows = [("the tree and its checkpoint", verdict.word != NOT, None if verdict.word == VERIFIED else str(verdict))]
    for table, check in _CLOCKS.items():
        column = "at" if table == "event" else "asked_at"
        among = "PARTITION BY subscription" if table == "event" else ""  # each subscription's events have their order
        earlier = audit.rows(
            f"""SELECT id, fell FROM (SELECT id, MAX({column}) OVER ({among} ORDER BY id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - {column} AS fell FROM {table}) AS run
            WHERE fell > :tolerance ORDER BY id LIMIT 1""",
            tolerance=tolerance * 1_000_000,
        )
        problem = "".join(
            f"row {row} is {micros // 1_000_000} seconds earlier than one before it" for row, micros in earlier
        )
        rows.append((check, not earlier, problem))
    checked = audit.number("SELECT (SELECT COUNT(*) FROM event) + (SELECT COUNT(*) FROM decision)")
    return QuestionResult(ResultTable.of("check ok problem", rows), checked)


@question(
    "Q22",
    "Which facts stand without an event, or are told by the events and do not stand? Now, whatever the instant.",
    "events",
)
def reconciliation(audit: Audit) -> QuestionResult:
    """Return one row for each fact that the events and the tables do not both have."""
    with names_readable(audit.database):  # names are only hashed
        read, differences, _ = replay_facts(audit.database, MOST_ROWS + 1)
    rows = []
    for difference in differences:
        fact = orjson.loads(difference.row)
        since, until = (
            None if fact.get(name) is None else to_micros(parse_instant(fact[name]))
            for name in ("started_at", "ended_at")
        )
        practitioner = fact.get("practitioner") or fact.get("colleague")
        others = (fact.get(name) for name in ("patient", "subscription", "role"))
        rows.append((difference.noun, difference.side, practitioner, *others, since, until, fact.get("version")))
    columns = "noun side practitioner patient subscription role since until policy_version"
    return QuestionResult(ResultTable.of(columns, rows), read)


@question(
    "Q24",
    "Who read the audit, which question with what parameters, how many rows; who took what away in a file?",
    "readings of the audit",
    days=90,
)
def audit_reads(audit: Audit, *, since: When = None, until: When = FOREVER) -> QuestionResult:
    """Return one row for each reading, the last one first.

    The period ends at the present by default: somebody reads at a real instant, whichever instant they ask about.
    """
    begin, end = audit.period(since, until)
    table = audit.table(
        """SELECT at, NULL AS reader, NULL AS question, NULL AS parameters, NULL AS rows, reason, id AS event,
            kind AS _kind, body AS _body
        FROM event WHERE kind IN ('audit:read', 'audit:exported') AND at >= :since AND at < :until
        ORDER BY id DESC LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        body = audit.parse_body(row["_body"])
        exported = row["_kind"] == "audit:exported"
        row["reader"], row["rows"] = body.get("reader"), body.get("rows")
        row["question"] = f"exported {body.get('file', '')}" if exported else body.get("name", "")
        row["parameters"] = orjson.dumps(body.get("parameters") or {}, option=orjson.OPT_SORT_KEYS).decode()
    checked = audit.number("SELECT COUNT(*) FROM event WHERE kind IN ('audit:read', 'audit:exported')")
    return QuestionResult(table, checked)
