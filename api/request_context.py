"""What every request has: an id that comes back, and a body that is one strict JSON object."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, request

from api.errors import Problem, malformed, rendered
from api.limits import LONGEST_REQUEST_ID, MOST_FIELDS, MOST_PARAMETERS
from authz.database import FAULTS, discard_connection
from authz.errors import InvalidInput
from authz.strict_json import parse_object

HEADER = "X-Request-ID"


def is_request_id(text: str) -> bool:
    """Return whether a text may be a request's id: any visible characters and blanks (AuthZEN 10.1.3), not too many."""
    return 0 < len(text) <= LONGEST_REQUEST_ID and text.isprintable()


def now() -> datetime:
    """The present instant; the operations below take it as an argument."""
    return datetime.now(UTC)


def request_id() -> str:
    """The caller's request id, or one made for this request."""
    named: str = g.request_id
    return named


def install(app: Flask) -> None:
    """Give every request an id and every response the same one (AuthZEN 10.1.3), on errors too."""

    @app.before_request
    def prepare() -> Response | None:
        environ, blueprint = request.environ, request.blueprint
        sent_id = environ.get("HTTP_X_REQUEST_ID")
        if sent_id is not None and not is_request_id(sent_id):
            g.request_id = uuid.uuid4().hex
            return rendered(Problem("bad-request", f"{HEADER} holds up to {LONGEST_REQUEST_ID} visible characters."))
        g.request_id = sent_id or uuid.uuid4().hex
        # The character NUL is in no id and no text; PostgreSQL could not even ask about it.
        if "\0" in environ["PATH_INFO"]:
            return rendered(Problem("not-found", "There is nothing here."))
        query = environ["QUERY_STRING"]
        if query.count("&") >= MOST_PARAMETERS:
            return rendered(Problem("bad-request", f"There are more than {MOST_PARAMETERS} query parameters."))
        if query and any("\0" in value for value in request.args.values()):
            return rendered(Problem("invalid", "A query parameter holds the character NUL."))
        form = blueprint == "pages" and request.mimetype == "application/x-www-form-urlencoded"
        if form and request.get_data().count(b"&") >= MOST_FIELDS:
            return rendered(Problem("too-large", f"The form has more than {MOST_FIELDS} fields."))
        # One connection for a whole request, not one for each question of it; whoever needs it says if it fails.
        if blueprint != "health" and request.url_rule is not None:
            app.extensions["caregrant.readiness"].require()
            with suppress(*FAULTS):
                app.extensions["caregrant"].database.connect(reuse_if_open=True)
        return None

    @app.teardown_request
    def give_back_connection(_: BaseException | None) -> None:
        """To PostgreSQL's pool, so that no thread keeps one for itself; SQLite's stays the thread's."""
        database = app.extensions["caregrant"].database
        if database.dialect == "postgresql":
            discard_connection(database)

    @app.after_request
    def answer(response: Response) -> Response:
        response.headers.add(HEADER, g.get("request_id") or uuid.uuid4().hex)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.add("X-Content-Type-Options", "nosniff")
        return response


def body() -> dict[str, Any]:
    """The request's JSON object. Raises a `Problem` (400) for another type of content or anything malformed."""
    if request.mimetype != "application/json":
        raise Problem("bad-request", "The Content-Type is not application/json.")
    try:
        return parse_object(request.get_data())
    except InvalidInput as error:
        raise malformed(("", str(error))) from error
