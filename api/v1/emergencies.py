"""`/v1`: emergency accesses, and their review by somebody else (R13)."""

from flask import Response

from api.auth import pdp, require_practitioner
from api.emergency_access import count_try, emergency_time
from api.ops.route_documentation import CURSOR, DUE, LIMIT, document_route
from api.request_context import json_response
from api.v1 import query, requests, responses
from api.v1.blueprint import run_and_respond, v1
from api.v1.serializers import serialize_grants
from authz import operations
from authz.domain import FOREVER, Row, format_instant
from authz.queries import emergencies as emergency_queries


@v1.post("/emergencies")
@document_route(
    caller="practitioner",
    request_body=requests.EmergencyRequest,
    response_body=responses.OpenedEmergencyBody,
    status=201,
    idempotency_key=True,
    example={"reference": "MRN 2024/17", "purpose": "ETREAT", "reason": "Collapsed in the waiting room"},
)
def break_glass() -> Response:
    """Open a patient in an emergency, by the id or by the clinic's own number."""
    actor = require_practitioner()
    body = requests.parse_body(requests.EmergencyRequest).model_dump()
    count_try(actor)
    return run_and_respond(operations.break_glass, 201, _serialize_opened, actor=actor, lasts=emergency_time(), **body)


@v1.get("/subscriptions/<subscription>/emergencies")
@document_route(caller="practitioner", response_body=responses.EmergenciesBody, query=(DUE, LIMIT, CURSOR))
def emergencies(subscription: str) -> Response:
    """List a page of the emergency accesses of a clinic, the newest first."""
    rows, more = emergency_queries.emergencies(
        pdp(),
        require_practitioner(),
        subscription,
        due=query.parse_boolean("due"),
        limit=query.parse_limit(),
        before=query.parse_number_cursor() or None,
    )
    following = query.encode_cursor(str(rows[-1]["id"])) if more else None
    return json_response({"items": [_serialize_emergency(row, row) for row in rows], "next": following})


@v1.post("/emergencies/<emergency>/review")
@document_route(
    caller="practitioner",
    request_body=requests.EmergencyReviewRequest,
    response_body=responses.EmergencyBody,
    idempotency_key=True,
    example={"verdict": "justified", "note": "The rota names the practitioner"},
)
def review_emergency(emergency: str) -> Response:
    """Review an emergency access that has ended."""
    body = requests.parse_body(requests.EmergencyReviewRequest).model_dump()
    return run_and_respond(
        operations.review_emergency,
        200,
        lambda reviewed: _serialize_emergency(reviewed.emergency, reviewed.grant),
        emergency=query.parse_row_id(emergency),
        **body,
    )


def _serialize_opened(opened: operations.EmergencyAccess) -> Row:
    return {
        "emergency": str(opened.emergency["id"]),
        "purpose": opened.emergency["purpose"],
        "due_at": format_instant(opened.emergency["due_at"]),
        "grant": serialize_grants([opened.grant])[0],
    }


def _serialize_emergency(row: Row, grant: Row) -> Row:
    """Return an emergency access with what became of its grant."""
    is_due = row["reviewed_at"] == FOREVER
    return {
        "id": str(row["id"]),
        "patient": grant["patient"],
        "practitioner": grant["practitioner"],
        "grant": str(row["grant"]),
        "purpose": row["purpose"],
        "reason": grant["reason"],
        "started_at": format_instant(row["started_at"]),
        "until": format_instant(grant["ended_at"]),
        "ended_by": grant["ended_by"] or None,
        "due_at": format_instant(row["due_at"]),
        "verdict": row["verdict"] or None,
        "reviewer": row["reviewer"],
        "reviewed_at": None if is_due else format_instant(row["reviewed_at"]),
    }
