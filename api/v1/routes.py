"""`/v1`, for practitioners and for apps that act for them: parse, call one function, render."""

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, request

from api.auth import authenticate, charge, operator, operator_or_practitioner, pdp, practitioner
from api.limits import charged
from api.ops.described import CURSOR, LEFT, LIMIT, PATIENT, ROLE, SORT, UNREAD, Q, described, refuse_unknown_parameters
from api.v1 import requests as v1_requests
from api.v1 import responses
from api.v1.requests import row_number
from authz import operations
from authz.domain import FOREVER, Row, format_instant
from authz.errors import InvalidInput
from authz.operations import IdempotencyKey, ReplayedResponse, StoredResponse
from authz.queries import practitioner as practitioner_queries
from authz.record import Actor

v1 = Blueprint("v1", __name__, url_prefix="/v1")

_KEY = "Idempotency-Key"
_SHARE = {"colleague": "pete@clinic.example", "until": "2030-01-01T00:00:00Z", "reason": "on leave"}
_TRANSFER = {"colleague": "pete@clinic.example", "end_shares": True}

v1.before_request(authenticate)
v1.before_request(refuse_unknown_parameters)


# What every route shares.


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, content_type="application/json")


def _do(
    operation: Callable[..., Any],
    status: int,
    render: Callable[[Any], Any],
    *,
    actor: Actor | None = None,
    batch: str = "",
    **said: Any,
) -> Response:
    """Carry out an operation for the practitioner who asks, once for each `Idempotency-Key`, and tell its result."""
    actor = replace(actor or practitioner(), batch=batch)
    answers: list[StoredResponse] = []

    def rendered(result: Any) -> StoredResponse:
        answers.append(StoredResponse(status, "" if status == 204 else orjson.dumps(render(result)).decode()))
        return answers[0]

    try:
        result = operation(pdp(), actor=actor, idempotency_key=_once(actor, rendered), **said)
        answer = answers[0] if answers else rendered(result)
    except ReplayedResponse as answered:
        answer = answered.stored
    return Response(answer.body, answer.status, content_type="application/json" if answer.body else None)


def _once(actor: Actor, render: Callable[[Any], StoredResponse]) -> IdempotencyKey | None:
    key = request.headers.get(_KEY)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable():
        raise InvalidInput(f"{_KEY}: 1 to 255 visible characters")
    caller = f"{'' if actor.client is None else actor.client}/{actor.practitioner}"
    told = b"\0".join([request.method.encode(), request.full_path.encode(), request.get_data()])
    return IdempotencyKey(caller, key, hashlib.sha256(told).hexdigest(), render)


def _until(instant: Any) -> str | None:
    return None if instant is None or instant == FOREVER else format_instant(instant)


def _shared(done: Sequence[operations.Shared]) -> list[Row]:
    viewer = done[0].viewer._asdict()
    return _grants([one.grant for one in done], {viewer["id"]: viewer})


def _grants(rows: Sequence[Row], people: Mapping[str, Row] | None = None) -> list[Row]:
    """Grants with the name and login of who holds them."""
    people = people or practitioner_queries.people(pdp(), [row["practitioner"] for row in rows])
    return [
        {
            "id": str(row["id"]),
            "patient": row["patient"],
            "practitioner": row["practitioner"],
            "login": people[row["practitioner"]]["login"],
            "name": people[row["practitioner"]]["name"],
            "role": row["role"],
            "origin": row["origin"],
            "given_by": row["given_by"] or None,
            "reason": row["reason"],
            "started_at": format_instant(row["started_at"]),
            "until": _until(row["ended_at"]),
        }
        for row in rows
    ]


def _added(new: operations.Added) -> Row:
    return {
        "id": new.patient,
        "name": new.name,
        "reference": new.reference or None,
        "subscription": new.subscription,
        "grant": str(new.grant),
    }


def _transferred(one: operations.Transferred) -> Row:
    return {
        "patient": one.patient,
        "owner": one.owner,
        "previous_owner": one.previous_owner,
        "kept_shares": _grants(one.kept_shares),
    }


def _standing(row: Row) -> Row:
    people = practitioner_queries.people(pdp(), [row["owner"], row["colleague"]])
    return {
        "id": str(row["id"]),
        "owner": row["owner"],
        "colleague": row["colleague"],
        "login": people[row["colleague"]]["login"],
        "name": people[row["colleague"]]["name"],
        "subscription": row["subscription"],
        "content": bool(row["content"]),
        "started_at": format_instant(row["started_at"]),
        "until": _until(row["ended_at"]),
    }


# Oneself, patients, colleagues.


@v1.get("/me")
@described(caller="practitioner", gives=responses.Me)
def me() -> Response:
    """The practitioner and their live memberships."""
    return _json(practitioner_queries.me(pdp(), practitioner()))


@v1.get("/patients")
@described(caller="practitioner", gives=responses.Patients, query=(Q, ROLE, LEFT, SORT, LIMIT, CURSOR))
def patients() -> Response:
    """A page of what the practitioner may view."""
    role = request.args.get("role")
    if role not in (None, "owner", "viewer"):
        raise InvalidInput("role: owner or viewer")
    place = v1_requests.place(v1_requests.limit())
    rows, following = practitioner_queries.patients(
        pdp(), practitioner(), place, q=v1_requests.search(), role=role, orphaned=v1_requests.truth("left")
    )
    items = [{**row, "until": _until(row["until"])} for row in rows]
    return _json({"items": items, "next": v1_requests.cursor_after(place, following)})


@v1.post("/patients")
@described(
    caller="practitioner",
    takes=v1_requests.NewPatientWithId,
    gives=responses.NewlyAdded,
    status=201,
    idempotency_key=True,
    example={"name": "Pat One", "reference": "MRN 2024/17"},
)
def add_patient() -> Response:
    """Add a patient, who is the practitioner's own; `id` is taken from an app whose key is bound to no clinic alone."""
    actor = practitioner()
    chooses = actor.client is not None and actor.tenant is None
    said = v1_requests.read(v1_requests.NewPatientWithId if chooses else v1_requests.NewPatient).model_dump()
    return _do(operations.add_patient, 201, _added, actor=actor, patient=said.pop("id", None), **said)


@v1.get("/patients/<patient>")
@described(caller="practitioner", gives=responses.PatientDetail)
def patient(patient: str) -> Response:
    """One patient, with the actions that the practitioner may take."""
    row = practitioner_queries.patient(pdp(), practitioner(), patient)
    return _json({**row, "until": _until(row["until"])})


@v1.patch("/patients/<patient>")
@described(
    caller="practitioner",
    takes=v1_requests.PatientChanges,
    gives=responses.EditedPatient,
    idempotency_key=True,
    example={"name": "Pat Two"},
)
def edit_patient(patient: str) -> Response:
    """Correct a patient's name or reference."""
    said = v1_requests.read(v1_requests.PatientChanges).model_dump(exclude_unset=True)
    return _do(operations.edit_patient, 200, lambda row: row, patient=patient, **said)


@v1.post("/patients/<patient>/end")
@described(
    caller="practitioner",
    takes=v1_requests.EndOfPatient,
    status=204,
    idempotency_key=True,
    example={"reason": "moved away"},
)
def end_patient(patient: str) -> Response:
    """The patient leaves the clinic: every grant ends."""
    said = v1_requests.read(v1_requests.EndOfPatient)
    return _do(operations.end_patient, 204, lambda _: None, patient=patient, reason=said.reason)


@v1.get("/patients/<patient>/access")
@described(caller="practitioner", gives=responses.Grants)
def access(patient: str) -> Response:
    """Who has access: the live grants, the owner's first."""
    return _json({"items": _grants(practitioner_queries.access(pdp(), practitioner(), patient))})


@v1.get("/colleagues")
@described(caller="practitioner", gives=responses.Colleagues, query=(PATIENT, Q))
def colleagues() -> Response:
    """Who may receive a patient, or in any of the practitioner's clinics."""
    q, name = v1_requests.search(), request.args.get("patient")
    rows = practitioner_queries.colleagues(pdp(), practitioner(), name=name, q=q)
    return _json({"items": [{column: row[column] for column in ("id", "login", "name")} for row in rows]})


# Share and transfer.


@v1.post("/patients/<patient>/shares")
@described(
    caller="practitioner",
    takes=v1_requests.NewShare,
    gives=responses.Grant,
    status=201,
    idempotency_key=True,
    example=_SHARE,
)
def share(patient: str) -> Response:
    """Share a patient with a colleague."""
    said = v1_requests.read(v1_requests.NewShare).model_dump()
    return _do(operations.share, 201, lambda done: _shared(done)[0], patients=[patient], **said)


@v1.delete("/patients/<patient>/shares/<grant>")
@described(caller="practitioner", status=204, idempotency_key=True)
def end_share(patient: str, grant: str) -> Response:
    """End a share, or give up one's own."""
    return _do(operations.end_share, 204, lambda _: None, patient=patient, grant=row_number(grant))


@v1.post("/patients/<patient>/transfer")
@described(
    caller="practitioner",
    takes=v1_requests.NewTransfer,
    gives=responses.Transferred,
    idempotency_key=True,
    example=_TRANSFER,
)
def transfer(patient: str) -> Response:
    """Transfer a patient to a colleague."""
    said = v1_requests.read(v1_requests.NewTransfer).model_dump()
    return _do(operations.transfer, 200, lambda done: _transferred(done[0]), patients=[patient], **said)


@v1.post("/shares")
@described(
    caller="practitioner",
    takes=v1_requests.NewShares,
    gives=responses.BatchOfShares,
    idempotency_key=True,
    example={"patients": ["p-1"], **_SHARE},
)
def share_some() -> Response:
    """Share several patients: all or none."""
    said, batch = v1_requests.read(v1_requests.NewShares).model_dump(), uuid.uuid4().hex
    charge(charged(len(said["patients"])))

    def told(done: list[operations.Shared]) -> Row:
        return {"batch": batch, "items": _shared(done)}

    return _do(operations.share, 200, told, batch=batch, **said)


@v1.post("/transfers")
@described(
    caller="practitioner",
    takes=v1_requests.NewTransfers,
    gives=responses.BatchOfTransfers,
    idempotency_key=True,
    example={"patients": ["p-1"], **_TRANSFER},
)
def transfer_some() -> Response:
    """Transfer several patients: all or none."""
    said, batch = v1_requests.read(v1_requests.NewTransfers).model_dump(), uuid.uuid4().hex
    charge(charged(len(said["patients"])))

    def told(done: list[operations.Transferred]) -> Row:
        return {"batch": batch, "items": [_transferred(one) for one in done]}

    return _do(operations.transfer, 200, told, batch=batch, **said)


@v1.post("/standing-shares")
@described(
    caller="practitioner",
    takes=v1_requests.NewStandingShare,
    gives=responses.StandingShare,
    status=201,
    idempotency_key=True,
    example={"colleague": "pete@clinic.example", "content": True},
)
def share_all() -> Response:
    """Share everything that one owns, now and later."""
    return _do(operations.share_all, 201, _standing, **v1_requests.read(v1_requests.NewStandingShare).model_dump())


@v1.get("/standing-shares")
@described(caller="practitioner", gives=responses.StandingShares)
def standing_shares() -> Response:
    """The standing shares that the practitioner gave or was given."""
    return _json({"items": [_standing(row) for row in practitioner_queries.standing_shares(pdp(), practitioner())]})


@v1.delete("/standing-shares/<share>")
@described(caller="practitioner", status=204, idempotency_key=True)
def end_standing_share(share: str) -> Response:
    """End a standing share, or give it up."""
    return _do(operations.end_standing_share, 204, lambda _: None, standing_share=row_number(share))


# Notices.


@v1.get("/notifications")
@described(caller="practitioner", gives=responses.Notices, query=(UNREAD, LIMIT, CURSOR))
def notifications() -> Response:
    """A page of the practitioner's notices, the newest first."""
    before = v1_requests.after_number() or None
    rows, more = practitioner_queries.notifications(
        pdp(),
        practitioner(),
        unread=v1_requests.truth("unread"),
        limit=v1_requests.limit(),
        before=before,
    )
    return _json(
        {"items": [_notice(row) for row in rows], "next": v1_requests.cursor(str(rows[-1]["id"])) if more else None}
    )


@v1.post("/notifications/<notification>/read")
@described(caller="practitioner", gives=responses.Notice)
def read_notification(notification: str) -> Response:
    """Mark a notice as read."""
    return _json(_notice(practitioner_queries.mark_read(pdp(), practitioner(), row_number(notification))))


def _notice(row: Row) -> Row:
    return {
        "id": str(row["id"]),
        "at": format_instant(row["at"]),
        "kind": row["kind"],
        "patient": row["patient"] or None,
        "colleague": row["colleague"],
        "actor": row["actor"],
        "read": row["read_at"] != FOREVER,
    }


# Provisioning.


@v1.put("/subscriptions/<subscription>")
@described(
    caller="admin", takes=v1_requests.AsSubscription, gives=responses.Subscription, example={"name": "North Clinic"}
)
def put_subscription(subscription: str) -> Response:
    """A subscription as it shall be: its name, and whether it is live."""
    said = v1_requests.read(v1_requests.AsSubscription).model_dump()
    return _json(operations.put_subscription(pdp(), actor=operator(), subscription=subscription, **said))


@v1.put("/practitioners/<practitioner>")
@described(
    caller="admin",
    takes=v1_requests.AsPractitioner,
    gives=responses.Practitioner,
    example={"login": "pete@clinic.example", "name": "Pete P."},
)
def put_practitioner(practitioner: str) -> Response:
    """A practitioner as they shall be: login and name."""
    said = v1_requests.read(v1_requests.AsPractitioner).model_dump()
    return _json(operations.put_practitioner(pdp(), actor=operator(), practitioner=practitioner, **said))


@v1.put("/memberships/<subscription>/<practitioner>")
@described(caller="manager", takes=v1_requests.AsMembership, gives=responses.Membership, example={"role": "member"})
def put_membership(subscription: str, practitioner: str) -> Response:
    """Somebody works under a subscription, in one role."""
    said, actor = v1_requests.read(v1_requests.AsMembership).model_dump(), operator_or_practitioner()
    done = operations.put_membership(pdp(), actor=actor, subscription=subscription, practitioner=practitioner, **said)
    return _json(done)


@v1.delete("/memberships/<subscription>/<practitioner>")
@described(caller="manager", status=204)
def end_membership(subscription: str, practitioner: str) -> Response:
    """Somebody leaves a subscription, now."""
    actor = operator_or_practitioner()
    operations.end_membership(pdp(), actor=actor, subscription=subscription, practitioner=practitioner)
    return Response(status=204)


@v1.post("/entities/<kind>")
@described(
    caller="admin",
    takes=v1_requests.AsEntity,
    gives=responses.StoredEntity,
    status=201,
    idempotency_key=True,
    example={"properties": {"patient": "p-1", "author": "bob", "title": "Knee plan"}},
)
def add_entity(kind: str) -> Response:
    """Store a new entity of a declared type, under an id that the service makes."""
    said, actor = v1_requests.read(v1_requests.AsEntity), operator()
    return _do(operations.add_entity, 201, lambda row: row, actor=actor, kind=kind, properties=said.properties)


@v1.put("/entities/<kind>/<entity>")
@described(
    caller="admin",
    takes=v1_requests.AsEntity,
    gives=responses.StoredEntity,
    example={"properties": {"patient": "p-1", "author": "bob", "title": "Knee plan"}},
)
def put_entity(kind: str, entity: str) -> Response:
    """An entity of a declared type as it shall be: its properties, and the relations among them. A key of one clinic
    changes what that clinic has; the operator may choose the id of a new one.
    """
    said, actor = v1_requests.read(v1_requests.AsEntity), operator()
    done = operations.put_entity(pdp(), actor=actor, kind=kind, entity=entity, properties=said.properties)
    return _json(done)


@v1.delete("/entities/<kind>/<entity>")
@described(caller="admin", status=204)
def end_entity(kind: str, entity: str) -> Response:
    """An entity is no more, from now on."""
    operations.end_entity(pdp(), actor=operator(), kind=kind, entity=entity)
    return Response(status=204)
