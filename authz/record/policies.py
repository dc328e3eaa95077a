"""The policies that have decided here: an event if a service begins with another version, and the text of each.

A text is stored once. The event `policy:kept` contains its version, which is its hash, so that `authz.record.replay`
detects a text that was changed or deleted.
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
    """Record that a service decides by this policy from now on, loaded from `source`, and store the text.

    Return whether it was recorded; not if the last record names the same version. Raises `Unavailable`: a service that
    cannot record must not begin.
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
    """Store the text of a policy that decides or decided here; return whether it was new. Raises `Unavailable`."""
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        return _keep(database, actor, policy)


class PolicyPeriod(NamedTuple):
    """A time in which one policy was in force; `until` is None while it is. `kept`: its text is stored."""

    version: str
    since: str
    until: str | None
    source: str
    kept: bool


def list_served_policies(database: Database) -> list[PolicyPeriod]:
    """Return the times in which policies were in force here, the earliest first."""
    with database_connection(database):
        loaded = Event.select(Event.at, Event.body).where(Event.kind == _LOADED)
        rows = list(loaded.order_by(Event.at, Event.id).tuples().execute(database))
        kept = {version for (version,) in PolicyText.select(PolicyText.version).tuples().execute(database)}
    begins = [format_instant(at) for at, _ in rows]
    loads = [version_loaded(body) for _, body in rows]
    ends = [*begins[1:], None]
    return [
        PolicyPeriod(version, since, until, source, version in kept)
        for (version, source), since, until in zip(loads, begins, ends, strict=False)
    ]


def _keep(database: Database, actor: Actor, policy: CompiledPolicy) -> bool:
    if PolicyText.select().where(PolicyText.version == policy.version).exists(database):
        return False
    PolicyText.insert(version=policy.version, files=dict(policy.texts)).execute(database)
    body = {"before": None, "after": {"version": policy.version}}
    append(database, actor, [NewEvent("policy:kept", "", body)])
    return True
