"""Patients: a member adds one and owns them from then on (R8); their name changes, and they leave the clinic (R10)."""

import uuid
from dataclasses import dataclass

from authz.domain import Row
from authz.errors import Conflict, InvalidInput, NotFound
from authz.models import Grant, Patient
from authz.operations.change import Change
from authz.operations.clinics import clinics_worked_in
from authz.operations.grants import kind_of_end
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_reason
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import parse_id, parse_reference, parse_text, search_key


@dataclass(frozen=True)
class AddPatientResult:
    """A new patient, and the number of the grant that makes the practitioner who added the patient the owner."""

    patient: str
    name: str
    reference: str
    subscription: str
    grant: int


def add_patient(
    pdp: PDP,
    *,
    actor: Actor,
    name: str,
    reference: str = "",
    patient: str | None = None,
    subscription: str | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> AddPatientResult:
    """Add a patient to a subscription; by default to the only subscription that the actor works under.

    `patient` is an id that the operator chose. Other callers may not choose ids: a refusal would show which ids exist.
    Raises `InvalidInput` for a malformed name, reference or id, and if the subscription must be named; `NotFound`
    for a subscription to which the actor may not add patients; `Conflict` for an id that is taken, and for a reference
    that another patient of that subscription has.
    """
    new_id = uuid.uuid4().hex if patient is None else parse_id(patient)
    name, reference = parse_text(name), reference and parse_reference(reference)
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        subscription = subscription or _only_clinic(change)
        change.lock_subscription(subscription)
        change.require_permission("add_patient", ("subscription", subscription))
        if change.row(Patient.select().where(Patient.id == new_id)):
            raise Conflict("A patient with this id exists already.")
        require_free_reference(change, subscription, new_id, reference)
        row = {"id": new_id, "subscription": subscription, "name": name, "reference": reference}
        key = search_key(name, reference)
        Patient.insert(**row, search_key=key, started_at=change.now).execute(change.database)
        change.record_event("patient:added", subscription, {}, new_id)
        owner = {"practitioner": actor.practitioner, "role": "owner", "origin": "created"}
        grant = change.start_fact("grant", subscription, patient=new_id, **owner)
        return change.complete(AddPatientResult(new_id, name, reference, subscription, grant["id"]))


def edit_patient(
    pdp: PDP,
    *,
    actor: Actor,
    patient: str,
    name: str | None = None,
    reference: str | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    """Give a patient another display name or reference (empty: none); the same value changes nothing.

    The event contains neither value. Raises `InvalidInput` for a malformed name or reference or if neither is given,
    `Conflict` for a reference that another patient of the clinic has, `NotFound` and `Denied`.
    """
    if name is None and reference is None:
        raise InvalidInput("name, reference: give at least one of them")
    wanted = {} if name is None else {"name": parse_text(name)}
    if reference is not None:
        wanted["reference"] = reference and parse_reference(reference)
    resource = ("patient", patient)
    with run_operation(pdp, actor, action="edit", resources=[resource], idempotency_key=idempotency_key) as change:
        change.lock_patients([patient])
        change.require_permission("edit", resource)
        subscription = change.subscriptions[patient]
        (before,) = change.rows(Patient.select(Patient.name, Patient.reference).where(Patient.id == patient))
        after = {**before, **wanted}
        differing = [field for field in wanted if before[field] != after[field]]
        if differing:
            require_free_reference(change, subscription, patient, after["reference"])
            key = search_key(after["name"], after["reference"])
            Patient.update(**after, search_key=key).where(Patient.id == patient).execute(change.database)
            change.end_undo(change.live_grants(patient)[0])
            change.record_event("patient:changed", subscription, {"changed": differing}, patient)
        row = {"id": patient, **after, "reference": after["reference"] or None, "subscription": subscription}
        return change.complete(row)


def end_patient(
    pdp: PDP, *, actor: Actor, patient: str, reason: str = "", idempotency_key: IdempotencyKey | None = None
) -> None:
    """End a patient, who leaves the clinic now: every grant ends, and nobody may do anything to the patient any more.

    Documents follow the patient. The id stays taken, and the record stays. Raises `NotFound`, `Denied` and
    `InvalidInput`.
    """
    reason = parse_reason(reason)
    resource = ("patient", patient)
    with run_operation(pdp, actor, action="end", resources=[resource], idempotency_key=idempotency_key) as change:
        change.lock_patients([patient])
        change.require_permission("end", resource)
        subscription = change.subscriptions[patient]
        unended = Grant.select().where(Grant.patient == patient, change.is_unended(Grant))
        grants = change.grants(unended.order_by(Grant.role, Grant.started_at))
        owner = grants[0].practitioner
        for grant in grants:
            change.end_grant(grant, "ended")
            if grant.role == "viewer":
                change.notify(kind_of_end(grant), grant.practitioner, owner, subscription, patient, grant=grant.id)
        change.notify("patient:ended", owner, actor.practitioner, subscription, patient)
        Patient.update(ended_at=change.now).where(Patient.id == patient).execute(change.database)
        change.record_event("patient:ended", subscription, {}, patient, reason)


def require_free_reference(change: Change, subscription: str, patient: str, reference: str) -> None:
    """Raise `Conflict` if another patient of this subscription, of now or of later, has this reference.

    A unique index of the database decides between two changes at once.
    """
    if reference:
        same = (Patient.subscription == subscription, Patient.reference == reference, Patient.id != patient)
        if change.row(Patient.select(Patient.id).where(*same, Patient.ended_at > change.now)):
            raise Conflict("Another patient of this clinic has this reference.")


def _only_clinic(change: Change) -> str:
    """Return the one subscription in which the practitioner may add patients."""
    subject = ("practitioner", change.actor.practitioner)
    names = clinics_worked_in(change)
    questions = [(subject, "add_patient", ("subscription", name)) for name in names]
    decisions = change.pdp.evaluate_many(questions, now=change.now)
    permitted = [name for name, decision in zip(names, decisions, strict=True) if decision.allowed]
    if not permitted:
        raise NotFound
    if len(permitted) > 1:
        raise InvalidInput("subscription: you work under several; name one")
    return permitted[0]
