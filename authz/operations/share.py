"""Share a patient with a colleague, end a share, give up one's own (H3, H6; R3, R5, R6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.domain import Row
from authz.errors import Conflict, NotFound
from authz.models import Grant
from authz.operations.change import Change
from authz.operations.colleague import Person
from authz.operations.grants import GrantRow
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_end, parse_reason, require_distinct
from authz.operations.refusals import Refusals
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor


@dataclass(frozen=True)
class ShareResult:
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
) -> list[ShareResult]:
    """Share patients with the colleague of this login: all of them or none.

    Raises `NotFound`, `Denied`, `NotEligible` and `Conflict` (the colleague has the patient already) for one patient,
    `BatchRefused` for several; `SelfTarget` and `InvalidInput`.
    """
    reason = parse_reason(reason)
    require_distinct(patients)
    resources = [("patient", patient) for patient in patients]
    with run_operation(pdp, actor, action="share", resources=resources, idempotency_key=idempotency_key) as change:
        viewer = change.lock_with_colleague(patients, colleague)
        end = parse_end(until, change.now)
        shared, refusals = [], Refusals(patients)
        for patient in patients:
            with refusals.collect(patient):
                shared.append(_share_patient(change, patient, viewer, reason=reason, end=end))
        refusals.require_none()
        return change.complete(shared)


def _share_patient(change: Change, patient: str, viewer: Person, *, reason: str, end: datetime) -> ShareResult:
    resource = ("patient", patient)
    facts = change.prefetch(patient, (change.actor.practitioner, "share"), (viewer.id, "receive"))
    change.require_permission("share", resource, facts)
    change.require_can_receive(viewer, resource, facts)
    if any(grant.practitioner == viewer.id for grant in facts.grants):
        raise Conflict("This colleague has the patient already.")
    grant = change.start_grant(patient, viewer.id, "viewer", origin="share", reason=reason, ended_at=end)
    owner, subscription = facts.grants[0].practitioner, change.subscriptions[patient]
    change.notify("share:received", viewer.id, owner, subscription, patient)
    change.notify("share:given", owner, viewer.id, subscription, patient)
    return ShareResult(patient, grant, viewer)


def end_share(
    pdp: PDP, *, actor: Actor, patient: str, grant: int, idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a share now: by the owner or a manager, or by the viewer, who gives it up.

    Raises `NotFound` for what is no live share of this patient or not theirs to know, `Denied` for a colleague's.
    """
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        change.lock_patients([patient])
        row = change.row(Grant.select().where(Grant.id == grant, Grant.patient == patient, Grant.role == "viewer"))
        own = row is not None and row["practitioner"] == actor.practitioner
        change.require_permission("give_up" if own else "end_share", ("patient", patient))
        if row is None or change.has_ended(row):
            raise NotFound
        end_viewer_grant(change, GrantRow(**row), "given_up" if own else "ended")


def end_viewer_grant(change: Change, grant: GrantRow, cause: str) -> None:
    """End a share that may be ended, and notify both sides."""
    owner = change.live_grants(grant.patient)[0].practitioner
    change.end_grant(grant, cause)
    subscription = change.subscriptions[grant.patient]
    change.notify_both("share:ended", grant.practitioner, owner, subscription, grant.patient)
