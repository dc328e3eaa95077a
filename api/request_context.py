"""The request's id, instant, database connection and JSON body, and responses in JSON."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import orjson
from flask import Flask, Request, Response, g, request
from flask.globals import request_ctx

from api import request_group
from api.errors import Problem, malformed_request, problem_response
from api.limits import LONGEST_REQUEST_ID, MOST_FIELDS, MOST_PARAMETERS
from authz.database import FAULTS, discard_connection
from authz.errors import InvalidInput
from authz.strict_json import parse_object

HEADER = "X-Request-ID"
BODY = "caregrant.body"
"""The variable of the environment in which the gateway passes the whole body; other servers pass a stream only."""


def is_request_id(text: str) -> bool:
    """Return whether a text may be a request's id: some visible characters and blanks (AuthZEN 10.1.3)."""
    return 0 < len(text) <= LONGEST_REQUEST_ID and text.isprintable()


def make_request_id() -> str:
    """Return a new id for a request that has none."""
    return os.urandom(16).hex()


def now() -> datetime:
    """Return the present instant; everything below `api` takes the instant as an argument."""
    return datetime.now(UTC)


def request_id() -> str:
    """Return the id that the caller sent with the request, or the id that was made for the request."""
    known: str = g.request_id
    return known


def install(app: Flask) -> None:
    """Give every request an id and a connection, and every response the request's id, also errors (AuthZEN 10.1.3)."""
    readiness, database = app.extensions["caregrant.readiness"], app.extensions["caregrant"].database

    @app.before_request
    def prepare_request() -> Response | None:
        current = request_ctx.request  # each use of a proxy costs
        sent_id = current.environ.get("HTTP_X_REQUEST_ID")
        valid_id = sent_id is None or is_request_id(sent_id)
        g.request_id = sent_id if sent_id and valid_id else make_request_id()
        problem = _problem_of_request(current) if valid_id else _INVALID_ID
        if problem is not None:
            return problem_response(problem)
        # One connection for the whole request, not one for each query. A query that needs the connection reports a
        # fault itself.
        if current.url_rule is not None and current.blueprint != "health":
            readiness.require()
            with suppress(*FAULTS):
                database.connect(reuse_if_open=True)
        return None

    @app.teardown_request
    def return_connection(_: BaseException | None) -> None:
        """Return the connection to PostgreSQL's pool; a connection to SQLite stays with its thread."""
        if database.dialect == "postgresql" and request_group.current() is None:
            discard_connection(database)

    @app.after_request
    def complete_response(response: Response) -> Response:
        response.headers.add(HEADER, g.get("request_id") or make_request_id())
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.add("X-Content-Type-Options", "nosniff")
        return response


_INVALID_ID = Problem("bad-request", f"{HEADER} has at most {LONGEST_REQUEST_ID} characters, all of them visible.")


def _problem_of_request(current: Request) -> Problem | None:
    """Return why the path, the query or the form is refused, if it is."""
    environ = current.environ
    # No id and no text contains the character NUL, and PostgreSQL refuses a query with it.
    if "\0" in environ["PATH_INFO"]:
        return Problem("not-found", "There is nothing here.")
    query = environ["QUERY_STRING"]
    if query.count("&") >= MOST_PARAMETERS:
        return Problem("bad-request", f"The request has more than {MOST_PARAMETERS} query parameters.")
    if query and any("\0" in value for value in current.args.values()):
        return Problem("invalid", "A query parameter contains the character NUL.")
    is_form = current.blueprint == "pages" and current.mimetype == "application/x-www-form-urlencoded"
    if is_form and current.get_data().count(b"&") >= MOST_FIELDS:
        return Problem("too-large", f"The form has more than {MOST_FIELDS} fields.")
    return None


def json_body() -> dict[str, object]:
    """Return the JSON object of the request's body.

    Raises a `Problem` (400) for another content type, and for a body that is not one strict JSON object.
    """
    environ = request.environ
    if environ.get("CONTENT_TYPE") != "application/json" and request.mimetype != "application/json":
        raise Problem("bad-request", "The Content-Type is not application/json.")
    body = environ.get(BODY)
    try:
        return parse_object(request.get_data() if body is None else body)
    except InvalidInput as error:
        raise malformed_request(("", str(error))) from error


def json_response(value: object, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    return Response(orjson.dumps(value), status, content_type="application/json")


def deferred_json_response(make: Callable[[], object]) -> Response:
    """Return a response whose JSON body `make` returns when the body is read, after this request's context ended."""
    return Response(request_group.DeferredBody(make), content_type="application/json")
