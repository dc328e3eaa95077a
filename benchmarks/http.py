"""AuthZEN over HTTP: a batch beside single questions, and pages of a search among many patients.

    python -m benchmarks.http [--patients 100000] [--seconds 3] [--rounds 5]

A server process on SQLite, two clients that keep their connections; both sides take turns, the median counts. Pages are
those of `receive`: it permits a member every patient of their clinic, so that there are many pages.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from authz.callers.clients import add_client
from authz.database import close_all, connect, migrate
from benchmarks import data
from tests.support.server import free_port, serving

BATCH, PAGE, CLIENTS = 100, 50, 2


class Service:
    """A server on seeded facts, with a client's key."""

    def __init__(self, port: int, key: str, world: data.World) -> None:
        self.port, self.world = port, world
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def post(self, connection: http.client.HTTPConnection, path: str, body: Any) -> Any:
        connection.request("POST", f"/access/v1/{path}", json.dumps(body), self._headers)
        response = connection.getresponse()
        content = json.loads(response.read())
        assert response.status == 200, content
        return content

    def items(self, count: int, seed: int) -> list[Any]:
        """Return questions of two actions about two types."""
        made = []
        for at, (who, which) in enumerate(data.questions(self.world, count, seed)):
            resource = ("patient", which) if at % 5 else ("subscription", f"clinic-{at % 7}")
            action = "view" if at % 3 and at % 5 else "receive"
            made.append(
                {
                    "subject": {"type": "practitioner", "id": who},
                    "action": {"name": action},
                    "resource": {"type": resource[0], "id": resource[1]},
                }
            )
        return made

    def rate(self, seconds: float, size: int) -> float:
        """Return the decisions in a second, singly (size 1) or in batches."""

        def ask(seed: int) -> int:
            connection, items, done = http.client.HTTPConnection("127.0.0.1", self.port), self.items(2000, seed), 0
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                some = [items[(done + at) % 2000] for at in range(size)]
                if size == 1:
                    self.post(connection, "evaluation", some[0])
                else:
                    assert len(self.post(connection, "evaluations", {"evaluations": some})["evaluations"]) == size
                done += size
            return done

        with ThreadPoolExecutor(CLIENTS) as pool:
            return sum(pool.map(ask, range(CLIENTS))) / seconds

    def page(self, walks: int, seed: int) -> list[float]:
        """Return the median seconds of the first, second, … page of a search, over some practitioners."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        took: list[list[float]] = [[], [], []]
        for who, _ in data.questions(self.world, walks, seed):
            question = {"subject": {"type": "practitioner", "id": who}, "action": {"name": "receive"}}
            token = ""
            for pages in took:
                page = {"limit": PAGE, "token": token}
                began = time.perf_counter()
                answer = self.post(
                    connection, "search/resource", {**question, "resource": {"type": "patient"}, "page": page}
                )
                if len(answer["results"]) == PAGE:
                    pages.append(time.perf_counter() - began)
                token = answer["page"]["next_token"]
                if not token:
                    break
        return [statistics.median(pages) for pages in took]


@contextmanager
def served(patients: int) -> Iterator[Service]:
    """Run a service with seeded facts."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/facts.db"
        database = connect(url)
        migrate(database)
        database.connect(reuse_if_open=True)
        world = data.fill(database, patients, 1)
        key = add_client(database, name="bench", scopes=("decide",), now=datetime.now(UTC))
        close_all(database)
        port = free_port()
        with serving("serve", "--database", url, port=port, environment={"CAREGRANT_RATE": "0"}):
            yield Service(port, key, world)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds = []
    with served(arguments.patients) as service:
        for _ in range(arguments.rounds):
            rounds.append((service.rate(arguments.seconds, 1), service.rate(arguments.seconds, BATCH)))
    single, batch = (statistics.median(side) for side in zip(*rounds, strict=True))
    ratio = statistics.median(in_batches / singly for singly, in_batches in rounds)
    print(f"evaluation {single:.0f}/s, evaluations of {BATCH} {batch:.0f} decisions/s, ratio {ratio:.1f}")
    with served(arguments.patients // 10) as small, served(arguments.patients * 10) as large:
        walks = [(small.page(60, turn), large.page(60, turn)) for turn in range(arguments.rounds)]
    for number in range(3):
        less, more = (statistics.median(side[number] for side in sides) for sides in zip(*walks, strict=True))
        print(f"page {number + 1} of {PAGE}: {less * 1000:.2f} ms, ten times ten as many {more * 1000:.2f} ms")


if __name__ == "__main__":
    main()
