"""*Undo* in the pop-up after a transfer: the transfer of one patient, or of all that were transferred together."""

from collections.abc import Sequence
from dataclasses import replace

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp, rates
from api.limits import extra_requests
from api.web import session as sessions
from api.web.frame import own_path, pages, redirect_with_message
from authz import operations
from authz.domain import format_instant, parse_instant
from authz.errors import BatchRefused, CaregrantError, Conflict, NotFound
from authz.queries import practitioner as practitioner_queries
from authz.queries.sent_patients import can_undo, sent_patients

_LOST = ". These colleagues did not get their share back, because they have left the clinic since the transfer: {}"


def popup_category(transfers: Sequence[operations.TransferResult]) -> str:
    """Return the category of the message about these transfers: ``undo`` and their instant, if an undo is possible.

    The pop-up then has the button *Undo*.
    """
    at = transfers[0].grant["started_at"]
    owners = {transfer.patient: transfer.previous_owner for transfer in transfers}
    return f"undo {format_instant(at)}" if can_undo(pdp(), sessions.actor(), owners, at) else "message"


@pages.post("/transfers/undo")
def undo_transfer() -> Response:
    """Undo the transfer that the practitioner made at an instant; redirect, with a message."""
    actor = sessions.actor()
    patients = sent_patients(pdp(), actor, parse_instant(request.form.get("at")))
    if not patients:
        raise NotFound
    rates().spend(f"session:{actor.practitioner}", actor.now, requests=extra_requests(len(patients)))
    path = own_path(request.form.get("back", ""), "/patients")
    try:
        undone = operations.undo_transfer(pdp(), actor=actor, patients=patients)
    except (BatchRefused, Conflict) as error:
        sentence = Markup("The transfer has not been undone. {}").format(_describe_refusal(error))
        return redirect_with_message(path, sentence, category="refused")
    actor = replace(actor, now=max(actor.now, undone[0].grant["started_at"]))
    name = practitioner_queries.names(pdp(), actor, patients[:1]).get(patients[0], "the patient")
    lost = {share["practitioner"] for each in undone for share in each.lost_shares}
    people = practitioner_queries.people(pdp(), [undone[0].receiver, *lost])
    receiver = people[undone[0].receiver]["name"]
    sentence = Markup("The transfer of {} to {} has been undone") + (_LOST if lost else "")
    subject = f"{len(undone)} patients" if len(undone) > 1 else name
    lost_names = ", ".join(row["name"] for practitioner, row in people.items() if practitioner in lost)
    return redirect_with_message(path, sentence, subject, receiver, lost_names)


def _describe_refusal(error: BatchRefused | Conflict) -> str:
    """Return the sentences of a refusal, each once, without names: the practitioner may not know the patients now."""
    errors: Sequence[CaregrantError] = [error]
    if isinstance(error, BatchRefused):
        errors = [refusal for _, refusal in error.refusals]
    return " ".join(dict.fromkeys(map(str, errors))) + " Nothing has been changed."
