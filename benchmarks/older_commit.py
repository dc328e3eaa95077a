"""Single evaluations over HTTP beside those of an older commit: `python -m benchmarks.older_commit COMMIT`.

Both services run at the same time, each from its own source with this environment's packages, on a seeded SQLite file
of its own; both are asked in turn, round after round. The command prints the processor time of one evaluation and the
evaluations a second, each as the median of the rounds' ratios: above 1, this source is the faster.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from tests.support.server import free_port

HERE = Path(__file__).parent.parent
WARM_UP = 1600

_PREPARE = """
import json, sys
from datetime import UTC, datetime
try:
    from authz.callers.clients import add_client
except ImportError:  # commits of before the rooms
    from authz.clients import add_client
from authz.database import connect, migrate
from benchmarks import data
database = connect(sys.argv[1])
migrate(database)
database.connect(reuse_if_open=True)
world = data.fill(database, 2000, 1)
print(add_client(database, name="bench", scopes=("decide",), now=datetime.now(UTC)))
print(json.dumps([list(question) for question in data.questions(world, 500, 3)]))
"""
_SERVE = "import sys; sys.argv[0] = 'caregrant'; from authz.cli import main; main()"


@dataclass
class Service:
    """A running service, and the bodies of questions to it."""

    process: subprocess.Popen[bytes]
    port: int
    key: str
    bodies: list[str]

    def ask(self, count: int, connections: int) -> None:
        """Ask a number of evaluations over connections that are kept open."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

        def ask_evaluations() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            for number in range(count // connections):
                body = self.bodies[number % len(self.bodies)]
                connection.request("POST", "/access/v1/evaluation", body, headers)
                response = connection.getresponse()
                response.read()
                assert response.status == 200, response.status

        threads = [threading.Thread(target=ask_evaluations) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def processor_seconds(self) -> float:
        """Return the processor seconds that its processes have used."""
        pids = [self.process.pid, *_children(self.process.pid)]
        ticks = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(pid for child in children for pid in _children(child))]


@contextmanager
def _served(source: Path, mode: str) -> Iterator[Service]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "CAREGRANT_RATE": "0",
        "CAREGRANT_DECISION_LOG": mode,
    }
    with tempfile.TemporaryDirectory() as folder:
        url, port = f"sqlite:///{folder}/facts.db", free_port()
        command = [sys.executable, "-c", _PREPARE, url]
        key, questions = subprocess.check_output(command, cwd=source, env=environment, text=True).splitlines()
        bodies = [
            json.dumps(
                {
                    "subject": {"type": "practitioner", "id": who},
                    "action": {"name": "view"},
                    "resource": {"type": "patient", "id": patient},
                }
            )
            for who, patient in json.loads(questions)
        ]
        serve = [sys.executable, "-c", _SERVE, "serve", "--database", url, "--port", str(port), "--workers", "2"]
        process = subprocess.Popen(serve, cwd=source, env=environment)
        try:
            _wait_for(port)
            yield Service(process, port, key, bodies)
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the service does not answer")


@contextmanager
def _source(commit: str) -> Iterator[Path]:
    """Check out the source of a commit into a work tree; remove the work tree at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", path, commit], cwd=HERE, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", path], cwd=HERE, check=True)


@click.command()
@click.argument("commit")
@click.option("--count", default=4000, show_default=True, help="Evaluations a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--mode", default="durable", show_default=True, help="CAREGRANT_DECISION_LOG of both.")
@click.option("--connections", default=(1, 2, 16), show_default=True, multiple=True)
def main(commit: str, count: int, rounds: int, mode: str, connections: tuple[int, ...]) -> None:
    """Measure single evaluations beside those of COMMIT."""
    with ExitStack() as stack:
        old = stack.enter_context(_served(stack.enter_context(_source(commit)), mode))
        new = stack.enter_context(_served(HERE, mode))
        for number in connections:
            ratios: list[tuple[float, float]] = []
            for service in (old, new):
                service.ask(WARM_UP, number)
            for _ in range(rounds):
                used, took = [], []
                for service in (old, new):
                    before, began = service.processor_seconds(), time.perf_counter()
                    service.ask(count, number)
                    took.append(time.perf_counter() - began)
                    used.append(service.processor_seconds() - before)
                ratios.append((used[0] / used[1], took[0] / took[1]))
            processor, speed = (statistics.median(side) for side in zip(*ratios, strict=True))
            click.echo(
                f"{mode}, {number} connections: processor time {processor:.2f}, evaluations a second {speed:.2f}"
            )


if __name__ == "__main__":
    main()
