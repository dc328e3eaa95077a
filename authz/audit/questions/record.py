"""The record itself: whole, unaltered, in agreement with what stands, and who read it (Q21, Q22, Q24)."""

import orjson

from authz.audit.catalog.question import Found, question
from authz.audit.permissions import names_readable
from authz.audit.session import MOST_ROWS, Audit, When
from authz.audit.verify import NOT, VERIFIED
from authz.domain import FOREVER, parse_instant, to_micros
from authz.record import replay_facts

_BACKWARDS = {
    "event": "the clock of the events",
    "decision": "the clock of the decisions",
}


@question("Q21", "check ok problem", "rows of the record")
def record_whole(audit: Audit, *, tolerance: int = 300) -> Found:
    """Is the record complete and unaltered: the tree against its checkpoint, and no clock set back?

    `tolerance`: so many seconds may a row be earlier than one before it, for a request that waited or another server.
    """
    verdict = audit.verification.verdict
    rows = [("the tree and its checkpoint", verdict.word != NOT, None if verdict.word == VERIFIED else str(verdict))]
    for table, what in _BACKWARDS.items():
        column = "at" if table == "event" else "asked_at"
        among = "PARTITION BY subscription" if table == "event" else ""  # each subscription's events have their order
        found = audit.rows(
            f"""SELECT id, fell FROM (SELECT id, MAX({column}) OVER ({among} ORDER BY id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - {column} AS fell FROM {table}) AS run
            WHERE fell > :tolerance ORDER BY id LIMIT 1""",
            tolerance=tolerance * 1_000_000,
        )
        problem = f"row {found[0][0]} is {found[0][1] // 1_000_000} seconds earlier than one before it" if found else ""
        rows.append((what, not found, problem))
    checked = audit.number("SELECT (SELECT COUNT(*) FROM event) + (SELECT COUNT(*) FROM decision)")
    return Found(rows, checked)


@question("Q22", "noun side practitioner patient subscription role since until policy_version", "events")
def reconciliation(audit: Audit) -> Found:
    """Which facts stand without an event, or are told by the events and do not stand? Now, whatever the instant."""
    with names_readable(audit.database):  # only hashed
        read, differences, _ = replay_facts(audit.database, MOST_ROWS + 1)
    told = []
    for one in differences:
        row = orjson.loads(one.row)
        since, until = (
            None if row.get(at) is None else to_micros(parse_instant(row[at])) for at in ("started_at", "ended_at")
        )
        who = row.get("practitioner") or row.get("colleague")
        named = (row.get(name) for name in ("patient", "subscription", "role"))
        told.append((one.noun, one.side, who, *named, since, until, row.get("version")))
    return Found(told, read)


@question("Q24", "at reader question parameters rows reason event", "readings of the audit", days=90)
def audit_reads(audit: Audit, *, since: When = None, until: When = FOREVER) -> Found:
    """Who read the audit, which question with what parameters, how many rows; who took what away in a file?

    Until the present unless said otherwise: readings are of the real time, whatever instant is asked about.
    """
    begin, end = audit.period(since, until)
    rows = audit.rows(
        """SELECT id, at, kind, body, reason FROM event WHERE kind IN ('audit:read', 'audit:exported')
        AND at >= :since AND at < :until ORDER BY id DESC LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    told = []
    for number, at, kind, body, reason in rows:
        said = audit.json(body)
        parameters = said.get("parameters") or {}
        what = said.get("name", "") if kind == "audit:read" else f"exported {said.get('file', '')}"
        asked = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS).decode()
        told.append((at, said.get("reader"), what, asked, said.get("rows"), reason, number))
    every = "SELECT COUNT(*) FROM event WHERE kind IN ('audit:read', 'audit:exported')"
    return Found(told, audit.number(every))
