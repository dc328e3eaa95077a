"""Notifications: shares and transfers that somebody else made, and which of them the practitioner has read."""

from datetime import UTC

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.v1.query import encode_cursor, parse_number_cursor, parse_row_id
from api.web import session as sessions
from api.web.frame import PAGE, isolate, own_path, pages, redirect_to, render_page
from api.web.wording import NOTIFICATIONS
from authz.domain import FOREVER, Row
from authz.queries import practitioner as practitioner_queries
from authz.queries.time_zones import zones_of_clinics


@pages.get("/notifications")
def notifications() -> Response:
    """Show a page of the practitioner's notifications, the newest first."""
    before = parse_number_cursor() or None
    rows, more = practitioner_queries.notifications(pdp(), sessions.actor(), unread=False, limit=PAGE, before=before)
    following = encode_cursor(str(rows[-1]["id"])) if more else None
    return render_page("notifications.html", notifications=_describe(rows), following=following)


def _describe(rows: list[Row]) -> list[Row]:
    """Return notifications with their sentences; a patient is named only to a practitioner who may know them now."""
    patients = practitioner_queries.names(pdp(), sessions.actor(), [row["patient"] for row in rows if row["patient"]])
    people = practitioner_queries.people(
        pdp(), [row[side] for row in rows for side in ("colleague", "actor") if row[side]]
    )

    zones = zones_of_clinics(pdp(), [row["subscription"] for row in rows])

    def person(practitioner: str) -> Markup:
        return isolate(people[practitioner]["name"] if practitioner in people else "the operator")

    def sentence(row: Row) -> Markup:
        patient = patients.get(row["patient"])
        text = NOTIFICATIONS[row["kind"]].format(
            actor=person(row["actor"]),
            colleague=person(row["colleague"]),
            patient="a patient" if patient is None else isolate(patient),
        )
        return text[:1].upper() + text[1:]

    return [
        {
            "id": row["id"],
            "at": row["at"],
            "zone": zones.get(row["subscription"], UTC),
            "kind": row["kind"].partition(":")[0],
            "sentence": sentence(row),
            "patient": row["patient"] if row["patient"] in patients else None,
            "unread": row["read_at"] == FOREVER,
        }
        for row in rows
    ]


@pages.post("/notifications/read")
def read_all() -> Response:
    """Mark the notifications as read, up to the newest that the page showed; later notifications stay unread."""
    practitioner_queries.mark_all_read(pdp(), sessions.actor(), parse_row_id(request.form.get("newest", "")))
    return redirect_to("/notifications")


@pages.post("/notifications/<notification>/read")
def read(notification: str) -> Response:
    """Mark one notification as read."""
    practitioner_queries.mark_read(pdp(), sessions.actor(), parse_row_id(notification))
    return redirect_to(own_path(request.form.get("back", ""), "/notifications"))
