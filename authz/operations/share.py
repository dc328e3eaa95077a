"""Share a patient with a colleague, end a share, give up one's own (H3, H6; R3, R5, R6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.domain import Row
from authz.errors import Conflict, NotFound
from authz.models import Grant
from authz.operations.idempotency import IdempotencyKey
from authz.operations.transaction import Change, Person, bounded, check_several, each, in_future, perform
from authz.policy.pdp import PDP
from authz.record import Actor


@dataclass(frozen=True)
class Shared:
    """A colleague's new grant."""

    patient: str
    grant: Row
    viewer: Person


def share(
    pdp: PDP,
    *,
    actor: Actor,
    patients: Sequence[str],
    colleague: str,
    until: datetime | None = None,
    reason: str = "",
    idempotency_key: IdempotencyKey | None = None,
) -> list[Shared]:
    """Share patients with the colleague of this login: all of them or none.

    Raises `NotFound`, `Denied`, `NotEligible` and `Conflict` (the colleague has them already) for one patient,
    `BatchRefused` for several; `SelfTarget` and `InvalidInput`.
    """
    why = bounded(reason)
    check_several(patients)

    def work(change: Change) -> list[Shared]:
        end = in_future(until, change.now)
        viewer = change.colleague(colleague)

        def one(patient: str) -> Shared:
            change.foresee(patient, [(actor.practitioner, "share"), (viewer.id, "receive")])
            change.permit("share", ("patient", patient))
            where = change.subscriptions[patient]
            change.receive(viewer, ("patient", patient))
            live = change.live_grants(patient)
            if any(grant["practitioner"] == viewer.id for grant in live):
                raise Conflict("This colleague has the patient already.")
            columns = {"practitioner": viewer.id, "role": "viewer", "origin": "share", "reason": why, "ended_at": end}
            grant = change.start("grant", where, patient=patient, **columns)
            change.notify("share:received", viewer.id, live[0]["practitioner"], where, patient)
            change.notify("share:given", live[0]["practitioner"], viewer.id, where, patient)
            return Shared(patient, grant, viewer)

        return each(patients, one)

    return perform(
        pdp, actor, work, idempotency_key=idempotency_key, action="share", patients=patients, colleague=colleague
    )


def end_share(
    pdp: PDP, *, actor: Actor, patient: str, grant: int, idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a share now: by the owner or a manager, or by the viewer, who gives it up.

    Raises `NotFound` for what is no live share of this patient or not theirs to know, `Denied` for a colleague's.
    """

    def work(change: Change) -> None:
        found = Grant.select().where(Grant.id == grant, Grant.patient == patient, Grant.role == "viewer")
        row = change.row(found)
        mine = row is not None and row["practitioner"] == actor.practitioner
        change.permit("give_up" if mine else "end_share", ("patient", patient))
        if row is None or change.has_ended(row):
            raise NotFound
        end_one(change, row, "given_up" if mine else "ended")

    perform(pdp, actor, work, idempotency_key=idempotency_key, patients=[patient])


def end_one(change: Change, row: Row, cause: str) -> None:
    """End a share that may be ended, and tell both sides."""
    patient, where = row["patient"], change.subscriptions[row["patient"]]
    owner = change.live_grants(patient)[0]["practitioner"]
    change.end("grant", where, row, cause)
    change.notify("share:ended", row["practitioner"], owner, where, patient)
    change.notify("share:ended", owner, row["practitioner"], where, patient)
