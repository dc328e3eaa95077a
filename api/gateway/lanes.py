"""Lanes: each kind of request has its own threads and its own queue, so that no kind can use up another kind's threads.

A request is refused at once if its lane's queue is full, and later if it has waited in the queue for too long.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

POLLS = 8
"""The most long polls of a process that wait at once; one more thread answers the polls that may not wait."""

PATIENCE = 5.0
"""Seconds in a queue after which a request is refused: its caller has most likely gone."""

SLOW = 0.005
"""Seconds that a request may take before another thread helps with the requests that wait."""

EVALUATION = "evaluation"

GROUP = 8
"""The most requests that one thread carries out before it commits their records and sends their answers together."""

_IDLE = float("inf")

Task = Callable[[bool], None]
"""A request to carry out; its argument says whether the request has waited for too long and is to be refused."""


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
    """Return the name of a request's kind, by its method and path."""
    for prefix, name in _PREFIXES:
        if path.startswith(prefix):
            return name
    if path.startswith("/v1/"):
        return "reads" if method in SAFE else "changes"
    return "pages"


class Lane:
    """The threads and the queue of one kind of request.

    While requests are quick, the first thread carries out all of them: threads that take turns at the interpreter's
    lock make each answer slower. If the first thread has worked on one request for longer than `SLOW` and others wait,
    another thread helps. A thread calls `finish_group` after at most `GROUP` requests, and before it waits.
    """

    def __init__(self, kind: LaneKind, finish_group: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._finish_group = finish_group or (lambda: None)
        self._queue: SimpleQueue[tuple[float, list[Task]]] = SimpleQueue()
        self._waiting: deque[tuple[float, list[Task]]] = deque()  # the same entries, for the event loop
        self._began = _IDLE
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
        entry = (time.monotonic(), [task])  # only the thread that pops the task from its list runs it
        self._waiting.append(entry)
        self._queue.put(entry)
        self.call_help()
        return True

    def expire(self) -> None:
        """Refuse requests that have waited for too long, even if every thread is stuck; for the event loop alone."""
        while self._waiting and (not self._waiting[0][1] or time.monotonic() - self._waiting[0][0] > PATIENCE):
            _run_once(self._waiting.popleft()[1], late=True)

    def call_help(self) -> None:
        """Call a thread to help if requests wait and the first thread is slow; for the event loop alone."""
        if self._is_behind() and self._helping < self.kind.threads - 1:
            with self._lock:
                self._helping += 1
            self._help_needed.release()

    def _is_behind(self) -> bool:
        return time.monotonic() - self._began > SLOW and not self._queue.empty()

    def _lead(self) -> None:
        group_size = 0
        while True:
            try:
                queued, task = self._queue.get_nowait()
            except Empty:
                self._finish_group()
                group_size, self._began = 0, _IDLE
                queued, task = self._queue.get()
            self._began = time.monotonic()
            _run_once(task, late=self._began - queued > PATIENCE)
            group_size += 1
            if group_size == GROUP:
                self._finish_group()
                group_size = 0

    def _help(self) -> None:
        while True:
            self._help_needed.acquire()
            while self._is_behind():
                try:
                    queued, task = self._queue.get_nowait()
                except Empty:
                    break
                _run_once(task, late=time.monotonic() - queued > PATIENCE)
                self._finish_group()
            with self._lock:
                self._helping -= 1


def _run_once(entry: list[Task], *, late: bool) -> None:
    """Run the task of an entry, unless another thread has run or refused it."""
    try:
        task = entry.pop()
    except IndexError:
        return
    task(late)
