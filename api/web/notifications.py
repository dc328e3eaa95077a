"""Notifications: shares and transfers, with the practitioner's own, and which of them the practitioner has read."""

from flask import Response, current_app, request
from markupsafe import Markup

from api.auth import pdp
from api.v1.query import encode_cursor, parse_number_cursor, parse_row_id
from api.web import session as sessions
from api.web.frame import PAGE, own_path, pages, redirect_to, redirect_with_message, render_page
from api.web.notices import NoticeFacts, describe_notice
from authz.domain import Row
from authz.errors import NotFound
from authz.queries import digest as digest_queries
from authz.queries import notifications as notification_queries
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_clinics


@pages.get("/notifications")
def notifications() -> Response:
    """Show a page of the practitioner's notifications, the newest first; a batch is one of them."""
    before = parse_number_cursor() or None
    rows, more = notification_queries.notifications(pdp(), sessions.actor(), batches=True, limit=PAGE, before=before)
    facts = _facts(rows)
    following = encode_cursor(str(rows[-1]["id"])) if more else None
    return render_page(
        "notifications.html",
        notifications=[describe_notice(row, facts) for row in rows],
        following=following,
        can_mail=_can_mail(),
        is_digest_wanted=digest_queries.is_digest_wanted(pdp(), sessions.actor()),
    )


@pages.get("/notifications/<notification>")
def notification(notification: str) -> Response:
    """Show one notification with its patients, as far as the practitioner may know these now."""
    number = parse_row_id(notification)
    row, rows, more = notification_queries.batch(
        pdp(), sessions.actor(), number, limit=PAGE, after=parse_number_cursor()
    )
    facts = _facts([row, *rows])
    return render_page(
        "notification.html",
        notice=describe_notice(row, facts),
        patients=[(row["patient"], facts.patients[row["patient"]]) for row in rows if row["patient"] in facts.patients],
        hidden=sum(bool(row["patient"]) and row["patient"] not in facts.patients for row in rows),
        following=encode_cursor(str(rows[-1]["id"])) if more else None,
    )


@pages.post("/notifications/read")
def read_all() -> Response:
    """Mark the notifications as read, up to the newest that the page showed; later notifications stay unread."""
    notification_queries.mark_all_read(pdp(), sessions.actor(), parse_row_id(request.form.get("newest", "")))
    return redirect_to("/notifications")


@pages.post("/notifications/<notification>/read")
def read(notification: str) -> Response:
    """Mark one notification as read, and lead on to what it is about, or back to the list."""
    notification_queries.mark_read(pdp(), sessions.actor(), parse_row_id(notification))
    return redirect_to(own_path(request.form.get("back", ""), "/notifications"))


@pages.post("/notifications/e-mail")
def set_digest() -> Response:
    """Switch the practitioner's daily e-mail on or off. Raises `NotFound` if the service sends no e-mails."""
    actor, wanted = sessions.actor(), request.form.get("wanted")
    if not _can_mail() or wanted not in ("yes", "no"):
        raise NotFound
    digest_queries.set_digest(pdp(), actor, wanted == "yes")
    sentence = "You get at most one e-mail a day" if wanted == "yes" else "You get no more e-mails"
    return redirect_with_message("/notifications", Markup(sentence))  # noqa: S704


def _can_mail() -> bool:
    return current_app.extensions["caregrant.mail"] is not None


def _facts(rows: list[Row]) -> NoticeFacts:
    """Return the facts for the sentences of notifications; patients only if the practitioner may know them now."""
    actor = sessions.actor()
    patients = practitioner_queries.names(pdp(), actor, [row["patient"] for row in rows if row["patient"]])
    sides = {row[side] for row in rows for side in ("colleague", "actor") if row[side]}
    people = practitioner_queries.people(pdp(), sorted(sides))
    zones = zones_of_clinics(pdp(), [row["subscription"] for row in rows])
    return NoticeFacts(actor.practitioner, people, patients, zones, *notification_queries.shares(pdp(), rows))
