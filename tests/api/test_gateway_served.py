"""The gateway in the real server: stalled, idle and oversized callers take nothing from others."""

import http.client
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.limits import LARGEST_HEAD, LONGEST_TARGET
from authz.callers.clients import add_client
from authz.database import close_all, connect
from authz.importing import demo
from authz.models import Event, RecordedDecision
from authz.policy.compiler import load
from authz.record import drain_spool
from authz.settings import Settings, shipped_folder
from tests.support.http import EVALUATION, question
from tests.support.server import free_port, send, serving

SECONDS = 2


class Served:
    """A service with one worker and the keys of an app that asks and of one that acts."""

    def __init__(self, url: str, port: int, decide_key: str, act_key: str, pid: int) -> None:
        self.url, self.port, self.decide_key, self.act_key, self.pid = url, port, decide_key, act_key, pid

    def ask(self, **headers: str) -> tuple[int, Any]:
        return send(
            self.port, "POST", EVALUATION, question("bob"), {"Authorization": f"Bearer {self.decide_key}", **headers}
        )

    def healthz(self) -> float:
        """Return how many seconds the probe takes."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        return time.monotonic() - began

    def open(self, data: bytes = b"") -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        opened.sendall(data)
        return opened

    def exchange(self, data: bytes) -> tuple[int, bytes]:
        """Send these bytes; return the status and the body of the answer, and close the connection."""
        with closing(self.open(data)) as opened, closing(http.client.HTTPResponse(opened)) as answer:
            answer.begin()
            return answer.status, answer.read()

    def memory(self) -> int:
        """Return how many bytes the worker holds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        children = [child for task in tasks for child in task.read_text().split()]
        sizes = [Path(f"/proc/{child}/statm").read_text().split()[1] for child in children]
        return max(int(size) for size in sizes) * 4096


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    file = folder / "clinic.db"
    file.write_bytes(sqlite_template.read_bytes())
    url, port, began = f"sqlite:///{file}", free_port(), datetime.now(UTC) - timedelta(hours=1)
    database = connect(url)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    decide_key = add_client(database, name="asks", scopes=("decide", "audit"), now=began)
    act_key = add_client(database, name="acts", scopes=("act", "admin"), now=began)
    close_all(database)
    environment = {"CAREGRANT_RECEIVE_SECONDS": str(SECONDS), "CAREGRANT_TRUSTED_PROXIES": "127.0.0.1"}
    with serving("serve", "--workers", "1", "--database", url, port=port, environment=environment) as process:
        yield Served(url, port, decide_key, act_key, process.pid)


def head(served: Served, path: str = "/v1/patients", key: str = "", **headers: str) -> bytes:
    lines = {
        "Host": "x",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {key or served.act_key}",
        **headers,
    }
    written = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{written}\r\n".encode()


def test_stalled_and_idle_callers_stop_nobody(served: Served) -> None:
    """Probes and decisions go on beside 200 stalled bodies, 900 silent connections and 50 requests at once."""
    for _ in range(20):
        served.ask()
    before = served.memory()
    with ExitStack() as stack:
        for _ in range(900):
            stack.enter_context(closing(served.open()))
        stalled = [
            stack.enter_context(closing(served.open(head(served, Content_Length="1000") + b"{"))) for _ in range(200)
        ]
        crowd = [threading.Thread(target=served.ask) for _ in range(50)]
        for thread in crowd:
            thread.start()
        probes = [served.healthz() for _ in range(20)]
        for thread in crowd:
            thread.join()
        assert statistics.median(probes) < SECONDS / 2, "a probe that waits for a body takes SECONDS"
        assert served.ask()[0] == 200
        assert served.memory() - before < 100_000_000
        answers = [connection.recv(12) for connection in stalled]
    assert set(answers) == {b"HTTP/1.1 408"}
    assert served.ask()[0] == 200


def test_a_body_beyond_the_limit_is_not_begun(served: Served) -> None:
    """A body beyond the limit, with a length or in chunks, is 413, and no part of it is carried out."""
    body = json.dumps({"name": "Pat"}).encode()
    large = body + b" " * Settings.max_body
    chunks = hex(len(large))[2:].encode() + b"\r\n" + large + b"\r\n0\r\n\r\n"
    on_behalf = {"X_On_Behalf_Of": "alice@north.example"}
    before = events(served)
    assert served.exchange(head(served, Transfer_Encoding="chunked", **on_behalf) + chunks)[0] == 413
    assert served.exchange(head(served, Content_Length=str(len(large)), **on_behalf))[0] == 413
    assert events(served) == before
    small = hex(len(body))[2:].encode() + b"\r\n" + body + b"\r\n0\r\n\r\n"
    assert served.exchange(head(served, Transfer_Encoding="chunked", **on_behalf) + small)[0] == 201
    assert events(served) > before


def events(served: Served) -> int:
    database = connect(served.url)
    count: int = Event.select().count(database)
    close_all(database)
    return count


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"A" * 60_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"BREW /v1/me HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET /" + b"a" * LONGEST_TARGET + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * LARGEST_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: 1\r\n" * 3000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
)
def test_a_head_that_is_too_much_is_refused(served: Served, data: bytes, status: int) -> None:
    """A head beyond a limit is refused before a thread takes the request, and the service goes on."""
    assert served.exchange(data)[0] == status
    assert served.ask()[0] == 200


def test_a_login_beyond_ascii_is_sent_as_utf_8(served: Served) -> None:
    """An app names a person by a login in UTF-8; bytes that are not UTF-8 name nobody."""
    login, operator = "jörg@müller.example", {"Authorization": f"Bearer {served.act_key}"}
    person = {"login": login, "name": "Jörg Müller"}
    assert send(served.port, "PUT", "/v1/practitioners/joerg", person, operator)[0] == 200
    for name, status in ((login.encode(), 200), (login.encode("latin-1"), 403), (b"\xff", 403), (b"", 403)):
        key = f"Authorization: Bearer {served.act_key}\r\nX-On-Behalf-Of: ".encode()
        answer = served.exchange(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n" + key + name + b"\r\n\r\n")
        assert answer[0] == status
        assert status != 200 or json.loads(answer[1])["id"] == "joerg"
        data = b'{"name":"North"}'
        length = b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
        patient = served.exchange(b"PATCH /v1/patients/p-1 HTTP/1.1\r\nHost: x\r\n" + key + name + length + data)
        assert patient[0] in (403, 404), "nobody, or somebody of no clinic, changes a patient"


@pytest.mark.parametrize(
    "header", ["X-Request-ID", "Authorization", "Cookie", "Idempotency-Key", "Content-Type", "Accept"]
)
def test_a_header_beyond_ascii_is_no_fault(served: Served, header: str) -> None:
    """Bytes beyond ASCII in a header never cause an answer of 500 or more."""
    for value in (b"\xff\xfe", "é".encode(), b"Bearer a.\xff.c"):
        lines = {
            "Host": b"x",
            "Authorization": f"Bearer {served.act_key}".encode(),
            "Content-Type": b"application/json",
        }
        lines |= {"X-On-Behalf-Of": b"alice@north.example", "Content-Length": b"13", header: value}
        head = b"".join(name.encode() + b": " + text + b"\r\n" for name, text in lines.items())
        for path in (b"/v1/patients", b"/patients"):
            status, body = served.exchange(b"POST " + path + b" HTTP/1.1\r\n" + head + b'\r\n{"name":"P1"}')
            assert status < 500, body


def test_metrics_do_not_grow_with_callers(served: Served) -> None:
    """Unknown methods, paths and credentials add no label to the metrics."""
    sizes = []
    for begin in (0, 100, 200):
        for number in range(begin, begin + 100):
            served.exchange(f"M{number} /v1/{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            send(served.port, "GET", f"/v1/nothing{number}", None, {"Authorization": f"Bearer {number}"})
        status, text = raw(served, "/metrics")
        assert status == 200
        sizes.append(len(re.sub(rb"\d", b"", text)))
    assert sizes[1] == sizes[2]  # the first time makes the labels of its own requests
    assert b"M1" not in text


def raw(served: Served, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    with closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {served.decide_key}"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_the_record_holds_the_clients_address(served: Served) -> None:
    """Behind a trusted proxy the record holds the client's address and not the proxy's."""
    assert served.ask(**{"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Request-ID": "forwarded"})[0] == 200
    database = connect(served.url)
    drain_spool(database)
    rows = (
        RecordedDecision.select(RecordedDecision.address)
        .where(RecordedDecision.request_id == "forwarded")
        .tuples()
        .execute(database)
    )
    assert list(rows) == [("198.51.100.7",)]
    close_all(database)


def test_an_answer_of_the_gateway_is_like_any_other(served: Served) -> None:
    """A refusal by the gateway is a problem with a request id, and a page for a browser."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    with closing(connection):
        connection.request("BREW", "/v1/me", headers={"X-Request-ID": "mine"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert (answer.headers["X-Request-ID"], answer.headers["Content-Type"]) == ("mine", "application/problem+json")
        assert (body["type"], body["status"]) == ("/problems/not-implemented", 501)
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        connection.request("BREW", "/patients")
        assert connection.getresponse().headers["Content-Type"].startswith("text/html")


def test_requests_on_one_connection(served: Served) -> None:
    """Requests on one connection are answered one after another, HEAD and 404 among them."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        answers = []
        for method, path in (("GET", "/healthz"), ("HEAD", "/"), ("GET", "/nothing"), ("GET", "/static/caregrant.css")):
            connection.request(method, path)
            answer = connection.getresponse()
            answers.append((answer.status, len(answer.read()) > 0))
        assert answers == [(200, True), (200, False), (404, True), (200, True)]
