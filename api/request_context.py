"""The request's id, instant, database connection and JSON body, and responses in JSON."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime

import orjson
from flask import Flask, Response, g, request

from api.errors import Problem, malformed_request, problem_response
from api.limits import LONGEST_REQUEST_ID, MOST_FIELDS, MOST_PARAMETERS
from authz.database import FAULTS, discard_connection
from authz.errors import InvalidInput
from authz.strict_json import parse_object

HEADER = "X-Request-ID"


def is_request_id(text: str) -> bool:
    """Return whether a text may be a request's id: some visible characters and blanks (AuthZEN 10.1.3)."""
    return 0 < len(text) <= LONGEST_REQUEST_ID and text.isprintable()


def now() -> datetime:
    """Return the present instant; everything below `api` takes the instant as an argument."""
    return datetime.now(UTC)


def request_id() -> str:
    """Return the id that the caller sent with the request, or the id that was made for the request."""
    known: str = g.request_id
    return known


def install(app: Flask) -> None:
    """Give every request an id and a connection, and every response the request's id, also errors (AuthZEN 10.1.3)."""

    @app.before_request
    def prepare_request() -> Response | None:
        sent_id = request.environ.get("HTTP_X_REQUEST_ID")
        valid_id = sent_id is None or is_request_id(sent_id)
        g.request_id = sent_id if sent_id and valid_id else uuid.uuid4().hex
        problem = _problem_of_request() if valid_id else _INVALID_ID
        if problem is not None:
            return problem_response(problem)
        # One connection for the whole request, not one for each query. A query that needs the connection reports a
        # fault itself.
        if request.blueprint != "health" and request.url_rule is not None:
            app.extensions["caregrant.readiness"].require()
            with suppress(*FAULTS):
                app.extensions["caregrant"].database.connect(reuse_if_open=True)
        return None

    @app.teardown_request
    def return_connection(_: BaseException | None) -> None:
        """Return the connection to PostgreSQL's pool; a connection to SQLite stays with its thread."""
        database = app.extensions["caregrant"].database
        if database.dialect == "postgresql":
            discard_connection(database)

    @app.after_request
    def complete_response(response: Response) -> Response:
        response.headers.add(HEADER, g.get("request_id") or uuid.uuid4().hex)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.add("X-Content-Type-Options", "nosniff")
        return response


_INVALID_ID = Problem("bad-request", f"{HEADER} has at most {LONGEST_REQUEST_ID} characters, all of them visible.")


def _problem_of_request() -> Problem | None:
    """Return why the path, the query or the form is refused, if it is."""
    # No id and no text contains the character NUL, and PostgreSQL refuses a query with it.
    if "\0" in request.environ["PATH_INFO"]:
        return Problem("not-found", "There is nothing here.")
    query = request.environ["QUERY_STRING"]
    if query.count("&") >= MOST_PARAMETERS:
        return Problem("bad-request", f"The request has more than {MOST_PARAMETERS} query parameters.")
    if query and any("\0" in value for value in request.args.values()):
        return Problem("invalid", "A query parameter contains the character NUL.")
    is_form = request.blueprint == "pages" and request.mimetype == "application/x-www-form-urlencoded"
    if is_form and request.get_data().count(b"&") >= MOST_FIELDS:
        return Problem("too-large", f"The form has more than {MOST_FIELDS} fields.")
    return None


def json_body() -> dict[str, object]:
    """Return the JSON object of the request's body.

    Raises a `Problem` (400) for another content type, and for a body that is not one strict JSON object.
    """
    if request.mimetype != "application/json":
        raise Problem("bad-request", "The Content-Type is not application/json.")
    try:
        return parse_object(request.get_data())
    except InvalidInput as error:
        raise malformed_request(("", str(error))) from error


def json_response(value: object, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    return Response(orjson.dumps(value), status, content_type="application/json")
