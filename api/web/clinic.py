"""The manager's pages: members, patients whose owner has left, shares. They open no patient (R6)."""

from urllib.parse import quote

from flask import Response, request

from api.auth import pdp
from api.limits import MOST_SELECTED
from api.v1.query import encode_cursor, encode_next_cursor, parse_number_cursor, parse_place
from api.web import emergency, kept_selection
from api.web import session as sessions
from api.web.frame import PAGE, own_path, pages, redirect_to, render_page
from authz.errors import NotFound
from authz.policy.plan import PagePosition
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_clinics


@pages.get("/clinic")
def clinic() -> Response:
    """Redirect to the first clinic that the practitioner manages, or whose emergency accesses they review."""
    managed = manager_queries.managed(pdp(), sessions.actor())
    audited = [] if managed else emergency.audited_clinics()
    if not managed and not audited:
        raise NotFound
    if audited:
        return redirect_to(f"/clinic/{quote(audited[0]['subscription'], safe='')}/emergencies")
    return redirect_to(f"/clinic/{managed[0]['subscription']}")


@pages.get("/clinic/<subscription>")
def members(subscription: str) -> Response:
    """Show the members of a clinic."""
    place = parse_place(PAGE)
    rows, more = manager_queries.members(pdp(), sessions.actor(), subscription, place)
    following = encode_next_cursor(place, more)
    zone = zones_of_clinics(pdp(), [subscription])[subscription]
    return render_page("clinic_members.html", subscription=subscription, members=rows, following=following, zone=zone)


@pages.get("/clinic/<subscription>/handover")
def handover(subscription: str) -> Response:
    """Show the patients whose owner does not work at the clinic any more."""
    place = parse_place(PAGE)
    rows, more = manager_queries.orphaned_patients(pdp(), sessions.actor(), subscription, place)
    people = practitioner_queries.people(pdp(), [row["owner"] for row in rows])
    listed = [{**row, "owner": people[row["owner"]]["name"]} for row in rows]
    return render_page(
        "clinic_handover.html",
        subscription=subscription,
        patients=listed,
        more=encode_next_cursor(place, more),
        selected=set(kept_selection.kept()),
    )


@pages.post("/clinic/<subscription>/handover")
def select_for_handover(subscription: str) -> Response:
    """Keep the ticks of the list, and go where its button leads."""
    actor = sessions.actor()

    def list_all() -> list[str]:
        rows, _ = manager_queries.orphaned_patients(pdp(), actor, subscription, PagePosition(MOST_SELECTED + 1))
        return [row["id"] for row in rows]

    path = f"/clinic/{quote(subscription, safe='')}/handover"
    here = own_path(request.form.get("here", ""), path)
    return kept_selection.answer_list(here if here.startswith(path) else path, "/selection/transfer", list_all)


@pages.get("/clinic/<subscription>/shares")
def shares(subscription: str) -> Response:
    """Show the live shares of a clinic's patients."""
    after = parse_number_cursor()
    rows, more = manager_queries.shares(pdp(), sessions.actor(), subscription, limit=PAGE, after=after)
    following = encode_cursor(str(rows[-1]["grant"])) if more else None
    zone = zones_of_clinics(pdp(), [subscription])[subscription]
    return render_page("clinic_shares.html", subscription=subscription, shares=rows, following=following, zone=zone)
