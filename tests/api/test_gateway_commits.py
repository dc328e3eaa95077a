"""Single evaluations that wait together share a commit; none is answered before its record is committed."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from api.gateway import Gateway
from api.gateway.lanes import GROUP
from api.gateway.proxies import Proxies
from authz.database import Database
from authz.domain import to_micros
from authz.errors import Unavailable
from authz.models import RecordedDecision
from authz.policy.decision import Decision
from authz.record import Actor, DecisionLog, RecordedQuestion, record_decisions, set_decision_log
from tests.support.people import NOW

QUESTION = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"))
DENIAL = Decision(False, "denied", "f" * 64, to_micros(NOW))
REQUESTS = 5


@dataclass
class Service:
    """A gateway before an application that records an answer for each request; the first request waits for `go`."""

    database: Database
    log: DecisionLog
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    fault: str = ""

    def app(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = environ["HTTP_X_REQUEST_ID"]
        if name == "r-0":
            self.begun.set()
            assert self.go.wait(30)
        client = 10**6 if name == self.fault else None  # no app has this number
        record_decisions(self.database, Actor("", NOW, client, request_id=name), [(QUESTION, DENIAL)])
        start("200 OK", [("Content-Type", "text/plain")])
        return [name.encode()]

    async def answers(self) -> dict[str, int]:
        """Send the requests, of which all but the first come while the first is carried out; return their statuses."""
        gateway = Gateway(self.app, Proxies(""), self.log, largest=100, seconds=5)
        gateway._lanes["evaluation"]._helping = 10  # nobody helps: what waits is the first thread's
        gateway._loop = asyncio.get_running_loop()
        gateway._tick(gateway._loop)
        sent: dict[str, int] = {}

        async def send_request(name: str) -> None:
            headers = [(b"x-request-id", name.encode())]
            scope = {"type": "http", "method": "GET", "path": "/access/v1/evaluation", "query_string": b""}
            scope |= {"headers": headers, "client": ("192.0.2.1", 1), "server": ("x", "80"), "scheme": "http"}

            def send(message: dict[str, Any]) -> Any:
                if "status" in message:
                    sent[name] = message["status"]

            await gateway(scope, None, send)  # type: ignore[arg-type]

        first = asyncio.create_task(send_request("r-0"))
        await asyncio.to_thread(self.begun.wait, 30)
        others = [asyncio.create_task(send_request(f"r-{number}")) for number in range(1, REQUESTS)]
        while gateway._lanes["evaluation"]._queue.qsize() < REQUESTS - 1:
            await asyncio.sleep(0)
        self.go.set()
        await asyncio.gather(first, *others)
        return sent


@pytest.fixture
def service(database: Database) -> Service:
    return Service(database, set_decision_log(database, "durable", fsync=False))


def test_what_waits_together_is_committed_together(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that wait for a thread are a group: their answers are recorded by one commit."""
    commits: list[int] = []
    commit = service.log._commit

    def counted(rows: Any) -> None:
        commits.append(len(rows))
        commit(rows)

    monkeypatch.setattr(service.log, "_commit", counted)
    assert REQUESTS <= GROUP
    assert asyncio.run(service.answers()) == {f"r-{number}": 200 for number in range(REQUESTS)}
    assert commits == [1, REQUESTS - 1]
    assert recorded(service) == [f"r-{number}" for number in range(REQUESTS)]


def test_an_answer_that_is_not_recorded_is_not_given(service: Service) -> None:
    """An answer whose record fails is 503; the other answers of the same commit are given and recorded."""
    service.fault = "r-2"
    statuses = asyncio.run(service.answers())
    assert statuses.pop("r-2") == 503
    assert set(statuses.values()) == {200}
    assert recorded(service) == sorted(statuses)


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), ZeroDivisionError("a fault of ours")])
def test_without_a_record_nobody_is_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """If the commit fails, each of its requests is refused, and the lane goes on."""

    def fails(_: Any) -> None:
        raise error

    monkeypatch.setattr(service.log, "_commit", fails)
    assert set(asyncio.run(service.answers()).values()) == {503}
    assert recorded(service) == []


def recorded(service: Service) -> list[str]:
    rows = (
        RecordedDecision.select(RecordedDecision.request_id)
        .order_by(RecordedDecision.request_id)
        .tuples()
        .execute(service.database)
    )
    return [name for (name,) in rows]
