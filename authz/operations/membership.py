"""Who works where: subscriptions and their licences, practitioners and their login, memberships (R8, H4).

Each `put_…` says how it shall be and may be repeated; what is so already changes nothing. The operator (an app with
the scope `admin`) acts without a practitioner; a manager manages memberships of their subscription.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from authz.domain import Row, normalise_login, to_micros
from authz.errors import Conflict, Denied, NotFound
from authz.models import Licence, Membership, Practitioner, Subscription
from authz.operations.leaving import PRACTISING, SharesAdded, end_shares, held_shares
from authz.operations.transaction import EXCLUSIVE, Change, in_future, perform
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import is_stored_id, parse_id, parse_stored_id, parse_text, search_key

T = TypeVar("T")
_TRIES = 5


def put_subscription(
    pdp: PDP, *, actor: Actor, subscription: str, name: str, live: bool = True, until: datetime | None = None
) -> Row:
    """Provision a subscription; `live` false lapses it now, true resumes it, until an instant or without an end."""
    one, end = parse_stored_id(subscription), in_future(until, actor.now)
    name = parse_text(name)

    def work(change: Change) -> Row:
        _for_operators(change)
        change.enter(one, EXCLUSIVE)
        row = change.row(Subscription.select().where(Subscription.id == one))
        if row is None:
            Subscription.insert(id=parse_id(one), name=name).execute(change.database)
            change.happened("subscription:added", one, {"subscription": one})
        elif row["name"] != name:
            Subscription.update(name=name).where(Subscription.id == one).execute(change.database)
            change.happened("subscription:renamed", one, {"subscription": one})
        _set_life(change, "licence", Licence, one, {"subscription": one}, end if live else None)
        return {"id": one, "name": name, "live": live}

    return perform(pdp, actor, work)


def put_practitioner(pdp: PDP, *, actor: Actor, practitioner: str, login: str, name: str) -> Row:
    """Provision a practitioner; grants are theirs by id, so that a new login moves nothing (T6).

    Raises `Conflict` for a login that is somebody else's, and `Denied` for a key of one subscription: a login is of all
    clinics, and so would the refusals tell of all (T5).
    """
    one, mail = parse_stored_id(practitioner), normalise_login(login)
    name = parse_text(name)
    key = search_key(name, mail)

    def work(change: Change) -> Row:
        _for_operators(change)
        taken = Practitioner.select().where(Practitioner.login == mail, Practitioner.id != one)
        if change.row(taken):
            raise Conflict("This login is another practitioner's.")
        row = change.row(Practitioner.select().where(Practitioner.id == one), lock=EXCLUSIVE)
        wanted = {"id": one, "login": mail, "name": name}
        if row is None:
            parse_id(one)
            Practitioner.insert(**wanted, search_key=key).execute(change.database)
            change.happened("practitioner:added", "", {"practitioner": one})
        elif any(row[column] != value for column, value in wanted.items()):
            changes = Practitioner.update(login=mail, name=name, search_key=key)
            changes.where(Practitioner.id == one).execute(change.database)
            which = sorted(key for key, value in wanted.items() if row[key] != value)
            change.happened("practitioner:changed", "", {"practitioner": one, "changed": which})
        return wanted

    return perform(pdp, actor, work)


def put_membership(
    pdp: PDP, *, actor: Actor, subscription: str, practitioner: str, role: str, until: datetime | None = None
) -> Row:
    """Somebody works under a subscription in this role from now on, and in no other.

    Whoever begins to practise here, or ceases to, keeps no share of before (R11). Raises `NotFound` for a subscription
    or practitioner that is not there or not the caller's to manage, and `Conflict` if the clinic would be left without
    a manager.
    """
    end = in_future(until, actor.now)

    def work(change: Change) -> Row:
        _known(change, subscription, practitioner)
        who = {"practitioner": practitioner, "subscription": subscription}
        lives = _lives(change, Membership, who)
        managed = _managed_until(change, subscription)
        for row in lives:
            if row["role"] != role:
                change.end("membership", subscription, row)
        _set_life(change, "membership", Membership, subscription, {**who, "role": role}, end)
        _require_manager(change, subscription, managed)
        practised = any(row["role"] in PRACTISING and row["started_at"] <= change.now for row in lives)
        if not practised or role not in PRACTISING:
            end_shares(change, practitioner, subscription)
        return {**who, "role": role}

    return _managing(pdp, actor, subscription, practitioner, work)


def end_membership(pdp: PDP, *, actor: Actor, subscription: str, practitioner: str) -> None:
    """Somebody leaves: every membership of theirs here ends now, and with it every access and every share (R11).

    Their patients stay theirs, and a manager sees and transfers them (T14). Raises `NotFound` if there is none, and
    `Conflict` if the clinic would be left without a manager.
    """

    def work(change: Change) -> None:
        live = _lives(change, Membership, {"practitioner": practitioner, "subscription": subscription})
        if not live:
            raise NotFound
        managed = _managed_until(change, subscription)
        for row in live:
            change.end("membership", subscription, row)
        _require_manager(change, subscription, managed)
        end_shares(change, practitioner, subscription)

    _managing(pdp, actor, subscription, practitioner, work)


def _managing(pdp: PDP, actor: Actor, subscription: str, practitioner: str, work: Callable[[Change], T]) -> T:
    """Do `work` about a practitioner's membership: lock the patients that they share in, then the subscription alone.

    Patients come first, as in every operation, so that none waits for another in a circle. A share that was given in
    between makes it look again.
    """

    def locked(change: Change) -> T:
        if _may_manage(change, subscription):
            held = held_shares(change.database, practitioner, subscription, to_micros(change.now))
            change.lock_patients(sorted({patient for _, patient in held}))
        _manage(change, subscription)
        return work(change)

    for _ in range(_TRIES):
        try:
            return perform(pdp, actor, locked, manages=subscription)
        except SharesAdded:
            continue
    raise Conflict("This practitioner is given shares all the time; try again.")


def _may_manage(change: Change, subscription: str) -> bool:
    """Whether the caller might manage here when the request came; for nobody else anything is looked up (T1)."""
    served = change.actor.tenant in (None, subscription)
    return served and (not change.actor.practitioner or subscription in change.permitted_before)


def _managed_until(change: Change, subscription: str) -> datetime:
    """The instant from which the clinic has no manager."""
    here = (
        Membership.subscription == subscription,
        Membership.role == "manager",
        Membership.ended_at > change.now,
        Membership.ended_at > Membership.started_at,
    )
    rows = change.rows(
        Membership.select(Membership.ended_at).where(*here).order_by(Membership.ended_at.desc()).limit(1)
    )
    return rows[0]["ended_at"] if rows else change.now


def _require_manager(change: Change, subscription: str, before: datetime) -> None:
    """Raise `Conflict` if a manager or a clinic's key makes the clinic lose its last manager, or lose one sooner.

    The operator (an unbound key, an import) may.
    """
    operator = not change.actor.practitioner and change.actor.tenant is None
    if not operator and _managed_until(change, subscription) < before:
        raise Conflict("The clinic would be left without a manager; appoint another first.")


def _for_operators(change: Change) -> None:
    """Subscriptions with their licences, and practitioners with their logins, are not for a key of one clinic (T32)."""
    if change.actor.tenant is not None:
        raise Denied("provision")


def _known(change: Change, subscription: str, practitioner: str) -> None:
    """Who is not the operator of all knows those who have worked here, and nobody else (T1, T5)."""
    found: Any = Practitioner.select(Practitioner.id).where(Practitioner.id == practitioner)
    if change.actor.practitioner or change.actor.tenant is not None:
        here = (Membership.practitioner == practitioner, Membership.subscription == subscription)
        found = Membership.select(Membership.id).where(*here).limit(1)
    if not is_stored_id(practitioner) or change.row(found) is None:
        raise NotFound


def _manage(change: Change, subscription: str) -> None:
    """Only the operator, or a manager here. The subscription's row is locked: changes of its memberships take turns."""
    there = change.enter(subscription, EXCLUSIVE) and change.serves(("subscription", subscription))
    if change.actor.practitioner:
        change.permit("manage", ("subscription", subscription))
    if not there:
        raise NotFound


def _lives(change: Change, model: Any, key: dict[str, str]) -> list[Row]:
    same = [getattr(model, name) == value for name, value in key.items()]
    return change.rows(model.select().where(*same, model.ended_at > change.now, model.ended_at > model.started_at))


def _set_life(
    change: Change, noun: str, model: Any, subscription: str, key: dict[str, str], end: datetime | None
) -> None:
    """Make a fact live from now until `end` (None: not at all); one that is so already stays."""
    live = _lives(change, model, key)
    if end is not None and [row["ended_at"] for row in live] == [end] and live[0]["started_at"] <= change.now:
        return
    for row in live:
        change.end(noun, subscription, row)
    if end is not None:
        change.start(noun, subscription, ended_at=end, **key)
