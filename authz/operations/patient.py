"""Patients: a member adds one and owns them from then on (R8); their name changes, and they leave the clinic (R10)."""

import uuid
from dataclasses import dataclass

from authz.errors import Conflict, InvalidInput, NotFound
from authz.models import Grant, Membership, Patient
from authz.operations.change import Change, Row, bounded, perform
from authz.operations.once import Once
from authz.pdp import PDP
from authz.record import Act
from authz.terms import parse_id, parse_text


@dataclass(frozen=True)
class Added:
    """A new patient, and the grant that makes the one who added them the owner."""

    patient: str
    name: str
    subscription: str
    grant: int


def add_patient(
    pdp: PDP,
    *,
    act: Act,
    name: str,
    patient: str | None = None,
    subscription: str | None = None,
    once: Once | None = None,
) -> Added:
    """Add a patient to a subscription; without one named, to the only one that the practitioner works under.

    Raises `InvalidInput` for a malformed name or id, and where the subscription must be named; `NotFound` for a
    subscription where they may not add patients; `Conflict` for an id that is taken.
    """
    one = uuid.uuid4().hex if patient is None else parse_id(patient)
    parse_text(name)

    def work(change: Change) -> Added:
        where = subscription or _only_clinic(change)
        change.enter(where)
        change.permit("add_patient", ("subscription", where))
        if change.row(Patient.select().where(Patient.id == one)):
            raise Conflict("A patient with this id exists already.")
        Patient.insert(id=one, subscription=where, name=name, started_at=change.now).execute(change.database)
        change.happened("patient:added", where, {}, one)
        owner = {"practitioner": act.by, "role": "owner", "origin": "created"}
        grant = change.start("grant", where, patient=one, **owner)
        return Added(one, name, where, grant["id"])

    return perform(pdp, act, work, once=once)


def edit_patient(pdp: PDP, *, act: Act, patient: str, name: str | None = None, once: Once | None = None) -> Row:
    """Give a patient another display name; the same name changes nothing. The event tells no name.

    Raises `InvalidInput` for a malformed name or if nothing is given, `NotFound` and `Denied`.
    """
    if name is None:
        raise InvalidInput("name: give what shall change")
    parse_text(name)

    def work(change: Change) -> Row:
        change.permit("edit", ("patient", patient))
        where = change.subscriptions[patient]
        row = change.row(Patient.select(Patient.name).where(Patient.id == patient))
        if row is not None and row["name"] != name:
            Patient.update(name=name).where(Patient.id == patient).execute(change.database)
            change.happened("patient:changed", where, {"changed": ["name"]}, patient)
        return {"id": patient, "name": name, "subscription": where}

    return perform(pdp, act, work, once=once, action="edit", patients=[patient])


def end_patient(pdp: PDP, *, act: Act, patient: str, reason: str = "", once: Once | None = None) -> None:
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
        change.notify("patient:ended", owner, act.by, where, patient)
        Patient.update(ended_at=change.now).where(Patient.id == patient).execute(change.database)
        change.happened("patient:ended", where, {}, patient, why)

    perform(pdp, act, work, once=once, action="end", patients=[patient])


def _only_clinic(change: Change) -> str:
    mine = Membership.select(Membership.subscription).where(Membership.practitioner == change.act.by).distinct()
    who = ("practitioner", change.act.by)
    where: list[str] = sorted(row["subscription"] for row in change.rows(mine))
    asked = [(who, "add_patient", ("subscription", name)) for name in where if change.act.bound in (None, name)]
    answers = change.pdp.evaluate_many(asked, change.now)
    where = [name for (_, _, (_, name)), decision in zip(asked, answers, strict=True) if decision.allowed]
    if not where:
        raise NotFound
    if len(where) > 1:
        raise InvalidInput("subscription: you work under several; name one")
    return where[0]
