"""`/v1/events`, the change feed: an app reads the events after the last event that it saw, and may wait for the next.

A request that waits occupies one of the threads for long polls; if `POLLS` requests of a process wait already, a
further request does not wait.
"""

import threading
import time

from flask import Blueprint, Response, request

from api.auth import authenticate, pdp, require_client
from api.gateway.lanes import POLLS
from api.ops.route_documentation import AFTER, EVENTS, WAIT, document_route, refuse_unknown_parameters
from api.request_context import json_response
from api.v1 import query
from api.v1.responses import EventsBody
from authz.record import read_events

feed = Blueprint("feed", __name__, url_prefix="/v1")
feed.before_request(authenticate)
feed.before_request(refuse_unknown_parameters)

LONGEST_WAIT = 30
_MOST = 1000
_PAUSE = 0.2
_waiting = threading.BoundedSemaphore(POLLS)


@feed.get("/events")
@document_route(caller="audit", response_body=EventsBody, query=(AFTER, EVENTS, WAIT))
def events() -> Response:
    """List the events after an event, in the order of their commits; `wait` some seconds for the first event."""
    client = require_client("audit")
    after = query.parse_number_parameter("after", 0, 0, 2**62 - 1) if request.args.get("after") else 0
    limit, wait = query.parse_limit(_MOST), query.parse_number_parameter("wait", 0, 0, LONGEST_WAIT)
    deadline = time.monotonic() + wait
    may_wait = wait > 0 and _waiting.acquire(blocking=False)
    try:
        while True:
            items = read_events(pdp().database, after=after, limit=limit, subscription=client.subscription)
            if items or not may_wait or time.monotonic() >= deadline:
                break
            time.sleep(_PAUSE)
    finally:
        if may_wait:
            _waiting.release()
    return json_response({"items": items, "next": items[-1]["id"] if items else str(after)})
