"""Which policies have decided here: an event when a service begins with another version, and the text of each.

A text is kept once. The event `policy:kept` names its version, which is its hash, so that a text that is changed or
deleted shows (`authz.record.replay`).
"""

from typing import NamedTuple

from authz.database import Database, database_connection
from authz.database.statements import POLICY_LOCK, take_exclusive_lock
from authz.domain import format_instant
from authz.models import Event, PolicyText
from authz.policy.compiler import CompiledPolicy
from authz.policy.history import version_loaded
from authz.record.events import Actor, NewEvent, append

_LOADED = "policy:loaded"


def record_policy_loaded(database: Database, actor: Actor, policy: CompiledPolicy, source: str) -> bool:
    """Record that a service decides by this policy from now on, loaded from `source`; false where it is the last told.
    Its text is kept.

    Raises `Unavailable`: a service that cannot record must not begin.
    """
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        _keep(database, actor, policy)
        loaded = Event.select(Event.body).where(Event.subscription == "", Event.kind == _LOADED)
        last = loaded.order_by(Event.id.desc()).limit(1).tuples().execute(database)
        if any(version_loaded(body)[0] == policy.version for (body,) in last):
            return False
        append(database, actor, [NewEvent(_LOADED, "", {"policy_version": policy.version, "source": source})])
        return True


def keep_policy(database: Database, actor: Actor, policy: CompiledPolicy) -> bool:
    """Keep the text of a policy that decides or decided here; false where it is kept already. Raises `Unavailable`."""
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        return _keep(database, actor, policy)


class Period(NamedTuple):
    """A policy in force: its version, from when until when (None: still), where it was loaded from, and whether its
    text is kept.
    """

    version: str
    since: str
    until: str | None
    source: str
    kept: bool


def list_served_policies(database: Database) -> list[Period]:
    """Return which policy was in force here from when until when, the first one first."""
    with database_connection(database):
        loaded = Event.select(Event.at, Event.body).where(Event.kind == _LOADED)
        rows = list(loaded.order_by(Event.at, Event.id).tuples().execute(database))
        kept = {version for (version,) in PolicyText.select(PolicyText.version).tuples().execute(database)}
    begins = [format_instant(at) for at, _ in rows]
    named = [version_loaded(body) for _, body in rows]
    ends = [*begins[1:], None]
    return [
        Period(version, since, until, source, version in kept)
        for (version, source), since, until in zip(named, begins, ends, strict=False)
    ]


def _keep(database: Database, actor: Actor, policy: CompiledPolicy) -> bool:
    if PolicyText.select().where(PolicyText.version == policy.version).exists(database):
        return False
    PolicyText.insert(version=policy.version, files=dict(policy.texts)).execute(database)
    body = {"before": None, "after": {"version": policy.version}}
    append(database, actor, [NewEvent("policy:kept", "", body)])
    return True
