"""`/v1`: the practitioner who asks, their patients, who has access to a patient, and colleagues."""

from flask import Response, request

from api.auth import pdp, require_practitioner
from api.ops.route_documentation import CURSOR, LEFT, LIMIT, PATIENT, ROLE, SORT, Q, document_route
from api.request_context import json_response
from api.v1 import query, requests, responses
from api.v1.blueprint import run_and_respond, v1
from api.v1.serializers import serialize_added_patient, serialize_grants, serialize_until
from authz import operations
from authz.errors import InvalidInput
from authz.queries import practitioner as practitioner_queries


@v1.get("/me")
@document_route(caller="practitioner", response_body=responses.MeBody)
def me() -> Response:
    """Return the practitioner who asks, with their live memberships."""
    return json_response(practitioner_queries.me(pdp(), require_practitioner()))


@v1.get("/patients")
@document_route(caller="practitioner", response_body=responses.PatientsBody, query=(Q, ROLE, LEFT, SORT, LIMIT, CURSOR))
def patients() -> Response:
    """List a page of the patients that the practitioner may view."""
    role = request.args.get("role")
    if role not in (None, "owner", "viewer"):
        raise InvalidInput("role: must be owner or viewer")
    place = query.parse_place(query.parse_limit())
    rows, following = practitioner_queries.patients(
        pdp(), require_practitioner(), place, q=query.parse_search(), role=role, orphaned=query.parse_boolean("left")
    )
    items = [{**row, "until": serialize_until(row["until"])} for row in rows]
    return json_response({"items": items, "next": query.encode_next_cursor(place, following)})


@v1.post("/patients")
@document_route(
    caller="practitioner",
    request_body=requests.AddPatientWithIdRequest,
    response_body=responses.AddedPatientBody,
    status=201,
    idempotency_key=True,
    example={"name": "Pat One", "reference": "MRN 2024/17"},
)
def add_patient() -> Response:
    """Add a patient, whom the practitioner then owns; only an app that is bound to no clinic may choose the `id`."""
    actor = require_practitioner()
    may_choose_id = actor.client is not None and actor.tenant is None
    model = requests.AddPatientWithIdRequest if may_choose_id else requests.AddPatientRequest
    body = requests.parse_body(model).model_dump()
    patient = body.pop("id", None)
    return run_and_respond(operations.add_patient, 201, serialize_added_patient, actor=actor, patient=patient, **body)


@v1.get("/patients/<patient>")
@document_route(caller="practitioner", response_body=responses.PatientDetailBody)
def patient(patient: str) -> Response:
    """Return one patient, with the actions that the practitioner may take."""
    row = practitioner_queries.patient(pdp(), require_practitioner(), patient)
    return json_response({**row, "until": serialize_until(row["until"])})


@v1.patch("/patients/<patient>")
@document_route(
    caller="practitioner",
    request_body=requests.EditPatientRequest,
    response_body=responses.EditedPatientBody,
    idempotency_key=True,
    example={"name": "Pat Two"},
)
def edit_patient(patient: str) -> Response:
    """Correct the name or the reference of a patient."""
    changes = requests.parse_body(requests.EditPatientRequest).model_dump(exclude_unset=True)
    return run_and_respond(operations.edit_patient, 200, lambda row: row, patient=patient, **changes)


@v1.post("/patients/<patient>/end")
@document_route(
    caller="practitioner",
    request_body=requests.EndPatientRequest,
    status=204,
    idempotency_key=True,
    example={"reason": "moved away"},
)
def end_patient(patient: str) -> Response:
    """End a patient who leaves the clinic; every grant on the patient ends."""
    body = requests.parse_body(requests.EndPatientRequest)
    return run_and_respond(operations.end_patient, 204, patient=patient, reason=body.reason)


@v1.get("/patients/<patient>/access")
@document_route(caller="practitioner", response_body=responses.GrantsBody)
def access(patient: str) -> Response:
    """List the live grants on a patient, the owner's first."""
    rows = practitioner_queries.access(pdp(), require_practitioner(), patient)
    return json_response({"items": serialize_grants(rows)})


@v1.get("/colleagues")
@document_route(caller="practitioner", response_body=responses.ColleaguesBody, query=(PATIENT, Q))
def colleagues() -> Response:
    """List the colleagues who may receive a patient, or who may receive in any of the practitioner's clinics."""
    q, patient = query.parse_search(), request.args.get("patient")
    rows = practitioner_queries.colleagues(pdp(), require_practitioner(), name=patient, q=q)
    return json_response({"items": [{column: row[column] for column in ("id", "login", "name")} for row in rows]})
