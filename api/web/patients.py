"""The lists of patients, own and shared, and the page of a patient with who has access (H2, H3, H6).

The address of a list says which list it is, in which order, what was searched for and which page is shown. All controls
of a list are buttons of one form, so that the ticks are sent with each of them.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Response, request

from api.auth import pdp
from api.limits import LONGEST_QUERY, MOST_SELECTED
from api.v1.query import parse_search
from api.web import kept_selection
from api.web import session as sessions
from api.web.frame import PAGE, own_path, pages, render_page
from api.web.share import list_access
from authz.errors import InvalidInput
from authz.queries import patient_lists
from authz.queries import practitioner as practitioner_queries
from authz.queries.patient_lists import PatientList
from authz.queries.time_zones import zones_of_patients

_ROLES: tuple[patient_lists.Role, ...] = ("owner", "viewer")
_NARROWED: dict[str, tuple[patient_lists.Only, ...]] = {"owner": ("", "shared", "ending"), "viewer": ("", "ending")}


def _parse_list(values: Mapping[str, str], q: str) -> PatientList:
    """Return the list that an address names; what the address names wrongly is as if it were not there."""
    role: patient_lists.Role = next((role for role in _ROLES if role == values.get("role")), "owner")
    only: patient_lists.Only = next((only for only in _NARROWED[role] if only == values.get("only")), "")
    orders = PatientList(role, only).orders()
    return PatientList(role, only, next((sort for sort in orders if sort == values.get("sort")), orders[0]), q.strip())


def _parse_page(values: Mapping[str, str]) -> int:
    text = values.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= patient_lists.MOST_PAGES):
        raise InvalidInput(f"page: must be a whole number from 1 to {patient_lists.MOST_PAGES}")
    return int(text)


def _place(wanted: PatientList, page: int = 1, **changed: str) -> str:
    """Return the address of a page of a list, with some parts changed; usual parts are left out."""
    parts = {"role": wanted.role, "only": wanted.only, "sort": wanted.sort, "q": wanted.q, "page": str(page), **changed}
    listed = _parse_list({**parts, "sort": ""}, "")
    usual = {"role": "owner", "only": "", "sort": listed.sort, "q": "", "page": "1"}
    query = urlencode({name: value for name, value in parts.items() if value != usual[name]})
    return f"/patients?{query}" if query else "/patients"


@pages.get("/patients")
def patients() -> Response:
    """Show a page of the practitioner's own patients, or of the patients that are shared with them."""
    actor = sessions.actor()
    wanted, number = _parse_list(request.args, parse_search()), _parse_page(request.args)
    page = patient_lists.patient_page(pdp(), actor, wanted, number, PAGE)
    ids = [row["id"] for row in page.rows]
    actions = practitioner_queries.actions(pdp(), actor, ids, "share", "transfer", "give_up")
    shares = patient_lists.viewers_of(pdp(), actor, ids) if wanted.only and wanted.role == "owner" else {}
    people = practitioner_queries.people(
        pdp(),
        [row["owner"] for row in page.rows] + [share["practitioner"] for rows in shares.values() for share in rows],
    )
    zones = zones_of_patients(pdp(), ids)
    listed = [
        {
            **row,
            "owner": people[row["owner"]]["name"],
            "actions": actions[row["id"]],
            "zone": zones[row["id"]],
            "shares": [{**share, "name": people[share["practitioner"]]["name"]} for share in shares.get(row["id"], [])],
        }
        for row in page.rows
    ]
    return render_page(
        "patients.html",
        patients=listed,
        wanted=wanted,
        number=number,
        count=page.count,
        more_than=patient_lists.MOST_COUNTED if page.count > patient_lists.MOST_COUNTED else 0,
        page_numbers=_page_numbers(number, page),
        has_next=page.has_next and number < patient_lists.MOST_PAGES,
        cut=page.has_next and number == patient_lists.MOST_PAGES,
        place=_place,
        here=_place(wanted, number),
        selected=set(kept_selection.kept()),
        selectable=page.count if page.count <= MOST_SELECTED else 0,
    )


def _page_numbers(number: int, page: patient_lists.PatientPage) -> list[int]:
    """Return the numbers of the pages to offer: the first, the last that is counted, and those around this page."""
    counted = min(page.count, patient_lists.MOST_COUNTED)
    last = max(-(-counted // PAGE), number + page.has_next)
    near = range(max(1, number - 2), min(last, number + 2, patient_lists.MOST_PAGES) + 1)
    return sorted({1, *near, min(last, patient_lists.MOST_PAGES)}) if last > 1 else []


@pages.post("/patients")
def select() -> Response:
    """Keep the ticks of a list, and go where its button leads."""
    here = dict(parse_qsl(urlsplit(request.form.get("here", "")).query))
    wanted = _parse_list(here, here.get("q", "")[:LONGEST_QUERY])
    return kept_selection.answer_list(
        _place(wanted, _parse_page(here)),
        "/selection/share",
        lambda: patient_lists.matching_patients(pdp(), sessions.actor(), wanted, MOST_SELECTED + 1),
        searched=_place(wanted, q=parse_search().strip()),
    )


@pages.get("/patients/<patient>")
def patient(patient: str) -> Response:
    """Show one patient: what the practitioner may do, and who has access."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    access = list_access(row)
    owner = practitioner_queries.people(pdp(), [row["owner"]])[row["owner"]]
    lists_access = "list_access" in row["actions"]
    usual = (
        "/clinic" if row["role"] == "manager" else "/patients" if row["role"] == "owner" else "/patients?role=viewer"
    )
    back = own_path(request.args.get("back", ""), usual)
    zone = zones_of_patients(pdp(), [patient])[patient]
    return render_page(
        "patient.html", patient=row, owner=owner, access=access, lists_access=lists_access, zone=zone, back=back
    )
