"""Requests that one thread answers together: each key is looked up once, and one statement asks all questions.

The gateway begins a group with requests that it has received already. Whatever the group reads from the database, it
reads after that: a key that was revoked, or a share that had ended, before a request was sent is never taken for valid.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from authz.callers.clients import Caller
from authz.database.pending import Pending
from authz.errors import CaregrantError
from authz.policy.decision import Decision, Ref
from authz.policy.pdp import PDP


@dataclass(eq=False)
class _Question:
    """A question of a group, and its decision, or the error that prevented it, as soon as the group has asked."""

    pdp: PDP
    question: tuple[Ref, str, Ref]
    request: Mapping[str, Mapping[str, object]]
    tenant: str | None
    decision: Decision | None = None
    error: CaregrantError | None = None


@dataclass
class RequestGroup:
    """A group of requests: the apps by their keys, and the questions that are not asked yet."""

    callers: dict[str, Caller] = field(default_factory=dict)
    _open: list[_Question] = field(default_factory=list)

    def evaluate(
        self,
        pdp: PDP,
        question: tuple[Ref, str, Ref],
        request: Mapping[str, Mapping[str, object]],
        tenant: str | None,
    ) -> Pending[Decision]:
        """Decide a question about the present, together with the other questions of the group.

        `result` raises `Unavailable` if the database cannot answer.
        """
        entry = _Question(pdp, question, request, tenant)
        self._open.append(entry)

        def decide() -> Decision:
            if entry.decision is None and entry.error is None:
                self._ask_all()
            if entry.error is not None:
                raise entry.error
            assert entry.decision is not None
            return entry.decision

        return Pending(decide)

    def _ask_all(self) -> None:
        """Ask the open questions, those of each policy and tenant at once."""
        questions, self._open = self._open, []
        for pdp, tenant in {(question.pdp, question.tenant) for question in questions}:
            of_tenant = [question for question in questions if (question.pdp, question.tenant) == (pdp, tenant)]
            try:
                decisions = pdp.evaluate_many(
                    [question.question for question in of_tenant],
                    requests=[question.request for question in of_tenant],
                    tenant=tenant,
                )
            except CaregrantError as error:
                for question in of_tenant:
                    question.error = error
            else:
                for question, decision in zip(of_tenant, decisions, strict=True):
                    question.decision = decision


class DeferredBody:
    """The body of a response in JSON that is made when it is read, after the requests of the group were parsed.

    `count` is called with the status of the response: 503 if the body could not be made.
    """

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self.count: Callable[[int], None] = lambda _: None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body. Raises the errors of `make`."""
        status = 503
        try:
            content = orjson.dumps(self._make())
            status = 200
        finally:
            self.count(status)
        yield content


_thread = threading.local()


def begin() -> None:
    """Begin a group of requests in this thread."""
    _thread.group = RequestGroup()


def end() -> None:
    """End the group of this thread."""
    _thread.group = None


def current() -> RequestGroup | None:
    """Return the group of this thread; None for a request that is answered alone."""
    group: RequestGroup | None = getattr(_thread, "group", None)
    return group
