"""Share all patients, now and later, with or without added content (H7); and end such a share."""

from datetime import UTC, datetime

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import status_of
from api.v1.query import parse_row_id
from api.web import days, wording
from api.web import session as sessions
from api.web.frame import form_values, pages, redirect_with_message, render_page
from api.web.wording import FormError
from authz import operations
from authz.domain import FOREVER, Row
from authz.errors import CaregrantError, Conflict, InvalidInput, NotEligible, NotFound, SelfTarget
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_clinics


@pages.route("/sharing", methods=["GET", "POST"])
def sharing() -> Response:
    """Show the shares of all patients, given and received, with a form for a new one."""
    if request.method == "GET":
        return _render_form()
    try:
        return _submit()
    except (Conflict, InvalidInput, NotEligible, SelfTarget) as error:
        return _render_form(error)


def _submit() -> Response:
    form = request.form
    if not form.get("colleague", "").strip():
        raise FormError("colleague", "Enter your colleague's e-mail.")
    clinic = form.get("subscription")  # the form names the clinic that it shows, even if it is the only clinic
    if not clinic and practitioner_queries.me(pdp(), sessions.actor())["memberships"]:
        raise FormError("", "Choose the clinic, and send the form again.")
    actor = sessions.actor()
    share = operations.share_all(
        pdp(),
        actor=actor,
        colleague=form["colleague"],
        content="content" in form,
        until=_chosen_end(clinic, actor.now),
        subscription=clinic or None,
    )
    colleague = practitioner_queries.people(pdp(), [share["colleague"]])[share["colleague"]]
    message = Markup("All your patients have been shared with {}")
    return redirect_with_message("/sharing", message, colleague["name"])


def _chosen_end(clinic: str | None, now: datetime) -> datetime | None:
    """Return the end that the form chose, a day of the clinic if it is one of the practitioner's."""
    own = [membership["subscription"] for membership in practitioner_queries.me(pdp(), sessions.actor())["memberships"]]
    zones = zones_of_clinics(pdp(), [clinic]) if clinic and clinic in own else {}
    ends = days.chosen_end(request.form, zones or {"": UTC}, now)
    return None if ends is None else next(iter(ends.values()))


def _render_form(error: CaregrantError | None = None) -> Response:
    actor = sessions.actor()
    shares, clinics = _list_standing_shares(), practitioner_queries.me(pdp(), actor)["memberships"]
    zones = zones_of_clinics(pdp(), [clinic["subscription"] for clinic in clinics])
    return render_page(
        "sharing.html",
        200 if error is None else status_of(error),
        shares_given=[share for share in shares if share["owner"] == actor.practitioner],
        shares_received=[share for share in shares if share["colleague"] == actor.practitioner],
        colleagues=practitioner_queries.colleagues(pdp(), actor),
        clinics=clinics,
        form=form_values(),
        refusals=[] if error is None else [("", wording.describe_refusal(error))],
        field_at_fault=wording.field_at_fault(error),
        ends=days.end_choices(actor.now, zones.values()),
    )


def _list_standing_shares() -> list[Row]:
    """Return the practitioner's standing shares, given and received, with the names of both sides."""
    rows = practitioner_queries.standing_shares(pdp(), sessions.actor())
    people = practitioner_queries.people(pdp(), [row[side] for row in rows for side in ("owner", "colleague")])
    zones = zones_of_clinics(pdp(), [row["subscription"] for row in rows])
    return [
        {
            **row,
            "zone": zones[row["subscription"]],
            "until": None if row["ended_at"] == FOREVER else row["ended_at"],
            "owner_name": people[row["owner"]]["name"],
            "colleague_name": people[row["colleague"]]["name"],
        }
        for row in rows
    ]


@pages.route("/sharing/<share>/end", methods=["GET", "POST"])
def end_sharing(share: str) -> Response:
    """End a standing share, or give up a standing share that the practitioner received; ask once more first."""
    actor = sessions.actor()
    number = parse_row_id(share)
    row = next((row for row in _list_standing_shares() if row["id"] == number), None)
    if row is None:
        raise NotFound
    is_own = row["owner"] == actor.practitioner
    if request.method == "GET":
        return render_page("end_sharing.html", share=row, is_own=is_own)
    operations.end_standing_share(pdp(), actor=actor, standing_share=number)
    if is_own:
        message = Markup("The sharing of all patients with {} has ended")
        return redirect_with_message("/sharing", message, row["colleague_name"])
    message = Markup("You have given up the patients that {} shared with you")
    return redirect_with_message("/sharing", message, row["owner_name"])
