"""`/v1/events`, the change feed: an app reads on after the last event that it saw, and may wait for the next.

A waiting request holds a thread of the long polls' own; beyond `POLLS` of a process, further ones do not wait.
"""

import threading
import time

import orjson
from flask import Blueprint, Response, request

from api.auth import authenticate, caller, pdp
from api.gateway.lanes import POLLS
from api.ops.described import AFTER, EVENTS, WAIT, described, refuse_unknown_parameters
from api.v1 import requests as v1_requests
from api.v1.responses import Events
from authz.record import read_events

feed = Blueprint("feed", __name__, url_prefix="/v1")
feed.before_request(authenticate)
feed.before_request(refuse_unknown_parameters)

LONGEST_WAIT = 30
_MOST = 1000
_PAUSE = 0.2
_waiting = threading.BoundedSemaphore(POLLS)


@feed.get("/events")
@described(caller="audit", gives=Events, query=(AFTER, EVENTS, WAIT))
def events() -> Response:
    """Events after one, in the order in which they were committed; `wait` up to that many seconds for the first."""
    app = caller("audit")
    after = v1_requests.number("after", 0, 0, 2**62 - 1) if request.args.get("after") else 0
    most, wait = v1_requests.limit(_MOST), v1_requests.number("wait", 0, 0, LONGEST_WAIT)
    until = time.monotonic() + wait
    may_wait = wait > 0 and _waiting.acquire(blocking=False)
    try:
        while True:
            found = read_events(pdp().database, after=after, limit=most, subscription=app.subscription)
            if found or not may_wait or time.monotonic() >= until:
                break
            time.sleep(_PAUSE)
    finally:
        if may_wait:
            _waiting.release()
    told = {"items": found, "next": found[-1]["id"] if found else str(after)}
    return Response(orjson.dumps(told), content_type="application/json")
