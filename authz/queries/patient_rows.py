"""Patients as a practitioner sees them."""

from collections.abc import Sequence

from authz.database.statements import in_condition
from authz.domain import Row
from authz.models import Grant, Patient, live_at
from authz.policy.pdp import PDP
from authz.record import Actor


def patient_rows(pdp: PDP, actor: Actor, ids: Sequence[str], action: str) -> list[Row]:
    """Return those of these patients on which the practitioner may take the action, as they see them, ordered by id."""
    query = Patient.select().where(in_condition(pdp.database, Patient.id, list(ids))).order_by(Patient.id)
    if actor.tenant is not None:
        query = query.where(Patient.subscription == actor.tenant)
    rows = list(query.dicts().execute(pdp.database))
    owners = owners_of(pdp, actor, ids)
    subject = ("practitioner", actor.practitioner)
    decisions = pdp.evaluate_many([(subject, action, ("patient", row["id"])) for row in rows], now=actor.now)
    owner_decisions = pdp.evaluate_many(
        [(("practitioner", owners[row["id"]]), "receive", ("patient", row["id"])) for row in rows], now=actor.now
    )
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "reference": row["reference"] or None,
            "role": _role(owners[row["id"]], actor, action),
            "owner": owners[row["id"]],
            "until": decision.until,
            "orphaned": not owner_decision.allowed,
        }
        for row, decision, owner_decision in zip(rows, decisions, owner_decisions, strict=True)
        if decision.allowed
    ]


def owners_of(pdp: PDP, actor: Actor, patients: Sequence[str]) -> dict[str, str]:
    """Return the present owner of each of these patients."""
    query = Grant.select(Grant.patient, Grant.practitioner).where(
        in_condition(pdp.database, Grant.patient, list(patients)), Grant.role == "owner", live_at(Grant, actor.now)
    )
    return dict(query.tuples().execute(pdp.database))


def _role(owner: str, actor: Actor, action: str) -> str:
    if owner == actor.practitioner:
        return "owner"
    return "viewer" if action == "view" else "manager"
