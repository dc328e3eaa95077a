"""The policies that decided here: an event if a version begins to decide, and the text of each.

A service that begins with another version than the last records `policy:loaded`. An operator who activates a policy, or
rolls back to the one before, records `policy:activated`: `authz.policy.served` follows this event. A text is stored
once. The event `policy:kept` contains its version, which is its hash, so that `authz.record.replay` detects a text that
was changed or deleted.
"""

from typing import NamedTuple

import peewee

from authz.database import Database, database_connection
from authz.database.statements import POLICY_LOCK, take_exclusive_lock
from authz.domain import format_instant
from authz.errors import Conflict
from authz.models import Event, PolicyText
from authz.policy.compiler import CompiledPolicy
from authz.policy.history import ACTIVATED, IN_FORCE, LOADED, version_loaded
from authz.record.events import Actor, NewEvent, append

MOST_PERIODS = 10_000
"""The most periods that are read, the latest: each is a start of a service with another policy, or an activation."""


def record_policy_loaded(database: Database, actor: Actor, policy: CompiledPolicy, source: str) -> bool:
    """Record that a service decides by this policy from now on, loaded from `source`, and store the text.

    Return whether it was recorded; not if the last record names the same version, nor once a policy was activated: then
    the activated one decides, also if it was activated while this service began. Raises `Unavailable`: a service that
    cannot record must not begin.
    """
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        _keep(database, actor, policy)
        if _last_version(database) == policy.version or _last_version(database, Event.kind == ACTIVATED) is not None:
            return False
        append(database, actor, [NewEvent(LOADED, "", {"policy_version": policy.version, "source": source})])
        return True


class Activation(NamedTuple):
    """The content of an activation: the source of its policy, its author and reason, and the permits that it changes.

    `gained` and `lost` count the permits that it gives and takes on the facts, None if they were not counted.
    `rollback`: the policy before the one in force is activated again.
    """

    source: str
    author: str
    reason: str
    gained: int | None = None
    lost: int | None = None
    rollback: bool = False


def activate_policy(
    database: Database, actor: Actor, policy: CompiledPolicy, activation: Activation, *, before: str | None
) -> bool:
    """Activate a policy: store its text, and record that every service decides by it from now on.

    Return whether it was recorded; not if this version is the active one already. `before` is the version that was in
    force when the policy was examined. Raises `Conflict` if another one is in force by now, and `Unavailable`.
    """
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        last = _last_version(database)
        if last != before:
            raise Conflict("another policy came into force in the meantime; nothing was activated, try again")
        if last == policy.version and _last_version(database, Event.kind == ACTIVATED) == policy.version:
            return False
        _keep(database, actor, policy)
        body = {
            "policy_version": policy.version,
            "previous": before,
            "source": activation.source,
            "author": activation.author,
            "gained": activation.gained,
            "lost": activation.lost,
            "rollback": activation.rollback,
        }
        append(database, actor, [NewEvent(ACTIVATED, "", body, reason=activation.reason)])
        return True


def keep_policy(database: Database, actor: Actor, policy: CompiledPolicy) -> bool:
    """Store the text of a policy that decides or decided here; return whether it was new. Raises `Unavailable`."""
    with database_connection(database), database.atomic():
        take_exclusive_lock(database, POLICY_LOCK)
        return _keep(database, actor, policy)


class PolicyPeriod(NamedTuple):
    """A time in which one policy was in force; `until` is None while it is. `kept`: its text is stored.

    `began` is ``loaded`` by a service, ``activated`` or ``rolled back``; the last two have an author and a reason.
    """

    version: str
    since: str
    until: str | None
    source: str
    kept: bool
    began: str = "loaded"
    author: str = ""
    reason: str = ""


def list_served_policies(database: Database) -> list[PolicyPeriod]:
    """Return the times in which policies were in force here, the earliest first."""
    with database_connection(database):
        fields = (Event.at, Event.kind, Event.body, Event.reason)
        latest = Event.select(*fields).where(_began()).order_by(Event.at.desc(), Event.id.desc()).limit(MOST_PERIODS)
        rows = list(latest.tuples().execute(database))[::-1]
        kept = {version for (version,) in PolicyText.select(PolicyText.version).tuples().execute(database)}
    begins = [format_instant(at) for at, *_ in rows]
    periods = []
    for (_, kind, body, reason), since, until in zip(rows, begins, [*begins[1:], None], strict=False):
        version, source = version_loaded(body)
        began, author = _beginning(kind, body)
        periods.append(PolicyPeriod(version, since, until, source, version in kept, began, author, reason))
    return periods


def version_before(periods: list[PolicyPeriod]) -> str | None:
    """Return the version to which a rollback returns; None if there is none.

    Each rollback takes back one change more: the version that a rollback left is not returned to.
    """
    versions = list[str]()
    for period in periods:
        if period.began == "rolled back" and len(versions) > 1:
            versions.pop()
        elif versions[-1:] != [period.version]:
            versions.append(period.version)
    return versions[-2] if len(versions) > 1 else None


def _beginning(kind: str, body: object) -> tuple[str, str]:
    """Return how the time of a policy began, and the author; a forged body has none."""
    members = body if kind == ACTIVATED and isinstance(body, dict) else {}
    how = "rolled back" if members.get("rollback") is True else "activated"
    return how if kind == ACTIVATED else "loaded", str(members.get("author", ""))


def _began() -> peewee.SQL:
    """Return the condition on an event that begins the time of a policy."""
    return peewee.SQL(IN_FORCE)


def _last_version(database: Database, condition: object = None) -> str | None:
    """Return the version that the last event names, by default the last that began the time of a policy."""
    chosen = Event.select(Event.body).where(Event.subscription == "", _began() if condition is None else condition)
    last = chosen.order_by(Event.id.desc()).limit(1).tuples().execute(database)
    return next((version_loaded(body)[0] for (body,) in last), None)


def _keep(database: Database, actor: Actor, policy: CompiledPolicy) -> bool:
    if PolicyText.select().where(PolicyText.version == policy.version).exists(database):
        return False
    PolicyText.insert(version=policy.version, files=dict(policy.texts)).execute(database)
    body = {"before": None, "after": {"version": policy.version}}
    append(database, actor, [NewEvent("policy:kept", "", body)])
    return True
