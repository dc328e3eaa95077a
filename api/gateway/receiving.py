"""Receive each request whole before it takes a thread: an ASGI application for granian, around a WSGI one.

On the event loop: probes are answered, heads are checked, bodies are read up to a limit and a deadline. Then the
request goes to the lane of its kind (`lanes`); one of its threads calls the WSGI application and sends the response.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from api.errors import Problem
from api.gateway.environ import environ
from api.gateway.lanes import EVALUATION, KINDS, Lane, kind_of
from api.gateway.proxies import Proxies
from api.gateway.refusals import common_headers, refusal
from api.limits import LARGEST_HEAD, LONGEST_TARGET
from api.ops.meters import METHODS, meters
from authz.record import DecisionLog, PendingRows

MOST_RECEIVING = 1000
"""Requests of a process whose bodies are still coming; beyond them the oldest is given up."""

MOST_BYTES = 64 * 1_048_576
"""Bytes of bodies over `SMALL` that a process holds while they come."""

SMALL = 65_536
"""Bytes of a body that is read at once; a larger one is counted as it comes."""

_TICK = 0.01
_YOUNGEST_EVICTED = 1.0
_BUSY = Problem("unavailable", "The service is busy. Try again shortly.", headers=(("retry-after", "1"),))
_FAILED = Problem("internal-error", "This is logged under the request's id.")
_NOT_RECORDED = Problem("unavailable", "The answer could not be recorded.", headers=(("retry-after", "1"),))
_log = logging.getLogger(__name__)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Response = tuple[int, list[tuple[str, str]], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A request that came whole, and where its response goes."""

    kind: str
    scope: Scope
    body: bytes
    send: Send
    answered: "asyncio.Future[None]"

    @property
    def weight(self) -> int:
        """Bytes that count for `MOST_BYTES` until it is answered: a queue of large bodies is memory too."""
        return len(self.body) if len(self.body) > SMALL else 0


class Gateway:
    """The ASGI application of a process. `largest` is the largest body in bytes, `seconds` a body's deadline; `log` is
    the decision log, of which single evaluations that wait together share a commit.
    """

    def __init__(self, app: Wsgi, proxies: Proxies, log: DecisionLog, *, largest: int, seconds: float) -> None:
        self._app, self._proxies, self._largest, self._seconds = app, proxies, largest, seconds
        self._log = log
        self._own = threading.local()
        self._lanes = {kind.name: Lane(kind, self._commit if kind.name == EVALUATION else None) for kind in KINDS}
        self._receiving: dict[asyncio.Task[Any], float] = {}
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop
        self._done: deque[tuple[asyncio.Future[None], int]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; granian's first call is the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        if path == "/healthz" and method in ("GET", "HEAD"):
            common = [("content-type", "application/json"), *common_headers(headers)]
            _send(send, 200, common, b'{"status":"ok"}')
            return
        named = dict(headers)
        problem = _head_problem(scope, named)
        body, kind = b"", kind_of(method, path)
        if problem is None and (b"content-length" in named or b"transfer-encoding" in named):
            body, problem = await self._body(named, receive)
        if problem is not None:
            self._refuse(send, scope, problem)
            return
        request = Request(kind, scope, body, send, self._loop.create_future())
        if self._bytes + request.weight > MOST_BYTES or not self._lanes[kind].submit(partial(self._answer, request)):
            self._refuse(send, scope, _BUSY, kind)
            return
        self._bytes += request.weight
        answered = request.answered
        del body, request
        self._settle()
        await answered  # granian takes a coroutine that ends without a response for a failure

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start what the loop does by the clock, and wait for the end of the process."""
        await receive()
        self._loop = asyncio.get_running_loop()
        self._tick(self._loop)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> tuple[bytes, Problem | None]:
        """Read the whole body, or return the problem with it. `headers` say that there is one."""
        length = headers.get(b"content-length")
        if length is not None:
            if not length.isdigit():
                return b"", Problem("bad-request", "Content-Length is not a number.")
            if int(length) > self._largest:
                return b"", self._too_large()
            if int(length) == 0:
                return b"", None
        task = asyncio.current_task()
        assert task is not None
        if len(self._receiving) >= MOST_RECEIVING and not self._evict():
            return b"", _BUSY
        self._receiving[task] = time.monotonic()
        try:
            return await self._pieces(receive, -1 if length is None else int(length))
        except asyncio.CancelledError:
            return b"", Problem("timeout", "The body did not come in time.", headers=(("connection", "close"),))
        except Exception:  # granian's own errors: the caller went away, or sent no valid chunk
            return b"", Problem("bad-request", "The body did not come whole.", headers=(("connection", "close"),))
        finally:
            self._receiving.pop(task, None)

    async def _pieces(self, receive: Receive, length: int) -> tuple[bytes, Problem | None]:
        """Read a body piece by piece, one of more than `SMALL` bytes as far as all may grow; -1: of unknown length."""
        pieces, size, counted = list[bytes](), 0, length < 0 or length > SMALL
        more = True
        try:
            while more and size != length:
                message = await receive()
                if message["type"] != "http.request":
                    raise ConnectionError("the caller went away, or sent no valid chunk")
                pieces.append(message["body"])
                size, more = size + len(pieces[-1]), message["more_body"]
                self._bytes += len(pieces[-1]) if counted else 0
                if size > self._largest:
                    return b"", self._too_large()
                if self._bytes > MOST_BYTES:
                    return b"", _BUSY
            return b"".join(pieces), None
        finally:
            self._bytes -= size if counted else 0

    def _too_large(self) -> Problem:
        why = f"The body is larger than {self._largest} bytes."
        return Problem("too-large", why, headers=(("connection", "close"),))

    def _evict(self) -> bool:
        """Give up the oldest request that is still coming, if it had its second; return whether there is room."""
        task, began = next(iter(self._receiving.items()))
        if time.monotonic() - began < _YOUNGEST_EVICTED:
            return False
        del self._receiving[task]
        task.cancel()
        return True

    def _answer(self, request: Request, late: bool) -> None:
        """Call the application and send its response; in a thread of a lane. A single evaluation's response is sent by
        `_commit`, when its record is committed.
        """
        if late:
            self._finish(request, _refusal(request.scope, _BUSY, request.kind))
            return
        holding: AbstractContextManager[list[PendingRows]]
        holding = self._log.deferring_commits() if request.kind == EVALUATION else nullcontext([])
        with holding as recorded:
            response = self._response(request)
        if recorded:
            self._held().append((request, response, recorded))
        else:
            self._finish(request, response)

    def _response(self, request: Request) -> Response:
        try:
            return _called(self._app, environ(request.scope, request.body, self._proxies))
        except BaseException:  # whatever it is, it must not end the thread
            _log.exception("the application failed: %s %s", request.scope["method"], request.kind)
            return _refusal(request.scope, _FAILED, request.kind)

    def _held(self) -> list[tuple[Request, Response, list[PendingRows]]]:
        """Return the responses of this thread whose records are not yet committed."""
        if not hasattr(self._own, "held"):
            self._own.held = []
        held: list[tuple[Request, Response, list[PendingRows]]] = self._own.held
        return held

    def _commit(self) -> None:
        """Commit the records of this thread's responses together and send these, or a refusal if a record failed."""
        held = self._held()
        if not held:
            return
        try:
            self._log.commit([one for _, _, recorded in held for one in recorded])
        except BaseException:  # each record says so itself
            _log.exception("the record failed")
        for request, response, recorded in held:
            failed = next((one for one in recorded if one.error is not None or not one.done), None)
            if failed is None:
                self._finish(request, response)
            else:
                _log.error("unavailable: %s", failed.error)
                self._finish(request, _refusal(request.scope, _NOT_RECORDED, request.kind))
        held.clear()

    def _finish(self, request: Request, response: Response) -> None:
        """Send a response; its coroutine ends with the next request or tick."""
        with suppress(Exception):  # the caller went away
            _send(request.send, *response)
        self._done.append((request.answered, request.weight))

    def _refuse(self, send: Send, scope: Scope, problem: Problem, kind: str = "none") -> None:
        _send(send, *_refusal(scope, problem, kind))

    def _settle(self) -> None:
        """End the coroutines of answered requests; here, because a wake-up of the loop for each costs too much."""
        while self._done:
            answered, size = self._done.popleft()
            self._bytes -= size
            if not answered.done():
                answered.set_result(None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._settle()
        for lane in self._lanes.values():
            lane.hurry()
            lane.expire()
        late = time.monotonic() - self._seconds
        for task, began in list(self._receiving.items()):
            if began >= late:
                break  # they stand in the order in which they began
            task.cancel()
        loop.call_later(_TICK, self._tick, loop)


def _head_problem(scope: Scope, named: dict[bytes, bytes]) -> Problem | None:
    if scope["method"] not in METHODS:
        return Problem("not-implemented", "This method is not known here.", headers=(("connection", "close"),))
    if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return Problem("uri-too-long", f"The path and query are longer than {LONGEST_TARGET} characters.")
    if sum(map(len, chain.from_iterable(scope["headers"]))) > LARGEST_HEAD:
        return Problem("headers-too-large", f"The headers are larger than {LARGEST_HEAD} bytes.")
    if b"content-length" in named and b"transfer-encoding" in named:
        return Problem("bad-request", "Content-Length and Transfer-Encoding exclude each other (RFC 9112, 6.1).")
    return None


def _refusal(scope: Scope, problem: Problem, kind: str) -> Response:
    """Return a refusal and count it."""
    meters().refused_requests.labels(kind, problem.kind).inc()
    return refusal(problem, scope["headers"], page=kind_of(scope["method"], scope["path"]) in ("pages", "sign-in"))


def _send(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a whole response. Granian does so at the call: there is nothing to wait for, so a thread may call it."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    send({"type": "http.response.start", "status": status, "headers": encoded})
    send({"type": "http.response.body", "body": body})


def _called(app: Wsgi, variables: dict[str, Any]) -> Response:
    """Call a WSGI application; its status, headers and whole body."""
    begun: list[tuple[int, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        begun[:] = [(int(status[:3]), headers)]

    pieces = app(variables, start)
    try:
        content = b"".join(pieces)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    return *begun[0], content
