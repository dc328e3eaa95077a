"""A member's patients for the manager: those of somebody who works at the clinic, or who has left (R6, T14)."""

from urllib.parse import urlencode

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.limits import MOST_SELECTED
from api.v1.query import encode_next_cursor, parse_place, parse_search
from api.web import session as sessions
from api.web.frame import PAGE, member_path, pages, redirect_with_message, render_page
from api.web.selection import select_patients
from api.web.transfer import render_form
from authz.policy.plan import PagePosition
from authz.queries import member_patients
from authz.queries.member_patients import MOST_COUNTED
from authz.queries.time_zones import zones_of_clinics


@pages.get("/clinic/<subscription>/left")
def former_members(subscription: str) -> Response:
    """Show the people who worked at a clinic and do not now."""
    place = parse_place(PAGE)
    rows, more = member_patients.former_members(pdp(), sessions.actor(), subscription, place)
    following = encode_next_cursor(place, more)
    zone = zones_of_clinics(pdp(), [subscription])[subscription]
    return render_page("clinic_left.html", subscription=subscription, members=rows, following=following, zone=zone)


@pages.get("/clinic/<subscription>/members/<practitioner>")
def member(subscription: str, practitioner: str) -> Response:
    """Show the patients whom a person owns at a clinic."""
    actor, place, q = sessions.actor(), parse_place(PAGE), parse_search().strip()
    person = member_patients.member(pdp(), actor, subscription, practitioner)
    rows, more = member_patients.member_patients(pdp(), actor, subscription, practitioner, place, q=q)
    back = request.full_path.rstrip("?")
    return render_page(
        "clinic_member.html",
        subscription=subscription,
        member=person,
        patients=rows,
        following=encode_next_cursor(place, more),
        q=q,
        most_counted=MOST_COUNTED,
        most_selected=MOST_SELECTED,
        back=back,
        transfer_all=f"{member_path(subscription, practitioner)}/transfer?{urlencode({'match': q, 'back': back})}",
    )


@pages.get("/clinic/<subscription>/members/<practitioner>/transfer")
def transfer_of_member(subscription: str, practitioner: str) -> Response:
    """Show the form that transfers a person's patients: all, all that a search finds, or as many as one form takes."""
    actor, first = sessions.actor(), PagePosition(MOST_SELECTED)
    q = parse_search("match").strip()  # `q` searches the colleagues of this form
    rows, _ = member_patients.member_patients(pdp(), actor, subscription, practitioner, first, q=q)
    if not rows:
        message = Markup("There is no patient to transfer any more.")
        return redirect_with_message(member_path(subscription, practitioner), message)
    return render_form(select_patients([row["id"] for row in rows], "transfer"))
