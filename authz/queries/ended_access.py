"""Why a practitioner does not see something now: access that has ended, and clinics that are closed to them.

It tells nobody more than they knew. The practitioner had the access themselves, or may list who has access to the
patient, or took part in the standing share; and they still practise in the clinic (T1). Each reading is recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import Row
from authz.models import Grant, Licence, Patient, StandingShare, live_at
from authz.policy.pdp import PDP
from authz.queries import practitioner as practitioner_queries
from authz.queries.permission import is_permitted
from authz.record import Actor
from authz.texts import is_stored_id


@dataclass(frozen=True)
class EndedAccess:
    """A grant or a standing share that has ended: of whom, by whom, why and when.

    `role` is owner, viewer or, for a viewer who had opened the patient in an emergency, emergency.
    `by` is empty if the operator or the passing of time ended it. `other` is the new owner after a transfer, and the
    other side of a standing share. `cause` is one of `END_CAUSES`, or empty if it ended by its date.
    """

    practitioner: str
    role: str
    cause: str
    at: datetime
    by: str
    subscription: str
    other: str = ""


def ended_access(pdp: PDP, actor: Actor, patient: str) -> EndedAccess | None:
    """Return the practitioner's own access to a patient that ended last; None if they have it still, or never had it.

    The new owner is named to the owner who transferred the patient or from whom a manager transferred the patient.
    """
    if not is_stored_id(patient):
        return None
    with database_connection(pdp.database):
        own = _begun_grants(patient, actor.now).where(Grant.practitioner == actor.practitioner)
        rows = list(own.order_by(Grant.ended_at.desc(), Grant.id.desc()).limit(1).dicts().execute(pdp.database))
        if not rows or rows[0]["ended_at"] > actor.now or not _practises(pdp, actor, rows[0]["subscription"]):
            return None
        other = ""
        if rows[0]["role"] == "owner" and rows[0]["end_cause"] == "transfer":
            begun = Grant.select(Grant.practitioner).where(
                Grant.patient == patient, Grant.role == "owner", Grant.started_at == rows[0]["ended_at"]
            )
            other = next((name for (name,) in begun.order_by(Grant.id).tuples().execute(pdp.database)), "")
        return _of_grant(rows[0], other)


def transferred(pdp: PDP, actor: Actor, patients: Sequence[str]) -> tuple[EndedAccess, int] | None:
    """Return the last transfer by which the practitioner ceased to own any of these patients, and of how many of them.

    None if there was no such transfer, or if the practitioner may not know of it.
    """
    with database_connection(pdp.database):
        owned = (
            in_condition(pdp.database, Grant.patient, [patient for patient in patients if is_stored_id(patient)]),
            Grant.practitioner == actor.practitioner,
            Grant.role == "owner",
            Grant.end_cause == "transfer",
            Grant.ended_at <= actor.now,
        )
        last = (
            Grant.select(Grant.patient, Grant.ended_at).where(*owned).order_by(Grant.ended_at.desc(), Grant.id.desc())
        )
        rows = list(last.limit(1).dicts().execute(pdp.database))
        access = ended_access(pdp, actor, rows[0]["patient"]) if rows else None
        if access is None:
            return None
        return access, Grant.select().where(*owned, Grant.ended_at == access.at).count(pdp.database)


def ended_share(pdp: PDP, actor: Actor, patient: str, grant: int) -> EndedAccess | None:
    """Return a share of a patient that has ended; None if it has not, or if the practitioner may not know of it."""
    if not is_stored_id(patient):
        return None
    with database_connection(pdp.database):
        query = _begun_grants(patient, actor.now).where(Grant.id == grant, Grant.role == "viewer")
        rows = list(query.dicts().execute(pdp.database))
        if not rows or rows[0]["ended_at"] > actor.now:
            return None
        if rows[0]["practitioner"] == actor.practitioner:
            is_known = _practises(pdp, actor, rows[0]["subscription"])
        else:
            is_known = is_permitted(pdp, actor, "list_access", ("patient", patient))
        return _of_grant(rows[0]) if is_known else None


def ended_standing_share(pdp: PDP, actor: Actor, number: int) -> EndedAccess | None:
    """Return a standing share that has ended, which the practitioner gave or had; None if it has not."""
    with database_connection(pdp.database):
        query = StandingShare.select().where(
            StandingShare.id == number,
            (StandingShare.owner == actor.practitioner) | (StandingShare.colleague == actor.practitioner),
            StandingShare.ended_at <= actor.now,
        )
        rows = list(query.dicts().execute(pdp.database))
        if not rows or not _practises(pdp, actor, rows[0]["subscription"]):
            return None
    row = rows[0]
    is_owner = row["owner"] == actor.practitioner
    other = row["colleague"] if is_owner else row["owner"]
    role = "owner" if is_owner else "viewer"
    ended = (row["end_cause"], row["ended_at"], row["ended_by"], row["subscription"])
    return EndedAccess(actor.practitioner, role, *ended, other)


def _begun_grants(patient: str, now: datetime) -> "peewee.ModelSelect[Any]":
    """Return the query of the grants on a patient that have begun, with the patient's subscription."""
    query = Grant.select(Grant, Patient.subscription).join(Patient)
    return query.where(Grant.patient == patient, Grant.started_at <= now)


def _of_grant(row: Row, other: str = "") -> EndedAccess:
    ended = (row["end_cause"], row["ended_at"], row["ended_by"], row["subscription"])
    role = "emergency" if row["origin"] == "emergency" else row["role"]
    return EndedAccess(row["practitioner"], role, *ended, other)


def _practises(pdp: PDP, actor: Actor, subscription: str) -> bool:
    """Return whether the practitioner may receive patients in this clinic, so that they are notified of its changes."""
    return is_permitted(pdp, actor, "receive", ("subscription", subscription))


def closed_clinics(pdp: PDP, actor: Actor) -> list[Row]:
    """Return the memberships of the practitioner in clinics in which they may not see any patient now.

    Each with `subscription`, `name`, `role` and whether the clinic has `lapsed`: none of its licences is live.
    """
    with database_connection(pdp.database):
        memberships: list[Row] = practitioner_queries.me(pdp, actor)["memberships"]
        subject = ("practitioner", actor.practitioner)
        questions = [(subject, "receive", ("subscription", row["subscription"])) for row in memberships]
        decisions = pdp.evaluate_many(questions, now=actor.now)
        closed = [row for row, decision in zip(memberships, decisions, strict=True) if not decision.allowed]
        if not closed:
            return []
        names = [row["subscription"] for row in closed]
        paid = Licence.select(Licence.subscription).where(
            in_condition(pdp.database, Licence.subscription, names), live_at(Licence, actor.now)
        )
        licensed = {name for (name,) in paid.tuples().execute(pdp.database)}
    return [{**row, "lapsed": row["subscription"] not in licensed} for row in closed]
