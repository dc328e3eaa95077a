"""Events: what changed, who did it, for whom, through which app. Appended in the change's own transaction.

A kind is ``noun:verb``; `KINDS` lists all. The body of a change to a fact is the row before and after (null: there
was none), without display names and free text, so that the facts can be rebuilt from the events alone.
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
from authz.domain import to_micros
from authz.models import Event
from authz.record.commit_queue import queue_events
from authz.record.commitments import commitment, erased, secrets_of, whose_address, whose_reason
from authz.record.facts import KEYED, tell_keyed
from authz.record.leaves import EVENT_FIELDS, canonical, event_leaf
from authz.record.merkle import leaf_hash
from authz.record.trees import extend

KINDS = {
    "subscription:added": "a subscription was provisioned",
    "subscription:renamed": "its display name was changed",
    "subscription:imported": "it came with an import",
    "licence:started": "a subscription is live from here",
    "licence:ended": "a subscription lapsed",
    "licence:changed": "an import gave the licence another end",
    "licence:imported": "a subscription's licence came with an import",
    "practitioner:added": "a practitioner was provisioned",
    "practitioner:changed": "the login or the name was changed",
    "practitioner:imported": "they came with an import",
    "membership:started": "a practitioner works under a subscription from here, in one role",
    "membership:ended": "they do not any more",
    "membership:imported": "it came with an import",
    "membership:changed": "an import gave it another end",
    "patient:added": "a patient was added",
    "patient:imported": "they came with an import",
    "patient:changed": "the name or the end was changed; the body says which",
    "patient:ended": "they left the clinic",
    "grant:started": "a practitioner holds a role on a patient from here",
    "grant:ended": "they do not any more; `end_cause` says why",
    "grant:imported": "it came with an import",
    "grant:changed": "an import gave it another end",
    "standing_share:started": "an owner shares everything with a colleague from here",
    "standing_share:ended": "they do not any more",
    "standing_share:imported": "it came with an import",
    "standing_share:changed": "an import gave it another end",
    "entity:started": "a version of an entity of a declared type counts from here",
    "entity:ended": "it does not any more",
    "entity:imported": "a version of an entity of a declared type came with an import",
    "review:given": "a share or standing share was decided on in an access review: keep or revoke",
    "audit:read": "a question of the audit was answered, with its parameters and how many rows",
    "audit:exported": "answers of the audit were written to a file",
    "client:added": "an app got a key",
    "client:rotated": "an app got another key, and its old one is good no more",
    "client:revoked": "an app's key was revoked",
    "policy:loaded": "a service began to decide by another policy version than the last",
    "policy:kept": "the text of a policy that decides or decided here was kept; its version is its hash",
    "decisions:dropped": "the answers of a month whose time is over were dropped, after they were exported",
    "record:erased": "a person's addresses and reasons, of a patient the name too, were erased; the trees stand",
    "facts:adopted": "an upgrade told facts of before their events told them, as they stood",
    "demo:filled": "the demonstration clinic was made",
}

_CHUNK = 1000
_PERSONAL = itemgetter(*map(EVENT_FIELDS.index, ("actor", "client", "address", "patient", "reason", "body")))
_LATEST = """SELECT value, (SELECT at FROM event WHERE subscription = value ORDER BY id DESC LIMIT 1)
    FROM json_each(?)"""


@dataclass(frozen=True)
class Actor:
    """Who acts, when, and how it came: the practitioner (empty for the operator), the app, the request, the address.

    `tenant` is the one subscription that the app's key serves, None for all; `batch` joins the events of one request
    about several patients.
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


def append(database: Database, actor: Actor, happened: Iterable[NewEvent], at: datetime | None = None) -> None:
    """Append events, in order, each with its leaf, in the transaction under way. Ids are in the order of commits: a
    reader who goes on after the last id that it saw misses none. Nor does time go back from one to the next of a
    subscription: `at` is when the change counts from, or when the subscription's event before it was; a wrong instant
    of one subscription is none of another. On PostgreSQL ids, leaves and `at` are given by COMMIT (`queueing`), so that
    the transaction itself does not see its events.
    """
    told = list(happened)
    if not told:
        return
    when, who = to_micros(at or actor.now), (actor.practitioner, actor.client, actor.request_id, actor.address)
    facts = _keyed_facts(database, told)
    rows = []
    for one in told:
        assert one.kind in KINDS, one.kind
        body = {**one.body, "batch": actor.batch} if actor.batch else one.body
        fact = facts.get(_fact_of(one))
        if fact:
            body = {**body, "after": fact}
        rows.append((when, one.kind, one.subscription, one.patient, *who, one.reason, body))
    (queue_events if database.dialect == "postgresql" else _append)(database, rows)


def _fact_of(one: NewEvent) -> tuple[str, str]:
    """The fact of `KEYED` that an event is about: its noun and id; empty: none."""
    noun = one.kind.partition(":")[0]
    if noun not in KEYED:
        return "", ""
    return noun, one.patient if noun == "patient" else one.body["app" if noun == "client" else noun]


def _keyed_facts(database: Database, happened: Iterable[NewEvent]) -> dict[tuple[str, str], Any]:
    """The facts with an id that these events are about, as they stand now."""
    keys: dict[str, set[str]] = defaultdict(set)
    for noun, key in map(_fact_of, happened):
        if noun:
            keys[noun].add(key)
    return {(noun, key): row for noun in keys for key, row in tell_keyed(database, noun, keys[noun]).items()}


def _append(database: Database, rows: list[tuple[Any, ...]]) -> None:
    """Append rows of `EVENT_FIELDS` without an id; whoever writes to SQLite is alone."""
    (last,) = database.execute_sql("SELECT COALESCE(max(id), 0) FROM event").fetchone()
    names = orjson.dumps(sorted({row[2] for row in rows})).decode()
    latest = {name: at or 0 for name, at in database.execute_sql(_LATEST, (names,)).fetchall()}
    numbered = [
        (last + 1 + place, max(when, latest[subscription]), kind, subscription, *row)
        for place, (when, kind, subscription, *row) in enumerate(rows)
    ]
    bodies = [canonical(body) for *_, body in numbered]
    secrets = secrets_of(database, _whose(numbered), make=True)
    stored = [(*row[:-1], body.decode()) for row, body in zip(numbered, bodies, strict=True)]
    insert_rows(database, Event, EVENT_FIELDS, stored)
    extend(database, "event", _leaves(event_leaf_contents(database, numbered, secrets), bodies))


def _whose(rows: Iterable[tuple[Any, ...]]) -> set[str]:
    """Whose personal fields events hold, each a tuple of `EVENT_FIELDS`."""
    whose = set()
    for actor, client, address, patient, reason, body in map(_PERSONAL, rows):
        if address:
            whose.add(whose_address(actor, client))
        if reason:
            whose.add(whose_reason(patient, body))
    return whose


def _leaves(told: Iterable[dict[str, Any]], bodies: Iterable[bytes]) -> Iterator[tuple[str, int, bytes]]:
    """The tree, the id and the leaf's hash of events, given what their leaves tell and the bytes of their bodies."""
    for leaf, body in zip(told, bodies, strict=True):
        leaf["body"] = orjson.Fragment(body)
        yield leaf["subscription"], leaf["id"], leaf_hash(canonical(leaf))


def event_leaf_contents(
    database: Database, rows: Sequence[tuple[Any, ...]], secrets: Mapping[str, bytes] | None = None
) -> Iterator[dict[str, Any]]:
    """What the leaves of events, each a tuple of `EVENT_FIELDS`, tell. `secrets` are given for events that are new."""
    dicts = [dict(zip(EVENT_FIELDS, row, strict=True)) for row in rows]
    gone: dict[tuple[int, str], str] = {}
    if secrets is None:
        secrets = secrets_of(database, _whose(rows))
        gone = erased(database, "event", dicts[0]["id"], dicts[-1]["id"]) if dicts else {}
    for row in dicts:
        number, address, reason = row["id"], row["address"], row["reason"]
        if address:
            secret = secrets.get(whose_address(row["actor"], row["client"]))
            address = commitment(secret, "event", number, "address", address)
        if reason:
            secret = secrets.get(whose_reason(row["patient"], row["body"]))
            reason = commitment(secret, "event", number, "reason", reason)
        if gone:
            address = address or gone.get((number, "address"), "")
            reason = reason or gone.get((number, "reason"), "")
        yield event_leaf(row, address, reason)


def enter_existing(database: Database) -> None:
    """Put events that are in no tree yet into theirs: those of before there were trees."""
    after = 0
    while True:
        found = Event.select(*(getattr(Event, name) for name in EVENT_FIELDS)).where(Event.id > after)
        rows = list(found.order_by(Event.id).limit(_CHUNK).tuples().execute(database))
        if not rows:
            return
        after = rows[-1][0]
        stored = [(row[0], to_micros(row[1]), *row[2:]) for row in rows]
        bodies = [canonical(body) for *_, body in rows]
        told = event_leaf_contents(database, stored, secrets_of(database, _whose(stored), make=True))
        extend(database, "event", _leaves(told, bodies))
