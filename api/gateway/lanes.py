"""Lanes: each kind of request has its own threads and its own queue, so that no kind can use up another kind's threads.

A request is refused at once if its lane's queue is full, and later if it has waited in the queue for too long.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

POLLS = 8
"""The most long polls that wait at once in a process. One more thread answers the polls beyond this number."""

PATIENCE = 5.0
"""Seconds in a queue after which a request is refused: its caller has probably given up."""

SLOW = 0.005
"""Seconds after which a request counts as slow: another thread then helps with the requests that wait."""

EVALUATION = "evaluation"
"""The name of the lane for single evaluations, which are answered in groups."""

GROUP = 8
"""The most requests that wait together and are answered together: by one statement, with one commit."""

_IDLE = float("inf")

Task = Callable[[bool], None]
"""A function that carries out a request, or refuses the request if its argument `late` is true."""

Claim = list[Task]
"""A list with one task. Several threads may hold the list; the thread that pops the task runs it, and no other does."""


@dataclass(frozen=True)
class LaneKind:
    """A kind of request: its name, its threads in each process, and how many requests may wait for a thread."""

    name: str
    threads: int
    queue_size: int


KINDS = (
    LaneKind(EVALUATION, 4, 64),
    LaneKind("decisions", 4, 64),
    LaneKind("changes", 4, 64),
    LaneKind("reads", 2, 64),
    LaneKind("pages", 3, 64),
    LaneKind("sign-in", 2, 16),
    LaneKind("polls", POLLS + 1, 16),
    LaneKind("operations", 1, 8),
)
"""The lanes of each process; docs/reference/serving.md lists them."""

_PREFIXES = (
    ("/access/v1/evaluations", "decisions"),
    ("/access/v1/evaluation", EVALUATION),
    ("/access/v1/", "decisions"),
    ("/v1/events", "polls"),
    ("/metrics", "operations"),
    ("/readyz", "operations"),
    ("/sign-", "sign-in"),
    ("/.well-known/", "reads"),
    ("/openapi.json", "reads"),
    ("/docs", "reads"),
)
SAFE = ("GET", "HEAD", "OPTIONS")


def kind_of(method: str, path: str) -> str:
    """Return the name of a request's kind, by its method and path; Werkzeug drops slashes before the first, too."""
    path = f"/{path.lstrip('/')}"
    for prefix, name in _PREFIXES:
        if path.startswith(prefix):
            return name
    if path.startswith("/v1/"):
        return "reads" if method in SAFE else "changes"
    return "pages"


class Lane:
    """The threads and the queue of one kind of request.

    While requests are quick, the first thread carries out all of them: several threads that take turns at the
    interpreter's lock would make each answer slower. If the first thread has worked on one request for longer than
    `SLOW` and other requests wait, a second thread helps, then a third.

    With a `group` a thread takes up to `GROUP` requests that wait, enters `group` and carries them out in it.
    """

    def __init__(self, kind: LaneKind, group: Callable[[], AbstractContextManager[object]] | None = None) -> None:
        self.kind = kind
        self._group = group or nullcontext
        self._group_size = GROUP if group else 1
        self._queue: SimpleQueue[tuple[float, Claim]] = SimpleQueue()
        self._waiting: deque[tuple[float, Claim]] = deque()  # the same entries, for `expire`
        self._taken: deque[tuple[float, Claim]] = deque()  # the rest of the first thread's group
        self._began_at = _IDLE  # when the first thread began its request
        self._help_needed = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._helping = 0
        names = [f"{kind.name}-{number}" for number in range(kind.threads)]
        for name, target in zip(names, (self._lead, *[self._help] * (kind.threads - 1)), strict=True):
            threading.Thread(target=target, name=name, daemon=True).start()

    def submit(self, task: Task) -> bool:
        """Queue a task and return True; return False if the queue is full."""
        if self._queue.qsize() >= self.kind.queue_size:
            return False
        entry = (time.monotonic(), [task])
        self._waiting.append(entry)
        self._queue.put(entry)
        self.call_help()
        return True

    def expire(self) -> None:
        """Refuse requests that have waited for too long, even if no thread is free. Only the event loop calls this."""
        while self._waiting and (not self._waiting[0][1] or time.monotonic() - self._waiting[0][0] > PATIENCE):
            _run_once(self._waiting.popleft()[1], late=True)

    def call_help(self) -> None:
        """Wake a thread to help if requests wait and the first thread is slow. Only the event loop calls this."""
        if self._is_behind() and self._helping < self.kind.threads - 1:
            with self._lock:
                self._helping += 1
            self._help_needed.release()

    def _is_behind(self) -> bool:
        """Return whether requests wait while the first thread works on a slow one."""
        waits = bool(self._taken) or not self._queue.empty()
        return waits and time.monotonic() - self._began_at > SLOW

    def _lead(self) -> None:
        """Carry out requests: the work of the first thread."""
        while True:
            self._taken.append(self._queue.get())
            with suppress(Empty):
                while len(self._taken) < self._group_size:
                    self._taken.append(self._queue.get_nowait())
            with self._group():
                while self._taken:
                    self._began_at = time.monotonic()
                    self._run_next(self._taken.popleft)
            self._began_at = _IDLE

    def _help(self) -> None:
        """Carry out requests while the first thread is behind: the work of every other thread."""
        while True:
            self._help_needed.acquire()
            while self._is_behind():
                with self._group():
                    self._run_next(self._taken.popleft if self._taken else self._queue.get_nowait)
            with self._lock:
                self._helping -= 1

    def _run_next(self, take: Callable[[], tuple[float, Claim]]) -> None:
        """Run the next task, unless another thread has taken it."""
        try:
            queued_at, claim = take()
        except (Empty, IndexError):
            return
        _run_once(claim, late=time.monotonic() - queued_at > PATIENCE)


def _run_once(claim: Claim, *, late: bool) -> None:
    """Run the task of a claim, unless another thread has popped the task."""
    try:
        task = claim.pop()
    except IndexError:
        return
    task(late)
