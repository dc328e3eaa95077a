"""The patients of a transfer, as the practitioner who made the transfer names it: by its instant."""

from collections.abc import Mapping
from datetime import datetime

from authz.database import database_connection
from authz.models import Grant
from authz.policy.pdp import PDP
from authz.record import Actor


def sent_patients(pdp: PDP, actor: Actor, at: datetime) -> list[str]:
    """Return the ids of the patients that the practitioner transferred at this instant, whoever owns them now.

    Only ids: the practitioner may not know about these patients any more.
    """
    sent = (Grant.given_by == actor.practitioner, Grant.started_at == at, Grant.origin == "transfer")
    with database_connection(pdp.database):
        query = Grant.select(Grant.patient).where(*sent).order_by(Grant.patient)
        return [patient for (patient,) in query.tuples().execute(pdp.database)]


def can_undo(pdp: PDP, actor: Actor, previous_owners: Mapping[str, str], at: datetime) -> bool:
    """Return whether the practitioner may undo a transfer at its instant, and every previous owner may receive again.

    `previous_owners` are those of each patient.
    """
    questions = []
    for patient, owner in previous_owners.items():
        questions.append((("practitioner", actor.practitioner), "undo_transfer", ("patient", patient)))
        questions.append((("practitioner", owner), "receive", ("patient", patient)))
    with database_connection(pdp.database):
        return all(decision.allowed for decision in pdp.evaluate_many(questions, now=at))
