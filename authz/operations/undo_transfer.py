"""Undo a transfer: the patient goes back to the previous owner, with the shares that the transfer ended (R12).

The policy permits it to the sender until the instant `undo_until` of the new owner's grant. `Change.end_undo` moves
this instant to the present one as soon as the new owner acts on the patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.domain import FOREVER, Row, parse_instant
from authz.errors import Conflict, Denied, NotFound
from authz.models import Event, Grant, Membership
from authz.operations.change import Change, PatientFacts
from authz.operations.grants import GrantRow
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import require_distinct
from authz.operations.leaving import PRACTISING
from authz.operations.refusals import Refusals
from authz.operations.transaction import run_operation
from authz.operations.transfer import UNDO_TIME
from authz.policy.pdp import PDP
from authz.record import Actor

_UNDONE_ALREADY = "The transfer has been undone already."
_HANDED_ON = "The patient has been transferred again since."
_TOO_LATE = f"More than {UNDO_TIME.seconds // 60} minutes have passed since the transfer."
_NEVER = "This transfer cannot be undone."
_NEW_OWNER_ACTED = "The colleague who received the patient has already changed something."
_PREVIOUS_OWNER_LEFT = "The previous owner does not work at this clinic any more."


@dataclass(frozen=True)
class UndoneTransfer:
    """A patient who is back: the owner's new grant, the receiver of the transfer, and the shares that it had ended.

    `lost_shares` did not come back, because their practitioners may not receive the patient any more, or have left the
    clinic since, whether they came back or not.
    """

    patient: str
    grant: Row
    owner: str
    receiver: str
    returned_shares: tuple[Row, ...]
    lost_shares: tuple[Row, ...]


def undo_transfer(
    pdp: PDP, *, actor: Actor, patients: Sequence[str], idempotency_key: IdempotencyKey | None = None
) -> list[UndoneTransfer]:
    """Undo the last transfer of each of these patients: all of them or none.

    The previous owner owns the patient again. Each share that the transfer ended begins again, as a new grant with the
    same giver, reason and end, if its practitioner may receive the patient; the shares that the transfer kept stay.

    Raises `Conflict` if the actor made the transfer and may not undo it any more, or if the previous owner may not
    receive the patient; `NotFound` and `Denied` to everybody else; for several patients `BatchRefused`, with the error
    of each. Also raises `InvalidInput`.
    """
    require_distinct(patients)
    resources = [("patient", patient) for patient in patients]
    with run_operation(
        pdp, actor, action="undo_transfer", resources=resources, idempotency_key=idempotency_key
    ) as change:
        change.lock_patients(patients)
        undone, refusals = [], Refusals(patients)
        for patient in patients:
            with refusals.collect(patient):
                undone.append(_undo_patient(change, patient))
        refusals.require_none()
        return change.complete(undone)


def _undo_patient(change: Change, patient: str) -> UndoneTransfer:
    receiver = _require_undo(change, patient)
    previous, shares = _find_ended(change, receiver)
    facts = change.prefetch(patient, *((grant.practitioner, "receive") for grant in (previous, *shares)))
    if not _may_receive(change, previous, facts):
        raise Conflict(_PREVIOUS_OWNER_LEFT)
    owner, subscription = previous.practitioner, change.subscriptions[patient]
    change.end_grant(receiver, "undo")
    grant = change.start_grant(patient, owner, "owner", origin="undo")
    change.record_event("transfer:undone", subscription, {"grant": str(receiver.id)}, patient)
    change.notify("transfer:undone", receiver.practitioner, owner, subscription, patient, grant=receiver.id)
    change.notify("transfer:returned", owner, receiver.practitioner, subscription, patient, grant=grant["id"])
    present = _find_viewers(change, patient)  # by an import in the meantime
    stayed = _find_stayed(change, subscription, receiver.started_at)
    returned, lost = [], []
    for share in shares:
        if share.practitioner in present:
            continue
        if share.practitioner in stayed and _may_receive(change, share, facts):
            returned.append(_start_again(change, share, owner))
        else:
            lost.append(share._asdict())
    return UndoneTransfer(patient, grant, owner, receiver.practitioner, tuple(returned), tuple(lost))


def _require_undo(change: Change, patient: str) -> GrantRow:
    """Refuse unless the policy permits the undo; return the grant of the receiver.

    A sender who works in the clinic learns why. Everybody else gets the same refusal as for any other action.
    """
    resource, actor = ("patient", patient), change.actor.practitioner
    facts = change.prefetch(patient, (actor, "undo_transfer"), (actor, "receive"))
    try:
        change.require_permission("undo_transfer", resource, facts)
    except (Conflict, Denied, NotFound) as refusal:
        sent = (Grant.patient == patient, Grant.given_by == actor, Grant.origin == "transfer")
        grants = change.grants(Grant.select().where(*sent).order_by(Grant.id.desc()).limit(1))
        if change.evaluate(actor, "receive", resource, facts).allowed and grants:
            raise Conflict(_why_not(change, grants[0])) from refusal
        raise
    return facts.grants[0]


def _why_not(change: Change, grant: GrantRow) -> str:
    """Return why the transfer by which a grant began cannot be undone now."""
    if grant.end_cause == "undo":
        return _UNDONE_ALREADY
    if grant.ended_at <= change.now:
        return _HANDED_ON
    if grant.started_at + UNDO_TIME <= change.now:
        return _TOO_LATE
    return _NEVER if grant.undo_until == grant.started_at else _NEW_OWNER_ACTED


def _find_ended(change: Change, receiver: GrantRow) -> tuple[GrantRow, list[GrantRow]]:
    """Return what the transfer to `receiver` ended: the previous owner's grant, and the shares that would be live now.

    A share has the end that it had before the transfer, which only the event of its end holds. Raises `Conflict` if
    another policy than the shipped one permits an undo without a transfer.
    """
    ended = (Grant.patient == receiver.patient, Grant.ended_at == receiver.started_at, Grant.end_cause == "transfer")
    no_emergency = Grant.origin != "emergency"  # an emergency is stated again
    grants = change.grants(Grant.select().where(*ended, no_emergency).order_by(Grant.role, Grant.id))
    if [grant.role for grant in grants].count("owner") != 1:
        raise Conflict(_NEVER)
    previous, *shares = grants
    events = Event.select(Event.body).where(
        Event.patient == receiver.patient, Event.kind == "grant:ended", Event.at >= receiver.started_at
    )
    rows = {row["body"]["grant"]: row["body"]["before"] for row in change.rows(events)} if shares else {}
    ends = [rows[str(share.id)]["ended_at"] for share in shares]
    with_ends = [
        share._replace(ended_at=FOREVER if end is None else parse_instant(end))
        for share, end in zip(shares, ends, strict=True)
    ]
    return previous, [share for share in with_ends if share.ended_at > change.now]


def _find_viewers(change: Change, patient: str) -> set[str]:
    """Return who has a share of the patient that is live, or begins later."""
    shares = Grant.select().where(Grant.patient == patient, Grant.role == "viewer", change.is_unended(Grant))
    return {share.practitioner for share in change.grants(shares)}


def _find_stayed(change: Change, subscription: str, since: datetime) -> set[str]:
    """Return who has practised in a clinic without a break since an instant: coming back revives no share (R11)."""
    memberships = Membership.select(Membership.practitioner).where(
        Membership.subscription == subscription,
        Membership.role.in_(PRACTISING),
        Membership.started_at <= since,
        Membership.ended_at > change.now,
    )
    return {row["practitioner"] for row in change.rows(memberships)}


def _may_receive(change: Change, grant: GrantRow, facts: PatientFacts) -> bool:
    return change.evaluate(grant.practitioner, "receive", ("patient", grant.patient), facts).allowed


def _start_again(change: Change, share: GrantRow, owner: str) -> Row:
    """Start a share again as a new grant, with the same giver, reason and end, and notify both sides."""
    fields = {"given_by": share.given_by, "reason": share.reason, "ended_at": share.ended_at}
    row = change.start_grant(share.patient, share.practitioner, "viewer", origin="undo", **fields)
    subscription = change.subscriptions[share.patient]
    began = {"grant": row["id"], "until": share.ended_at}
    change.notify("share:received", share.practitioner, owner, subscription, share.patient, **began)
    change.notify("share:given", owner, share.practitioner, subscription, share.patient, **began)
    return row
