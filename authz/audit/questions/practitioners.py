"""The acts of a practitioner: questions and changes, denied patients, names that were shown (Q26, Q27, Q29)."""

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.domain import from_micros
from authz.errors import PolicyUnknown
from authz.policy.decision import Ref
from authz.policy.pdp import PDP

_PERIOD = "d.at >= :since AND d.at < :until"
_AS_SUBJECT = f"d.subject_type = 'practitioner' AND d.subject = :practitioner AND {_PERIOD}"
_AS_SUBJECT_OR_ACTOR = f"""((d.subject_type = 'practitioner' AND d.subject = :practitioner)
    OR d.actor = :practitioner) AND {_PERIOD}"""


@question(
    "Q26",
    "What did this practitioner do: what was asked for them, permitted or denied, and what did they change?",
    "decisions and events of theirs",
    days=90,
)
def what_did(audit: Audit, *, practitioner: str, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each decision and event of theirs, in one order, by default of the last 90 days.

    A change also has the decisions that permitted it.
    """
    begin, end = audit.period(since, until)
    values = {"practitioner": practitioner, "since": begin, "until": end, "most": MOST_ROWS + 1}
    decisions = audit.decision_table(
        f"""SELECT d.at AS at, 'asked' AS did, d.action AS action, d.resource_type AS resource_type,
            d.resource AS resource, d.allowed AS allowed, d.reason AS reason, d.rule AS rule, d.purpose AS purpose,
            d.client_id AS client, d.address AS address, d.id AS decision, NULL AS event
        FROM decision d WHERE {_AS_SUBJECT_OR_ACTOR} ORDER BY d.at, d.id LIMIT :most""",
        **values,
    )
    events = audit.table(
        """SELECT at, 'changed' AS did, kind AS action, CASE WHEN patient <> '' THEN 'patient' ELSE '' END
            AS resource_type, patient AS resource, NULL AS allowed, reason, '' AS rule, '' AS purpose, client, address,
            NULL AS decision, id AS event
        FROM event WHERE actor = :practitioner AND at >= :since AND at < :until ORDER BY at, id LIMIT :most""",
        **values,
    )
    rows = [*decisions.rows, *events.rows]
    rows.sort(key=lambda row: (row["at"], row["decision"] is None, row["decision"] or row["event"]))
    return QuestionResult(ResultTable(decisions.columns, rows), len(rows))


@question(
    "Q27",
    "Which patients did this practitioner try and was denied, how often, and were they ever permitted the same?",
    "decisions of theirs about patients",
    days=90,
)
def denied_patients(audit: Audit, *, practitioner: str, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each patient and action, by default of the last 90 days.

    A patient without a clinic does not exist: somebody may be guessing.
    """
    begin, end = audit.period(since, until)
    values = {"practitioner": practitioner, "since": begin, "until": end}
    table = audit.decision_table(
        f"""SELECT d.resource AS patient, p.subscription_id AS subscription, d.action AS action,
            SUM(CASE WHEN d.allowed THEN 0 ELSE 1 END) AS denials,
            MIN(CASE WHEN NOT d.allowed THEN d.at END) AS first, MAX(CASE WHEN NOT d.allowed THEN d.at END) AS last,
            SUM(CASE WHEN d.allowed THEN 1 ELSE 0 END) AS permitted
        FROM decision d LEFT JOIN patient p ON p.id = d.resource
        WHERE d.resource_type = 'patient' AND d.resource <> '' AND d.reason <> 'searched' AND {_AS_SUBJECT}
        GROUP BY d.resource, p.subscription_id, d.action
        HAVING SUM(CASE WHEN d.allowed THEN 0 ELSE 1 END) > 0 ORDER BY 4 DESC, 5, 1, 3 LIMIT :most""",
        **values,
        most=MOST_ROWS + 1,
    )
    checked = audit.decision_number(
        f"""SELECT COUNT(*) FROM decision d
        WHERE d.resource_type = 'patient' AND d.reason <> 'searched' AND {_AS_SUBJECT}""",
        **values,
    )
    return QuestionResult(table, checked)


@question(
    "Q29",
    "Whose names did a search or a list show to this practitioner: which patients, which colleagues?",
    "searches and lists",
    days=90,
)
def names_shown(
    audit: Audit, *, practitioner: str, since: When = None, until: When = None, most: int = 1000
) -> QuestionResult:
    """Return one row for each patient or colleague of the last `most` searches, by default of the last 90 days.

    The record holds how many a search found. Each search is made again, by its own policy and the facts of its
    instant: `certain` is whether it finds as many. If it finds more, it was a page or a search by text, and showed some
    of these. If its policy is not kept, today's policy answers and nothing is certain.
    """
    begin, end = audit.period(since, until)
    searches = audit.decision_rows(
        f"""SELECT d.at, d.action, d.resource_type, d.resource, d.size, d.client_id, d.id, d.policy_version,
            d.subject_type, d.subject
        FROM decision d WHERE d.reason = 'searched' AND {_AS_SUBJECT_OR_ACTOR}
        ORDER BY d.at DESC, d.id DESC LIMIT :most""",
        practitioner=practitioner,
        since=begin,
        until=end,
        most=most,
    )
    rows: list[tuple[object, ...]] = []
    for at, action, resource_type, resource, size, client, decision, version, subject_type, subject in searches:
        pdp = _pdp_of(audit, version)
        shows, ids = _search_again(
            audit,
            pdp or audit.pdp,
            practitioner,
            (subject_type, subject),
            action,
            (resource_type, resource),
            at,
        )
        certain = pdp is not None and len(ids) == size
        for name in ids if size != 0 else ():
            shown = (name, None) if shows == "patient" else (None, name)
            rows.append((at, action, resource_type, resource, *shown, certain, client, decision))
        if len(rows) > MOST_ROWS:
            break
    columns = "at action resource_type resource patient colleague certain client decision"
    return QuestionResult(ResultTable.of(columns, rows), len(searches))


def _pdp_of(audit: Audit, version: str) -> PDP | None:
    try:
        return audit.pdp.of_version(version)
    except PolicyUnknown:
        return None


def _search_again(
    audit: Audit, pdp: PDP, practitioner: str, subject: Ref, action: str, resource: Ref, at: int
) -> tuple[str, list[str]]:
    """Return what a search finds at that instant: ``patient`` or ``practitioner``, and their ids; no other types."""
    now, (kind, name) = from_micros(at), resource
    if action == "receive":
        resources = [resource] if name else [("subscription", clinic) for clinic in _clinics(audit, practitioner, at)]
        people = {who for ref in resources for who in pdp.search_subjects("practitioner", action, ref, now=now)}
        return "practitioner", sorted(people - {practitioner})
    if name:
        if subject[0] != "practitioner":
            return "practitioner", []
        return "practitioner", pdp.search_subjects(subject[0], action, resource, now=now)
    return "patient", pdp.search_resources(subject, action, kind, now=now) if kind == "patient" else []


def _clinics(audit: Audit, practitioner: str, at: int) -> list[str]:
    rows = audit.rows(
        """SELECT DISTINCT subscription_id FROM membership
        WHERE practitioner_id = :practitioner AND started_at <= :at AND ended_at > :at ORDER BY 1""",
        practitioner=practitioner,
        at=at,
    )
    return [clinic for (clinic,) in rows]
