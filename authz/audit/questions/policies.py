"""The policies that decided, their loading, and their decisions if the same questions are asked again (Q20)."""

from pathlib import Path
from typing import Any

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.session import MOST_ROWS, TODAY, Audit
from authz.audit.times import When
from authz.domain import from_micros
from authz.errors import PolicyUnknown
from authz.policy.compiler import load
from authz.policy.decision import Decision
from authz.policy.difference import PolicyDifference
from authz.policy.history import IN_FORCE, version_loaded
from authz.policy.pdp import PDP

_EVALUATED = """reason <> 'searched' AND ("at" >= :since AND "at" < :until OR "at" <= 0)"""


@question(
    "Q20",
    "Which policy versions decided, how often, from when to when, and when was each first loaded, and from where?",
    "decisions",
    days=365,
)
def policies_in_force(audit: Audit, *, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each version.

    `kept`: whether the database holds the text of the policy, so that questions about the past can be asked of it.
    """
    begin, end = audit.period(since, until)
    table = audit.decision_table(
        """SELECT policy_version AS policy_version, COUNT(*) AS decisions, MIN("at") AS first, MAX("at") AS last,
            NULL AS loaded_at, NULL AS source, NULL AS kept
        FROM decision WHERE "at" >= :since AND "at" < :until
        GROUP BY policy_version ORDER BY 3, 1 LIMIT :most""",
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    loads: dict[str, tuple[int, str]] = {}
    for at, body in audit.rows(f"SELECT at, body FROM event WHERE {IN_FORCE} ORDER BY id"):
        version, source = version_loaded(audit.parse_body(body))
        loads.setdefault(version, (at, source))
    kept = {version for (version,) in audit.rows("SELECT version FROM policy_text")}
    for row in table.rows:
        row["loaded_at"], row["source"] = loads.get(row["policy_version"], (None, None))
        row["kept"] = row["policy_version"] in kept
    return QuestionResult(table, sum(row["decisions"] for row in table.rows))


@question(
    "Q20",
    "Which decisions would their own policy, asked about the same facts at the same instant, answer differently?",
    "decisions asked again",
    days=90,
)
def replayed_decisions(
    audit: Audit, *, since: When = None, until: When = None, most: int = MOST_ROWS, policy: str = ""
) -> QuestionResult:
    """Return one row for each of the last `most` decisions that differs or cannot be asked again.

    `why` says what is wrong: the answers differ, the policy of the decision is not known, or the decision has no
    instant. `policy` asks another policy instead: ``today``, or a version. A fact may begin or end in the very
    microsecond of a decision; the answer is then the same if it is the same just before or just after. The record does
    not hold what a policy reads from the request itself; such a decision may differ for that alone.
    """
    begin, end = audit.period(since, until)
    decisions = audit.decision_rows(
        f"""SELECT "at", id, subject_type, subject, action, resource_type, resource, policy_version, allowed, rule
        FROM decision WHERE {_EVALUATED} ORDER BY "at" DESC, id DESC LIMIT :most""",
        since=begin,
        until=end,
        most=most,
    )
    chosen = audit.pdp_in_force(policy) if policy else None
    unknown = {"": "no policy version is recorded of it"}
    rows = []
    for decision in reversed(decisions):
        why, replayed = _replay(chosen or _pdp_of(audit, decision[7], unknown), decision)
        if why:
            at, number, _, *evaluation, allowed, rule = decision
            again = (None, None) if replayed is None else (replayed.allowed, replayed.rule)
            rows.append((at, *evaluation, allowed, rule, *again, why, number))
    columns = "at practitioner action resource_type resource policy_version allowed rule replayed_allowed replayed_rule"
    return QuestionResult(ResultTable.of(f"{columns} why decision", rows), len(decisions))


@question(
    "Q20",
    "Who would gain and who would lose what, and by which rule, if another policy decided?",
    "permits of changed actions",
)
def policy_changes(audit: Audit, *, candidate: str = TODAY, policy: str = "") -> QuestionResult:
    """Return one row for each permit that only one of two policies gives on the facts of the instant.

    `candidate` is the other policy: a folder, a version that served here, or ``today``. It replaces the policy that was
    in force then, or the one that `policy` names. A subject that is no practitioner is shown with its type. What a
    condition reads from a request is absent: an action whose decisions may differ by it has a row ``unknown``.
    """
    difference = PolicyDifference(audit.pdp_in_force(policy), _candidate(audit, candidate), audit.now)
    rows: list[tuple[Any, ...]] = [("unknown", None, name[1], name[2], *[None] * 3) for name in difference.undecided]
    for change in difference.changes():
        if len(rows) <= MOST_ROWS:
            kind, name = change.subject
            subject = name if kind == "practitioner" else f"{kind}:{name}"
            rows.append(
                (
                    "gained" if change.gained else "lost",
                    subject,
                    change.action,
                    *change.resource,
                    change.rule,
                    change.grant,
                )
            )
    columns = "change practitioner action resource_type resource rule grant"
    checked = difference.gained + difference.lost + difference.kept
    return QuestionResult(ResultTable.of(columns, rows), checked)


def _candidate(audit: Audit, name: str) -> PDP:
    """Return the decision point of a folder, of a version that served here, or of today's policy."""
    if Path(name).is_dir():
        return audit.pdp.with_policy(load(name))
    return audit.pdp if name == TODAY else audit.pdp.of_version(name)


def _pdp_of(audit: Audit, version: str, unknown: dict[str, str]) -> PDP | str:
    """Return the decision point of a version, or why there is none; `unknown` remembers the reason."""
    if version not in unknown:
        try:
            return audit.pdp.of_version(version)
        except PolicyUnknown as error:
            unknown[version] = str(error)
    return unknown[version]


def _replay(pdp: PDP | str, row: tuple[Any, ...]) -> tuple[str, Decision | None]:
    """Return what is wrong with a decision (empty if nothing is), and the decision that the policy makes now."""
    at, _, subject_type, subject, action, resource_type, resource, _, allowed, _ = row
    if isinstance(pdp, str):
        return pdp, None
    if at <= 0:
        return "no instant is recorded of it", None
    evaluation = (subject_type, subject), action, (resource_type, resource)
    replayed = pdp.evaluate(*evaluation, now=from_micros(at))
    same = replayed.allowed == bool(allowed)
    same = same or pdp.evaluate(*evaluation, now=from_micros(at - 1)).allowed == bool(allowed)
    return "" if same else "the policy answers differently", replayed
