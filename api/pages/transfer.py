"""Transfer as the help page tells it (H2): the transfer button, the list of colleagues, *Save changes*, the pop-up."""

from flask import Response, request
from markupsafe import Markup

from api import session as sessions
from api.credentials import pdp
from api.pages import chosen, words
from api.pages.chosen import Chosen
from api.pages.frame import done, ours, page, pages, typed
from api.problems import status_of
from authz import directory, operations
from authz.errors import BatchRefused, CaregrantError, Conflict, InvalidInput, NotEligible, SelfTarget
from authz.texts import matches

REFUSED = (BatchRefused, Conflict, InvalidInput, NotEligible, SelfTarget)
"""What a form tells beside its fields; whatever else is refused has a page of its own."""


@pages.route("/patients/<patient>/transfer", methods=["GET", "POST"])
def transfer(patient: str) -> Response:
    """Transfer one patient to a colleague."""
    return _transfer(chosen.one(patient, "transfer"))


@pages.route("/selection/transfer", methods=["GET", "POST"])
def transfer_some() -> Response:
    """Transfer the patients that were selected: all or none."""
    ids = request.values.getlist("patient")
    if not ids:
        return done("/patients", Markup("Select a patient first."))
    return _transfer(chosen.several(ids, "transfer"))


def _transfer(those: Chosen) -> Response:
    if request.method == "GET":
        return _form(those)
    try:
        return carry_out(those, request.form.get("colleague", ""))
    except REFUSED as error:
        return _form(those, error)


def carry_out(those: Chosen, colleague: str, reason: str = "") -> Response:
    """Transfer patients to the colleague of this login; back to the list, with the pop-up that says so."""
    if not colleague.strip():
        raise InvalidInput("colleague: choose the colleague first")
    end_shares = "end_shares" in request.form
    made = operations.transfer(
        pdp(), act=sessions.act(), patients=those.ids, colleague=colleague, reason=reason, end_shares=end_shares
    )
    person = directory.people(pdp(), [made[0].owner])[made[0].owner]
    back = ours(request.form.get("back", ""), "/patients")
    if those.several:
        return done(back, Markup("{} patients have been transferred to {}"), str(len(made)), person["name"])
    return done(back, Markup("{} has been transferred to {}"), those.first, person["name"])


def _form(those: Chosen, error: CaregrantError | None = None) -> Response:
    colleagues, q = chosen.colleagues(those), request.args.get("q", "").strip()
    touched = chosen.touched(those, colleagues)
    receivers = [one for one in colleagues if one["id"] not in touched.owners]
    return page(
        "transfer.html",
        200 if error is None else status_of(error),
        chosen=those,
        touched=touched,
        colleagues=[one for one in receivers if matches(one["search_key"], q)],
        q=q,
        said=typed(),
        refused=refused(those, error),
        at_fault=words.at_fault(error),
    )


def refused(those: Chosen, error: CaregrantError | None) -> list[tuple[str, str]]:
    """A refusal in sentences, each with the patient that it is about, if it is about one of several."""
    if isinstance(error, BatchRefused):
        return [(those.names[those.ids[at]], words.refusal(one)) for at, one in error.refusals]
    return [] if error is None else [("", words.refusal(error))]
