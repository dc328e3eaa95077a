"""The blueprint of `/v1`, and the way in which each of its views carries out an operation."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Response, request

from api.auth import authenticate, pdp, require_practitioner
from api.limits import LONGEST_KEY
from api.ops.route_documentation import refuse_unknown_parameters
from authz.errors import InvalidInput
from authz.operations import IdempotencyKey, ReplayedResponse, StoredResponse
from authz.record import Actor

v1 = Blueprint("v1", __name__, url_prefix="/v1")
v1.before_request(authenticate)
v1.before_request(refuse_unknown_parameters)

_KEY = "Idempotency-Key"
Result = TypeVar("Result")


def run_and_respond(
    operation: Callable[..., Result],
    status: int,
    serialize: Callable[[Result], object] | None = None,
    *,
    actor: Actor | None = None,
    batch: str = "",
    **arguments: object,
) -> Response:
    """Carry out an operation once for each `Idempotency-Key`; return its result, or the stored answer.

    The practitioner who sends the request acts, if `actor` names nobody else. `serialize` makes the JSON body from the
    result; without it the response has no body. `arguments` are the operation's own.
    """
    actor = replace(actor or require_practitioner(), batch=batch)
    stored: list[StoredResponse] = []

    def store(result: Result) -> StoredResponse:
        body = "" if serialize is None else orjson.dumps(serialize(result)).decode()
        stored.append(StoredResponse(status, body))
        return stored[0]

    try:
        result = operation(pdp(), actor=actor, idempotency_key=_idempotency_key(actor, store), **arguments)
        answer = stored[0] if stored else store(result)
    except ReplayedResponse as replay_facts:
        answer = replay_facts.stored
    return Response(answer.body, answer.status, content_type="application/json" if answer.body else None)


def _idempotency_key(actor: Actor, store: Callable[[Any], StoredResponse]) -> IdempotencyKey | None:
    """Return the request's key with a hash of the request. Raises `InvalidInput` for a key that cannot be one."""
    key = request.headers.get(_KEY)
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidInput(f"{_KEY}: must have 1 to {LONGEST_KEY} visible characters")
    caller = f"{'' if actor.client is None else actor.client}/{actor.practitioner}"
    content = b"\0".join([request.method.encode(), request.full_path.encode(), request.get_data()])
    return IdempotencyKey(caller, key, hashlib.sha256(content).hexdigest(), store)
