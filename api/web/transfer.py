"""Transfer as the help page describes it (H2): the transfer button, the list of colleagues, *Save changes*, the pop-up.

The search field is inside the form, so that a search keeps the other choices. A chosen colleague whom a search removes
from the list is not chosen any more (T43).
"""

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.query import parse_search
from api.web import form_state, undo, wording
from api.web import session as sessions
from api.web.frame import form_values, own_path, pages, redirect_with_message, render_page
from api.web.selection import (
    Selection,
    TransferImpact,
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
from authz.errors import BatchRefused, CaregrantError, Conflict, InvalidInput, NotEligible, SelfTarget
from authz.queries import practitioner as practitioner_queries
from authz.texts import matches_search

SHOWN_IN_FORM = (BatchRefused, Conflict, InvalidInput, NotEligible, SelfTarget)
"""The errors that a form shows beside its fields; every other error has its own page."""


@pages.route("/patients/<patient>/transfer", methods=["GET", "POST"])
def transfer(patient: str) -> Response:
    """Transfer one patient to a colleague."""
    return _handle(select_patient(patient, "transfer"))


@pages.route("/selection/transfer", methods=["GET", "POST"])
def transfer_some() -> Response:
    """Transfer the selected patients to a colleague: all of them or none."""
    ids = selected_ids()
    if not ids:
        return redirect_without_patients()
    return _handle(select_patients(ids, "transfer"))


def _handle(selection: Selection) -> Response:
    if not is_submitted():
        return render_form(selection)
    try:
        return _submit_list(selection)
    except SHOWN_IN_FORM as error:
        return render_form(selection, error)


def _submit_list(selection: Selection) -> Response:
    """Transfer to the colleague that was clicked in the list, if the list still shows this colleague."""
    login = request.form.get("colleague", "")
    if not login:
        raise FormError("colleague", "Choose the colleague first.")
    impact, receivers = _list(selection)
    shown = form_state.require_as_shown(selection, impact)
    receiver = form_state.require_listed(shown, login, receivers)
    return submit(selection, login, holders=impact.holders, receiver=receiver["id"])


def submit(
    selection: Selection,
    colleague: str,
    reason: str = "",
    *,
    holders: dict[str, list[str]],
    receiver: str | None = None,
) -> Response:
    """Transfer the selected patients to the colleague with this login; redirect to the list, with a message and *Undo*.

    `holders` and `receiver` are what the form showed, as `operations.transfer` takes them.
    """
    form_state.require_whole(selection)
    transfers = operations.transfer(
        pdp(),
        actor=sessions.actor(),
        patients=selection.ids,
        colleague=colleague,
        reason=reason,
        end_shares="end_shares" in request.form,
        holders=holders,
        receiver=receiver,
    )
    owner = practitioner_queries.people(pdp(), [transfers[0].owner])[transfers[0].owner]
    path = own_path(request.form.get("back", ""), "/patients")
    selection.complete()
    if selection.several:
        message, subject = Markup("{} patients have been transferred to {}"), str(len(transfers))
    else:
        message, subject = Markup("{} has been transferred to {}"), selection.first_name
    return redirect_with_message(path, message, subject, owner["name"], category=undo.popup_category(transfers))


def _list(selection: Selection) -> tuple[TransferImpact, list[Row]]:
    """Return whom a transfer affects, and the receivers that the search finds, without the patients' owners."""
    receivers = list_receivers(selection)
    impact = transfer_impact(selection, receivers)
    others = [row for row in receivers if row["id"] not in impact.owners]
    searched = parse_search()
    return impact, [row for row in others if matches_search(row["search_key"], searched)]


def render_form(selection: Selection, error: CaregrantError | None = None) -> Response:
    """Show the form of a transfer; `error` is the refusal of the form that was just sent."""
    refusals = describe_refusals(selection, error)
    selection, refused = without_refused(selection, error)
    impact, receivers = _list(selection)
    listed, form = receivers[: form_state.MOST_LISTED], form_values(selection.ids if selection.of_list else ())
    chosen = form.get("colleague")
    return render_page(
        "transfer.html",
        200 if error is None else status_of(error),
        selection=selection,
        refused=refused,
        impact=impact,
        colleagues=listed,
        more=len(receivers) - len(listed),
        choice_lost=bool(chosen) and chosen not in {row["login"] for row in listed},
        q=parse_search().strip(),
        form=form,
        shown=form_state.seal(selection, impact, listed),
        refusals=refusals,
        field_at_fault=wording.field_at_fault(error),
    )


def describe_refusals(selection: Selection, error: CaregrantError | None) -> list[tuple[str, str]]:
    """Return the sentences of a refusal, each with the name of its patient, if it is about one of several patients."""
    if isinstance(error, BatchRefused):
        names = [selection.names[selection.ids[index]] for index, _ in error.refusals]
        sentences = [wording.describe_refusal(refusal) for _, refusal in error.refusals]
        return list(zip(names, sentences, strict=True))
    return [] if error is None else [("", wording.describe_refusal(error))]
