"""Which policy decided, who loaded it, and what it says of the same facts if it is asked again (Q20)."""

from typing import Any

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When
from authz.domain import from_micros
from authz.errors import PolicyUnknown
from authz.policy.decision import Decision
from authz.policy.history import version_loaded
from authz.policy.pdp import PDP

_ASKED = """reason <> 'searched' AND ("at" >= :since AND "at" < :until OR "at" <= 0)"""


@question("Q20", "policy_version decisions first last loaded_at source kept", "decisions", days=365)
def policies_in_force(audit: Audit, *, since: When = None, until: When = None) -> Found:
    """Which policy versions decided, how often, from when to when, and when was each first loaded, and from where?

    `kept`: whether its text is in the database, so that questions about the past can be asked of it.
    """
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
        version, source = version_loaded(audit.json(body))
        loads.setdefault(version, (at, source))
    kept = {version for (version,) in audit.rows("SELECT version FROM policy_text")}
    found = [(*row, *loads.get(row[0], (None, None)), row[0] in kept) for row in rows]
    return Found(found, sum(row[1] for row in rows))


@question(
    "Q20",
    "at practitioner action resource_type resource policy_version allowed rule replayed_allowed replayed_rule why "
    "decision",
    "decisions asked again",
    days=90,
)
def replayed_decisions(
    audit: Audit, *, since: When = None, until: When = None, most: int = MOST_ROWS, policy: str = ""
) -> Found:
    """Which decisions would their own policy, asked about the same facts at the same instant, answer differently?

    The last `most` decisions; `why` says what is wrong, or why a decision cannot be asked again: its policy is not
    known, or it has no instant. `policy` asks another policy instead: ``today``, or a version. A fact may begin or end
    in the very microsecond of a decision: either side of it counts. What a policy reads from the request itself is not
    recorded; such a decision may differ for that alone.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        f"""SELECT "at", id, subject_type, subject, action, resource_type, resource, policy_version, allowed, rule
        FROM decision WHERE {_ASKED} ORDER BY "at" DESC, id DESC LIMIT :most""",
        since=begin,
        until=end,
        most=most,
    )
    chosen = audit.decider(policy) if policy else None
    unknown = {"": "no policy version is recorded of it"}
    lines = []
    for row in reversed(rows):
        why, again = _again(chosen or _decider(audit, row[7], unknown), row)
        if why:
            at, number, _, *question, allowed, rule = row
            replayed = (None, None) if again is None else (again.allowed, again.rule)
            lines.append((at, *question, allowed, rule, *replayed, why, number))
    return Found(lines, len(rows))


def _decider(audit: Audit, version: str, unknown: dict[str, str]) -> PDP | str:
    """The PDP of a version, or why there is none, which `unknown` remembers."""
    if version not in unknown:
        try:
            return audit.pdp.of_version(version)
        except PolicyUnknown as error:
            unknown[version] = str(error)
    return unknown[version]


def _again(decider: PDP | str, row: Any) -> tuple[str, Decision | None]:
    """What is wrong with a decision, empty if nothing is, and what it would be if it were made again."""
    at, _, kind, who, action, resource_type, resource, _, allowed, _ = row
    if isinstance(decider, str):
        return decider, None
    if at <= 0:
        return "no instant is recorded of it", None
    question = (kind, who), action, (resource_type, resource)
    again = decider.evaluate(*question, now=from_micros(at))
    same = again.allowed == bool(allowed)
    same = same or decider.evaluate(*question, now=from_micros(at - 1)).allowed == bool(allowed)
    return "" if same else "the policy answers differently", again
