"""`/v1`: shares and transfers of one patient or of several, and shares of all patients (H2–H7)."""

import uuid

from flask import Response

from api.auth import charge, pdp, require_practitioner
from api.limits import extra_requests
from api.ops.route_documentation import document_route
from api.request_context import json_response
from api.v1 import requests, responses
from api.v1.blueprint import run_and_respond, v1
from api.v1.query import parse_row_id
from api.v1.serializers import (
    serialize_grants,
    serialize_shares,
    serialize_standing_share,
    serialize_transfer,
    serialize_undone_transfer,
)
from authz import operations
from authz.domain import FOREVER
from authz.queries import practitioner as practitioner_queries

_SHARE = {"colleague": "pete@clinic.example", "until": "2030-01-01T00:00:00Z", "reason": "on leave"}
_TRANSFER = {"colleague": "pete@clinic.example", "end_shares": True}


@v1.post("/patients/<patient>/shares")
@document_route(
    caller="practitioner",
    request_body=requests.ShareRequest,
    response_body=responses.GrantBody,
    status=201,
    idempotency_key=True,
    example=_SHARE,
)
def share(patient: str) -> Response:
    """Share a patient with a colleague."""
    body = requests.parse_body(requests.ShareRequest).model_dump()
    return run_and_respond(
        operations.share, 201, lambda shares: serialize_shares(shares)[0], patients=[patient], **body
    )


@v1.patch("/patients/<patient>/shares/<grant>")
@document_route(
    caller="practitioner",
    request_body=requests.ChangeShareRequest,
    response_body=responses.GrantBody,
    idempotency_key=True,
    example={"until": "2030-07-01T00:00:00Z", "reason": "longer leave"},
)
def change_share(patient: str, grant: str) -> Response:
    """Change the end or the reason of a share."""
    changes = requests.parse_body(requests.ChangeShareRequest).model_dump(exclude_unset=True)
    if "until" in changes and changes["until"] is None:
        changes["until"] = FOREVER
    return run_and_respond(
        operations.change_share,
        200,
        lambda row: serialize_grants([row])[0],
        patient=patient,
        grant=parse_row_id(grant),
        **changes,
    )


@v1.delete("/patients/<patient>/shares/<grant>")
@document_route(caller="practitioner", status=204, idempotency_key=True)
def end_share(patient: str, grant: str) -> Response:
    """End a share of a patient, or give up a share that the practitioner received."""
    return run_and_respond(operations.end_share, 204, patient=patient, grant=parse_row_id(grant))


@v1.post("/patients/<patient>/transfer")
@document_route(
    caller="practitioner",
    request_body=requests.TransferRequest,
    response_body=responses.TransferBody,
    idempotency_key=True,
    example=_TRANSFER,
)
def transfer(patient: str) -> Response:
    """Transfer a patient to a colleague."""
    body = requests.parse_body(requests.TransferRequest).model_dump()
    return run_and_respond(
        operations.transfer, 200, lambda transfers: serialize_transfer(transfers[0]), patients=[patient], **body
    )


@v1.post("/patients/<patient>/transfer/undo")
@document_route(caller="practitioner", response_body=responses.UndoneTransferBody, idempotency_key=True)
def undo_transfer(patient: str) -> Response:
    """Undo the transfer of a patient, some minutes after it."""
    return run_and_respond(
        operations.undo_transfer, 200, lambda undone: serialize_undone_transfer(undone[0]), patients=[patient]
    )


@v1.post("/shares")
@document_route(
    caller="practitioner",
    request_body=requests.ShareBatchRequest,
    response_body=responses.SharesBody,
    idempotency_key=True,
    example={"patients": ["p-1"], **_SHARE},
)
def share_some() -> Response:
    """Share several patients with a colleague: all of them or none."""
    body, batch = requests.parse_body(requests.ShareBatchRequest).model_dump(), uuid.uuid4().hex
    charge(extra_requests(len(body["patients"])))
    return run_and_respond(
        operations.share,
        200,
        lambda shares: {"batch": batch, "items": serialize_shares(shares)},
        batch=batch,
        **body,
    )


@v1.post("/transfers")
@document_route(
    caller="practitioner",
    request_body=requests.TransferBatchRequest,
    response_body=responses.TransfersBody,
    idempotency_key=True,
    example={"patients": ["p-1"], **_TRANSFER},
)
def transfer_some() -> Response:
    """Transfer several patients to a colleague: all of them or none."""
    body, batch = requests.parse_body(requests.TransferBatchRequest).model_dump(), uuid.uuid4().hex
    charge(extra_requests(len(body["patients"])))
    return run_and_respond(
        operations.transfer,
        200,
        lambda transfers: {"batch": batch, "items": [serialize_transfer(transfer) for transfer in transfers]},
        batch=batch,
        **body,
    )


@v1.post("/transfers/undo")
@document_route(
    caller="practitioner",
    request_body=requests.UndoTransferBatchRequest,
    response_body=responses.UndoneTransfersBody,
    idempotency_key=True,
    example={"patients": ["p-1"]},
)
def undo_transfers() -> Response:
    """Undo the transfers of several patients: of all of them or of none."""
    body, batch = requests.parse_body(requests.UndoTransferBatchRequest).model_dump(), uuid.uuid4().hex
    charge(extra_requests(len(body["patients"])))
    return run_and_respond(
        operations.undo_transfer,
        200,
        lambda undone: {"batch": batch, "items": [serialize_undone_transfer(each) for each in undone]},
        batch=batch,
        **body,
    )


@v1.post("/standing-shares")
@document_route(
    caller="practitioner",
    request_body=requests.ShareAllRequest,
    response_body=responses.StandingShareBody,
    status=201,
    idempotency_key=True,
    example={"colleague": "pete@clinic.example", "content": True},
)
def share_all() -> Response:
    """Share all patients that the practitioner owns, now and later, with a colleague."""
    body = requests.parse_body(requests.ShareAllRequest).model_dump()
    return run_and_respond(operations.share_all, 201, serialize_standing_share, **body)


@v1.get("/standing-shares")
@document_route(caller="practitioner", response_body=responses.StandingSharesBody)
def standing_shares() -> Response:
    """List the standing shares that the practitioner gives or receives."""
    rows = practitioner_queries.standing_shares(pdp(), require_practitioner())
    return json_response({"items": [serialize_standing_share(row) for row in rows]})


@v1.delete("/standing-shares/<share>")
@document_route(caller="practitioner", status=204, idempotency_key=True)
def end_standing_share(share: str) -> Response:
    """End a standing share, or give up a standing share that the practitioner received."""
    return run_and_respond(operations.end_standing_share, 204, standing_share=parse_row_id(share))
