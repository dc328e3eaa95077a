"""Transfer: the patient moves to a colleague, who may transfer them back (H2, H5; R3, R6)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from authz.domain import Row
from authz.errors import Conflict
from authz.operations.change import Change
from authz.operations.colleague import Person
from authz.operations.grants import GrantRow, kind_of_end
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_reason, require_distinct
from authz.operations.refusals import Refusals
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor

UNDO_TIME = timedelta(minutes=10)
"""The time in which the sender may undo a transfer; it ends earlier if the new owner acts on the patient."""


@dataclass(frozen=True)
class TransferResult:
    """A patient that was transferred: the new owner's grant, both owners, and the shares that stay."""

    patient: str
    grant: Row
    owner: str
    previous_owner: str
    kept_shares: tuple[Row, ...]


def transfer(
    pdp: PDP,
    *,
    actor: Actor,
    patients: Sequence[str],
    colleague: str,
    reason: str = "",
    end_shares: bool = False,
    receiver: str | None = None,
    holders: Mapping[str, Collection[str]] | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> list[TransferResult]:
    """Transfer patients to the colleague who has the login `colleague`: all of the patients or none.

    The owner's grant ends and the colleague's grant as owner begins at one instant. If the colleague had a share of the
    patient, this share ends, too. The shares of others stay, unless `end_shares` is set; the new owner may end them.
    The practitioner who acts may undo the transfer for `UNDO_TIME` (`undo_transfer`).
    Raises the same errors as `share`.

    `receiver` is the practitioner to whom the login belonged when the caller last looked. `holders` are the
    practitioners who had a grant on each patient then. If one of these has changed, `Conflict` is raised.
    """
    reason = parse_reason(reason)
    require_distinct(patients)
    resources = [("patient", patient) for patient in patients]
    with run_operation(pdp, actor, action="transfer", resources=resources, idempotency_key=idempotency_key) as change:
        owner = change.lock_with_colleague(patients, colleague)
        if receiver not in (None, owner.id):
            raise Conflict("This e-mail is another colleague's now.")
        transferred, refusals = [], Refusals(patients)
        for patient in patients:
            expected = None if holders is None else set(holders[patient])
            with refusals.collect(patient):
                transferred.append(
                    _transfer_patient(change, patient, owner, reason=reason, end_shares=end_shares, holders=expected)
                )
        refusals.require_none()
        return change.complete(transferred)


def _transfer_patient(
    change: Change, patient: str, owner: Person, *, reason: str, end_shares: bool, holders: set[str] | None
) -> TransferResult:
    resource = ("patient", patient)
    facts = change.prefetch(patient, (change.actor.practitioner, "transfer"), (owner.id, "receive"))
    change.require_permission("transfer", resource, facts)
    change.require_can_receive(owner, resource, facts)
    if holders is not None and {grant.practitioner for grant in facts.grants} != holders:
        raise Conflict("Who has access has changed in the meantime.")
    previous, *shares = facts.grants
    if previous.practitioner == owner.id:
        raise Conflict("This colleague is the owner already.")
    ended = [grant for grant in shares if end_shares or grant.practitioner == owner.id]
    for grant in (previous, *ended):
        change.end_grant(grant, "transfer")
    # The grants that a transfer ends are known by its instant: two transfers at one instant cannot be undone.
    undo_until = change.now + (UNDO_TIME if previous.started_at < change.now else timedelta())
    received = change.start_grant(patient, owner.id, "owner", origin="transfer", reason=reason, undo_until=undo_until)
    _notify(change, received, previous.practitioner, ended)
    kept = tuple(grant._asdict() for grant in shares if grant not in ended)
    return TransferResult(patient, received, owner.id, previous.practitioner, kept)


def _notify(change: Change, started: Row, previous: str, ended: Sequence[GrantRow]) -> None:
    """Notify the new and the previous owner, and both sides of each share that ended with the transfer."""
    patient, owner = started["patient"], started["practitioner"]
    subscription = change.subscriptions[patient]
    change.notify("transfer:received", owner, previous, subscription, patient, grant=started["id"])
    change.notify("transfer:given", previous, owner, subscription, patient, grant=started["id"])
    for grant in ended:
        if grant.practitioner != owner:
            change.notify_both(kind_of_end(grant), grant.practitioner, previous, subscription, patient, grant=grant.id)
