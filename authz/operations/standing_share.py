"""Share everything: a colleague views all that the owner owns in a subscription, now and later (H7; R4, R9)."""

import uuid
from datetime import datetime

from authz.domain import Row
from authz.errors import Conflict, InvalidInput, NotEligible, NotFound
from authz.models import Practitioner, StandingShare
from authz.operations.change import Change
from authz.operations.clinics import clinics_worked_in
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_end
from authz.operations.locks import EXCLUSIVE
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor


def share_all(
    pdp: PDP,
    *,
    actor: Actor,
    colleague: str,
    content: bool = False,
    until: datetime | None = None,
    subscription: str | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    """Share everything with the colleague who has the login `colleague`, in one subscription.

    By default this is the only subscription that both work under. Raises `NotEligible` if the colleague may not receive
    patients there, `Conflict` if everything is shared with this colleague already, `NotFound` if the actor may not add
    patients to the subscription, `SelfTarget` and `InvalidInput`.
    """
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        parse_end(until, actor.now)
        _lock_own_shares(change)
        viewer = change.find_colleague(colleague)
        subscription = subscription or _only_common_clinic(change, viewer.id)
        change.lock_subscription(subscription)
        change.require_permission("add_patient", ("subscription", subscription))
        change.require_can_receive(viewer, ("subscription", subscription))
        pair = {"owner": actor.practitioner, "colleague": viewer.id, "subscription": subscription}
        same = StandingShare.select().filter(**pair).where(change.is_unended(StandingShare))
        if same.exists(change.database):
            raise Conflict("Everything is shared with this colleague already.")
        end = parse_end(until, change.now)
        row = change.start_fact("standing_share", subscription, **pair, content=content, ended_at=end)
        began = {"standing_share": row["id"], "until": end}
        change.notify("standing_share:received", viewer.id, actor.practitioner, subscription, **began)
        change.notify("standing_share:given", actor.practitioner, viewer.id, subscription, **began)
        return change.complete(row)


def end_standing_share(
    pdp: PDP, *, actor: Actor, standing_share: int, idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a standing share now. Only its owner and its colleague may; for others raises `NotFound`."""
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        row = change.row(StandingShare.select().where(StandingShare.id == standing_share), lock=EXCLUSIVE)
        subscription = str(uuid.uuid4()) if row is None else row["subscription"]  # the same questions if there is none
        change.lock_subscription(subscription)
        works_there = change.evaluate(actor.practitioner, "receive", ("subscription", subscription)).allowed
        if row is None or actor.practitioner not in (row["owner"], row["colleague"]):
            raise NotFound
        if change.has_ended(row) or not works_there:
            raise NotFound
        end_standing_share_row(change, row, "ended" if actor.practitioner == row["owner"] else "given_up")


def end_standing_share_row(change: Change, row: Row, cause: str) -> None:
    """End a standing share, after the permission was required, and notify both sides."""
    change.end_fact("standing_share", row["subscription"], row, cause)
    subscription, number = row["subscription"], row["id"]
    change.notify_both("standing_share:ended", row["colleague"], row["owner"], subscription, standing_share=number)


def _lock_own_shares(change: Change) -> None:
    """Lock the practitioner's own row, so that two standing shares of theirs cannot begin at once."""
    change.rows(Practitioner.select().where(Practitioner.id == change.actor.practitioner), lock=EXCLUSIVE)


def _only_common_clinic(change: Change, colleague: str) -> str:
    """Return the one subscription in which the practitioner may add patients and the colleague may receive."""
    names = clinics_worked_in(change)
    questions = [
        (("practitioner", practitioner), action, ("subscription", name))
        for practitioner, action in ((change.actor.practitioner, "add_patient"), (colleague, "receive"))
        for name in names
    ]
    allowed = [decision.allowed for decision in change.pdp.evaluate_many(questions, now=change.now)]
    pairs = zip(names, allowed[: len(names)], allowed[len(names) :], strict=True)
    common = [name for name, adds, receives in pairs if adds and receives]
    if len(common) > 1:
        raise InvalidInput("subscription: you both work under several; name one")
    if not common:
        raise NotEligible
    return common[0]
