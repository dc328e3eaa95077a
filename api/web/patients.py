"""Patients: one's own and those shared with one, and the page of each with who has access (H2, H3, H6)."""

from flask import Response, request

from api.auth import pdp
from api.v1 import requests as v1_requests
from api.v1.requests import search
from api.web import session as sessions
from api.web.frame import PAGE, page, pages
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries

_LISTS = ("owner", "viewer")


@pages.get("/patients")
def patients() -> Response:
    """A page of one's patients: one's own, or those that are shared with one."""
    actor, q = sessions.actor(), search().strip()
    role = request.args.get("role") if request.args.get("role") in _LISTS else "owner"
    place = v1_requests.place(PAGE)
    rows, more = practitioner_queries.patients(pdp(), actor, place, q=q, role=role)
    may = practitioner_queries.actions(pdp(), actor, [row["id"] for row in rows], "share", "transfer", "give_up")
    people = practitioner_queries.people(pdp(), [row["owner"] for row in rows])
    listed = [{**row, "owner": people[row["owner"]]["name"], "actions": may[row["id"]]} for row in rows]
    following = v1_requests.cursor_after(place, more)
    cursor = request.args.get("cursor")
    return page("patients.html", patients=listed, following=following, role=role, q=q, cursor=cursor)


@pages.get("/patients/<patient>")
def patient(patient: str) -> Response:
    """One patient: what one may do, and who has access."""
    actor = sessions.actor()
    row = practitioner_queries.patient(pdp(), actor, patient, or_list_access=True)
    lists = "list_access" in row["actions"]
    access = (
        manager_queries.who_has_access(pdp(), actor, patient)
        if lists
        else [manager_queries.own_access(pdp(), actor, patient)]
    )
    owner = practitioner_queries.people(pdp(), [row["owner"]])[row["owner"]]
    return page("patient.html", patient=row, owner=owner, access=access, lists=lists)
