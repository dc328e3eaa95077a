"""The gateway: an ASGI application for granian that receives each request whole and calls a WSGI application.

The event loop answers probes, checks heads, and reads bodies up to a limit and a deadline. Then the request goes to the
lane of its kind (`lanes`), where a thread calls the WSGI application and sends the response.
"""

import asyncio
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from api import request_group
from api.errors import INTERNAL_ERROR, Problem
from api.gateway.environ import environ
from api.gateway.lanes import EVALUATION, KINDS, Lane, kind_of
from api.gateway.proxies import Proxies
from api.gateway.refusals import common_headers, make_refusal
from api.limits import LARGEST_HEAD, LONGEST_TARGET
from api.ops.meters import METHODS, meters
from authz.database import discard_connection
from authz.errors import Unavailable
from authz.record import DecisionLog, PendingRows

MOST_RECEIVING = 1000
"""The most requests of a process whose bodies are still arriving; beyond them the oldest request is refused."""

MOST_BYTES = 64 * 1_048_576
"""The most bytes of bodies over `SMALL` that a process holds."""

SMALL = 65_536
"""The most bytes of a body that does not count for `MOST_BYTES`."""

STOPS = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop a process; they are blocked from its fork until its event loop runs."""

_TICK = 0.01
_YOUNGEST_EVICTED = 1.0
_BUSY = Problem("unavailable", "The service is busy. Try again shortly.", headers=(("retry-after", "1"),))
_FAILED = Problem("internal-error", INTERNAL_ERROR)
_NOT_RECORDED = Problem("unavailable", "The answer could not be recorded.", headers=(("retry-after", "1"),))
_log = logging.getLogger(__name__)

Wsgi = Callable[[dict[str, object], Callable[..., Any]], Iterable[bytes]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Response = tuple[int, list[tuple[str, str]], bytes]
Called = tuple[int, list[tuple[str, str]], Iterable[bytes]]
"""The status, the headers and the body of a response that was not read yet."""


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedRequest:
    """A request that was received whole, and the destination of its response."""

    kind: str
    scope: Scope
    body: bytes
    send: Send
    answered: "asyncio.Future[None]"

    @property
    def weight(self) -> int:
        """Return the bytes that count for `MOST_BYTES` until the request is answered: queued bodies take memory too."""
        return len(self.body) if len(self.body) > SMALL else 0


GroupAnswer = tuple[ReceivedRequest, Called, list[PendingRows]]
"""A request of a group, its response, and the records that were made before its body is read."""


class Gateway:
    """The ASGI application of a process.

    `largest` is the largest body in bytes, `seconds` the deadline of a body. `log` is the decision log: single
    evaluations that wait together are answered in a group, which shares one commit of it.
    """

    def __init__(self, app: Wsgi, proxies: Proxies, log: DecisionLog, *, largest: int, seconds: float) -> None:
        self._app, self._proxies, self._largest, self._seconds = app, proxies, largest, seconds
        self._log = log
        self._thread = threading.local()
        self._lanes = {kind.name: Lane(kind, self._group if kind.name == EVALUATION else None) for kind in KINDS}
        self._receiving: dict[asyncio.Task[object], float] = {}
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop
        self._sent: deque[tuple[asyncio.Future[None], int]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; granian's first call is for the lifespan of the process (ASGI)."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        if path == "/healthz" and method in ("GET", "HEAD"):
            common = [("content-type", "application/json"), *common_headers(headers)]
            _send(send, 200, common, b'{"status":"ok"}')
            return
        by_name = dict(headers)
        problem = _head_problem(scope, by_name)
        body, kind = b"", kind_of(method, path)
        if problem is None and (b"content-length" in by_name or b"transfer-encoding" in by_name):
            body, problem = await self._read_body(by_name, receive)
        if problem is not None:
            self._refuse(send, scope, problem)
            return
        request = ReceivedRequest(kind, scope, body, send, self._loop.create_future())
        if self._bytes + request.weight > MOST_BYTES or not self._lanes[kind].submit(partial(self._answer, request)):
            self._refuse(send, scope, _BUSY, kind)
            return
        self._bytes += request.weight
        answered = request.answered
        del body, request
        self._end_coroutines()
        await answered  # granian treats a coroutine that ends without a response as a failure

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """Start the regular work of the event loop, and wait for the end of the process."""
        await receive()
        self._loop = asyncio.get_running_loop()
        self._tick(self._loop)
        await send({"type": "lifespan.startup.complete"})
        for _ in range(10):  # granian stops the loop within three turns and starts it again: a signal between is lost
            await asyncio.sleep(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> tuple[bytes, Problem | None]:
        """Read the whole body of a request whose `headers` announce one; return it, or the problem with it."""
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
            return await self._read_pieces(receive, -1 if length is None else int(length))
        except asyncio.CancelledError:
            return b"", Problem("timeout", "The body did not arrive in time.", headers=(("connection", "close"),))
        except Exception:  # granian's own errors: the caller disconnected, or sent an invalid chunk
            return b"", Problem("bad-request", "The body is incomplete.", headers=(("connection", "close"),))
        finally:
            self._receiving.pop(task, None)

    async def _read_pieces(self, receive: Receive, length: int) -> tuple[bytes, Problem | None]:
        """Read a body piece by piece; `length` is -1 if unknown. A body over `SMALL` counts for `MOST_BYTES`."""
        pieces, size, counted = list[bytes](), 0, length < 0 or length > SMALL
        more = True
        try:
            while more and size != length:
                message = await receive()
                if message["type"] != "http.request":
                    raise ConnectionError("the caller disconnected, or sent an invalid chunk")
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
        detail = f"The body is larger than {self._largest} bytes."
        return Problem("too-large", detail, headers=(("connection", "close"),))

    def _evict(self) -> bool:
        """Refuse the oldest request that is still arriving, if it is old enough; return whether it was refused."""
        task, began = next(iter(self._receiving.items()))
        if time.monotonic() - began < _YOUNGEST_EVICTED:
            return False
        del self._receiving[task]
        task.cancel()
        return True

    def _answer(self, request: ReceivedRequest, late: bool) -> None:
        """Call the application and send its response, in a thread of a lane; in a group, `_group` sends it."""
        if late:
            self._finish(request, _make_refusal(request.scope, _BUSY, request.kind))
            return
        answers: list[GroupAnswer] | None = getattr(self._thread, "answers", None)
        if answers is None:
            self._finish(request, self._read_response(request, self._call_app(request)))
            return
        with self._log.deferring_commits() as records:
            called = self._call_app(request)
        answers.append((request, called, records))

    def _call_app(self, request: ReceivedRequest) -> Called:
        try:
            return _call_wsgi(self._app, environ(request.scope, request.body, self._proxies))
        except BaseException as error:  # no error may end the thread
            status, headers, body = self._log_failure(request, error)
            return status, headers, [body]

    def _read_response(self, request: ReceivedRequest, called: Called) -> Response:
        """Read the body of a response. A deferred body is made now, and may fail."""
        status, headers, pieces = called
        try:
            body = b"".join(pieces)
        except BaseException as error:
            return self._log_failure(request, error)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        if body and not any(name == "Content-Length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(body)))]
        return status, headers, body

    def _log_failure(self, request: ReceivedRequest, error: BaseException) -> Response:
        """Log an error of the application; return the refusal."""
        if isinstance(error, Unavailable):
            _log.error("unavailable: %s", error)
            return _make_refusal(request.scope, _BUSY, request.kind)
        _log.error("the application failed: %s %s", request.scope["method"], request.kind, exc_info=error)
        return _make_refusal(request.scope, _FAILED, request.kind)

    @contextmanager
    def _group(self) -> Iterator[None]:
        """Answer the requests that this thread carries out in the block: make their bodies, commit, send."""
        answers: list[GroupAnswer] = []
        self._thread.answers = answers
        request_group.begin()
        try:
            yield
            self._commit([self._read_answer(*answer) for answer in answers])
        finally:
            self._thread.answers = None
            request_group.end()
            if self._log.database.dialect == "postgresql":
                discard_connection(self._log.database)

    def _read_answer(
        self, request: ReceivedRequest, called: Called, records: list[PendingRows]
    ) -> tuple[ReceivedRequest, Response, list[PendingRows]]:
        with self._log.deferring_commits() as more:
            response = self._read_response(request, called)
        return request, response, [*records, *more]

    def _commit(self, answers: Sequence[tuple[ReceivedRequest, Response, list[PendingRows]]]) -> None:
        """Commit the records of some answers together; send each answer, or a refusal if its record failed."""
        pending = [record for _, _, records in answers for record in records]
        try:
            if pending:
                self._log.commit(pending)
        except BaseException:  # each record has its error
            _log.exception("the commit of decision records failed")
        for request, response, records in answers:
            failed = next((record for record in records if record.error is not None or not record.done), None)
            if failed is None:
                self._finish(request, response)
            else:
                _log.error("unavailable: %s", failed.error)
                self._finish(request, _make_refusal(request.scope, _NOT_RECORDED, request.kind))

    def _finish(self, request: ReceivedRequest, response: Response) -> None:
        """Send a response; the coroutine of its request ends with the next request or tick."""
        with suppress(Exception):  # the caller disconnected
            _send(request.send, *response)
        self._sent.append((request.answered, request.weight))

    def _refuse(self, send: Send, scope: Scope, problem: Problem, kind: str = "none") -> None:
        _send(send, *_make_refusal(scope, problem, kind))

    def _end_coroutines(self) -> None:
        """End the coroutines of answered requests, several at once: a wake-up of the loop for each costs too much."""
        while self._sent:
            answered, size = self._sent.popleft()
            self._bytes -= size
            if not answered.done():
                answered.set_result(None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._end_coroutines()
        for lane in self._lanes.values():
            lane.call_help()
            lane.expire()
        deadline = time.monotonic() - self._seconds
        for task, began in list(self._receiving.items()):
            if began >= deadline:
                break  # the requests are in the order in which they began
            task.cancel()
        loop.call_later(_TICK, self._tick, loop)


def _head_problem(scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
    if scope["method"] not in METHODS:
        return Problem("not-implemented", "This method is not supported.", headers=(("connection", "close"),))
    if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return Problem("uri-too-long", f"The path and query are longer than {LONGEST_TARGET} characters.")
    if sum(map(len, chain.from_iterable(scope["headers"]))) > LARGEST_HEAD:
        return Problem("headers-too-large", f"The headers are larger than {LARGEST_HEAD} bytes.")
    if b"content-length" in headers and b"transfer-encoding" in headers:
        return Problem("bad-request", "Content-Length and Transfer-Encoding exclude each other (RFC 9112, 6.1).")
    return None


def _make_refusal(scope: Scope, problem: Problem, kind: str) -> Response:
    """Count and return a refusal."""
    meters().refused_requests.labels(kind, problem.kind).inc()
    is_page = kind_of(scope["method"], scope["path"]) in ("pages", "sign-in")
    return make_refusal(problem, scope["headers"], page=is_page)


def _send(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a whole response. Granian sends at the call, without an await, so that any thread may call this."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    send({"type": "http.response.start", "status": status, "headers": encoded})
    send({"type": "http.response.body", "body": body})


def _call_wsgi(app: Wsgi, variables: dict[str, object]) -> Called:
    """Call a WSGI application; return its response."""
    started: list[tuple[int, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        started[:] = [(int(status[:3]), headers)]

    pieces = app(variables, start_response)
    return *started[0], pieces
