"""Transfer as the help page tells it (H2): the transfer button, the list of colleagues, *Save changes*, the pop-up.

The search stands inside the form, so that a search keeps what is ticked. A colleague who is not in the list that a
search leaves is not chosen any more (T43).
"""

from typing import Any

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.requests import search
from api.web import chosen, form_state, wording
from api.web import session as sessions
from api.web.chosen import Chosen, Touched
from api.web.frame import done, ours, page, pages, typed
from authz import operations
from authz.domain import Row
from authz.errors import BatchRefused, CaregrantError, Conflict, InvalidInput, NotEligible, SelfTarget
from authz.queries import practitioner as practitioner_queries
from authz.texts import matches_search

REFUSED = (BatchRefused, Conflict, InvalidInput, NotEligible, SelfTarget)
"""What a form tells beside its fields; whatever else is refused has a page of its own."""


@pages.route("/patients/<patient>/transfer", methods=["GET", "POST"])
def transfer(patient: str) -> Response:
    """Transfer one patient to a colleague."""
    return _transfer(chosen.one(patient, "transfer"))


@pages.route("/selection/transfer", methods=["GET", "POST"])
def transfer_some() -> Response:
    """Transfer the patients that were selected: all or none."""
    ids = chosen.selected()
    if not ids:
        return done("/patients", Markup("Select a patient first."))
    return _transfer(chosen.several(ids, "transfer"))


def _transfer(those: Chosen) -> Response:
    if request.method == "GET" or "search" in request.form:
        return _form(those)
    try:
        return _carry_out_list(those)
    except REFUSED as error:
        return _form(those, error)


def _carry_out_list(those: Chosen) -> Response:
    """Transfer to the colleague that was clicked in the list, if the list shows this colleague."""
    login = request.form.get("colleague", "")
    if not login:
        raise InvalidInput("colleague: choose the colleague first")
    touched, listed = _list(those)
    then = form_state.require_as_shown(those, touched)
    row = form_state.require_listed(then, login, listed)
    return carry_out(those, login, receiver=row["id"], holders=touched.holders)


def carry_out(those: Chosen, colleague: str, reason: str = "", **seen: Any) -> Response:
    """Transfer patients to the colleague of this login; back to the list, with the pop-up that says so.

    `seen` are the `receiver` and the `holders` that the form showed, as `operations.transfer` takes them.
    """
    form_state.require_whole(those)
    end_shares = "end_shares" in request.form
    made = operations.transfer(
        pdp(),
        actor=sessions.actor(),
        patients=those.ids,
        colleague=colleague,
        reason=reason,
        end_shares=end_shares,
        **seen,
    )
    person = practitioner_queries.people(pdp(), [made[0].owner])[made[0].owner]
    back = ours(request.form.get("back", ""), "/patients")
    if those.several:
        return done(back, Markup("{} patients have been transferred to {}"), str(len(made)), person["name"])
    return done(back, Markup("{} has been transferred to {}"), those.first, person["name"])


def _list(those: Chosen) -> tuple[Touched, list[Row]]:
    """Whom the transfer touches, and the colleagues that the search leaves, without those who own the patients."""
    colleagues = chosen.colleagues(those)
    touched = chosen.touched(those, colleagues)
    receivers = [one for one in colleagues if one["id"] not in touched.owners]
    return touched, [one for one in receivers if matches_search(one["search_key"], search())]


def _form(those: Chosen, error: CaregrantError | None = None) -> Response:
    touched, found = _list(those)
    listed, said = found[: form_state.MOST_LISTED], typed()
    return page(
        "transfer.html",
        200 if error is None else status_of(error),
        chosen=those,
        touched=touched,
        colleagues=listed,
        more=len(found) - len(listed),
        gone=bool(said.get("colleague")) and said.get("colleague") not in {one["login"] for one in listed},
        q=search().strip(),
        said=said,
        shown=form_state.seal(those, touched, listed),
        refused=refused(those, error),
        at_fault=wording.at_fault(error),
    )


def refused(those: Chosen, error: CaregrantError | None) -> list[tuple[str, str]]:
    """A refusal in sentences, each with the patient that it is about, if it is about one of several."""
    if isinstance(error, BatchRefused):
        return [(those.names[those.ids[at]], wording.refusal(one)) for at, one in error.refusals]
    return [] if error is None else [("", wording.refusal(error))]
