"""The manager's pages: who works here, what leavers left, what is shared. They open no patient (R6)."""

from flask import Response

from api.auth import pdp
from api.v1 import requests as v1_requests
from api.web import session as sessions
from api.web.frame import PAGE, go, page, pages
from authz.errors import NotFound
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries


@pages.get("/clinic")
def clinic() -> Response:
    """To the first clinic that one manages."""
    found = manager_queries.managed(pdp(), sessions.actor())
    if not found:
        raise NotFound
    return go(f"/clinic/{found[0]['subscription']}")


@pages.get("/clinic/<subscription>")
def members(subscription: str) -> Response:
    """Who works here."""
    place = v1_requests.place(PAGE)
    rows, more = manager_queries.members(pdp(), sessions.actor(), subscription, place)
    following = v1_requests.cursor_after(place, more)
    return page("clinic_members.html", subscription=subscription, members=rows, following=following)


@pages.get("/clinic/<subscription>/handover")
def handover(subscription: str) -> Response:
    """The patients of those who work here no more."""
    place = v1_requests.place(PAGE)
    rows, more = manager_queries.orphaned_patients(pdp(), sessions.actor(), subscription, place)
    people = practitioner_queries.people(pdp(), [row["owner"] for row in rows])
    listed = [{**row, "owner": people[row["owner"]]["name"]} for row in rows]
    following = v1_requests.cursor_after(place, more)
    return page("clinic_handover.html", subscription=subscription, patients=listed, following=following)


@pages.get("/clinic/<subscription>/shares")
def shares(subscription: str) -> Response:
    """What is shared here, and with whom."""
    rows, more = manager_queries.shares(
        pdp(), sessions.actor(), subscription, limit=PAGE, after=v1_requests.after_number()
    )
    following = v1_requests.cursor(str(rows[-1]["grant"])) if more else None
    return page("clinic_shares.html", subscription=subscription, shares=rows, following=following)
