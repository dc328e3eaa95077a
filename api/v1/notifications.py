"""`/v1/notifications`: the notifications of the practitioner who asks."""

from flask import Response

from api.auth import pdp, require_practitioner
from api.ops.route_documentation import CURSOR, LIMIT, UNREAD, document_route
from api.request_context import json_response
from api.v1 import query, responses
from api.v1.blueprint import v1
from api.v1.serializers import serialize_until
from authz.domain import FOREVER, Row, format_instant
from authz.queries import notifications as notification_queries


@v1.get("/notifications")
@document_route(caller="practitioner", response_body=responses.NotificationsBody, query=(UNREAD, LIMIT, CURSOR))
def notifications() -> Response:
    """List a page of the practitioner's notifications, the newest first."""
    rows, more = notification_queries.notifications(
        pdp(),
        require_practitioner(),
        unread=query.parse_boolean("unread"),
        limit=query.parse_limit(),
        before=query.parse_number_cursor() or None,
    )
    following = query.encode_cursor(str(rows[-1]["id"])) if more else None
    return json_response({"items": [_serialize_notification(row) for row in rows], "next": following})


@v1.post("/notifications/<notification>/read")
@document_route(caller="practitioner", response_body=responses.NotificationBody)
def read_notification(notification: str) -> Response:
    """Mark a notification as read, and all others of its batch."""
    number = query.parse_row_id(notification)
    return json_response(_serialize_notification(notification_queries.mark_read(pdp(), require_practitioner(), number)))


def _serialize_notification(row: Row) -> Row:
    return {
        "id": str(row["id"]),
        "at": format_instant(row["at"]),
        "kind": row["kind"],
        "patient": row["patient"] or None,
        "colleague": row["colleague"],
        "actor": row["actor"],
        "read": row["read_at"] != FOREVER,
        "batch": row["batch"] or None,
        "grant": None if row["grant"] is None else str(row["grant"]),
        "standing_share": None if row["standing_share"] is None else str(row["standing_share"]),
        "until": serialize_until(row["until"]),
    }
