"""Share as the help page describes it (H3, H4): ⋯, *Transfer/share patient*, the action, the e-mail, *Continue*.

A share ends here too: by its owner, or given up by its viewer (H6).
"""

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.query import parse_row_id
from api.web import days, form_state, transfer, wording
from api.web import session as sessions
from api.web.frame import back_to, form_values, own_path, pages, patient_path, redirect_with_message, render_page
from api.web.selection import (
    Selection,
    is_submitted,
    list_receivers,
    redirect_without_patients,
    select_patient,
    select_patients,
    selected_ids,
    transfer_impact,
    without_refused,
)
from api.web.wording import FormError
from authz import operations
from authz.domain import Row
from authz.errors import CaregrantError, NotFound
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_patients
from authz.texts import describe_patient

_ACTIONS = ("share", "transfer")


@pages.route("/patients/<patient>/share", methods=["GET", "POST"])
def share(patient: str) -> Response:
    """Share or transfer one patient, to the colleague with an e-mail."""
    return _handle(select_patient(patient, *_ACTIONS))


@pages.route("/selection/share", methods=["GET", "POST"])
def share_some() -> Response:
    """Share or transfer the selected patients: all of them or none."""
    ids = selected_ids()
    if not ids:
        return redirect_without_patients()
    return _handle(select_patients(ids, *_ACTIONS))


def _handle(selection: Selection) -> Response:
    if not is_submitted():
        return _render_form(selection)
    try:
        return _submit(selection)
    except transfer.SHOWN_IN_FORM as error:
        return _render_form(selection, error)


def _submit(selection: Selection) -> Response:
    """Share or transfer the selected patients; redirect to the patient or to the list, with a message."""
    form = request.form
    action, reason = form.get("action", ""), form.get("reason", "").strip()
    colleague = form.get("colleague", "").strip(" \t\r\n\f")  # as a browser strips an e-mail field (HTML, 4.10.5.1.5)
    if action not in selection.actions:
        raise FormError("action", "Choose what you want to do.")
    if not colleague:
        raise FormError("colleague", "Enter your colleague's e-mail.")
    impact = transfer_impact(selection, list_receivers(selection))
    form_state.require_as_shown(selection, impact, affects_others=action == "transfer")
    if action == "transfer":
        return transfer.submit(selection, colleague, reason, holders=impact.holders)
    form_state.require_whole(selection)
    actor = sessions.actor()
    until = days.chosen_end(form, zones_of_patients(pdp(), selection.ids), actor.now)
    shares = operations.share(
        pdp(), actor=actor, patients=selection.ids, colleague=colleague, until=until, reason=reason
    )
    viewer, back = shares[0].viewer.name, own_path(form.get("back", ""), "")
    selection.complete()
    if selection.several:
        message = Markup("{} patients have been shared with {}")
        return redirect_with_message(back or "/patients", message, str(len(shares)), viewer)
    path = back or selection.path if selection.of_list else back_to(selection.path, back)
    return redirect_with_message(path, Markup("{} has been shared with {}"), selection.first_name, viewer)


def _render_form(selection: Selection, error: CaregrantError | None = None) -> Response:
    refusals = transfer.describe_refusals(selection, error)
    selection, refused = without_refused(selection, error)
    receivers = list_receivers(selection)
    impact = transfer_impact(selection, receivers)
    return render_page(
        "share.html",
        200 if error is None else status_of(error),
        selection=selection,
        refused=refused,
        impact=impact,
        shown=form_state.seal(selection, impact),
        colleagues=receivers,
        form=form_values(selection.ids if selection.of_list else ()),
        refusals=refusals,
        field_at_fault=wording.field_at_fault(error),
        ends=days.end_choices(sessions.actor().now, zones_of_patients(pdp(), selection.ids).values()),
    )


@pages.route("/patients/<patient>/access/<grant>/end", methods=["GET", "POST"])
def end_share(patient: str, grant: str) -> Response:
    """End a share, or give up a share that the practitioner received; ask once more first."""
    actor, number = sessions.actor(), parse_row_id(grant)
    row = practitioner_queries.patient(pdp(), actor, patient, or_list_access=True)
    rows = list_access(row)
    share = next((row for row in rows if row["grant"] == number and row["role"] == "viewer"), None)
    if share is None:
        raise NotFound
    is_own = share["practitioner"] == actor.practitioner
    name = describe_patient(row["name"], row["reference"])
    back = own_path(form_values().get("back", ""), "")
    if request.method == "GET":
        zone = zones_of_patients(pdp(), [patient])[patient]
        return render_page("end_share.html", patient=row, share=share, is_own=is_own, zone=zone, back=back)
    operations.end_share(pdp(), actor=actor, patient=patient, grant=number)
    if is_own:
        message = Markup("You have given up your access to {}")
        return redirect_with_message(back or "/patients?role=viewer", message, name)
    message = Markup("The sharing of {} with {} has ended")
    if share["origin"] == "emergency":
        message = Markup("The emergency access to {} of {} has ended")
    return redirect_with_message(back or patient_path(patient), message, name, share["name"])


def list_access(patient: Row) -> list[Row]:
    """Return the access of everybody to a patient, or only the practitioner's own, if they may not list the others'."""
    actor = sessions.actor()
    if "list_access" in patient["actions"]:
        return manager_queries.who_has_access(pdp(), actor, patient["id"])
    return [manager_queries.own_access(pdp(), actor, patient["id"])]
