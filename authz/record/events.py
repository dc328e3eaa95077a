"""Events: what changed, who changed it, through which app; appended in the transaction of the change.

A kind is ``noun:verb``; `KINDS` lists all. The body of an event about a fact holds the row before and after the change
(null: there was no row), without display names and free text, so that the facts can be rebuilt from the events alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from authz.database import Database
from authz.database.statements import insert_rows
from authz.domain import Row, Values, to_micros
from authz.models import Event
from authz.record.commit_queue import queue_events
from authz.record.commitments import address_owner, commitment, erased_commitments, read_secrets, reason_owner
from authz.record.facts import KEYED, serialize_keyed
from authz.record.leaves import EVENT_FIELDS, canonical, event_leaf
from authz.record.merkle import leaf_hash
from authz.record.trees import append_leaves

KINDS = {
    "subscription:added": "a subscription was provisioned",
    "subscription:renamed": "the display name of a subscription was changed",
    "subscription:changed": "the time zone of a subscription was changed",
    "subscription:imported": "an import added a subscription",
    "licence:started": "a licence began: its subscription is live",
    "licence:ended": "a licence ended: its subscription lapsed",
    "licence:changed": "an import changed the end of a licence",
    "licence:imported": "an import added a licence",
    "practitioner:added": "a practitioner was provisioned",
    "practitioner:changed": "the login or the name of a practitioner was changed",
    "practitioner:imported": "an import added a practitioner",
    "membership:started": "a membership began: a practitioner works under a subscription, in one role",
    "membership:ended": "a membership ended",
    "membership:imported": "an import added a membership",
    "membership:changed": "an import changed the end of a membership",
    "patient:added": "a patient was added",
    "patient:imported": "an import added a patient",
    "patient:changed": "the name, the reference or the end of a patient was changed; the body names which",
    "patient:ended": "a patient left the clinic",
    "grant:started": "a grant began: a practitioner holds a role on a patient",
    "grant:ended": "a grant ended; `end_cause` names the cause",
    "grant:imported": "an import added a grant",
    "grant:changed": "the end, the reason or the time for an undo of a grant was changed; `changed` names which",
    "transfer:undone": "a transfer was undone; the body names the grant by which it had begun",
    "standing_share:started": "a standing share began: an owner shares everything with a colleague",
    "standing_share:ended": "a standing share ended",
    "standing_share:imported": "an import added a standing share",
    "standing_share:changed": "an import changed the end of a standing share",
    "entity:started": "a version of an entity of a declared type began",
    "entity:ended": "a version of an entity of a declared type ended",
    "entity:imported": "an import added a version of an entity of a declared type",
    "review:given": "an access review gave a verdict on a grant or a standing share: keep or revoke",
    "emergency:started": "an emergency access began: its grant, its purpose, and until when its review is due",
    "emergency:reviewed": "the review of an emergency access: justified or unjustified",
    "audit:read": "a question of the audit was answered; the body holds its parameters and the number of rows",
    "audit:exported": "answers of the audit were written to a file",
    "client:added": "an app got a key",
    "client:rotated": "an app got another key; its old key is not valid any more",
    "client:revoked": "the key of an app was revoked",
    "policy:loaded": "a service began to decide by another policy version than before",
    "policy:activated": "an operator activated a policy, by which services decide then; its body names the author",
    "policy:kept": "the text of a policy that decides or decided here was stored; its version is its hash",
    "decisions:dropped": "the decisions of a month were dropped after the retention period and an export",
    "record:erased": "a person's addresses and reasons were erased, and a patient's name; the trees are unchanged",
    "facts:adopted": "an upgrade recorded, as they were then, facts that no event had recorded before",
    "demo:filled": "the demonstration clinic was created",
}

_PAGE = 1000
_PERSONAL = itemgetter(*map(EVENT_FIELDS.index, ("actor", "client", "address", "patient", "reason", "body")))
_LATEST = """SELECT value, (SELECT at FROM event WHERE subscription = value ORDER BY id DESC LIMIT 1)
    FROM json_each(?)"""


@dataclass(frozen=True)
class Actor:
    """The source of a change: practitioner (empty: the operator), instant, app, request and network address.

    `tenant` is the one subscription that the app's key serves, None for all; `batch` is the same in all events of one
    request about several patients.
    """

    practitioner: str
    now: datetime
    client: int | None = None
    tenant: str | None = None
    request_id: str = ""
    address: str = ""
    batch: str = ""


class NewEvent(NamedTuple):
    """One event to append."""

    kind: str
    subscription: str
    body: Mapping[str, Any]
    patient: str = ""
    reason: str = ""


def append(database: Database, actor: Actor, events: Iterable[NewEvent], at: datetime | None = None) -> None:
    """Append events, in order, each with its leaf, in the transaction under way.

    Ids are in the order of commits: a reader that continues after the last id it has seen misses none. The instant of
    an event is `at` (default: `actor.now`), or that of the event before it in the same subscription if that is later:
    time does not go back within a subscription, and a wrong instant of one subscription does not affect another. On
    PostgreSQL, COMMIT assigns ids, leaves and instants (`commit_queue`), so that the transaction itself does not see
    its events.
    """
    events = list(events)
    if not events:
        return
    when, who = to_micros(at or actor.now), (actor.practitioner, actor.client, actor.request_id, actor.address)
    facts = _keyed_facts(database, events)
    rows = []
    for event in events:
        assert event.kind in KINDS, event.kind
        body = {**event.body, "batch": actor.batch} if actor.batch else event.body
        fact = facts.get(_fact_key(event))
        if fact:
            body = {**body, "after": fact}
        rows.append((when, event.kind, event.subscription, event.patient, *who, event.reason, body))
    (queue_events if database.dialect == "postgresql" else _append)(database, rows)


def _fact_key(event: NewEvent) -> tuple[str, str]:
    """Return the noun and id of the fact of `KEYED` that an event is about; both empty if there is none."""
    noun = event.kind.partition(":")[0]
    if noun not in KEYED:
        return "", ""
    return noun, event.patient if noun == "patient" else event.body["app" if noun == "client" else noun]


def _keyed_facts(database: Database, events: Iterable[NewEvent]) -> dict[tuple[str, str], Any]:
    """Return the facts of `KEYED` that these events are about, as they are stored now."""
    keys: dict[str, set[str]] = defaultdict(set)
    for noun, key in map(_fact_key, events):
        if noun:
            keys[noun].add(key)
    return {(noun, key): row for noun in keys for key, row in serialize_keyed(database, noun, keys[noun]).items()}


def _append(database: Database, rows: list[Values]) -> None:
    """Append rows of `EVENT_FIELDS` without an id to SQLite, which has one writer at a time."""
    (last,) = database.execute_sql("SELECT COALESCE(max(id), 0) FROM event").fetchone()
    names = orjson.dumps(sorted({row[2] for row in rows})).decode()
    latest = {name: at or 0 for name, at in database.execute_sql(_LATEST, (names,)).fetchall()}
    numbered = [
        (last + 1 + place, max(when, latest[subscription]), kind, subscription, *row)
        for place, (when, kind, subscription, *row) in enumerate(rows)
    ]
    bodies = [canonical(body) for *_, body in numbered]
    secrets = read_secrets(database, _persons(numbered), create=True)
    stored = [(*row[:-1], body.decode()) for row, body in zip(numbered, bodies, strict=True)]
    insert_rows(database, Event, EVENT_FIELDS, stored)
    append_leaves(database, "event", _leaves(event_leaf_contents(database, numbered, secrets), bodies))


def _persons(rows: Iterable[Values]) -> set[str]:
    """Return the persons whose personal fields these events hold; each event is a tuple of `EVENT_FIELDS`."""
    persons = set()
    for actor, client, address, patient, reason, body in map(_PERSONAL, rows):
        if address:
            persons.add(address_owner(actor, client))
        if reason:
            persons.add(reason_owner(patient, body))
    return persons


def _leaves(contents: Iterable[Row], bodies: Iterable[bytes]) -> Iterator[tuple[str, int, bytes]]:
    """Yield the tree, id and leaf hash of events, from the contents of their leaves and their encoded bodies."""
    for leaf, body in zip(contents, bodies, strict=True):
        leaf["body"] = orjson.Fragment(body)
        yield leaf["subscription"], leaf["id"], leaf_hash(canonical(leaf))


def event_leaf_contents(
    database: Database, rows: Sequence[Values], secrets: Mapping[str, bytes] | None = None
) -> Iterator[Row]:
    """Yield the contents of the leaves of events, each a tuple of `EVENT_FIELDS`; new events pass their `secrets`."""
    events = [dict(zip(EVENT_FIELDS, row, strict=True)) for row in rows]
    erased: dict[tuple[int, str], str] = {}
    if secrets is None:
        secrets = read_secrets(database, _persons(rows))
        erased = erased_commitments(database, "event", events[0]["id"], events[-1]["id"]) if events else {}
    for event in events:
        number, address, reason = event["id"], event["address"], event["reason"]
        if address:
            secret = secrets.get(address_owner(event["actor"], event["client"]))
            address = commitment(secret, "event", number, "address", address)
        if reason:
            secret = secrets.get(reason_owner(event["patient"], event["body"]))
            reason = commitment(secret, "event", number, "reason", reason)
        if erased:
            address = address or erased.get((number, "address"), "")
            reason = reason or erased.get((number, "reason"), "")
        yield event_leaf(event, address, reason)


def enter_existing(database: Database) -> None:
    """Append the events that are older than the trees to their trees."""
    after = 0
    while True:
        query = Event.select(*(getattr(Event, name) for name in EVENT_FIELDS)).where(Event.id > after)
        rows = list(query.order_by(Event.id).limit(_PAGE).tuples().execute(database))
        if not rows:
            return
        after = rows[-1][0]
        stored = [(row[0], to_micros(row[1]), *row[2:]) for row in rows]
        bodies = [canonical(body) for *_, body in rows]
        contents = event_leaf_contents(database, stored, read_secrets(database, _persons(stored), create=True))
        append_leaves(database, "event", _leaves(contents, bodies))
