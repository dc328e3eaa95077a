"""Callers of a service who go on whatever happens: an app that asks, a practitioner who changes, a probe."""

import http.client
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

EVALUATION = "/access/v1/evaluation"
LONGEST = 20
"""Seconds that a caller waits for an answer."""

NO_ANSWER = 0
"""The status of a call that got no answer."""


@dataclass(frozen=True)
class Call:
    """One call: its kind, when it began and how long it took (seconds), its status and id, whether it was right."""

    kind: str
    began: float
    seconds: float
    status: int
    request: str
    right: bool = True


class Callers:
    """Threads that call a service at `port` until `stop`; `calls` holds what each call got."""

    def __init__(self, port: int, decide: str, act: str, each: int = 2) -> None:
        self.port, self.calls = port, list[Call]()
        self._stop = threading.Event()
        decider = {"Authorization": f"Bearer {decide}"}
        actor = {"Authorization": f"Bearer {act}", "X-On-Behalf-Of": "alice@north.example"}
        work: list[Callable[[], None]] = [self._probe]
        work += [lambda: self._decide(decider)] * each + [lambda: self._change(actor)] * each
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        self._stop.set()
        for one in self._threads:
            one.join(2 * LONGEST)

    def answered(self, kind: str, since: float) -> bool:
        """Whether a call of a kind that began since then was carried out."""
        return any(one.kind == kind and one.began > since and one.status in (200, 201) for one in self.calls)

    def _probe(self) -> None:
        while not self._stop.is_set():
            self._call("healthz", "GET", "/healthz", None, {})
            time.sleep(0.05)

    def _decide(self, headers: dict[str, str]) -> None:
        for who in itertools.cycle(("bob", "frank")):
            if self._stop.is_set():
                return
            body = {"subject": {"type": "practitioner", "id": who}, "action": {"name": "view"}}
            asked = {**body, "resource": {"type": "patient", "id": "p-1"}}
            permitted = who == "bob"  # by a share; frank works elsewhere
            self._call("decision", "POST", EVALUATION, asked, headers, decision=permitted)

    def _change(self, headers: dict[str, str]) -> None:
        while not self._stop.is_set():
            added = self._call("change", "POST", "/v1/patients", {"name": "Pat"}, headers)
            if added is not None:
                share = {"colleague": "bob@north.example"}
                self._call("change", "POST", f"/v1/patients/{added['id']}/shares", share, headers)

    def _call(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        *,
        decision: bool | None = None,
    ) -> Any:
        """Call once, on a connection of its own; the answer, or None if nothing was done. `decision`: the right one."""
        request, began = uuid.uuid4().hex, time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        told = {"Content-Type": "application/json", "X-Request-ID": request, **headers}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), told)
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException):
            status, answer = NO_ANSWER, None
        finally:
            connection.close()
        done = status in (200, 201)
        right = not done or decision is None or answer["decision"] is decision
        self.calls.append(Call(kind, began, time.monotonic() - began, status, request, right))
        if not done:
            time.sleep(0.05)
        return answer if done else None


def during(calls: Iterable[Call], begin: float, end: float) -> list[Call]:
    """The calls that began between two moments."""
    return [one for one in calls if begin <= one.began < end]


def statuses(calls: Iterable[Call], kind: str) -> Counter[int]:
    return Counter(one.status for one in calls if one.kind == kind)


def slowest(calls: Iterable[Call], kind: str) -> float:
    return max((one.seconds for one in calls if one.kind == kind), default=0.0)
