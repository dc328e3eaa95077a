"""What every request has: an id that comes back, and a body that is one strict JSON object."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, request

from api.problems import Problem, malformed, rendered
from authz.database import FAULTS, give_up
from authz.errors import InvalidInput
from authz.strict_json import parse_object

_HEADER = "X-Request-ID"
_LONGEST_ID = 256


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
    def name() -> Response | None:
        given = request.headers.get(_HEADER)
        if given is not None and (len(given) > _LONGEST_ID or not given.isprintable()):
            g.request_id = uuid.uuid4().hex
            return rendered(Problem("bad-request", f"{_HEADER} holds up to {_LONGEST_ID} visible characters."))
        g.request_id = given or uuid.uuid4().hex
        return None

    @app.before_request
    def refuse_nothing() -> Response | None:
        """The character NUL is in no id and no text; PostgreSQL could not even ask about it."""
        if "\0" in request.path:
            return rendered(Problem("not-found", "There is nothing here."))
        if any("\0" in value for value in request.args.values()):
            return rendered(Problem("invalid", "A query parameter holds the character NUL."))
        return None

    @app.before_request
    def hold_connection() -> None:
        """One connection for a whole request, not one for each question of it. Who needs it says if it fails."""
        if request.blueprint != "health":
            with suppress(*FAULTS):
                app.extensions["caregrant"].database.connect(reuse_if_open=True)

    @app.teardown_request
    def give_back_connection(_: BaseException | None) -> None:
        """To PostgreSQL's pool, so that no thread keeps one for itself; SQLite's stays the thread's."""
        database = app.extensions["caregrant"].database
        if database.dialect == "postgresql":
            give_up(database)

    @app.after_request
    def answer(response: Response) -> Response:
        response.headers[_HEADER] = g.get("request_id") or uuid.uuid4().hex
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def body() -> dict[str, Any]:
    """The request's JSON object. Raises a `Problem` (400) for another type of content or anything malformed."""
    if request.mimetype != "application/json":
        raise Problem("bad-request", "The Content-Type is not application/json.")
    try:
        return parse_object(request.get_data())
    except InvalidInput as error:
        raise malformed(("", str(error))) from error
