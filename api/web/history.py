"""The history of a patient, for those who may list who has access: who had access, when, and through whom."""

import re

from flask import Response

from api.auth import pdp
from api.v1.query import INVALID_CURSOR, encode_cursor, parse_cursor
from api.web import session as sessions
from api.web.frame import PAGE, pages, render_page
from authz.errors import InvalidInput
from authz.queries import practitioner as practitioner_queries
from authz.queries.history import NEWEST, HistoryPlace, access_history
from authz.queries.time_zones import zones_of_patients

_PLACE = re.compile(r"(-?\d{1,18}),(\d),(\d{1,18}),(\d{1,18})", re.ASCII)


@pages.get("/patients/<patient>/history")
def history(patient: str) -> Response:
    """Show a page of the history of a patient's access, the newest first."""
    actor = sessions.actor()
    row = practitioner_queries.patient(pdp(), actor, patient, or_list_access=True)
    entries, following = access_history(pdp(), actor, patient, limit=PAGE, place=_parse_place())
    return render_page(
        "history.html",
        patient=row,
        entries=entries,
        following=None if following is None else encode_cursor(",".join(map(str, following))),
        zone=zones_of_patients(pdp(), [patient])[patient],
    )


def _parse_place() -> HistoryPlace:
    """Return the place at which the page begins. Raises `InvalidInput` for a cursor that is none of this page."""
    text = parse_cursor()
    if not text:
        return NEWEST
    match = _PLACE.fullmatch(text)
    if match is None:
        raise InvalidInput(INVALID_CURSOR)
    return HistoryPlace(*map(int, match.groups()))
