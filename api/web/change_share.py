"""Change a share in place (H6): another end, another reason, or both. The page offers it to those who may share."""

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.query import parse_row_id
from api.web import days, wording
from api.web import session as sessions
from api.web.frame import form_values, pages, patient_path, redirect_with_message, render_page
from api.web.share import list_access
from api.web.wording import FormError
from authz import operations
from authz.domain import FOREVER, Row
from authz.errors import CaregrantError, Conflict, Denied, InvalidInput, NotEligible, NotFound
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_patients
from authz.texts import describe_patient


@pages.route("/patients/<patient>/access/<grant>/change", methods=["GET", "POST"])
def change_share(patient: str, grant: str) -> Response:
    """Show the end and the reason of a share, and change them."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    if "share" not in row["actions"]:
        raise Denied("share")
    number = parse_row_id(grant)
    share = next((entry for entry in list_access(row) if entry["grant"] == number and entry["role"] == "viewer"), None)
    if share is None:
        raise Conflict("This share has ended.")
    if request.method == "GET":
        return _render_form(row, share)
    try:
        return _submit(row, share)
    except (InvalidInput, NotEligible) as error:
        return _render_form(row, share, error)


def _submit(patient: Row, share: Row) -> Response:
    """Change what differs from what the form showed; redirect to the patient, with a message that says what changed."""
    actor, form = sessions.actor(), request.form
    zones = zones_of_patients(pdp(), [patient["id"]])
    end = (days.chosen_end(form, zones, actor.now) or {}).get(patient["id"])
    reason = form["reason"].strip() if "reason" in form else None
    if reason == form.get("shown_reason", share["reason"]):
        reason = None
    is_same_end = end is None or end == (share["until"] or FOREVER)
    if is_same_end and reason in (None, share["reason"]):
        raise FormError(
            "", "The share has this end and this reason already. Choose another end, or write another reason."
        )
    try:
        operations.change_share(
            pdp(), actor=actor, patient=patient["id"], grant=share["grant"], until=end, reason=reason
        )
    except NotFound as error:
        raise Conflict("This share has ended, or you may not change it any more.") from error
    except NotEligible as error:
        sentence = f"{share['name']} cannot receive patients here now, so the share cannot last longer than it does."
        raise FormError("until", sentence) from error
    message = _CHANGED[None if is_same_end else end != FOREVER, reason is not None]
    day = () if is_same_end or end is None or end == FOREVER else (days.format_last_day(end, zones[patient["id"]]),)
    name = describe_patient(patient["name"], patient["reference"])
    return redirect_with_message(patient_path(patient["id"]), message, name, share["name"], *day)


_CHANGED = {
    (True, False): Markup("The sharing of {} with {} now ends after {}"),
    (True, True): Markup("The sharing of {} with {} now ends after {}, and its reason has been changed"),
    (False, False): Markup("The sharing of {} with {} now has no end"),
    (False, True): Markup("The sharing of {} with {} now has no end, and its reason has been changed"),
    (None, True): Markup("The reason for the sharing of {} with {} has been changed"),
}
"""The message of a change: by whether the share has an end now (None: as before), and whether its reason is another."""


def _render_form(patient: Row, share: Row, error: CaregrantError | None = None) -> Response:
    form = form_values()
    zones = zones_of_patients(pdp(), [patient["id"]])
    return render_page(
        "change_share.html",
        200 if error is None else status_of(error),
        patient=patient,
        share=share,
        form=form,
        reason=form.get("reason", share["reason"]),
        ends=days.end_choices(sessions.actor().now, zones.values()),
        zone=zones[patient["id"]],
        refusals=[] if error is None else [("", wording.describe_refusal(error))],
        field_at_fault=wording.field_at_fault(error),
    )
