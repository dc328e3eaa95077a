"""Patients: one's own and those shared with one, and the page of each with who has access (H2, H3, H6)."""

from flask import Response, request

from api import bodies
from api import session as sessions
from api.bodies import search
from api.credentials import pdp
from api.pages.frame import PAGE, page, pages
from authz import directory, oversight

_LISTS = ("owner", "viewer")


@pages.get("/patients")
def patients() -> Response:
    """A page of one's patients: one's own, or those that are shared with one."""
    act, q = sessions.act(), search().strip()
    role = request.args.get("role") if request.args.get("role") in _LISTS else "owner"
    place = bodies.place(PAGE)
    rows, more = directory.patients(pdp(), act, place, q=q, role=role)
    may = directory.actions(pdp(), act, [row["id"] for row in rows], "share", "transfer", "give_up")
    people = directory.people(pdp(), [row["owner"] for row in rows])
    listed = [{**row, "owner": people[row["owner"]]["name"], "actions": may[row["id"]]} for row in rows]
    following = bodies.cursor_after(place, more)
    cursor = request.args.get("cursor")
    return page("patients.html", patients=listed, following=following, role=role, q=q, cursor=cursor)


@pages.get("/patients/<patient>")
def patient(patient: str) -> Response:
    """One patient: what one may do, and who has access."""
    act = sessions.act()
    row = directory.patient(pdp(), act, patient, overseen=True)
    lists = "list_access" in row["actions"]
    access = oversight.who_has_access(pdp(), act, patient) if lists else [oversight.own_access(pdp(), act, patient)]
    owner = directory.people(pdp(), [row["owner"]])[row["owner"]]
    return page("patient.html", patient=row, owner=owner, access=access, lists=lists)
