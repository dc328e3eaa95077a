"""Every error as RFC 9457 `application/problem+json`, or as a page; the only place that knows HTTP statuses.

`PROBLEMS` lists each kind with its status and title; `docs/http.md` must list them, and a test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    "unauthenticated": (401, "No valid credential"),
    "forbidden": (403, "The credential does not allow this"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This path does not take this method"),
    "conflict": (409, "The state does not allow this"),
    "timeout": (408, "The request did not come in time"),
    "uri-too-long": (414, "The path and query are too long"),
    "headers-too-large": (431, "The headers are too large"),
    "not-implemented": (501, "This method is not known here"),
    "too-large": (413, "The request body is too large"),
    "invalid": (422, "The request is well formed, but cannot be"),
    "policy-unknown": (422, "The policy of that instant is not known"),
    "recipient-not-eligible": (422, "The colleague cannot receive"),
    "self-target": (422, "The colleague is the one who asks"),
    "batch-refused": (422, "Not every patient allows it"),
    "key-reused": (422, "The Idempotency-Key came with another request"),
    "too-many": (429, "The caller asks too often"),
    "internal-error": (500, "Something went wrong here"),
    "unavailable": (503, "The service cannot answer now"),
}
_BY_STATUS = {status: kind for kind, (status, _) in reversed(PROBLEMS.items())}
_ERRORS: dict[type[CaregrantError], str] = {
    NotFound: "not-found",
    Denied: "forbidden",
    Conflict: "conflict",
    NotEligible: "recipient-not-eligible",
    SelfTarget: "self-target",
    KeyReused: "key-reused",
    PolicyUnknown: "policy-unknown",
}


@dataclass
class Problem(Exception):
    """A refusal: its kind, a sentence about this case, and for input where it is wrong (JSON pointer, message)."""

    kind: str
    detail: str
    errors: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def malformed(*errors: tuple[str, str]) -> Problem:
    """A request whose members at these JSON pointers are wrong."""
    return Problem("bad-request", "; ".join(f"{at or 'the body'} {why}" for at, why in errors), errors)


def rendered(problem: Problem) -> Response:
    """The response that tells a problem."""
    status, title = PROBLEMS[problem.kind]
    body: dict[str, Any] = {
        "type": f"/problems/{problem.kind}",
        "title": title,
        "status": status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"pointer": at, "message": why} for at, why in problem.errors]
    response = Response(orjson.dumps(body), status, content_type="application/problem+json")
    response.headers.extend(problem.headers)
    return response


def problem_of(error: CaregrantError) -> Problem | None:
    """How an error of ours is told; None for one that nobody expects here."""
    if isinstance(error, Unavailable):
        return Problem("unavailable", "Try again shortly.", headers=(("Retry-After", "1"),))
    if isinstance(error, TooMany):
        return Problem("too-many", str(error), headers=(("Retry-After", str(error.seconds)),))
    if isinstance(error, InvalidInput):
        return Problem("invalid" if request.path.startswith("/v1/") else "bad-request", str(error))
    if isinstance(error, BatchRefused):
        told = tuple((f"/patients/{at}", str(one)) for at, one in error.refusals)
        return Problem("batch-refused", str(error), told)
    kind = _ERRORS.get(type(error))
    return None if kind is None else Problem(kind, str(error))


def status_of(error: CaregrantError) -> int:
    """The HTTP status with which an error is told."""
    problem = problem_of(error)
    return PROBLEMS["internal-error" if problem is None else problem.kind][0]


def install(app: Flask, page: Callable[[Problem], Response]) -> None:
    """Make every error of an app a problem, for a browser a `page`; one that nobody expected is logged, and silent."""

    def answer(problem: Problem) -> Response:
        return page(problem) if _for_a_browser() else rendered(problem)

    @app.errorhandler(Problem)
    def told(problem: Problem) -> Response:
        return answer(problem)

    @app.errorhandler(CaregrantError)
    def ours(error: CaregrantError) -> Response:
        if isinstance(error, Unavailable):
            app.logger.error("unavailable: %s", error)
        problem = problem_of(error)
        return unexpected(error) if problem is None else answer(problem)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.code or 500)
        if kind is None or isinstance(error, InternalServerError):
            return unexpected(error) if (error.code or 500) >= 500 else answer(Problem("bad-request", error.name))
        kept = [(name, value) for name, value in error.get_headers() if name in ("Allow", "Retry-After")]
        return answer(Problem(kind, error.description or error.name, headers=tuple(kept)))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        app.logger.exception("unexpected", exc_info=error)
        return answer(Problem("internal-error", "This is logged under the request's id."))


def _for_a_browser() -> bool:
    """Whether the pages were asked; where nothing was, whether a page is liked better than JSON."""
    if request.endpoint is not None:
        return request.blueprint == "pages"
    kinds = ["application/problem+json", "application/json", "text/html"]
    return request.accept_mimetypes.best_match(kinds) == "text/html"
