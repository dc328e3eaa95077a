"""The server is killed during operations: what was answered is stored, the rest is whole or absent."""

import http.client
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from authz.callers.clients import add_client
from authz.database import Database, close_all, connect
from authz.domain import FOREVER
from authz.importing import demo
from authz.models import Event, Grant, Notification, Patient
from authz.policy.compiler import load
from authz.record import replay_facts
from authz.settings import shipped_folder
from tests.support.server import free_port, send, serving, wait_until_nobody_listens

ROUNDS = int(os.environ.get("CAREGRANT_KILLS", "8")) // 2
NO_ANSWER = (OSError, http.client.HTTPException)


class Practice:
    """An app of Alice: adds a patient, shares the patient with Bob, transfers the patient to Carol, again and again.

    `done` holds the answered requests: (operation, patient, answer).
    """

    def __init__(self, port: int, headers: dict[str, str], numbers: "itertools.count[int]") -> None:
        self.port, self.headers, self.numbers = port, headers, numbers
        self.done: list[tuple[str, str, Any]] = []
        self.stop = threading.Event()

    def go_on(self) -> None:
        try:
            while not self.stop.is_set():
                patient = f"k-{next(self.numbers)}"
                self.do("add", patient, "/v1/patients", {"id": patient, "name": "Pat"})
                self.do("share", patient, f"/v1/patients/{patient}/shares", {"colleague": "bob@north.example"})
                self.do("transfer", patient, f"/v1/patients/{patient}/transfer", {"colleague": "carol@north.example"})
        except NO_ANSWER:
            return

    def do(self, what: str, patient: str, path: str, body: Any) -> None:
        status, answer = send(self.port, "POST", path, body, self.headers)
        assert status in (200, 201), (status, answer)
        self.done.append((what, patient, answer))


def test_killed_amid_operations(database_url: str) -> None:
    """After kill -9 at random moments no answered operation is lost, and no operation is half done."""
    database = connect(database_url)
    began = datetime.now(UTC) - timedelta(hours=1)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("act",), now=began)
    headers = {"Authorization": f"Bearer {key}", "X-On-Behalf-Of": "alice@north.example"}
    moments, numbers, done = random.Random(7), itertools.count(), []
    for _ in range(ROUNDS):
        port = free_port()
        with serving("serve", "--database", database_url, port=port) as process, ThreadPoolExecutor(4) as pool:
            practice = Practice(port, headers, numbers)
            working = [pool.submit(practice.go_on) for _ in range(4)]
            fewest = moments.randint(5, 40)
            while len(practice.done) < fewest and not any(future.done() for future in working):
                time.sleep(0.01 * moments.random())
            os.kill(process.pid, signal.SIGKILL)
            practice.stop.set()
            for future in working:
                future.result()
        wait_until_nobody_listens(port)
        done += practice.done
    assert len(done) > 4 * ROUNDS
    check_answered(database, done)
    check_whole(database)
    close_all(database)


def check_answered(database: Database, done: list[tuple[str, str, Any]]) -> None:
    """Require that every answered operation stands in the tables as it was answered."""
    rows = {row.id: row for row in Grant.select().execute(database)}
    patients = {row.id for row in Patient.select().execute(database)}
    for what, patient, answer in done:
        assert patient in patients
        if what == "share":
            assert rows[int(answer["id"])].practitioner_id == "bob"
        if what == "transfer":
            transfers = [row for row in rows.values() if row.patient_id == patient and row.origin == "transfer"]
            assert [row.practitioner_id for row in transfers] == ["carol"]


def check_whole(database: Database) -> None:
    """Require that each operation is whole or absent: patient and owner, both sides of a transfer, events, notices."""
    assert replay_facts(database)[1] == []
    grants = list(Grant.select().where(Grant.patient.startswith("k-")).execute(database))
    added = [row.id for row in Patient.select().where(Patient.id.startswith("k-")).execute(database)]
    owned = Counter(row.patient_id for row in grants if row.role == "owner" and row.ended_at == FOREVER)
    assert owned == Counter(added)
    kinds = Counter(row.kind for row in Event.select().where(Event.patient.startswith("k-")).execute(database))
    transfers, shares = (sum(row.origin == origin for row in grants) for origin in ("transfer", "share"))
    assert kinds["patient:added"] == len(added)
    assert (kinds["grant:started"], kinds["grant:ended"]) == (len(grants), transfers)
    notifications = Counter(row.kind for row in Notification.select().execute(database))
    assert (notifications["share:received"], notifications["transfer:received"]) == (shares, transfers)
