"""HTTP errors: RFC 9457 `application/problem+json` for apps, a page for browsers.

This is the only module that knows HTTP statuses. `PROBLEMS` lists each kind of problem with its status and title;
`docs/reference/http.md` must list them too, and a test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, InternalServerError

from authz.errors import (
    BatchRefused,
    CaregrantError,
    Conflict,
    Denied,
    InvalidInput,
    KeyReused,
    NotEligible,
    NotFound,
    PolicyUnknown,
    SelfTarget,
    TooMany,
    Unavailable,
)

PROBLEMS = {
    "bad-request": (400, "The request is malformed"),
    "unauthenticated": (401, "The request has no valid credential"),
    "forbidden": (403, "The caller may not do this"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This path does not support this method"),
    "conflict": (409, "The current state does not allow this"),
    "timeout": (408, "The request did not arrive in time"),
    "uri-too-long": (414, "The path and query are too long"),
    "headers-too-large": (431, "The headers are too large"),
    "not-implemented": (501, "This method is not supported"),
    "too-large": (413, "The request body is too large"),
    "invalid": (422, "The request is well formed, but a value is invalid"),
    "policy-unknown": (422, "The policy of that instant is not known"),
    "recipient-not-eligible": (422, "The colleague cannot receive the patient"),
    "self-target": (422, "The colleague is the practitioner who asks"),
    "batch-refused": (422, "Not every patient allows this"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "too-many": (429, "The caller sends too many requests"),
    "internal-error": (500, "An internal error occurred"),
    "unavailable": (503, "The service cannot answer now"),
}
_KIND_BY_STATUS = {status: kind for kind, (status, _) in reversed(PROBLEMS.items())}
_KIND_BY_ERROR: dict[type[CaregrantError], str] = {
    NotFound: "not-found",
    Denied: "forbidden",
    Conflict: "conflict",
    NotEligible: "recipient-not-eligible",
    SelfTarget: "self-target",
    KeyReused: "key-reused",
    PolicyUnknown: "policy-unknown",
}
INTERNAL_ERROR = "The service logged this error under the id of the request."
"""The detail of every `internal-error`: the error itself stays in the log."""


@dataclass
class Problem(Exception):
    """A refusal: its kind, a sentence about this case, and the wrong members of the request.

    `kind` is a key of `PROBLEMS`. Each of `errors` is a JSON pointer (RFC 6901) and a message; `headers` are added to
    the response.
    """

    kind: str
    detail: str
    errors: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def malformed_request(*errors: tuple[str, str]) -> Problem:
    """Return the problem of a request whose members at these JSON pointers are wrong."""
    return Problem("bad-request", "; ".join(f"{pointer or 'the body'} {why}" for pointer, why in errors), errors)


def problem_response(problem: Problem) -> Response:
    """Return the JSON response of a problem (RFC 9457)."""
    status, title = PROBLEMS[problem.kind]
    body: dict[str, object] = {
        "type": f"/problems/{problem.kind}",
        "title": title,
        "status": status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"pointer": pointer, "message": why} for pointer, why in problem.errors]
    response = Response(orjson.dumps(body), status, content_type="application/problem+json")
    response.headers.extend(problem.headers)
    return response


def problem_of(error: CaregrantError) -> Problem | None:
    """Return the problem of an error of `authz`, or None for an error that no request should cause."""
    if isinstance(error, Unavailable):
        return Problem("unavailable", "Try again shortly.", headers=(("Retry-After", "1"),))
    if isinstance(error, TooMany):
        return Problem("too-many", str(error), headers=(("Retry-After", str(error.seconds)),))
    if isinstance(error, InvalidInput):
        return Problem("invalid" if request.path.startswith("/v1/") else "bad-request", str(error))
    if isinstance(error, BatchRefused):
        errors = tuple((f"/patients/{index}", str(refusal)) for index, refusal in error.refusals)
        return Problem("batch-refused", str(error), errors)
    kind = _KIND_BY_ERROR.get(type(error))
    return None if kind is None else Problem(kind, str(error))


def status_of(error: CaregrantError) -> int:
    """Return the HTTP status of an error of `authz`."""
    problem = problem_of(error)
    return PROBLEMS["internal-error" if problem is None else problem.kind][0]


def install(app: Flask, render_page: Callable[[Problem], Response]) -> None:
    """Answer every error with a problem, and a browser's with `render_page`; log an unexpected error and hide it."""

    def respond(problem: Problem) -> Response:
        return render_page(problem) if _prefers_page() else problem_response(problem)

    @app.errorhandler(Problem)
    def handle_problem(problem: Problem) -> Response:
        return respond(problem)

    @app.errorhandler(CaregrantError)
    def handle_caregrant_error(error: CaregrantError) -> Response:
        if isinstance(error, Unavailable):
            app.logger.error("unavailable: %s", error)
        problem = problem_of(error)
        return handle_unexpected_error(error) if problem is None else respond(problem)

    @app.errorhandler(HTTPException)
    def handle_http_exception(error: HTTPException) -> Response:
        kind = _KIND_BY_STATUS.get(error.code or 500)
        if kind is None or isinstance(error, InternalServerError):
            if (error.code or 500) >= 500:
                return handle_unexpected_error(error)
            return respond(Problem("bad-request", error.name))
        headers = [(name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After")]
        return respond(Problem(kind, error.description or error.name, headers=tuple(headers)))

    @app.errorhandler(Exception)
    def handle_unexpected_error(error: Exception) -> Response:
        app.logger.exception("unexpected error", exc_info=error)
        return respond(Problem("internal-error", INTERNAL_ERROR))


def _prefers_page() -> bool:
    """Return whether to answer with a page: the route is a page, or no route fits and Accept prefers HTML."""
    if request.endpoint is not None:
        return request.blueprint == "pages"
    types = ["application/problem+json", "application/json", "text/html"]
    return request.accept_mimetypes.best_match(types) == "text/html"
