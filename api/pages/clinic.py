"""The manager's pages: who works here, what leavers left, what is shared. They open no patient (R6)."""

from flask import Response

from api import bodies
from api import session as sessions
from api.credentials import pdp
from api.pages.frame import PAGE, go, page, pages
from authz import directory, oversight
from authz.errors import NotFound


@pages.get("/clinic")
def clinic() -> Response:
    """To the first clinic that one manages."""
    found = oversight.managed(pdp(), sessions.act())
    if not found:
        raise NotFound
    return go(f"/clinic/{found[0]['subscription']}")


@pages.get("/clinic/<subscription>")
def members(subscription: str) -> Response:
    """Who works here."""
    place = bodies.place(PAGE)
    rows, more = oversight.members(pdp(), sessions.act(), subscription, place)
    following = bodies.cursor_after(place, more)
    return page("clinic_members.html", subscription=subscription, members=rows, following=following)


@pages.get("/clinic/<subscription>/handover")
def handover(subscription: str) -> Response:
    """The patients of those who work here no more."""
    place = bodies.place(PAGE)
    rows, more = oversight.left(pdp(), sessions.act(), subscription, place)
    people = directory.people(pdp(), [row["owner"] for row in rows])
    listed = [{**row, "owner": people[row["owner"]]["name"]} for row in rows]
    following = bodies.cursor_after(place, more)
    return page("clinic_handover.html", subscription=subscription, patients=listed, following=following)


@pages.get("/clinic/<subscription>/shares")
def shares(subscription: str) -> Response:
    """What is shared here, and with whom."""
    rows, more = oversight.shares(pdp(), sessions.act(), subscription, limit=PAGE, after=bodies.after_number())
    following = bodies.cursor(str(rows[-1]["grant"])) if more else None
    return page("clinic_shares.html", subscription=subscription, shares=rows, following=following)
