"""Share a patient with a colleague; change or end a share, as owner, manager or viewer (H3, H6; R3, R5, R6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.domain import Row
from authz.errors import Conflict, InvalidInput, NotFound
from authz.models import Grant
from authz.operations.change import Change
from authz.operations.colleague import Person
from authz.operations.grants import GrantRow, kind_of_end
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_end, parse_reason, require_distinct
from authz.operations.refusals import Refusals
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor

_EMERGENCY_STAYS = "An emergency access gets neither a later end nor another reason. End it, and share the patient."


@dataclass(frozen=True)
class ShareResult:
    """A patient that was shared: the new grant, and the colleague who is now a viewer."""

    patient: str
    grant: Row
    viewer: Person


def share(
    pdp: PDP,
    *,
    actor: Actor,
    patients: Sequence[str],
    colleague: str,
    until: datetime | Mapping[str, datetime] | None = None,
    reason: str = "",
    idempotency_key: IdempotencyKey | None = None,
) -> list[ShareResult]:
    """Share patients with the colleague who has the login `colleague`: all of the patients or none.

    `until` is the end of each share, or the end by patient: the same day ends at another instant in another time zone.
    Raises `NotFound`, `Denied`, `NotEligible`, or `Conflict` if the colleague has a grant on the patient already; for
    several patients `BatchRefused`, with the error of each. Also raises `SelfTarget` and `InvalidInput`.
    """
    reason = parse_reason(reason)
    require_distinct(patients)
    resources = [("patient", patient) for patient in patients]
    with run_operation(pdp, actor, action="share", resources=resources, idempotency_key=idempotency_key) as change:
        viewer = change.lock_with_colleague(patients, colleague)
        by_patient = until if isinstance(until, Mapping) else dict.fromkeys(patients, until)
        ends = {patient: parse_end(end, change.now) for patient, end in by_patient.items()}
        shared, refusals = [], Refusals(patients)
        for patient in patients:
            with refusals.collect(patient):
                shared.append(_share_patient(change, patient, viewer, reason=reason, end=ends[patient]))
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
    owner, *_ = facts.grants  # the owner's grant comes first
    change.end_undo(owner)
    subscription, began = change.subscriptions[patient], {"grant": grant["id"], "until": end}
    change.notify("share:received", viewer.id, owner.practitioner, subscription, patient, **began)
    change.notify("share:given", owner.practitioner, viewer.id, subscription, patient, **began)
    return ShareResult(patient, grant, viewer)


def change_share(
    pdp: PDP,
    *,
    actor: Actor,
    patient: str,
    grant: int,
    until: datetime | None = None,
    reason: str | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    """Give a live share another end (`FOREVER`: none) or another reason; return its row. None changes nothing.

    Somebody who may end the share may bring its end forward, whatever has become of the viewer. For a later end or
    another reason they must be able to share the patient too, and for a later end the viewer must be able to receive.
    Raises `InvalidInput` for an end that is not in the future, for a malformed reason and for neither; `NotFound` and
    `Denied` as `end_share`; `NotEligible`, and `Conflict` if the viewer has another grant in the time that is added, or
    for anything but an earlier end of an emergency access.
    """
    if until is None and reason is None:
        raise InvalidInput("until, reason: give at least one of them")
    wanted: Row = {} if reason is None else {"reason": parse_reason(reason)}
    resource = ("patient", patient)
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        change.lock_patients([patient])
        if until is not None:
            wanted["ended_at"] = parse_end(until, change.now)
        row = change.row(_share_row(patient, grant))
        change.require_permission("end_share", resource)
        if row is None or not row["started_at"] <= change.now < row["ended_at"]:
            raise NotFound
        columns = {name: value for name, value in wanted.items() if row[name] != value}
        is_longer = wanted.get("ended_at", row["ended_at"]) > row["ended_at"]
        if row["origin"] == "emergency" and (is_longer or "reason" in columns):
            raise Conflict(_EMERGENCY_STAYS)
        if is_longer or "reason" in columns:
            change.require_permission("share", resource)
        if is_longer:
            change.require_can_receive(Person(row["practitioner"], "", ""), resource)
        if columns:
            row = change.change_grant(GrantRow(**row), **columns)
            _notify_of_change(change, row)
        return change.complete(row)


def _share_row(patient: str, grant: int) -> object:
    return Grant.select().where(Grant.id == grant, Grant.patient == patient, Grant.role == "viewer")


def _notify_of_change(change: Change, row: Row) -> None:
    """Notify the viewer of a share that was changed, and the owner of a change that a manager made."""
    patient, viewer, share = row["patient"], row["practitioner"], {"grant": row["id"], "until": row["ended_at"]}
    owner, *_ = change.live_grants(patient)
    change.end_undo(owner)
    subscription = change.subscriptions[patient]
    change.notify("share:changed", viewer, owner.practitioner, subscription, patient, **share)
    if owner.practitioner != change.actor.practitioner:
        change.notify("share:changed", owner.practitioner, viewer, subscription, patient, **share)


def end_share(
    pdp: PDP, *, actor: Actor, patient: str, grant: int, idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a share now. The owner and a manager may end each share, a viewer may give up their own.

    Raises `NotFound` if this patient has no such live share or the actor may not know of the patient, and `Denied` if
    the actor may know of the patient but not end this share.
    """
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        change.lock_patients([patient])
        row = change.row(_share_row(patient, grant))
        is_own_share = row is not None and row["practitioner"] == actor.practitioner
        change.require_permission("give_up" if is_own_share else "end_share", ("patient", patient))
        if row is None or change.has_ended(row):
            raise NotFound
        end_viewer_grant(change, GrantRow(**row), "given_up" if is_own_share else "ended")


def end_viewer_grant(change: Change, grant: GrantRow, cause: str) -> None:
    """End a share, after the permission was required, and notify the owner and the viewer."""
    owner, *_ = change.live_grants(grant.patient)
    change.end_undo(owner)
    change.end_grant(grant, cause)
    subscription = change.subscriptions[grant.patient]
    change.notify_both(
        kind_of_end(grant), grant.practitioner, owner.practitioner, subscription, grant.patient, grant=grant.id
    )
