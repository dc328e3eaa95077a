"""What somebody did: what they asked and changed, whom they tried, whose names they were shown (Q26, Q27, Q29)."""

from collections.abc import Iterable
from typing import Any

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When
from authz.domain import from_micros
from authz.errors import PolicyUnknown
from authz.policy.decision import Ref
from authz.policy.pdp import PDP

_PERIOD = "d.at >= :since AND d.at < :until"
_FOR_THEM = f"d.subject_type = 'practitioner' AND d.subject = :who AND {_PERIOD}"
_THEIRS = f"((d.subject_type = 'practitioner' AND d.subject = :who) OR d.actor = :who) AND {_PERIOD}"


@question(
    "Q26",
    "at did action resource_type resource allowed reason rule purpose client address decision event",
    "decisions and events of theirs",
    days=90,
)
def what_did(audit: Audit, *, practitioner: str, since: When = None, until: When = None) -> Found:
    """What did this practitioner do: what was asked for them, permitted or denied, and what did they change?

    Both in one order, within 90 days unless said otherwise. A change also has the decisions that permitted it.
    """
    begin, end = audit.period(since, until)
    values = {"who": practitioner, "since": begin, "until": end, "most": MOST_ROWS + 1}
    asked = audit.decided(
        f"""SELECT d.at, 'asked', d.action, d.resource_type, d.resource, d.allowed, d.reason, d.rule, d.purpose,
            d.client_id, d.address, d.id, NULL
        FROM decision d WHERE {_THEIRS} ORDER BY d.at, d.id LIMIT :most""",
        **values,
    )
    changed = audit.rows(
        """SELECT at, 'changed', kind, CASE WHEN patient <> '' THEN 'patient' ELSE '' END, patient, NULL, reason, '',
            '', client, address, NULL, id
        FROM event WHERE actor = :who AND at >= :since AND at < :until ORDER BY at, id LIMIT :most""",
        **values,
    )
    rows = sorted([*asked, *changed], key=lambda row: (row[0], row[11] is None, row[11] or row[12]))
    return Found(rows, len(rows))


@question(
    "Q27", "patient subscription action denials first last permitted", "decisions of theirs about patients", days=90
)
def denied_patients(audit: Audit, *, practitioner: str, since: When = None, until: When = None) -> Found:
    """Which patients did this practitioner try and was denied, how often, and were they ever permitted the same?

    A patient without a clinic does not exist: somebody may be guessing. Within 90 days unless said otherwise.
    """
    begin, end = audit.period(since, until)
    values = {"who": practitioner, "since": begin, "until": end}
    rows = audit.decided(
        f"""SELECT d.resource, p.subscription_id, d.action, SUM(CASE WHEN d.allowed THEN 0 ELSE 1 END),
            MIN(CASE WHEN NOT d.allowed THEN d.at END), MAX(CASE WHEN NOT d.allowed THEN d.at END),
            SUM(CASE WHEN d.allowed THEN 1 ELSE 0 END)
        FROM decision d LEFT JOIN patient p ON p.id = d.resource
        WHERE d.resource_type = 'patient' AND d.resource <> '' AND d.reason <> 'searched' AND {_FOR_THEM}
        GROUP BY d.resource, p.subscription_id, d.action
        HAVING SUM(CASE WHEN d.allowed THEN 0 ELSE 1 END) > 0 ORDER BY 4 DESC, 5, 1, 3 LIMIT :most""",
        **values,
        most=MOST_ROWS + 1,
    )
    every = (
        f"SELECT COUNT(*) FROM decision d WHERE d.resource_type = 'patient' AND d.reason <> 'searched' AND {_FOR_THEM}"
    )
    return Found(rows, int(audit.decided(every, **values)[0][0]))


@question(
    "Q29", "at action resource_type resource patient colleague certain client decision", "searches and lists", days=90
)
def names_shown(audit: Audit, *, practitioner: str, since: When = None, until: When = None, most: int = 1000) -> Found:
    """Whose names did a search or a list show to this practitioner: which patients, which colleagues?

    A search is recorded with how many it found. It is asked again, of its own policy and the facts of that instant:
    `certain` is whether it finds as many. If not, it was a page of them or by words: it showed some of these. Of a
    policy that is not kept today's is asked instead, and nothing is certain. The last `most` searches, within 90 days
    unless said otherwise.
    """
    begin, end = audit.period(since, until)
    searches = audit.decided(
        f"""SELECT d.at, d.action, d.resource_type, d.resource, d.size, d.client_id, d.id, d.policy_version,
            d.subject_type, d.subject
        FROM decision d WHERE d.reason = 'searched' AND {_THEIRS} ORDER BY d.at DESC, d.id DESC LIMIT :most""",
        who=practitioner,
        since=begin,
        until=end,
        most=most,
    )
    rows: list[Any] = []
    for at, action, kind, resource, size, client, number, version, *subject in searches:
        decider = _policy_of(audit, version)
        asked_by, about = (subject[0], subject[1]), (kind, resource)
        shows, ids = _found(audit, decider or audit.pdp, practitioner, asked_by, action, about, at)
        certain = decider is not None and len(ids) == size
        for one in ids if size != 0 else ():
            shown = (one, None) if shows == "patient" else (None, one)
            rows.append((at, action, kind, resource, *shown, certain, client, number))
        if len(rows) > MOST_ROWS:
            break
    return Found(rows, len(searches))


def _policy_of(audit: Audit, version: str) -> PDP | None:
    try:
        return audit.pdp.of_version(version)
    except PolicyUnknown:
        return None


def _found(
    audit: Audit, decider: PDP, who: str, subject: Ref, action: str, resource: Ref, at: int
) -> tuple[str, list[str]]:
    """What a search finds at that instant: ``patient`` or ``practitioner``, and their ids; nothing of other types."""
    now, kind, name = from_micros(at), resource[0], resource[1]
    if action == "receive":
        about = [resource] if name else [("subscription", one) for one in _clinics(audit, who, at)]
        people = {one for ref in about for one in decider.search_subjects("practitioner", action, ref, now=now)}
        return "practitioner", sorted(people - {who})
    if name:
        if subject[0] != "practitioner":
            return "practitioner", []
        return "practitioner", decider.search_subjects(subject[0], action, resource, now=now)
    return "patient", decider.search_resources(subject, action, kind, now=now) if kind == "patient" else []


def _clinics(audit: Audit, who: str, at: int) -> Iterable[str]:
    sql = "SELECT DISTINCT subscription_id FROM membership WHERE practitioner_id = :who AND started_at <= :at"
    return [row[0] for row in audit.rows(f"{sql} AND ended_at > :at ORDER BY 1", who=who, at=at)]
