"""Answers over HTTP beside those of the same service without a record, and of an empty view: ratios within a round.

    python -m benchmarks.answers [--patients 10000] [--seconds 3] [--rounds 5]

Four services run at once, with two workers each: durable on SQLite, with the decision log off, durable on PostgreSQL,
and an empty Flask view behind the same gateway. One client process asks them in turn over sixteen connections. Before
that, the services' answers to the same questions must be equal. Each ratio is taken within a round, and the median of
the rounds counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from authz.callers.clients import add_client
from authz.database import Database, close_all, connect, migrate
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import Grant
from authz.policy.pdp import open_pdp
from benchmarks import data
from benchmarks.load import Measured, ask_once, put_under_load, request_bytes
from tests.support import postgresql_server
from tests.support.server import free_port, serving

EVALUATION = "/access/v1/evaluation"
CONNECTIONS, WORKERS, BATCH, LIST = 16, 2, 50, 72
_DURABLE, _OFF, _POSTGRESQL, _EMPTY = "durable", "off", "durable on PostgreSQL", "an empty view"


@dataclass(frozen=True)
class Line:
    """A line of the table; `most` says that the figure must not exceed the target."""

    what: str
    figure: float
    target: float
    most: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        return self.figure <= self.target if self.most else self.figure >= self.target

    def __str__(self) -> str:
        sign, met = "≤" if self.most else "≥", "yes" if self.is_met else "NO"
        return f"| {self.what} | {self.figure:.2f}{self.unit} | {sign} {self.target:g}{self.unit} | {met} |"


@dataclass(frozen=True)
class Service:
    """A running service: its first process, its port, and the key of an app."""

    pid: int
    port: int
    key: str

    def requests(self, path: str, bodies: Sequence[object]) -> list[bytes]:
        return [request_bytes(path, json.dumps(body).encode(), self.key) for body in bodies]

    def load(
        self,
        path: str,
        bodies: Sequence[object],
        seconds: float,
        connections: int = CONNECTIONS,
        rate: float | None = None,
    ) -> Measured:
        """Put the service under load, as `put_under_load` does."""
        requests = self.requests(path, bodies)
        return put_under_load(self.port, requests, connections=connections, seconds=seconds, rate=rate)

    def processor_seconds(self) -> float:
        """Return the processor seconds that its processes have used."""
        ticks = 0
        for pid in descendants(self.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Return the memory of its workers and its sealer: their share of what processes hold in common (PSS)."""
        kilobytes = 0
        for pid in descendants(self.pid)[1:]:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return kilobytes / 1024


def descendants(pid: int) -> list[int]:
    """Return a process and all processes that it started."""
    listings = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(below for listing in listings for child in listing.split() for below in descendants(int(child)))]


@contextmanager
def served(url: str, mode: str, patients: int) -> Iterator[tuple[Service, data.World]]:
    """Run the service on seeded facts."""
    database = connect(url)
    migrate(database)
    database.connect(reuse_if_open=True)
    world = data.fill(database, patients, 1)
    _share_with(database, world, LIST)
    key = add_client(database, name="bench", scopes=("decide",), now=datetime.now(UTC))
    close_all(database)
    port = free_port()
    environment = {"CAREGRANT_RATE": "0", "CAREGRANT_DECISION_LOG": mode}
    with serving("serve", "--database", url, "--workers", str(WORKERS), port=port, environment=environment) as process:
        yield Service(process.pid, port, key), world


@contextmanager
def empty_view() -> Iterator[Service]:
    """Run the empty view (`benchmarks.empty_view`) behind the same server and gateway."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.empty_view", str(port), str(WORKERS)])
    service = Service(process.pid, port, "none")
    try:
        for _ in range(300):
            try:
                ask_once(port, service.requests("/", [{}])[0])
                break
            except OSError:
                time.sleep(0.1)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def question(who: str, patient: str) -> dict[str, object]:
    """Return the body of a question whether a practitioner may view a patient."""
    return {
        "subject": {"type": "practitioner", "id": who},
        "action": {"name": "view"},
        "resource": {"type": "patient", "id": patient},
    }


def _agree(services: Sequence[Service], bodies: Sequence[object]) -> None:
    """Raise `SystemExit` if two services answer a question differently."""
    for body in bodies:
        answers = []
        for service in services:
            answer = json.loads(ask_once(service.port, service.requests(EVALUATION, [body])[0]))
            answer["context"].pop("evaluated_at")
            answers.append(answer)
        if any(answer != answers[0] for answer in answers):
            raise SystemExit(f"the services do not agree: {answers}")


def measure(patients: int, seconds: float, rounds: int) -> Iterator[Line]:
    """Measure all lines of the table."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="caregrant-bench-"))
        postgresql = stack.enter_context(postgresql_server.server(fsync=True, by_socket=True))
        durable, world = stack.enter_context(served(f"sqlite:///{folder}/durable.db", "durable", patients))
        off, _ = stack.enter_context(served(f"sqlite:///{folder}/off.db", "off", patients))
        on_postgresql, _ = stack.enter_context(served(f"{postgresql}/postgres", "durable", patients))
        empty = stack.enter_context(empty_view())
        pairs = data.questions(world, 500, 3)
        bodies = [question(*pair) for pair in pairs]
        _agree((durable, off, on_postgresql), bodies[:100])
        services = {_DURABLE: durable, _OFF: off, _POSTGRESQL: on_postgresql, _EMPTY: empty}
        yield from _single(services, bodies, seconds, rounds)
        yield Line("memory of two workers and the sealer (PSS)", durable.megabytes(), 180, most=True, unit=" MB")
        yield from _batches(durable, off, pairs, seconds, rounds)
        yield from _lists(durable, f"sqlite:///{folder}/durable.db", world, seconds, rounds)


def _single(services: dict[str, Service], bodies: Sequence[object], seconds: float, rounds: int) -> Iterator[Line]:
    path = EVALUATION
    for service in services.values():
        service.load(path, bodies, 1)
    rates: dict[str, list[float]] = {name: [] for name in services}
    costs: dict[str, list[float]] = {name: [] for name in services}
    tails: list[tuple[float, float]] = []
    for _ in range(rounds):
        for name, service in services.items():
            before = service.processor_seconds()
            measured = service.load(path, bodies, seconds)
            rates[name].append(measured.rate)
            costs[name].append((service.processor_seconds() - before) / measured.answers)
            if name == _DURABLE:
                median = measured.percentile(50)
                tails.append((measured.percentile(99) / median, max(measured.latencies) / median))
    for name in services:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        click.echo(f"{name}: {rate:,.0f} answers/s, {cost * 1e6:,.0f} µs of processor each", err=True)

    def ratio(figures: dict[str, list[float]], ours: str, theirs: str) -> float:
        return statistics.median(a / b for a, b in zip(figures[ours], figures[theirs], strict=True))

    yield Line("durable on SQLite beside *off*", ratio(rates, _DURABLE, _OFF), 0.75)
    yield Line("*off* beside the empty view", ratio(rates, _OFF, _EMPTY), 0.65)
    yield Line("durable on PostgreSQL beside durable on SQLite", ratio(rates, _POSTGRESQL, _DURABLE), 0.9)
    yield Line("processor time of a durable answer beside the empty view", ratio(costs, _DURABLE, _EMPTY), 2.5, True)
    p99, longest = (statistics.median(side) for side in zip(*tails, strict=True))
    yield Line("p99 beside p50, durable, sealing under way", p99, 2.5, most=True)
    yield Line("longest beside p50, durable, sealing under way", longest, 10, most=True)


def _batches(
    durable: Service, off: Service, pairs: Sequence[tuple[str, str]], seconds: float, rounds: int
) -> Iterator[Line]:
    path = "/access/v1/evaluations"
    items = [question(*pair) for pair in pairs]
    bodies = [{"evaluations": items[begin : begin + BATCH]} for begin in range(0, len(items), BATCH)]
    ratios = []
    for _ in range(rounds):
        rates = [service.load(path, bodies, seconds).rate for service in (durable, off)]
        ratios.append(rates[0] / rates[1])
    click.echo(f"batches of {BATCH}: {rates[0] * BATCH:,.0f} and {rates[1] * BATCH:,.0f} decisions/s", err=True)
    yield Line(f"batches of {BATCH}, durable, beside *off*", statistics.median(ratios), 0.7)


def _lists(service: Service, url: str, world: data.World, seconds: float, rounds: int) -> Iterator[Line]:
    """Compare the seconds of a search of about `LIST` resources over HTTP with those of the search in this process."""
    with open_pdp(url) as pdp:
        pdp.database.connect(reuse_if_open=True)
        who = _viewer(world)

        def search() -> list[str]:
            return pdp.search_resources(("practitioner", who), "view", "patient")

        body = {**question(who, ""), "resource": {"type": "patient"}}
        ratios = []
        for _ in range(rounds):
            over_http = 1 / service.load("/access/v1/search/resource", [body], seconds).rate
            began, count = time.perf_counter(), 0
            while time.perf_counter() < began + seconds / 3:
                search()
                count += 1
            in_process = (time.perf_counter() - began) / count
            ratios.append(over_http / in_process)
    click.echo(f"a list of {len(search())}: {over_http * 1e6:,.0f} µs, in process {in_process * 1e6:,.0f} µs", err=True)
    yield Line(f"a list of {LIST} over HTTP, durable, beside in process", statistics.median(ratios), 3, most=True)


def _viewer(world: data.World) -> str:
    """Return the practitioner whose list is measured."""
    return world.colleagues[1][5]


def _share_with(database: Database, world: data.World, count: int) -> None:
    """Share patients of their clinic with the practitioner whose list is measured, until the list has this length."""
    who, clinics = _viewer(world), len(world.colleagues)
    owned = {f"p-{number}" for number, owner in enumerate(world.owners) if owner == who}
    seen = owned | {patient for viewer, patient in world.viewers if viewer == who}
    others = [f"p-{number}" for number in range(1, len(world.owners), clinics) if f"p-{number}" not in seen]
    life = (to_micros(data.NOW) - 1, FOREVER_MICROS)
    grants = [(patient, who, "viewer", "share", who, "", "", "", *life) for patient in others[: count - len(seen)]]
    insert_rows(database, Grant, data.GRANT, grants)


@click.command()
@click.option("--patients", default=10_000, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each turn.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(patients: int, seconds: float, rounds: int) -> None:
    """Measure, and print the table; exit 1 if a target is missed."""
    lines = []
    for line in measure(patients, seconds, rounds):
        click.echo(line)
        lines.append(line)
    if not all(line.is_met for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
