"""Share everything: all that one owns in a subscription, now and later, is visible to a colleague (H7; R4, R9)."""

import uuid
from datetime import datetime

from authz.domain import Row
from authz.errors import Conflict, InvalidInput, NotEligible, NotFound
from authz.models import Membership, Practitioner, StandingShare
from authz.operations.idempotency import IdempotencyKey
from authz.operations.transaction import EXCLUSIVE, Change, in_future, perform
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
    """Share everything with the colleague of this login, in the one subscription that both work under or in that named.

    Raises `NotEligible` for anybody who cannot receive there, `SelfTarget`, `Conflict` where it is so already,
    `NotFound` for a subscription where one may not add patients oneself, and `InvalidInput`.
    """

    def work(change: Change) -> Row:
        in_future(until, actor.now)
        change.rows(
            Practitioner.select().where(Practitioner.id == actor.practitioner), lock=EXCLUSIVE
        )  # one's own shares take turns
        viewer = change.colleague(colleague)
        where = subscription or _common(change, viewer.id)
        change.enter(where)
        change.permit("add_patient", ("subscription", where))
        change.receive(viewer, ("subscription", where))
        pair = (
            StandingShare.owner == actor.practitioner,
            StandingShare.colleague == viewer.id,
            StandingShare.subscription == where,
        )
        lasting = (StandingShare.ended_at > change.now, StandingShare.ended_at > StandingShare.started_at)
        if StandingShare.select().where(*pair, *lasting).exists(change.database):
            raise Conflict("Everything is shared with this colleague already.")
        end = in_future(until, change.now)
        columns = {
            "owner": actor.practitioner,
            "colleague": viewer.id,
            "subscription": where,
            "content": content,
            "ended_at": end,
        }
        row = change.start("standing_share", where, **columns)
        change.notify("standing_share:received", viewer.id, actor.practitioner, where)
        change.notify("standing_share:given", actor.practitioner, viewer.id, where)
        return row

    return perform(pdp, actor, work, idempotency_key=idempotency_key)


def end_standing_share(
    pdp: PDP, *, actor: Actor, standing_share: int, idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a standing share now: by the owner, or by the colleague, who gives it up. Raises `NotFound`."""

    def work(change: Change) -> None:
        found = StandingShare.select().where(StandingShare.id == standing_share)
        row = change.row(found, lock=EXCLUSIVE)
        where = str(uuid.uuid4()) if row is None else row["subscription"]  # for one that is not there the same is asked
        change.enter(where)
        works = change.ask(actor.practitioner, "receive", ("subscription", where)).allowed
        if (
            row is None
            or actor.practitioner not in (row["owner"], row["colleague"])
            or change.has_ended(row)
            or not works
        ):
            raise NotFound
        end_standing(change, row, "ended" if actor.practitioner == row["owner"] else "given_up")

    perform(pdp, actor, work, idempotency_key=idempotency_key)


def end_standing(change: Change, row: Row, cause: str) -> None:
    """End a standing share that may be ended, and tell both sides."""
    change.end("standing_share", row["subscription"], row, cause)
    change.notify("standing_share:ended", row["colleague"], row["owner"], row["subscription"])
    change.notify("standing_share:ended", row["owner"], row["colleague"], row["subscription"])


def _common(change: Change, other: str) -> str:
    """The one subscription in which the practitioner may add patients and the colleague may receive."""
    mine = (
        Membership.select(Membership.subscription)
        .where(Membership.practitioner == change.actor.practitioner)
        .distinct()
    )
    names: list[str] = sorted(row["subscription"] for row in change.rows(mine))
    names = [name for name in names if change.actor.tenant in (None, name)]
    asked = [(("practitioner", change.actor.practitioner), "add_patient", ("subscription", name)) for name in names]
    asked += [(("practitioner", other), "receive", ("subscription", name)) for name in names]
    answers = [decision.allowed for decision in change.pdp.evaluate_many(asked, now=change.now)]
    both = [name for name, adds, gets in zip(names, answers, answers[len(names) :], strict=False) if adds and gets]
    if len(both) > 1:
        raise InvalidInput("subscription: you both work under several; name one")
    if not both:
        raise NotEligible
    return both[0]
