"""`durable` loses nothing: after kill -9 under load, every answer that an app received is in the record."""

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime

from authz.audit.integrity.verification import verification
from authz.database import Database, close_all, connect
from authz.models import Event, RecordedDecision
from authz.record import drain_spool, seal
from tests.support.demo_service import ask
from tests.support.http import EVALUATION, question
from tests.support.server import COMMAND, free_port, get, serving, wait_until_nobody_listens

KILLS = int(os.environ.get("CAREGRANT_KILLS", "8")) // 4
CLIENTS = 6


class Client(threading.Thread):
    """An app that asks without a pause until nobody answers; `answered` holds the ids of the answered requests."""

    def __init__(self, port: int, bearer: str, name: str) -> None:
        super().__init__()
        self.port, self.bearer, self.prefix = port, bearer, name
        self.answered: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        body = json.dumps(question("bob"))
        for number in range(100_000):
            request = f"{self.prefix}-{number}"
            headers = {"Authorization": f"Bearer {self.bearer}", "X-Request-ID": request}
            try:
                connection.request("POST", EVALUATION, body, headers | {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                return
            assert response.status == 200, content
            self.answered.append(request)


def test_no_answer_is_lost_by_kill_9(database_url: str, key: str) -> None:
    """After each kill every answer that was received has its row, and in the end the record is whole."""
    chance, answers = random.Random(9), 0
    for turn in range(KILLS):
        port = free_port()
        answered = under_load(database_url, port, key, f"{turn}", chance.uniform(0.1, 0.7))
        wait_until_nobody_listens(port)
        database = connect(database_url)
        drain_spool(database)
        recorded = requests_of(database, f"{turn}-")
        close_all(database)
        assert len(answered) >= CLIENTS
        assert len(recorded) >= len(answered)
        assert set(answered) <= set(recorded)
        assert len(set(recorded)) == len(recorded)
        answers += len(answered)
    database = connect(database_url)
    seal(database, datetime.now(UTC))
    verify_database = verification(database)
    assert (verify_database.ok, verify_database.problem, verify_database.report.unsealed) == (True, None, 0)
    assert verify_database.report.rows > answers
    assert Event.select().where(Event.kind == "policy:loaded").count(database) == 1
    close_all(database)


def test_what_is_buffered_is_written_when_it_is_told_to_stop(database_url: str, key: str) -> None:
    """`buffered` loses answers only to kill -9: a server that is told to stop writes them first."""
    port = free_port()
    arguments = ("serve", "--decision-log", "buffered", "--database", database_url)
    with serving(*arguments, port=port) as server:
        assert [ask(port, key, question("bob"))[0] for _ in range(5)] == [200] * 5
        server.terminate()
        server.wait(15)
    database = connect(database_url)
    assert RecordedDecision.select().count(database) == 5
    close_all(database)


def under_load(url: str, port: int, bearer: str, name: str, seconds: float) -> list[str]:
    """Serve, ask with all clients, kill every process of the server after a time; return the answered requests."""
    arguments = [str(COMMAND), "serve", "--workers", "2", "--database", url, "--port", str(port)]
    server = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            try:
                get(port, "/readyz")
                break
            except OSError:
                time.sleep(0.05)
        clients = [Client(port, bearer, f"{name}-{number}") for number in range(CLIENTS)]
        for client in clients:
            client.start()
        while any(not client.answered for client in clients):
            time.sleep(0.01)
        time.sleep(seconds)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(15)
    for client in clients:
        client.join(20)
    return [request for client in clients for request in client.answered]


def requests_of(database: Database, prefix: str) -> list[str]:
    query = RecordedDecision.select(RecordedDecision.request_id)
    query = query.where(RecordedDecision.request_id.startswith(prefix))
    return [request for (request,) in query.tuples().execute(database)]
