"""The staff of clinics: subscriptions and their licences, practitioners and their login, memberships (R8, H4).

Each `put_…` takes the wanted state and may be repeated: the second time it changes nothing. The operator (an
app with the scope `admin`) acts without a practitioner; a manager manages memberships of their subscription.
"""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import ParamSpec, TypeVar

from authz.domain import Row, normalise_login, parse_time_zone, to_micros
from authz.errors import Conflict, Denied, NotFound
from authz.models import Fact, Licence, Membership, Practitioner, Subscription
from authz.operations.change import Change
from authz.operations.inputs import parse_end
from authz.operations.leaving import PRACTISING, SharesAdded, end_shares, held_shares
from authz.operations.locks import EXCLUSIVE
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import is_stored_id, parse_id, parse_stored_id, parse_text, search_key

P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 5


def put_subscription(
    pdp: PDP,
    *,
    actor: Actor,
    subscription: str,
    name: str,
    live: bool = True,
    until: datetime | None = None,
    time_zone: str | None = None,
) -> Row:
    """Provision a subscription; `live` false lapses it now, true resumes it, until an instant or without an end.

    Without `time_zone` the zone stays as it is, UTC for a new subscription.
    """
    subscription, end = parse_stored_id(subscription), parse_end(until, actor.now)
    name, zone = parse_text(name), None if time_zone is None else parse_time_zone(time_zone)
    with run_operation(pdp, actor) as change:
        _require_operator(change)
        change.lock_subscription(subscription, EXCLUSIVE)
        row = change.row(Subscription.select().where(Subscription.id == subscription))
        if row is None:
            zone = zone or "UTC"
            Subscription.insert(id=parse_id(subscription), name=name, time_zone=zone).execute(change.database)
            change.record_event("subscription:added", subscription, {"subscription": subscription})
        else:
            zone = zone or row["time_zone"]
            Subscription.update(name=name, time_zone=zone).where(Subscription.id == subscription).execute(
                change.database
            )
            for kind, differs in (("renamed", row["name"] != name), ("changed", row["time_zone"] != zone)):
                if differs:
                    change.record_event(f"subscription:{kind}", subscription, {"subscription": subscription})
        _set_life(change, "licence", Licence, {"subscription": subscription}, end if live else None)
        return {"id": subscription, "name": name, "live": live, "time_zone": zone}


def put_practitioner(pdp: PDP, *, actor: Actor, practitioner: str, login: str, name: str) -> Row:
    """Provision a practitioner. Grants refer to the id, so that a new login changes no grant (T6).

    Raises `Conflict` for a login that is somebody else's, and `Denied` for a key of one subscription: a login is
    unique over all clinics, so that a refusal would show who works elsewhere (T5).
    """
    practitioner = parse_stored_id(practitioner)
    wanted = {"id": practitioner, "login": normalise_login(login), "name": parse_text(name)}
    key = search_key(wanted["name"], wanted["login"])
    with run_operation(pdp, actor) as change:
        _require_operator(change)
        taken = Practitioner.select().where(Practitioner.login == wanted["login"], Practitioner.id != practitioner)
        if change.row(taken):
            raise Conflict("This login is another practitioner's.")
        row = change.row(Practitioner.select().where(Practitioner.id == practitioner), lock=EXCLUSIVE)
        if row is None:
            parse_id(practitioner)
            Practitioner.insert(**wanted, search_key=key).execute(change.database)
            change.record_event("practitioner:added", "", {"practitioner": practitioner})
        elif differing := sorted(field for field, value in wanted.items() if row[field] != value):
            update = Practitioner.update(login=wanted["login"], name=wanted["name"], search_key=key)
            update.where(Practitioner.id == practitioner).execute(change.database)
            change.record_event("practitioner:changed", "", {"practitioner": practitioner, "changed": differing})
        return wanted


def _retry_if_shares_added(operation: Callable[P, T]) -> Callable[P, T]:
    """Repeat an operation to whose practitioner a share was given before their clinic was locked."""

    @wraps(operation)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES):
            try:
                return operation(*args, **kwargs)
            except SharesAdded:
                continue
        raise Conflict("This practitioner is getting new shares at this moment; try again.")

    return repeated


@_retry_if_shares_added
def put_membership(
    pdp: PDP, *, actor: Actor, subscription: str, practitioner: str, role: str, until: datetime | None = None
) -> Row:
    """Make a practitioner work under a subscription in this role from now on, and in no other.

    If the practitioner begins or ends to practise here, their earlier shares end (R11). Raises `NotFound` for a
    subscription or a practitioner that does not exist or that the caller may not manage, and `Conflict` if the clinic
    would have no manager.
    """
    end = parse_end(until, actor.now)
    with run_operation(pdp, actor, action="manage", resources=[("subscription", subscription)]) as change:
        _lock_to_manage(change, subscription, practitioner)
        _require_known(change, subscription, practitioner)
        pair = {"practitioner": practitioner, "subscription": subscription}
        before = _unended(change, Membership, pair)
        managed = _managed_until(change, subscription)
        for row in before:
            if row["role"] != role:
                change.end_fact("membership", subscription, row)
        _set_life(change, "membership", Membership, {**pair, "role": role}, end)
        _require_manager(change, subscription, managed)
        practised = any(row["role"] in PRACTISING and row["started_at"] <= change.now for row in before)
        if not practised or role not in PRACTISING:
            end_shares(change, practitioner, subscription)
        return {**pair, "role": role}


@_retry_if_shares_added
def end_membership(pdp: PDP, *, actor: Actor, subscription: str, practitioner: str) -> None:
    """End every membership of a practitioner in a subscription now, and with the memberships every share (R11).

    The practitioner stays the owner of their patients, until a manager transfers these (T14). Raises `NotFound` without
    a membership, and `Conflict` if the clinic would have no manager.
    """
    with run_operation(pdp, actor, action="manage", resources=[("subscription", subscription)]) as change:
        _lock_to_manage(change, subscription, practitioner)
        rows = _unended(change, Membership, {"practitioner": practitioner, "subscription": subscription})
        if not rows:
            raise NotFound
        managed = _managed_until(change, subscription)
        for row in rows:
            change.end_fact("membership", subscription, row)
        _require_manager(change, subscription, managed)
        end_shares(change, practitioner, subscription)


def _lock_to_manage(change: Change, subscription: str, practitioner: str) -> None:
    """Lock the patients that a practitioner has shares of, then the subscription exclusively.

    Patients come first, as in every operation, so that none waits for another in a circle. Raises `NotFound` and
    `Denied` unless the caller is the operator or manages the subscription; `end_shares` finds a share that was given in
    between.
    """
    resource = ("subscription", subscription)
    may_manage = not change.actor.practitioner or resource in change.permitted_before
    if may_manage and change.is_in_tenant(resource):  # for nobody else is anything looked up (T1)
        held = held_shares(change.database, practitioner, subscription, to_micros(change.now))
        change.lock_patients_only(sorted({patient for _, patient in held}))
    exists = change.lock_subscription(subscription, EXCLUSIVE)
    if change.actor.practitioner:
        change.require_permission("manage", resource)
    if not exists or not change.is_in_tenant(resource):
        raise NotFound


def _managed_until(change: Change, subscription: str) -> datetime:
    """Return the instant from which the clinic has no manager."""
    managers = Membership.select(Membership.ended_at).where(
        Membership.subscription == subscription, Membership.role == "manager", change.is_unended(Membership)
    )
    last = change.row(managers.order_by(Membership.ended_at.desc()).limit(1))
    return last["ended_at"] if last else change.now


def _require_manager(change: Change, subscription: str, before: datetime) -> None:
    """Raise `Conflict` if a manager or a clinic's key makes the clinic lose its last manager, or lose one sooner.

    The operator (an unbound key, an import) may.
    """
    operator = not change.actor.practitioner and change.actor.tenant is None
    if not operator and _managed_until(change, subscription) < before:
        raise Conflict("The clinic would be left without a manager; appoint another first.")


def _require_operator(change: Change) -> None:
    """Refuse a key of one clinic: subscriptions, licences, practitioners and logins are the operator's (T32)."""
    if change.actor.tenant is not None:
        raise Denied("provision")


def _require_known(change: Change, subscription: str, practitioner: str) -> None:
    """Raise `NotFound` for a practitioner whom the caller does not know.

    The operator of all clinics knows everybody, others those who have worked in the subscription (T1, T5).
    """
    known: object = Practitioner.select(Practitioner.id).where(Practitioner.id == practitioner)
    if change.actor.practitioner or change.actor.tenant is not None:
        here = (Membership.practitioner == practitioner, Membership.subscription == subscription)
        known = Membership.select(Membership.id).where(*here).limit(1)
    if not is_stored_id(practitioner) or change.row(known) is None:
        raise NotFound


def _unended(change: Change, model: type[Fact], columns: dict[str, str]) -> list[Row]:
    """Return the rows of a fact with these columns that have not ended."""
    same = [getattr(model, name) == value for name, value in columns.items()]
    return change.rows(model.select().where(*same, change.is_unended(model)))


def _set_life(change: Change, noun: str, model: type[Fact], columns: dict[str, str], end: datetime | None) -> None:
    """Make a fact with these columns live from now until `end` (None: not at all); if it is so already, it stays."""
    subscription = columns["subscription"]
    rows = _unended(change, model, columns)
    if end is not None and [row["ended_at"] for row in rows] == [end] and rows[0]["started_at"] <= change.now:
        return
    for row in rows:
        change.end_fact(noun, subscription, row)
    if end is not None:
        change.start_fact(noun, subscription, ended_at=end, **columns)
