"""The history of a patient: who had access, from when to when, by whom it was given and ended, and how it changed.

Grants and standing shares hold who had access; the events hold what the end and the reason of a share were before. The
reader may list who has access now.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from authz.database import database_connection
from authz.database.statements import in_condition, run
from authz.domain import FOREVER_MICROS, Row, from_micros, parse_instant, to_micros
from authz.models import Emergency, Event
from authz.policy.pdp import PDP
from authz.queries import practitioner as practitioner_queries
from authz.queries.permission import require_permission
from authz.record import Actor

_MOST_CHANGES = 500
_OPERATOR = "the operator"
_GRANT = 0

# A standing share gives access while its owner owns the patient; its reason is not about the patient. `kind` orders
# what began at one instant.
_ACCESS = """SELECT * FROM (
    SELECT 0 AS kind, g.id AS id, g.id AS owned, g.practitioner_id AS practitioner, g.role AS role, g.origin AS origin,
        g.given_by AS given_by, g.reason AS reason, g.ended_by AS ended_by, g.end_cause AS end_cause,
        g.started_at AS since, g.ended_at AS until
    FROM "grant" g WHERE g.patient_id = {} AND g.started_at <= {} AND g.started_at < g.ended_at
    UNION ALL
    SELECT 1, s.id, o.id, s.colleague_id, 'viewer', 'standing_share', s.given_by, '',
        CASE WHEN s.ended_at <= o.ended_at THEN s.ended_by ELSE o.ended_by END,
        CASE WHEN s.ended_at <= o.ended_at THEN s.end_cause ELSE o.end_cause END,
        CASE WHEN s.started_at > o.started_at THEN s.started_at ELSE o.started_at END,
        CASE WHEN s.ended_at < o.ended_at THEN s.ended_at ELSE o.ended_at END
    FROM "grant" o JOIN patient p ON p.id = o.patient_id
    JOIN standing_share s ON s.owner_id = o.practitioner_id AND s.subscription_id = p.subscription_id
    WHERE o.patient_id = {} AND o.role = 'owner' AND s.started_at < o.ended_at AND o.started_at < s.ended_at
        AND s.started_at < s.ended_at AND s.started_at <= {} AND o.started_at <= {}
) AS access WHERE (since, kind, id, owned) < ({}, {}, {}, {})
ORDER BY since DESC, kind DESC, id DESC, owned DESC LIMIT {}"""
_COLUMNS = "kind id owned practitioner role origin given_by reason ended_by end_cause since until".split()


class HistoryPlace(NamedTuple):
    """The last item of a page of a history; the next page begins after it."""

    since: int
    kind: int
    id: int
    owned: int


NEWEST = HistoryPlace(FOREVER_MICROS, 2, 0, 0)
"""The place before the newest item."""


def access_history(
    pdp: PDP, actor: Actor, name: str, *, limit: int, place: HistoryPlace = NEWEST
) -> tuple[list[Row], HistoryPlace | None]:
    """Return a page of a patient's history, the newest first, and the place where the next page begins, if any.

    Each row has the columns of the access, `name` and `login`, the names of `giver` and `ender` (empty: unknown),
    whether it is `live` and its holder may `view` now, its `changes`, and for an emergency access (`emergency`) its
    purpose and review. Raises `NotFound` and `Denied` as
    `practitioner.access`.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "list_access", ("patient", name))
        now = to_micros(actor.now)
        viewers = set(pdp.search_subjects("practitioner", "view", ("patient", name), now=actor.now))
        cursor = run(pdp.database, _ACCESS, name, now, name, now, now, *place, limit + 1)
        matches = [dict(zip(_COLUMNS, row, strict=True)) for row in cursor.fetchall()]
        rows = matches[:limit]
        changes = defaultdict(list)
        for change in _changes(pdp, name):
            changes[change["grant"]].append(change)
        emergencies = _emergencies(pdp, [row["id"] for row in rows if row["origin"] == "emergency"])
        sides = [row[side] for row in rows for side in ("practitioner", "given_by", "ended_by") if row[side]]
        people = practitioner_queries.people(
            pdp,
            [
                *sides,
                *(row["reviewer"] for row in emergencies.values() if row["reviewer"]),
                *(change["actor"] for each in changes.values() for change in each if change["actor"]),
            ],
        )
    following = None
    if len(matches) > limit:
        following = HistoryPlace(*(rows[-1][column] for column in ("since", "kind", "id", "owned")))

    def person(practitioner: str, unknown: str = "") -> str:
        return people[practitioner]["name"] if practitioner in people else unknown

    return [
        {
            **row,
            "since": from_micros(row["since"]),
            "until": None if row["until"] == FOREVER_MICROS else from_micros(row["until"]),
            "live": row["until"] > now,
            "view": row["practitioner"] in viewers,
            "name": person(row["practitioner"]),
            "giver": person(row["given_by"]),
            "ender": person(row["ended_by"], _OPERATOR),
            "emergency": _named(emergencies.get(row["id"]), person) if row["kind"] == _GRANT else None,
            "changes": [
                {**change, "by": person(change["actor"], _OPERATOR)}
                for change in (changes[str(row["id"])] if row["kind"] == _GRANT else [])
            ],
        }
        for row in rows
    ], following


def _emergencies(pdp: PDP, grants: Sequence[int]) -> dict[int, Row]:
    """Return the purpose and the review of emergency accesses, by the number of the grant."""
    query = Emergency.select(Emergency.grant, Emergency.purpose, Emergency.verdict, Emergency.reviewer)
    rows = query.where(in_condition(pdp.database, Emergency.grant, grants)).dicts().execute(pdp.database)
    return {row["grant"]: row for row in rows}


def _named(emergency: Row | None, person: Callable[[str], str]) -> Row | None:
    return emergency and {**emergency, "by": person(emergency["reviewer"] or "")}


def _changes(pdp: PDP, name: str) -> Iterator[Row]:
    """Yield the last changes of a patient's shares, as their events hold them, the newest first."""
    query = Event.select(Event.at, Event.actor, Event.reason, Event.body)
    query = query.where(Event.patient == name, Event.kind == "grant:changed").order_by(Event.id.desc())
    for event in query.limit(_MOST_CHANGES).dicts().execute(pdp.database):
        body = event["body"]
        changed = body.get("changed", ["until"])
        if changed == ["undo_until"]:
            continue
        yield {
            "grant": body["grant"],
            "at": event["at"],
            "actor": event["actor"],
            "changed": changed,
            "before": _end(body["before"]),
            "after": _end(body["after"]),
            "reason": event["reason"],
        }


def _end(fact: Row) -> datetime | None:
    return None if fact["ended_at"] is None else parse_instant(fact["ended_at"])
