"""Patients: a member adds one and owns them from then on (R8); their name changes, and they leave the clinic (R10)."""

import uuid
from dataclasses import dataclass

from authz.domain import Row
from authz.errors import Conflict, InvalidInput, NotFound
from authz.models import Grant, Membership, Patient
from authz.operations.idempotency import IdempotencyKey
from authz.operations.transaction import Change, bounded, perform
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import parse_id, parse_reference, parse_text, search_key


@dataclass(frozen=True)
class Added:
    """A new patient, and the grant that makes the one who added them the owner."""

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
) -> Added:
    """Add a patient to a subscription; without one named, to the only one that the practitioner works under.

    `patient` is an id that the operator chose: whoever lets a caller choose one lets it learn which are taken.
    Raises `InvalidInput` for a malformed name, reference or id, and where the subscription must be named; `NotFound`
    for a subscription where they may not add patients; `Conflict` for an id that is taken, and for a reference that
    another patient of that subscription has.
    """
    one = uuid.uuid4().hex if patient is None else parse_id(patient)
    name, reference = parse_text(name), reference and parse_reference(reference)

    def work(change: Change) -> Added:
        where = subscription or _only_clinic(change)
        change.enter(where)
        change.permit("add_patient", ("subscription", where))
        if change.row(Patient.select().where(Patient.id == one)):
            raise Conflict("A patient with this id exists already.")
        require_free_reference(change, where, one, reference)
        row = {"id": one, "subscription": where, "name": name, "reference": reference}
        key = search_key(name, reference)
        Patient.insert(**row, search_key=key, started_at=change.now).execute(change.database)
        change.happened("patient:added", where, {}, one)
        owner = {"practitioner": actor.practitioner, "role": "owner", "origin": "created"}
        grant = change.start("grant", where, patient=one, **owner)
        return Added(one, name, reference, where, grant["id"])

    return perform(pdp, actor, work, idempotency_key=idempotency_key)


def edit_patient(
    pdp: PDP,
    *,
    actor: Actor,
    patient: str,
    name: str | None = None,
    reference: str | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    """Give a patient another display name or reference (empty: none); what is the same changes nothing.

    The event tells neither. Raises `InvalidInput` for a malformed name or reference or if nothing is given, `Conflict`
    for a reference that another patient of the clinic has, `NotFound` and `Denied`.
    """
    if name is None and reference is None:
        raise InvalidInput("name, reference: give what shall change")
    wanted = {} if name is None else {"name": parse_text(name)}
    if reference is not None:
        wanted["reference"] = reference and parse_reference(reference)

    def work(change: Change) -> Row:
        change.permit("edit", ("patient", patient))
        where = change.subscriptions[patient]
        (row,) = change.rows(Patient.select(Patient.name, Patient.reference).where(Patient.id == patient))
        after = {**row, **wanted}
        differing = [field for field in wanted if row[field] != after[field]]
        if differing:
            require_free_reference(change, where, patient, after["reference"])
            key = search_key(after["name"], after["reference"])
            Patient.update(**after, search_key=key).where(Patient.id == patient).execute(change.database)
            change.happened("patient:changed", where, {"changed": differing}, patient)
        return {"id": patient, **after, "reference": after["reference"] or None, "subscription": where}

    return perform(pdp, actor, work, idempotency_key=idempotency_key, action="edit", patients=[patient])


def end_patient(
    pdp: PDP, *, actor: Actor, patient: str, reason: str = "", idempotency_key: IdempotencyKey | None = None
) -> None:
    """The patient leaves the clinic now: every grant ends, and nobody may do anything to the patient any more.

    Documents follow the patient. The id stays taken, and the record stays. Raises `NotFound`, `Denied` and
    `InvalidInput`.
    """
    why = bounded(reason)

    def work(change: Change) -> None:
        change.permit("end", ("patient", patient))
        where = change.subscriptions[patient]
        left = Grant.select().where(
            Grant.patient == patient, Grant.ended_at > change.now, Grant.ended_at > Grant.started_at
        )
        rows = change.rows(left.order_by(Grant.role, Grant.started_at))
        owner = rows[0]["practitioner"]
        for row in rows:
            change.end("grant", where, row, "ended")
            if row["role"] == "viewer":
                change.notify("share:ended", row["practitioner"], owner, where, patient)
        change.notify("patient:ended", owner, actor.practitioner, where, patient)
        Patient.update(ended_at=change.now).where(Patient.id == patient).execute(change.database)
        change.happened("patient:ended", where, {}, patient, why)

    perform(pdp, actor, work, idempotency_key=idempotency_key, action="end", patients=[patient])


def require_free_reference(change: Change, subscription: str, patient: str, reference: str) -> None:
    """Raise `Conflict` if another patient who is in this subscription now, or will be, has this reference.

    The database's own rule stands behind this one, for two changes at once.
    """
    if reference:
        same = (Patient.subscription == subscription, Patient.reference == reference, Patient.id != patient)
        if change.row(Patient.select(Patient.id).where(*same, Patient.ended_at > change.now)):
            raise Conflict("Another patient of this clinic has this reference.")


def _only_clinic(change: Change) -> str:
    mine = (
        Membership.select(Membership.subscription)
        .where(Membership.practitioner == change.actor.practitioner)
        .distinct()
    )
    who = ("practitioner", change.actor.practitioner)
    where: list[str] = sorted(row["subscription"] for row in change.rows(mine))
    asked = [(who, "add_patient", ("subscription", name)) for name in where if change.actor.tenant in (None, name)]
    answers = change.pdp.evaluate_many(asked, now=change.now)
    where = [name for (_, _, (_, name)), decision in zip(asked, answers, strict=True) if decision.allowed]
    if not where:
        raise NotFound
    if len(where) > 1:
        raise InvalidInput("subscription: you work under several; name one")
    return where[0]
