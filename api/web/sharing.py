"""Share everything (H7): all one's patients, now and later, with or without added content; and how it ends."""

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.requests import row_number
from api.web import session as sessions
from api.web import wording
from api.web.frame import done, page, pages, typed
from authz import operations
from authz.domain import FOREVER, Row
from authz.errors import CaregrantError, Conflict, InvalidInput, NotEligible, NotFound, SelfTarget
from authz.queries import practitioner as practitioner_queries


@pages.route("/sharing", methods=["GET", "POST"])
def sharing() -> Response:
    """With whom one shares everything, who shares everything with one, and a form to begin."""
    if request.method == "GET":
        return _form()
    form = request.form
    try:
        if not form.get("colleague", "").strip():
            raise InvalidInput("colleague: enter your colleague's e-mail")
        clinic = form.get("subscription")  # a form names the clinic that it shows, even if it is the only one
        if not clinic and practitioner_queries.me(pdp(), sessions.actor())["memberships"]:
            raise InvalidInput("Choose the clinic, and send the form again.")
        made = operations.share_all(
            pdp(),
            actor=sessions.actor(),
            colleague=form["colleague"],
            content="content" in form,
            until=wording.end_of_day(form.get("until", "")),
            subscription=clinic or None,
        )
    except (Conflict, InvalidInput, NotEligible, SelfTarget) as error:
        return _form(error)
    person = practitioner_queries.people(pdp(), [made["colleague"]])[made["colleague"]]
    return done("/sharing", Markup("All your patients have been shared with {}"), person["name"])


def _form(error: CaregrantError | None = None) -> Response:
    actor = sessions.actor()
    listed = _listed(practitioner_queries.standing_shares(pdp(), actor))
    return page(
        "sharing.html",
        200 if error is None else status_of(error),
        given=[one for one in listed if one["owner"] == actor.practitioner],
        received=[one for one in listed if one["colleague"] == actor.practitioner],
        colleagues=practitioner_queries.colleagues(pdp(), actor),
        clinics=practitioner_queries.me(pdp(), actor)["memberships"],
        said=typed(),
        refused=[] if error is None else [("", wording.refusal(error))],
        at_fault=wording.at_fault(error),
        today=actor.now.date(),
    )


def _listed(rows: list[Row]) -> list[Row]:
    """Standing shares with the names of both sides."""
    people = practitioner_queries.people(pdp(), [row[side] for row in rows for side in ("owner", "colleague")])
    return [
        {
            **row,
            "until": None if row["ended_at"] == FOREVER else row["ended_at"],
            "owner_name": people[row["owner"]]["name"],
            "colleague_name": people[row["colleague"]]["name"],
        }
        for row in rows
    ]


@pages.route("/sharing/<share>/end", methods=["GET", "POST"])
def end_sharing(share: str) -> Response:
    """End a standing share, or give it up; asked once more first."""
    actor = sessions.actor()
    number = row_number(share)
    held = next(
        (one for one in _listed(practitioner_queries.standing_shares(pdp(), actor)) if one["id"] == number), None
    )
    if held is None:
        raise NotFound
    mine = held["owner"] == actor.practitioner
    if request.method == "GET":
        return page("end_sharing.html", held=held, mine=mine)
    operations.end_standing_share(pdp(), actor=actor, standing_share=number)
    other = held["colleague_name"] if mine else held["owner_name"]
    ended, given_up = (
        Markup("The sharing of all patients with {} has ended"),
        Markup("You have given up what {} shared"),
    )
    return done("/sharing", ended if mine else given_up, other)
