"""What recording costs: single evaluations over HTTP with each way of keeping the decision log.

    python -m benchmarks.record [--seconds 4] [--rounds 3]

One server process on SQLite, four clients that keep their connections; the ways take turns, so that what else the
machine does hits all alike. The median of the rounds counts. Beside the rate stands the processor time of an answer,
which a machine that others share distorts less; Linux alone tells it.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from authz.callers.clients import add_client
from authz.database import close_all, connect, migrate
from authz.importing import demo
from authz.policy.compiler import load
from authz.settings import shipped_folder

WAYS = {
    "off": ("off", "--no-fsync"),
    "buffered": ("buffered", "--no-fsync"),
    "durable": ("durable", "--no-fsync"),
    "durable, fsync": ("durable", "--fsync"),
}
CLIENTS = 4


def main() -> None:
    """Measure each way in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/clinic.db"
        bearer = _fill(url)
        for _ in range(given.rounds):
            for way, (mode, fsync) in WAYS.items():
                rates[way].append(_measure(url, bearer, (mode, fsync), given.seconds))
    told = {way: [statistics.median(column) for column in zip(*found, strict=True)] for way, found in rates.items()}
    for way, (rate, cost) in told.items():
        beside = f"{rate / told['off'][0]:.2f} x off", f"{told['off'][1] / cost:.2f} x off"
        print(f"{way:16} {rate:6.0f} evaluations/s {beside[0]}   {cost * 1e6:5.0f} us of processor, {beside[1]}")


def _fill(url: str) -> str:
    database = connect(url)
    migrate(database)
    now = datetime.now(UTC)
    demo.fill(database, load(shipped_folder("policies")).types, now)
    bearer = add_client(database, name="benchmark", scopes=["decide"], now=now)
    close_all(database)
    return bearer


def _measure(url: str, bearer: str, way: tuple[str, str], seconds: float) -> tuple[float, float]:
    """Return the evaluations in a second, and the seconds of processor for each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = Path(sys.executable).with_name("caregrant")
    words = ["serve", "--database", url, "--port", str(port), "--decision-log", way[0], way[1]]
    server = subprocess.Popen([command, *words], stderr=subprocess.DEVNULL)
    try:
        _until_ready(port)
        _ask(port, bearer, 0.5)
        begin, used = time.perf_counter(), _processor(server.pid)
        answers = _ask(port, bearer, seconds)
        return answers / (time.perf_counter() - begin), (_processor(server.pid) - used) / answers
    finally:
        server.terminate()
        server.wait(15)


def _processor(server: int) -> float:
    """Return the seconds of processor that the processes of a server have used."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in (server, *children)]
    return sum(int(one[11]) + int(one[12]) for one in stats) / os.sysconf("SC_CLK_TCK")


def _until_ready(port: int) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server does not start")


def _ask(port: int, bearer: str, seconds: float) -> int:
    until = time.perf_counter() + seconds

    def client(number: int) -> int:
        count = 0
        body = json.dumps(
            {
                "subject": {"type": "practitioner", "id": "bob"},
                "action": {"name": "view"},
                "resource": {"type": "patient", "id": f"p-{number + 1}"},
            }
        )
        head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"
        request = f"POST /access/v1/evaluation HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while time.perf_counter() < until:
                connection.sendall(request)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(answer.decode())
                count += 1
        return count

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(client, range(CLIENTS)))


if __name__ == "__main__":
    main()
