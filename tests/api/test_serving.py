"""The real server over HTTP: it starts completely or not at all, stops on a signal, and survives its database."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api import server as api_server
from authz.callers.clients import add_client
from authz.database import close_all, connect
from authz.importing import demo
from authz.models import Event, RecordedDecision
from authz.policy.compiler import load
from authz.policy.history import kept_texts
from authz.settings import shipped_folder
from tests.support.demo_service import ask
from tests.support.http import question
from tests.support.server import COMMAND, free_port, get, serving


def test_it_serves_decisions_from_two_processes(database_url: str, key: str) -> None:
    """Two workers answer, record and count 100 concurrent questions; SIGTERM ends both cleanly."""
    port = free_port()
    with serving("serve", "--workers", "2", "--database", database_url, port=port) as process:
        people = ["alice", "bob", "carol", "dan", "noa"] * 20
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda who: ask(port, key, question(who)), people))
        assert {status for status, _ in answers} == {200}
        assert [body["decision"] for _, body in answers] == [who in ("alice", "bob", "carol") for who in people]
        assert f'caregrant_decisions_total{{decision="permit"}} {float(60)}' in metrics(port, database_url)
        body = get(port, "/.well-known/authzen-configuration")
        assert body["policy_decision_point"] == f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    database = connect(database_url)
    assert RecordedDecision.select().count(database) == len(people)
    close_all(database)


def metrics(port: int, database_url: str) -> str:
    """Return the metrics of a service, the sums over all its processes."""
    database = connect(database_url)
    key = add_client(database, name="monitoring", scopes=("audit",), now=datetime.now(UTC))
    close_all(database)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        text: str = response.read().decode()
    return text


def test_killed_and_started_again(sqlite_url: str, database_url: str, key: str) -> None:
    """After kill -9 every answered decision is recorded, no worker goes on, and the server starts again."""
    port, answered = free_port(), 0
    with serving("serve", "--database", database_url, port=port) as process, ThreadPoolExecutor(4) as pool:
        running = [pool.submit(ask, port, key, question("bob")) for _ in range(400)]
        while sum(future.done() for future in running) < 40:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        for future in running:
            try:
                answered += future.result()[0] == 200
            except OSError:
                continue
    assert answered >= 40
    again = free_port()
    with serving("serve", "--database", database_url, port=again):
        assert ask(again, key, question("bob"))[1]["decision"] is True
    database = connect(database_url)
    recorded = RecordedDecision.select().where(RecordedDecision.allowed).count(database)
    close_all(database)
    assert recorded >= answered + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_workers_start(sqlite_url: str, number: signal.Signals) -> None:
    """Workers that do not run yet keep a stop until they do; none has to be killed. The log has the address alone."""
    port = free_port()
    command = [str(COMMAND), "serve", "--workers", "2", "--port", str(port), "--database", sqlite_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 60
        while len(_children(process)) < 3:  # the sealer and two workers
            assert process.poll() is None
            if time.monotonic() > deadline:
                process.kill()
                pytest.fail("the workers did not start")
            time.sleep(0.001)
        process.send_signal(number)
        printed = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    message = rf'message="listening on http://127\.0\.0\.1:{port}/, workers: 2, policy: \w{{12}}"'
    assert re.fullmatch(rf"\S+ INFO logger=caregrant pid=\d+ {message}\n", printed.decode())


def test_a_worker_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop waits for a worker with a limit: it is then killed, and the log says so."""
    monkeypatch.setattr(api_server, "_MOST_STOP_SECONDS", 0)
    service = api_server.make_server("127.0.0.1", free_port(), 1, receive_seconds=1)
    with subprocess.Popen(["sleep", "1000"]) as process:
        service.wrks.append(_StuckWorker(process))
        threading.Thread(target=api_server._end_stuck_workers, args=(service,), daemon=True).start()
        assert process.wait(60) == -signal.SIGKILL
    assert "worker 1 did not end" in caplog.text


class _StuckWorker:
    """A worker that granian has asked to end, and that does not."""

    idx, interrupt_by_parent = 0, True

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.kill = process.kill
        self._process = process

    def is_alive(self) -> bool:
        return self._process.poll() is None


def _children(process: "subprocess.Popen[bytes]") -> list[int]:
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--policies", "{tmp}"), "no directory that holds .polar files"),
        (("--database", "sqlite:///{tmp}/none.db"), "there is no database"),
        (("--database", "postgresql://nobody@127.0.0.1:1/x"), "refused"),
    ],
)
def test_it_does_not_start_half(sqlite_url: str, tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    """Without a policy or a database the server exits with 1 and one line that gives the reason."""
    arguments = [option.format(tmp=tmp_path) for option in options]
    arguments += [] if "--database" in options else ["--database", sqlite_url]
    done = subprocess.run([COMMAND, "serve", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_t25_one_policy_is_served_from_start_to_end(database_url: str, key: str, tmp_path: Path) -> None:
    """T25: a service decides by the expected policy alone, records it, and ignores changes of its files."""
    folder, port = tmp_path / "policies", free_port()
    shutil.copytree(shipped_folder("policies"), folder)
    expected = {"CAREGRANT_POLICY_VERSION": load(folder).version, "CAREGRANT_POLICIES": str(folder)}
    with serving("serve", "--database", database_url, port=port, environment=expected) as process:
        (folder / "open.polar").write_text('# R3. Everybody views.\nallow(_: Practitioner, "view", _: Patient);')
        assert not ask(port, key, question("noa"))[1]["decision"]
        for worker in _children(process):
            os.kill(worker, signal.SIGKILL)  # another would read the directory as it is now
        assert process.wait(30) == 1
    database = connect(database_url)
    (loaded,) = Event.select(Event.body).where(Event.kind == "policy:loaded").tuples().execute(database)
    (decided,) = RecordedDecision.select(RecordedDecision.policy_version).tuples().execute(database)
    assert kept_texts(database, decided[0]) == load(shipped_folder("policies")).texts
    close_all(database)
    assert [loaded[0]["policy_version"], decided[0]] == [load(shipped_folder("policies")).version] * 2
    refused = subprocess.run(
        [COMMAND, "serve", "--database", database_url],
        env={**os.environ, **expected},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert f"policies: is of version {load(folder).version}, not {loaded[0]['policy_version']}" in refused.stderr


def test_demo_serves_and_prints_a_curl_that_works(tmp_path: Path) -> None:
    """The curl command that `make demo` prints gives a decision with its rule, also on a second start."""
    for _ in range(2):
        port = free_port()
        arguments = ("demo", "--serve", "--database", f"sqlite:///{tmp_path}/demo.db")
        with serving(*arguments, port=port) as process:
            printed = b""
            while b"who view" not in printed:
                assert process.stdout is not None
                printed += process.stdout.readline()
            curl = next(part for part in printed.decode().split("\n\n") if part.startswith("curl"))
            done = subprocess.run(["sh", "-c", curl], capture_output=True, timeout=30, check=True)
            answer = json.loads(done.stdout)
            assert (answer["decision"], answer["context"]["rule"]) == (True, "R5")


def test_a_port_that_is_taken(sqlite_url: str) -> None:
    """On a port that is taken the server exits with 1 and one line that names the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [COMMAND, "serve", "--port", port, "--database", sqlite_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert port in done.stderr


def test_it_outlives_its_database(postgresql_url: str) -> None:
    """While PostgreSQL refuses, answers are 503 and `/readyz` fails; when it is back, decisions go on."""
    database = connect(postgresql_url)
    demo.fill(database, load(shipped_folder("policies")).types, datetime.now(UTC) - timedelta(hours=1))
    key = add_client(database, name="app", scopes=("decide",), now=datetime.now(UTC) - timedelta(hours=1))
    close_all(database)
    server, name = postgresql_url.rsplit("/", 1)
    port = free_port()
    with (
        serving("serve", "--database", postgresql_url, port=port),
        psycopg.connect(f"{server}/postgres", autocommit=True) as admin,
    ):
        assert ask(port, key, question("bob"))[0] == 200
        _let_in(admin, name, open_to_all=False)
        for _ in range(3):
            status, body = ask(port, key, question("bob"))
            assert (status, body["type"]) == (503, "/problems/unavailable")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            get(port, "/readyz")
        assert get(port, "/healthz") == {"status": "ok"}
        _let_in(admin, name, open_to_all=True)
        statuses = [ask(port, key, question("bob"))[0] for _ in range(8)]
        assert statuses == [200] * 8


def _let_in(admin: psycopg.Connection[Any], name: str, *, open_to_all: bool) -> None:
    """Open a database to everybody, or close it and end every connection."""
    admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {open_to_all}".encode())
    if not open_to_all:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
