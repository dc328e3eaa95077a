"""Questions about several patients at once, by one statement for all of them: who may receive them, who has access."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import Row
from authz.models import Grant, Patient, StandingShare, live_at
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.queries.permission import require_permission
from authz.queries.practitioner import people
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision


@dataclass
class PatientAccess:
    """The owner of one patient, the viewers with a share, and those with a standing share only, by id."""

    owner: str = ""
    viewers: list[str] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)


def receivers_of_all(pdp: PDP, actor: Actor, patients: Sequence[str]) -> list[Row]:
    """Return who may receive every one of these patients, by name; never the practitioner.

    The practitioner may know the patients. The search is recorded for each patient.
    """
    resources: list[Ref] = [("patient", patient) for patient in patients]
    with database_connection(pdp.database):
        receivers = set(pdp.search_subjects_of_all("practitioner", "receive", resources, now=actor.now))
        receivers -= {actor.practitioner}
        answer = search_decision(actor, pdp.version)
        questions = [
            RecordedQuestion(("practitioner", ""), "receive", resource, size=len(receivers)) for resource in resources
        ]
        record_decisions(pdp.database, actor, [(question, answer) for question in questions])
        return list(people(pdp, sorted(receivers)).values())


def access_to_each(pdp: PDP, actor: Actor, patients: Sequence[str]) -> dict[str, PatientAccess]:
    """Return who has access to each of these patients.

    Each decision is recorded. Raises as `practitioner.access` if the practitioner may not list the access to one of
    them.
    """
    subject = ("practitioner", actor.practitioner)
    with database_connection(pdp.database):
        questions = [RecordedQuestion(subject, "list_access", ("patient", patient)) for patient in patients]
        decisions = pdp.evaluate_many([(subject, "list_access", q.resource) for q in questions], now=actor.now)
        record_decisions(pdp.database, actor, list(zip(questions, decisions, strict=True)))
        for question, decision in zip(questions, decisions, strict=True):
            if not decision.allowed:
                require_permission(pdp, actor, "list_access", question.resource)
        access = {patient: PatientAccess() for patient in patients}
        query = Grant.select(Grant.patient, Grant.practitioner, Grant.role).where(
            in_condition(pdp.database, Grant.patient, list(access)), live_at(Grant, actor.now)
        )
        for patient, practitioner, role in query.order_by(Grant.id).tuples().execute(pdp.database):
            if role == "owner":
                access[patient].owner = practitioner
            else:
                access[patient].viewers.append(practitioner)
        for patient, colleague in _standing_viewers(pdp, actor, access):
            access[patient].standing.append(colleague)
    return access


def _standing_viewers(pdp: PDP, actor: Actor, access: dict[str, PatientAccess]) -> list[tuple[str, str]]:
    """Return the pairs of patient and colleague in which the colleague views the patient by a standing share alone."""
    clinics = Patient.select(Patient.id, Patient.subscription)
    clinics = clinics.where(in_condition(pdp.database, Patient.id, list(access)))
    clinic_of = dict(clinics.tuples().execute(pdp.database))
    owners = sorted({entry.owner for entry in access.values()})
    query = StandingShare.select(StandingShare.owner, StandingShare.subscription, StandingShare.colleague).where(
        in_condition(pdp.database, StandingShare.owner, owners), live_at(StandingShare, actor.now)
    )
    colleagues: dict[tuple[str, str], list[str]] = {}
    for owner, clinic, colleague in query.order_by(StandingShare.id).tuples().execute(pdp.database):
        colleagues.setdefault((owner, clinic), []).append(colleague)
    pairs = [
        (patient, colleague)
        for patient, entry in access.items()
        for colleague in colleagues.get((entry.owner, clinic_of[patient]), [])
        if colleague not in entry.viewers
    ]
    decisions = pdp.evaluate_many(
        [(("practitioner", colleague), "view", ("patient", patient)) for patient, colleague in pairs], now=actor.now
    )
    return [pair for pair, answer in zip(pairs, decisions, strict=True) if answer.standing_share is not None]
