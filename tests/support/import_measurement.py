"""Decisions during an import into SQLite: how long answers pause, and whether each is recorded once.

``python -m tests.support.import_measurement [PATIENTS]`` imports 60,000 patients by default and prints the table of
docs/reference/import.md.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from authz.callers.clients import add_client
from authz.database import close_all, connect, migrate
from authz.importing import demo
from authz.models import RecordedDecision
from authz.policy.compiler import load
from authz.record import drain_spool
from authz.settings import shipped_folder
from tests.support.http import EVALUATION, question
from tests.support.server import COMMAND, free_port, serving

CALLERS = 3


@dataclass
class Caller(threading.Thread):
    """An app that asks until it is stopped or nobody answers.

    `answered`: its permits and denials, `refused`: the rest.
    `longest` is the longest time in seconds from one answer to the next.
    """

    port: int
    bearer: str
    name_: str
    answered: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    longest: float = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body, number, last = json.dumps(question("bob")), 0, time.monotonic()
        while not self.ended.is_set():
            number += 1
            request = f"{self.name_}-{number}"
            headers = {"Authorization": f"Bearer {self.bearer}", "X-Request-ID": request}
            try:
                connection.request("POST", EVALUATION, body, headers | {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                break
            if response.status != 200:
                self.refused.append(response.status)
                continue
            self.answered.append(request)
            if len(self.answered) > 1:  # the first answer waits for a worker that has just begun
                self.longest = max(self.longest, time.monotonic() - last)
            last = time.monotonic()
        connection.close()


def fill(url: str) -> str:
    """Fill a new database with the demonstration clinic; return the key of an app that may ask."""
    database, began = connect(url), datetime.now(UTC) - timedelta(hours=1)
    migrate(database)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide",), now=began)
    close_all(database)
    return key


def write_patients(file: Path, count: int) -> None:
    """Write an import file: a clinic of one practitioner and many patients."""
    head = [
        {"subscription": {"id": "big", "name": "Big"}},
        {"practitioner": {"id": "big-owner", "login": "owner@big.example", "name": "Owner"}},
        {"membership": {"practitioner": "big-owner", "subscription": "big", "role": "member"}},
    ]
    with file.open("w") as written:
        for line in head:
            written.write(json.dumps(line) + "\n")
        for number in range(count):
            patient = {"id": f"big-{number}", "subscription": "big", "name": f"Pat {number}", "owner": "big-owner"}
            written.write(json.dumps({"patient": patient}) + "\n")


def start_callers(port: int, key: str) -> list[Caller]:
    callers = [Caller(port, key, f"beside-{number}") for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    return callers


def recorded(url: str) -> list[str]:
    """Drain the spool; return the requests of the callers whose answers are in the record."""
    database = connect(url)
    drain_spool(database)
    rows = RecordedDecision.select(RecordedDecision.request_id).where(RecordedDecision.request_id.startswith("beside-"))
    requests = [request for (request,) in rows.tuples().execute(database)]
    close_all(database)
    return requests


def measure(folder: Path, patients: int) -> dict[str, float]:
    """Import while apps ask a real service; return the measured numbers by name."""
    url, port = f"sqlite:///{folder}/clinic.db", free_port()
    key = fill(url)
    write_patients(folder / "facts.ndjson", patients)
    spooled = 0
    with serving("serve", "--workers", "2", "--database", url, port=port):
        callers = start_callers(port, key)
        while not all(caller.answered for caller in callers):
            time.sleep(0.01)
        begin = time.monotonic()
        command = [str(COMMAND), "import", str(folder / "facts.ndjson"), "--database", url]
        importing = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        spool = folder / "clinic.db-answers"
        while importing.poll() is None:
            spooled = max(spooled, spool.stat().st_size if spool.exists() else 0)
            time.sleep(0.01)
        seconds = time.monotonic() - begin
        for caller in callers:
            caller.ended.set()
            caller.join(30)
    assert importing.returncode == 0
    answered = [request for caller in callers for request in caller.answered]
    there = recorded(url)
    return {
        "patients": patients,
        "seconds of the import": round(seconds, 1),
        "answers": len(answered),
        "refused": sum(len(caller.refused) for caller in callers),
        "longest pause in seconds": round(max(caller.longest for caller in callers), 3),
        "largest spool in bytes": spooled,
        "answers not in the record": len(set(answered) - set(there)),
        "answers twice in the record": len(there) - len(set(there)),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for name, value in measure(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 60_000).items():
            sys.stdout.write(f"{name}: {value}\n")
