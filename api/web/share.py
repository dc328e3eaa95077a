"""Share as the help page tells it (H3, H4): ⋯, *Transfer/share patient*, the action, the e-mail, *Continue*.

And how a share ends: by its owner, or given up (H6).
"""

from typing import Any

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.requests import row_number
from api.web import chosen, form_state, transfer, wording
from api.web import session as sessions
from api.web.chosen import Chosen
from api.web.frame import done, page, pages, patient_path, typed
from authz import operations
from authz.errors import CaregrantError, InvalidInput, NotFound
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries
from authz.texts import describe_patient

_ACTIONS = ("share", "transfer")


@pages.route("/patients/<patient>/share", methods=["GET", "POST"])
def share(patient: str) -> Response:
    """Share or transfer one patient, by the colleague's e-mail."""
    return _share(chosen.one(patient, *_ACTIONS))


@pages.route("/selection/share", methods=["GET", "POST"])
def share_some() -> Response:
    """Share or transfer the patients that were selected: all or none."""
    ids = chosen.selected()
    if not ids:
        return done("/patients", Markup("Select a patient first."))
    return _share(chosen.several(ids, *_ACTIONS))


def _share(those: Chosen) -> Response:
    if request.method == "GET":
        return _form(those)
    try:
        return _carry_out(those)
    except transfer.REFUSED as error:
        return _form(those, error)


def _carry_out(those: Chosen) -> Response:
    form = request.form
    action, reason = form.get("action"), form.get("reason", "").strip()
    colleague = form.get("colleague", "").strip(" \t\r\n\f")  # as a browser strips an e-mail field (HTML, 4.10.5.1.5)
    if action not in those.actions:
        raise InvalidInput("action: choose what shall be done")
    if not colleague:
        raise InvalidInput("colleague: enter your colleague's e-mail")
    seen = _require_as_shown(those, action)
    if action == "transfer":
        return transfer.carry_out(those, colleague, reason, **seen)
    form_state.require_whole(those)
    until = wording.end_of_day(form.get("until", ""))
    made = operations.share(
        pdp(), actor=sessions.actor(), patients=those.ids, colleague=colleague, until=until, reason=reason
    )
    viewer = made[0].viewer.name
    if those.several:
        return done("/patients", Markup("{} patients have been shared with {}"), str(len(made)), viewer)
    return done(those.path, Markup("{} has been shared with {}"), those.first, viewer)


def _require_as_shown(those: Chosen, action: str) -> dict[str, Any]:
    """Return the holders that the form showed; raise `Conflict` if it showed other patients or, for a transfer, others
    whom the transfer touches.
    """
    touched = chosen.touched(those, chosen.colleagues(those))
    form_state.require_as_shown(those, touched, touches=action == "transfer")
    return {"holders": touched.holders}


def _form(those: Chosen, error: CaregrantError | None = None) -> Response:
    colleagues = chosen.colleagues(those)
    touched = chosen.touched(those, colleagues)
    return page(
        "share.html",
        200 if error is None else status_of(error),
        chosen=those,
        touched=touched,
        shown=form_state.seal(those, touched),
        colleagues=colleagues,
        said=typed(),
        refused=transfer.refused(those, error),
        at_fault=wording.at_fault(error),
        today=sessions.actor().now.date(),
    )


@pages.route("/patients/<patient>/access/<grant>/end", methods=["GET", "POST"])
def end_share(patient: str, grant: str) -> Response:
    """End a share, or give up one's own; asked once more first."""
    actor, number = sessions.actor(), row_number(grant)
    row = practitioner_queries.patient(pdp(), actor, patient, or_list_access=True)
    lists = "list_access" in row["actions"]
    access = (
        manager_queries.who_has_access(pdp(), actor, patient)
        if lists
        else [manager_queries.own_access(pdp(), actor, patient)]
    )
    held = next((one for one in access if one["grant"] == number and one["role"] == "viewer"), None)
    if held is None:
        raise NotFound
    mine, named = held["practitioner"] == actor.practitioner, describe_patient(row["name"], row["reference"])
    if request.method == "GET":
        return page("end_share.html", patient=row, held=held, mine=mine)
    operations.end_share(pdp(), actor=actor, patient=patient, grant=number)
    if mine:
        return done("/patients?role=viewer", Markup("You have given up the access to {}"), named)
    return done(patient_path(patient), Markup("The sharing of {} with {} has ended"), named, held["name"])
