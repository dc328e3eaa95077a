"""Emergency access on the pages: the form that opens a patient, and the clinic's list with the reviews (R13, T20).

The form is the same for everybody, whichever patient exists: only the answer to a purpose and a reason opens a patient,
and that answer is recorded. Without the rule in the policy there are no such pages.
"""

from urllib.parse import quote, urlencode

from flask import Flask, Response, request
from markupsafe import Markup

from api.auth import pdp
from api.emergency_access import count_try, emergency_time
from api.errors import status_of
from api.v1.query import encode_cursor, parse_number_cursor, parse_row_id
from api.web import session as sessions
from api.web import wording
from api.web.days import format_end
from api.web.frame import PAGE, form_values, pages, patient_path, redirect_with_message, render_page
from api.web.wording import FormError
from authz import operations
from authz.domain import Row
from authz.errors import CaregrantError, Conflict, Denied, InvalidInput, NotFound
from authz.queries import emergencies as emergency_queries
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_clinics, zones_of_patients
from authz.texts import is_stored_id

PURPOSES = {
    "ETREAT": ("Emergency treatment", "The patient’s life or health is in danger now."),
    "TREAT": (
        "Treatment that cannot wait",
        "The patient needs care before the owner or a manager can act.",
    ),
    "BTG": ("Another emergency", "Describe it in the reason."),
}
"""The label and the sentence of each purpose of an emergency access."""

VERDICTS = {"justified": "Justified", "unjustified": "Not justified"}
"""The label of each verdict of a review."""

_NOBODY = (
    "There is no patient with this number at your clinics, or you may not open this patient. Look at the number again, "
    "or ask a manager of your clinic."
)
_OPENED = Markup("You see {} until your emergency access ends {}. The owner and the managers have been notified")


def is_switched_on() -> bool:
    """Return whether the policy permits emergency access to anybody."""
    return emergency_queries.is_switched_on(pdp())


@pages.route("/emergency", methods=["GET", "POST"])
def break_glass() -> Response:
    """Show the form that opens a patient in an emergency, and open the patient."""
    actor = sessions.actor()
    if not is_switched_on():
        raise NotFound
    if request.method == "GET":
        return _render_form()
    try:
        count_try(actor)
        return _submit()
    except (Conflict, Denied, InvalidInput, NotFound) as error:
        return _render_form(error)


def _submit() -> Response:
    """Open the patient whom the form names; redirect to the patient, with a message."""
    form = request.form
    if form.get("purpose", "") not in PURPOSES:
        raise FormError("purpose", "Choose the purpose.")
    if not form.get("reason", "").strip():
        raise FormError("reason", "Say why you need this patient now.")
    patient, reference = form.get("patient", ""), form.get("reference", "").strip()
    if not patient and not reference:
        raise FormError("reference", "Enter the number that your clinic gives to the patient.")
    if form.get("known") != "yes":
        raise FormError("known", "Tick that you know what happens with an emergency access.")
    opened = operations.break_glass(
        pdp(),
        actor=sessions.actor(),
        purpose=form["purpose"],
        reason=form["reason"],
        lasts=emergency_time(),
        patient=patient or None,
        reference=None if patient else reference,
        subscription=form.get("subscription") or None,
    )
    name = opened.grant["patient"]
    shown = practitioner_queries.names(pdp(), sessions.actor(), [name]).get(name, "the patient")
    zone = zones_of_patients(pdp(), [name])[name]
    return redirect_with_message(patient_path(name), _OPENED, shown, format_end(opened.grant["ended_at"], zone))


def _render_form(error: CaregrantError | None = None) -> Response:
    """Render the form; the patient of the address is named by nothing but the address."""
    patient = (request.form if request.method == "POST" else request.args).get("patient", "")
    clinics = practitioner_queries.me(pdp(), sessions.actor())["memberships"]
    return render_page(
        "emergency.html",
        200 if error is None else status_of(error),
        patient=patient if is_stored_id(patient) else "",
        clinics=[clinic for clinic in clinics if clinic["role"] != "auditor"],
        form=form_values(),
        purposes=PURPOSES,
        minutes=int(emergency_time().total_seconds()) // 60,
        refusals=[] if error is None else [("", _describe_refusal(error))],
        field_at_fault=_field_at_fault(error),
    )


def _describe_refusal(error: CaregrantError) -> str:
    if isinstance(error, NotFound | Denied):
        return _NOBODY
    if isinstance(error, InvalidInput) and not isinstance(error, FormError):
        _, _, sentence = str(error).partition(": ")
        return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else str(error)
    return wording.describe_refusal(error)


def _field_at_fault(error: CaregrantError | None) -> str:
    if not isinstance(error, InvalidInput):
        return ""
    field = error.field if isinstance(error, FormError) else str(error).partition(": ")[0]
    return field if field in ("purpose", "reason", "reference", "subscription", "known") else ""


@pages.get("/clinic/<subscription>/emergencies")
def emergencies(subscription: str) -> Response:
    """Show the emergency accesses of a clinic: those that wait for a review, or all."""
    return _render_list(subscription)


@pages.post("/clinic/<subscription>/emergencies")
def review_emergency(subscription: str) -> Response:
    """Review an emergency access; redirect to the list, with a message."""
    form, path = request.form, f"/clinic/{quote(subscription, safe='')}/emergencies"
    if form.get("verdict", "") not in VERDICTS:
        raise FormError("verdict", "Choose a verdict: justified, or not justified.")
    operations.review_emergency(
        pdp(),
        actor=sessions.actor(),
        emergency=parse_row_id(form.get("emergency", "")),
        verdict=form["verdict"],
        note=form.get("note", ""),
    )
    return redirect_with_message(path, Markup("The review has been recorded: {}"), VERDICTS[form["verdict"]].lower())


def _render_list(subscription: str) -> Response:
    actor, all_ = sessions.actor(), request.args.get("all") == "yes"
    rows, more = emergency_queries.emergencies(
        pdp(), actor, subscription, due=not all_, limit=PAGE, before=parse_number_cursor() or None
    )
    people = practitioner_queries.people(
        pdp(), [row[side] for row in rows for side in ("practitioner", "reviewer") if row[side]]
    )
    names = practitioner_queries.names(pdp(), actor, [row["patient"] for row in rows])
    return render_page(
        "clinic_emergencies.html",
        subscription=subscription,
        emergencies=[
            {
                **row,
                "patient_name": names.get(row["patient"]),
                "name": people[row["practitioner"]]["name"],
                "reviewer_name": people[row["reviewer"]]["name"] if row["reviewer"] else "",
                "purpose_label": PURPOSES[row["purpose"]][0],
                "verdict_label": VERDICTS.get(row["verdict"], ""),
            }
            for row in rows
        ],
        all=all_,
        verdicts=VERDICTS,
        following=encode_cursor(str(rows[-1]["id"])) if more else None,
        zone=zones_of_clinics(pdp(), [subscription])[subscription],
    )


def emergency_form(patient: str = "") -> str:
    """Return the path of the form, for a patient if one is named; empty if the policy permits no emergency access."""
    if not is_switched_on():
        return ""
    return f"/emergency?{urlencode({'patient': patient})}" if patient else "/emergency"


def reviews_due(subscription: str) -> Row:
    """Return how many emergency accesses of a clinic wait for a review, how many are overdue, and whether to show any.

    A page of the clinic shows the reviews that are due, also after the policy has ceased to permit emergency access.
    """
    due, overdue = emergency_queries.due_reviews(pdp(), sessions.actor(), subscription)
    return {"due": due, "overdue": overdue, "shown": bool(due) or is_switched_on()}


def audited_clinics() -> list[Row]:
    """Return the clinics whose emergency accesses the reader reviews; none if the policy permits none."""
    return emergency_queries.audited(pdp(), sessions.actor()) if is_switched_on() else []


def install(app: Flask) -> None:
    """Add the functions with which the templates lead to these pages."""
    app.jinja_env.globals.update(
        emergency_form=emergency_form,
        reviews_due=reviews_due,
        emergency_purposes=PURPOSES,
        emergency_verdicts=VERDICTS,
        audited_clinics=audited_clinics,
    )
