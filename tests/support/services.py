"""Real services on one database, and apps that use them during faults; each is ended by its process group."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from authz.callers.clients import add_client
from authz.database import Database, close_all, connect
from authz.importing import demo
from authz.models import Grant, Patient, RecordedDecision
from authz.policy.compiler import load
from authz.settings import shipped_folder
from tests.support.http import EVALUATION, question
from tests.support.server import COMMAND, READY_SECONDS, free_port, get, send

OK = (200, 201)


@dataclass
class Answers:
    """The responses to callers: kind, status and seconds of each, and the ids of the requests that succeeded."""

    got: list[tuple[str, int, float]] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)

    def slowest(self) -> float:
        return max((seconds for _, _, seconds in self.got), default=0.0)

    def count(self, *statuses: int) -> int:
        return sum(status in statuses for _, status, _ in self.got)

    def refused(self) -> set[int]:
        return {status for _, status, _ in self.got if status not in OK}


class Caller:
    """An app of the demonstration clinic that asks and changes through one service; `answers` is what it got."""

    def __init__(self, port: int, key: str, name: str) -> None:
        self.port, self.name, self.answers, self.number = port, name, Answers(), 0
        self.bearer = {"Authorization": f"Bearer {key}"}
        self.acting = {**self.bearer, "X-On-Behalf-Of": "alice@north.example"}

    def ask(self) -> int:
        request = f"{self.name}-{self._next()}"
        headers = {**self.bearer, "X-Request-ID": request}
        status, response = self._send("decision", EVALUATION, question("bob"), headers)
        if status == 200:
            assert response["decision"] is True
            self.answers.decided.append(request)
        return status

    def must_not(self) -> int:
        """Ask a question that must be denied; require that no answer permits it."""
        status, response = self._send("decision", EVALUATION, question("nobody"), self.bearer)
        assert status != 200 or response["decision"] is False, response
        return status

    def change(self) -> int:
        patient = f"{self.name}-{self._next()}"
        status, _ = self._send("change", "/v1/patients", {"id": patient, "name": "Pat"}, self.acting)
        if status != 201:
            return status
        self.answers.added.append(patient)
        path = f"/v1/patients/{patient}/shares"
        status, response = self._send("change", path, {"colleague": "bob@north.example"}, self.acting)
        if status == 201:
            self.answers.shared.append(int(response["id"]))
        return status

    def go_on(self, stop: threading.Event) -> None:
        """Ask and change until `stop` is set; go on after refusals and lost connections."""
        while not stop.is_set():
            try:
                self.ask()
                self.change()
                self.must_not()
            except OSError:
                stop.wait(0.05)

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _send(self, kind: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        began = time.monotonic()
        status, response = send(self.port, "POST", path, body, headers)
        self.answers.got.append((kind, status, time.monotonic() - began))
        return status, response


@contextmanager
def working(*callers: Caller) -> Iterator[None]:
    """Let the callers ask and change while the block runs."""
    stop = threading.Event()
    threads = [threading.Thread(target=caller.go_on, args=(stop,)) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


@contextmanager
def service(url: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """Run a service on a database; yield its port and its process group."""
    port = free_port()
    process = subprocess.Popen(
        [COMMAND, "serve", "--database", url, "--port", str(port), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        until(lambda: process.poll() is not None or _is_ready(port), READY_SECONDS)
        assert process.poll() is None
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def _is_ready(port: int) -> bool:
    try:
        return bool(get(port, "/readyz"))
    except OSError:
        return False


def until(holds: Callable[[], bool], seconds: float) -> float:
    """Wait until a condition holds; return how many seconds it took. Fail after `seconds`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def clinic(url: str) -> str:
    """Fill a migrated database with the demonstration clinic; return the key of an app that may ask and act."""
    database, began = connect(url), datetime.now(UTC) - timedelta(hours=1)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide", "act"), now=began)
    close_all(database)
    return key


def check_nothing_lost(database: Database, *callers: Caller) -> None:
    """Require that everything answered with 200 or 201 is in the database, and each decision once."""
    recorded = [
        request for (request,) in RecordedDecision.select(RecordedDecision.request_id).tuples().execute(database)
    ]
    patients = {patient for (patient,) in Patient.select(Patient.id).tuples().execute(database)}
    grants = {grant for (grant,) in Grant.select(Grant.id).tuples().execute(database)}
    for caller in callers:
        assert set(caller.answers.decided) <= set(recorded)
        assert set(caller.answers.added) <= patients
        assert set(caller.answers.shared) <= grants
    decided = [request for caller in callers for request in caller.answers.decided]
    assert len([request for request in recorded if request in set(decided)]) == len(decided)
