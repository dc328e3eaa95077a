"""The gateway in the real server: slow, silent and oversized requests stop nobody else."""

import http.client
import json
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz import demo
from authz.clients import add_client
from authz.compiler import load
from authz.database import connect, migrate, shut
from authz.models import Decision
from authz.settings import shipped
from tests.http import EVALUATION, question
from tests.server import free_port, send, serving

MOST = 4000


class Served:
    """A server with the demonstration clinic, trusting a proxy on 127.0.0.1, and an app's key."""

    def __init__(self, port: int, pid: int, url: str, key: str) -> None:
        self.port, self.pid, self.url, self.key = port, pid, url, key

    def raw(self, sent: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 15)
        connection.sendall(sent)
        return connection

    def answer(self, sent: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of the answer to bytes that are sent as they are."""
        with self.raw(sent) as connection:
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.headers, response.read()

    def head(self, *headers: str) -> bytes:
        lines = [f"POST {EVALUATION} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}"]
        return "\r\n".join([*lines, "Content-Type: application/json", *headers, "", ""]).encode("latin-1")

    def memory(self) -> int:
        """Bytes of the workers' resident memory."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096 for child in children)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = f"sqlite:///{tmp_path_factory.mktemp('served')}/clinic.db"
    database = connect(url)
    migrate(database)
    began = datetime.now(UTC) - timedelta(hours=1)
    demo.fill(database, load(shipped("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide",), now=began)
    shut(database)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST, hard), hard))
    port = free_port()
    settings = {
        "CAREGRANT_RECEIVE_SECONDS": "2",
        "CAREGRANT_MAX_BODY": "100000",
        "CAREGRANT_TRUSTED_PROXIES": "127.0.0.1",
    }
    with serving("serve", "--database", url, port=port, environment=settings) as process:
        yield Served(port, process.pid, url, key)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stalled_and_idle_connections_stop_nobody(served: Served) -> None:
    """200 stalled bodies, 900 idle ones, 50 requests at once: /healthz answers, decisions go on, memory is flat."""
    before = served.memory()
    with ExitStack() as held, ThreadPoolExecutor(50) as pool:
        for _ in range(900):
            held.enter_context(served.raw(b""))
        stalled = [held.enter_context(served.raw(served.head("Content-Length: 90000") + b"{")) for _ in range(200)]
        bearer = {"Authorization": f"Bearer {served.key}"}
        asked = [pool.submit(send, served.port, "POST", EVALUATION, question("bob"), bearer) for _ in range(150)]
        waits = []
        for _ in range(20):
            began = time.perf_counter()
            assert served.answer(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200
            waits.append(time.perf_counter() - began)
        answers = [one.result() for one in asked]
        assert {status for status, _ in answers} <= {200, 503}
        assert sum(status == 200 for status, _ in answers) > 50
        assert statistics.median(waits) < 0.1, waits
        assert served.memory() - before < 60 * 1_048_576
        first = http.client.HTTPResponse(stalled[0])
        first.begin()
        assert (first.status, first.getheader("Connection")) == (408, "close")
        assert json.loads(first.read())["type"] == "/problems/timeout"


def refused(served: Served, sent: bytes, status: int) -> None:
    """Assert that bytes are refused with this status, and that they leave no decision."""
    before = decisions(served)
    found, headers, body = served.answer(sent)
    assert found == status, body
    if body:
        assert json.loads(body)["status"] == status
        assert headers["X-Request-ID"]
    assert decisions(served) == before


def decisions(served: Served) -> int:
    database = connect(served.url)
    count: int = Decision.select().count(database)
    shut(database)
    return count


def test_what_is_too_large_or_malformed_is_refused(served: Served) -> None:
    """A body over the limit, chunked or not, is 413, and nothing of it is carried out; heads and methods likewise."""
    body = json.dumps(question("bob")).encode()
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    filler = b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)
    chunked = served.head("Transfer-Encoding: chunked")
    assert served.answer(chunked + chunk + b"0\r\n\r\n")[0] == 200
    refused(served, chunked + chunk + filler * 2, 413)
    refused(served, served.head("Content-Length: 100001"), 413)
    refused(served, served.head("Content-Length: x"), 400)
    refused(served, b"M" * 60_000 + b" /v1/me HTTP/1.1\r\nHost: x\r\n\r\n", 501)
    refused(served, b"GET /v1/" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414)
    refused(served, served.head("Content-Length: 0", "X-Big: " + "y" * 40_000), 431)
    refused(served, served.head("Content-Length: 0", "X-On-Behalf-Of: jos\u00e9"), 400)


def test_forwarded_address_is_recorded(served: Served) -> None:
    """The client's address behind a trusted proxy is what the record holds."""
    headers = {"Authorization": f"Bearer {served.key}", "X-Forwarded-For": "203.0.113.7, 198.51.100.1"}
    assert send(served.port, "POST", EVALUATION, question("bob"), headers)[0] == 200
    database = connect(served.url)
    addresses = {row[0] for row in Decision.select(Decision.address).tuples().execute(database)}
    shut(database)
    assert "198.51.100.1" in addresses
    assert "203.0.113.7" not in addresses


def test_healthz_carries_the_request_id(served: Served) -> None:
    """Also an answer of the event loop has what every answer has."""
    status, headers, body = served.answer(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n")
    assert (status, headers["X-Request-ID"], json.loads(body)) == (200, "mine", {"status": "ok"})
    assert headers["X-Content-Type-Options"] == "nosniff"
