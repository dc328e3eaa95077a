"""Notifications: what practitioners are told of shares and transfers, and which of it they have read."""

from typing import Any

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp
from api.v1 import requests as v1_requests
from api.v1.requests import row_number
from api.web import session as sessions
from api.web.frame import PAGE, go, named, ours, page, pages
from api.web.wording import NOTICES
from authz.domain import FOREVER
from authz.queries import practitioner as practitioner_queries


@pages.get("/notifications")
def notifications() -> Response:
    """A page of one's notices, the newest first."""
    actor = sessions.actor()
    rows, more = practitioner_queries.notifications(
        pdp(), actor, unread=False, limit=PAGE, before=v1_requests.after_number() or None
    )
    following = v1_requests.cursor(str(rows[-1]["id"])) if more else None
    return page("notifications.html", notices=_told(rows), following=following)


def _told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Notices in words. A patient is named to those who may know them now, and to nobody else."""
    patients = practitioner_queries.names(pdp(), sessions.actor(), [row["patient"] for row in rows if row["patient"]])
    people = practitioner_queries.people(
        pdp(), [row[side] for row in rows for side in ("colleague", "actor") if row[side]]
    )

    def person(who: str) -> str:
        return str(people[who]["name"]) if who in people else "the operator"

    def sentence(row: dict[str, Any]) -> Markup:
        patient = patients.get(row["patient"])
        told = NOTICES[row["kind"]].format(
            actor=named(person(row["actor"])),
            colleague=named(person(row["colleague"])),
            patient="a patient" if patient is None else named(patient),
        )
        return told[:1].upper() + told[1:]

    return [
        {
            "id": row["id"],
            "at": row["at"],
            "kind": row["kind"].partition(":")[0],
            "sentence": sentence(row),
            "patient": row["patient"] if row["patient"] in patients else None,
            "unread": row["read_at"] == FOREVER,
        }
        for row in rows
    ]


@pages.post("/notifications/read")
def read_all() -> Response:
    """Mark one's notices as read, up to the newest that the page showed: what arrived since then stays unread."""
    practitioner_queries.mark_all_read(pdp(), sessions.actor(), row_number(request.form.get("newest", "")))
    return go("/notifications")


@pages.post("/notifications/<notification>/read")
def read(notification: str) -> Response:
    """Mark a notice as read."""
    practitioner_queries.mark_read(pdp(), sessions.actor(), row_number(notification))
    return go(ours(request.form.get("back", ""), "/notifications"))
