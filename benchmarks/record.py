"""The cost of recording: single evaluations over HTTP with each mode of the decision log.

    python -m benchmarks.record [--seconds 4] [--rounds 3]

One server process on SQLite, four clients that keep their connections; the modes take turns, so that other load of
the machine slows all alike. The median of the rounds counts. Beside the rate stands the processor time of an answer,
which other load distorts less; only Linux has it.
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

MODES = {
    "off": ("off", "--no-fsync"),
    "buffered": ("buffered", "--no-fsync"),
    "durable": ("durable", "--no-fsync"),
    "durable, fsync": ("durable", "--fsync"),
}
CLIENTS = 4


def main() -> None:
    """Measure each mode in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in MODES}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/clinic.db"
        bearer = _fill(url)
        for _ in range(arguments.rounds):
            for name, (mode, fsync) in MODES.items():
                rates[name].append(_measure(url, bearer, (mode, fsync), arguments.seconds))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in rates.items()}
    for name, (rate, cost) in medians.items():
        ratios = f"{rate / medians['off'][0]:.2f} x off", f"{medians['off'][1] / cost:.2f} x off"
        print(f"{name:16} {rate:6.0f} evaluations/s {ratios[0]}   {cost * 1e6:5.0f} us of processor, {ratios[1]}")


def _fill(url: str) -> str:
    database = connect(url)
    migrate(database)
    now = datetime.now(UTC)
    demo.fill(database, load(shipped_folder("policies")).types, now)
    bearer = add_client(database, name="benchmark", scopes=["decide"], now=now)
    close_all(database)
    return bearer


def _measure(url: str, bearer: str, mode: tuple[str, str], seconds: float) -> tuple[float, float]:
    """Return the evaluations in a second, and the seconds of processor for each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = Path(sys.executable).with_name("caregrant")
    arguments = ["serve", "--database", url, "--port", str(port), "--decision-log", *mode]
    server = subprocess.Popen([command, *arguments], stderr=subprocess.DEVNULL)
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
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (server, *children)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


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
