"""Lanes: each kind of request has threads and a queue of its own, so that none can use up another's.

A request that finds its lane's queue full is refused at once; one that has waited too long in it is refused, not begun.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

POLLS = 8
"""Long polls of a process that wait at once; one thread more answers those that may not wait."""

PATIENCE = 5.0
"""Seconds in a queue after which a request is refused: its caller has most likely gone."""

SLOW = 0.005
"""Seconds that a request may take before another thread helps with those that wait."""

EVALUATION = "evaluation"

GROUP = 8
"""Requests of `EVALUATION` that one thread carries out before it commits and sends their answers together."""

_IDLE = float("inf")

Work = Callable[[bool], None]


@dataclass(frozen=True)
class Kind:
    """A kind of request: its name, its threads in each process, and how many requests may wait for one."""

    name: str
    threads: int
    room: int


KINDS = (
    Kind(EVALUATION, 4, 64),
    Kind("decisions", 4, 64),
    Kind("changes", 4, 64),
    Kind("reads", 2, 64),
    Kind("pages", 3, 64),
    Kind("sign-in", 2, 16),
    Kind("polls", POLLS + 1, 16),
    Kind("operations", 1, 8),
)
"""Each process has these; docs/serving.md lists them."""

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
    """The threads of one kind and their queue.

    While requests are quick, the first thread does them all: threads that take turns at the interpreter's lock make
    each answer dearer. If it has been at one request for longer than `SLOW` and others wait, another thread helps.
    `settle` is called by a thread when it has nothing more to do, and after at most `GROUP` requests.
    """

    def __init__(self, kind: Kind, settle: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._settle = settle
        self._queue: SimpleQueue[tuple[float, list[Work]]] = SimpleQueue()
        self._waiting: deque[tuple[float, list[Work]]] = deque()  # the same entries, for the event loop
        self._began = _IDLE
        self._called = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._helping = 0
        names = [f"{kind.name}-{number}" for number in range(kind.threads)]
        for name, target in zip(names, (self._lead, *[self._help] * (kind.threads - 1)), strict=True):
            threading.Thread(target=target, name=name, daemon=True).start()

    def submit(self, work: Work) -> bool:
        """Queue work and return True; return False if the queue is full. `work` learns whether it waited too long."""
        if self._queue.qsize() >= self.kind.room:
            return False
        entry = (time.monotonic(), [work])  # whoever pops the work from its list does it, and nobody else
        self._waiting.append(entry)
        self._queue.put(entry)
        self.hurry()
        return True

    def expire(self) -> None:
        """Refuse what has waited too long, even if every thread is stuck; called by the event loop alone."""
        while self._waiting and (not self._waiting[0][1] or time.monotonic() - self._waiting[0][0] > PATIENCE):
            _do(self._waiting.popleft()[1], late=True)

    def hurry(self) -> None:
        """Call a thread to help if requests wait and the first thread is slow; called by the event loop alone."""
        if self._behind() and self._helping < self.kind.threads - 1:
            with self._lock:
                self._helping += 1
            self._called.release()

    def _behind(self) -> bool:
        return time.monotonic() - self._began > SLOW and not self._queue.empty()

    def _lead(self) -> None:
        unsettled = 0
        while True:
            try:
                queued, work = self._queue.get_nowait()
            except Empty:
                self._end_group()
                unsettled, self._began = 0, _IDLE
                queued, work = self._queue.get()
            self._began = time.monotonic()
            _do(work, late=self._began - queued > PATIENCE)
            unsettled += 1
            if unsettled == GROUP:
                self._end_group()
                unsettled = 0

    def _end_group(self) -> None:
        if self._settle is not None:
            self._settle()

    def _help(self) -> None:
        while True:
            self._called.acquire()
            while self._behind():
                try:
                    queued, work = self._queue.get_nowait()
                except Empty:
                    break
                _do(work, late=time.monotonic() - queued > PATIENCE)
                self._end_group()
            with self._lock:
                self._helping -= 1


def _do(work: list[Work], *, late: bool) -> None:
    """Do an entry's work, unless somebody else has taken it."""
    try:
        taken = work.pop()
    except IndexError:
        return
    taken(late)
