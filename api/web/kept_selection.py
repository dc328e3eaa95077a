"""The patients that a person has ticked, on any page of any list, until they act on them.

A list sends the ids that it showed and those of them that are ticked; what other pages and searches ticked stays. The
ids are kept in the database (docs/decisions/0105-a-selection-is-kept.md).
"""

from collections.abc import Callable, Iterable

from flask import Response, make_response, request
from markupsafe import Markup

from api.auth import pdp
from api.limits import MOST_SELECTED
from api.request_context import now
from api.web import session as sessions
from api.web.frame import back_to, own_path, redirect_to, redirect_with_message
from authz.queries.selections import keep_patients, kept_patients
from authz.texts import is_stored_id


def kept() -> list[str]:
    """Return the ids of the selected patients, in the order in which they were selected."""
    token = sessions.selection_token()
    return kept_patients(pdp().database, sessions.actor().practitioner, token) if token else []


def keep(patients: Iterable[str]) -> bool:
    """Keep these ids as the selection; return whether the limit let all of them in."""
    ids = [patient for patient in dict.fromkeys(patients) if is_stored_id(patient)]
    token = sessions.selection_token(make=bool(ids))
    if token:
        keep_patients(pdp().database, sessions.actor().practitioner, token, ids[:MOST_SELECTED], now=now())
    return len(ids) <= MOST_SELECTED


def update_from_list(more: Iterable[str] = ()) -> bool:
    """Keep what a list sends: its ticks, what other lists ticked, and `more`; return as `keep`."""
    before, ticked = kept(), request.form.getlist("patient")
    unticked = set(request.form.getlist("listed")) - set(ticked)
    still = (patient for patient in (*before, *ticked) if patient not in unticked)
    after = list(dict.fromkeys((*still, *more)))
    return after == before or keep(after)


def answer_list(place: str, form_path: str, list_all: Callable[[], list[str]], searched: str = "") -> Response:
    """Keep the ticks that a list sends, and go where its button leads: a page, a search, another list, the form.

    `place` is the address of the list as it was shown, `form_path` the form for the selected patients, `searched` the
    address of the list after a search. `list_all` returns the ids of all patients of the list.
    """
    form = request.form
    if "none" in form:
        keep([])
        return redirect_to(place)
    complete = update_from_list(list_all() if "all" in form else ())
    if "keep" in form:  # sent by the script, which shows no message
        return make_response("", 204)
    if not complete:
        message = Markup("{} patients are selected. You cannot select more at once.")
        return redirect_with_message(place, message, f"{MOST_SELECTED:,}")
    if "open" in form:
        return redirect_to(back_to(form_path, place))
    if "all" in form:
        return redirect_to(place)
    return redirect_to(own_path(form.get("to", ""), searched or place))


def drop(patients: Iterable[str]) -> None:
    """Take these ids out of the selection."""
    dropped, before = set(patients), kept()
    after = [patient for patient in before if patient not in dropped]
    if after != before:
        keep(after)
