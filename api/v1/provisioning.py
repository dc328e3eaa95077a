"""`/v1`: provisioning of subscriptions, practitioners, memberships and entities."""

from flask import Response

from api.auth import pdp, require_operator, require_operator_or_practitioner
from api.ops.route_documentation import document_route
from api.request_context import json_response
from api.v1 import requests, responses
from api.v1.blueprint import run_and_respond, v1
from authz import operations

_DOCUMENT = {"properties": {"patient": "p-1", "author": "bob", "title": "Knee plan"}}


@v1.put("/subscriptions/<subscription>")
@document_route(
    caller="admin",
    request_body=requests.PutSubscriptionRequest,
    response_body=responses.SubscriptionBody,
    example={"name": "North Clinic", "time_zone": "Europe/London"},
)
def put_subscription(subscription: str) -> Response:
    """Create or change a subscription: its name, and whether it is live."""
    body = requests.parse_body(requests.PutSubscriptionRequest).model_dump()
    actor = require_operator()
    return json_response(operations.put_subscription(pdp(), actor=actor, subscription=subscription, **body))


@v1.put("/practitioners/<practitioner>")
@document_route(
    caller="admin",
    request_body=requests.PutPractitionerRequest,
    response_body=responses.PractitionerBody,
    example={"login": "pete@clinic.example", "name": "Pete P."},
)
def put_practitioner(practitioner: str) -> Response:
    """Create or change a practitioner: their login and name."""
    body = requests.parse_body(requests.PutPractitionerRequest).model_dump()
    actor = require_operator()
    return json_response(operations.put_practitioner(pdp(), actor=actor, practitioner=practitioner, **body))


@v1.put("/memberships/<subscription>/<practitioner>")
@document_route(
    caller="manager",
    request_body=requests.PutMembershipRequest,
    response_body=responses.MembershipBody,
    example={"role": "member"},
)
def put_membership(subscription: str, practitioner: str) -> Response:
    """Make a practitioner a member of a subscription, in one role."""
    body, actor = requests.parse_body(requests.PutMembershipRequest).model_dump(), require_operator_or_practitioner()
    membership = operations.put_membership(
        pdp(), actor=actor, subscription=subscription, practitioner=practitioner, **body
    )
    return json_response(membership)


@v1.delete("/memberships/<subscription>/<practitioner>")
@document_route(caller="manager", status=204)
def end_membership(subscription: str, practitioner: str) -> Response:
    """End the membership of a practitioner in a subscription, now."""
    actor = require_operator_or_practitioner()
    operations.end_membership(pdp(), actor=actor, subscription=subscription, practitioner=practitioner)
    return Response(status=204)


@v1.post("/entities/<kind>")
@document_route(
    caller="admin",
    request_body=requests.PutEntityRequest,
    response_body=responses.EntityBody,
    status=201,
    idempotency_key=True,
    example=_DOCUMENT,
)
def add_entity(kind: str) -> Response:
    """Store a new entity of a declared type, under an id that the service makes."""
    properties, actor = requests.parse_body(requests.PutEntityRequest).properties, require_operator()
    return run_and_respond(operations.add_entity, 201, lambda row: row, actor=actor, kind=kind, properties=properties)


@v1.put("/entities/<kind>/<entity>")
@document_route(
    caller="admin",
    request_body=requests.PutEntityRequest,
    response_body=responses.EntityBody,
    example=_DOCUMENT,
)
def put_entity(kind: str, entity: str) -> Response:
    """Create or change an entity of a declared type: its properties, and the relations among them.

    The key of one clinic changes the entities of that clinic; the operator's key may choose the id of a new entity.
    """
    properties, actor = requests.parse_body(requests.PutEntityRequest).properties, require_operator()
    return json_response(operations.put_entity(pdp(), actor=actor, kind=kind, entity=entity, properties=properties))


@v1.delete("/entities/<kind>/<entity>")
@document_route(caller="admin", status=204)
def end_entity(kind: str, entity: str) -> Response:
    """End an entity, now."""
    operations.end_entity(pdp(), actor=require_operator(), kind=kind, entity=entity)
    return Response(status=204)
