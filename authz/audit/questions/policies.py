"""Which policy decided, who loaded it, and what today's would say of the same facts (Q20)."""

from itertools import groupby
from typing import Any

from authz.audit.answers import Found, question
from authz.audit.reading import MOST_ROWS, Audit, When
from authz.decisions import Decision
from authz.terms import from_micros

_ASKED = """reason <> 'searched' AND "at" >= :since AND "at" < :until"""


@question("Q20", "policy_version decisions first last loaded_at source", "decisions", days=365)
def policies_in_force(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """Which policy versions decided, how often, from when to when, and when was each first loaded, and from where?"""
    begin, end = audit.period(since, until)
    rows = audit.decided(
        """SELECT policy_version, COUNT(*), MIN("at"), MAX("at") FROM decision WHERE "at" >= :since AND "at" < :until
        GROUP BY policy_version ORDER BY 3, 1 LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    loads: dict[str, tuple[int, str]] = {}
    for at, body in audit.rows("SELECT at, body FROM event WHERE kind = 'policy:loaded' ORDER BY id"):
        told = audit.json(body)
        loads.setdefault(told["policy_version"], (at, told["source"]))
    found = [(*row, *loads.get(row[0], (None, None))) for row in rows]
    return Found(found, sum(row[1] for row in rows))


@question(
    "Q20",
    "at practitioner action resource_type resource policy_version allowed rule now_allowed now_rule decision",
    "decisions asked again",
    days=90,
)
def replayed_decisions(audit: Audit, *, since: When = None, until: When = None, most: int = MOST_ROWS) -> Found:
    """Which decisions would today's policy, asked about the same facts at the same instant, answer differently?

    The last `most` decisions. A fact may begin or end in the very microsecond of a decision: either side of it counts.
    What a policy reads from the request itself is not recorded; such a decision may differ for that alone.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        f"""SELECT "at", id, subject_type, subject, action, resource_type, resource, policy_version, allowed, rule
        FROM decision WHERE {_ASKED} ORDER BY "at" DESC, id DESC LIMIT :most""",
        since=begin,
        until=end,
        most=most,
    )
    told: list[Any] = []
    for at, some in groupby(reversed(rows), key=lambda row: row[0]):
        told += [row for row in _again(audit, at, list(some)) if row is not None]
    return Found(told, len(rows))


def _again(audit: Audit, at: int, rows: list[Any]) -> list[Any]:
    asked = [((row[2], row[3]), row[4], (row[5], row[6])) for row in rows]
    answers = [_one(audit, question, at) for question in asked]
    told = []
    for row, one, now in zip(rows, asked, answers, strict=True):
        _, number, _, who, action, kind, resource, version, allowed, rule = row
        if now.allowed != bool(allowed) and _one(audit, one, at - 1).allowed != bool(allowed):
            told.append((at, who, action, kind, resource, version, allowed, rule, now.allowed, now.rule, number))
    return told


def _one(audit: Audit, asked: Any, at: int) -> Decision:
    subject, action, resource = asked
    return audit.pdp.evaluate(subject, action, resource, from_micros(at))
