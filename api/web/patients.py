"""The lists of patients, own and shared, and the page of a patient with who has access (H2, H3, H6)."""

from flask import Response, request

from api.auth import pdp
from api.v1.query import encode_next_cursor, parse_place, parse_search
from api.web import session as sessions
from api.web.frame import PAGE, pages, render_page
from api.web.share import list_access
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_patients

_LISTS = ("owner", "viewer")


@pages.get("/patients")
def patients() -> Response:
    """Show a page of the practitioner's own patients, or of the patients that are shared with them."""
    actor, q = sessions.actor(), parse_search().strip()
    role = request.args.get("role") if request.args.get("role") in _LISTS else "owner"
    place = parse_place(PAGE)
    rows, more = practitioner_queries.patients(pdp(), actor, place, q=q, role=role)
    actions = practitioner_queries.actions(pdp(), actor, [row["id"] for row in rows], "share", "transfer", "give_up")
    people = practitioner_queries.people(pdp(), [row["owner"] for row in rows])
    zones = zones_of_patients(pdp(), [row["id"] for row in rows])
    listed = [
        {
            **row,
            "owner": people[row["owner"]]["name"],
            "actions": actions[row["id"]],
            "zone": zones[row["id"]],
        }
        for row in rows
    ]
    following, cursor = encode_next_cursor(place, more), request.args.get("cursor")
    return render_page("patients.html", patients=listed, following=following, role=role, q=q, cursor=cursor)


@pages.get("/patients/<patient>")
def patient(patient: str) -> Response:
    """Show one patient: what the practitioner may do, and who has access."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    access = list_access(row)
    owner = practitioner_queries.people(pdp(), [row["owner"]])[row["owner"]]
    lists_access = "list_access" in row["actions"]
    zone = zones_of_patients(pdp(), [patient])[patient]
    return render_page("patient.html", patient=row, owner=owner, access=access, lists_access=lists_access, zone=zone)
