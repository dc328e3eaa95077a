"""The measures: each compares the answers of both sides, then times the sides in turn, round after round.

A round gives one ratio; the median of the ratios is reported, so that a noisy moment touches both sides or neither.
"""

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from authz.database import close_all, connect, migrate
from authz.importing import import_facts
from authz.policy.compiler import load
from authz.policy.pdp import PDP, open_pdp
from authz.settings import shipped_folder
from benchmarks import contestants, data
from benchmarks.data import NOW, World

Run = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """One line of the table; `ratio` is Caregrant's speed over the other's, `target` the least ratio that is enough."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: float
    target: float


@dataclass(frozen=True)
class Bench:
    """A filled database with a PDP on it, and the facts that questions are made from."""

    pdp: PDP
    world: World
    seed: int
    rounds: int

    def pairs(self, count: int) -> list[tuple[str, str]]:
        return data.questions(self.world, count, self.seed + 1)


def prepared(url: str, patients: int, seed: int, rounds: int) -> Bench:
    """Create and fill a database at a URL."""
    database = connect(url)
    migrate(database)
    database.connect(reuse_if_open=True)
    world = data.fill(database, patients, seed)
    close_all(database)
    pdp = open_pdp(url, clock=lambda: NOW)
    pdp.database.connect(reuse_if_open=True)
    return Bench(pdp, world, seed, rounds)


def _agree(name: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise SystemExit(f"{name} does not agree with Caregrant, so its speed means nothing")


def _time(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _race(rounds: int, ours: Run, theirs: Run) -> tuple[float, float, float]:
    """Return the median seconds of both, and the median of their ratios: above 1, ours is the faster."""
    ours(), theirs()
    timed = [(_time(ours), _time(theirs)) if turn % 2 else (_time(theirs), _time(ours))[::-1] for turn in range(rounds)]
    mine, other = zip(*timed, strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(b / a for a, b in timed)


def _prepare_run(ask: contestants.Ask, pairs: Sequence[tuple[str, str]]) -> Run:
    return lambda: [ask(who, patient) for who, patient in pairs]


def _rate(seconds: float, count: int) -> str:
    return f"{count / seconds:,.0f}/s"


def _spent(seconds: float, count: int = 1) -> str:
    each = seconds / count
    return f"{each * 1e6:,.0f} µs" if each < 0.01 else f"{each:.2f} s"


def _against(bench: Bench, name: str, ask: contestants.Ask, count: int, target: float) -> Result:
    pairs = bench.pairs(count)
    ours, theirs = _prepare_run(contestants.caregrant(bench.pdp), pairs), _prepare_run(ask, pairs)
    _agree(name, ours(), theirs())
    mine, other, ratio = _race(bench.rounds, ours, theirs)
    return Result("evaluate", _rate(mine, count), name, _rate(other, count), ratio, target)


def evaluate(bench: Bench) -> Iterator[Result]:
    """Measure single decisions beside every contestant."""
    database = bench.pdp.database
    yield _against(bench, "a query by hand", contestants.by_hand(database), 5000, 1 / 3)
    yield _against(bench, "Oso over Peewee objects", contestants.plain_oso(database), 40, 30)
    for name, made in (("cedarpy", contestants.cedar(database)), ("pycasbin", contestants.casbin(database))):
        if made is not None:
            yield _against(bench, name, made, 500, 1)


def evaluate_many(bench: Bench) -> Iterator[Result]:
    """Measure decisions in batches of a hundred."""
    pairs = bench.pairs(5000)
    questions = [(("practitioner", who), "view", ("patient", patient)) for who, patient in pairs]
    by_hand = contestants.batch_by_hand(bench.pdp.database)
    batches = range(0, len(pairs), 100)

    def ours() -> list[bool]:
        return [
            decision.allowed
            for begin in batches
            for decision in bench.pdp.evaluate_many(questions[begin : begin + 100])
        ]

    def theirs() -> list[bool]:
        return [allowed for begin in batches for allowed in by_hand(pairs[begin : begin + 100])]

    _agree("the batch by hand", ours(), theirs())
    mine, other, ratio = _race(bench.rounds, ours, theirs)
    yield Result(
        "evaluate_many of 100", _rate(mine, 5000), "a batch by hand (json_each)", _rate(other, 5000), ratio, 100 / 330
    )


def search(bench: Bench) -> Iterator[Result]:
    """Measure searches: the patients of a practitioner, and the practitioners of a patient."""
    pdp, pairs = bench.pdp, bench.pairs(1000)
    list_by_hand, who_by_hand = contestants.list_by_hand(pdp.database), contestants.who_by_hand(pdp.database)
    kinds: list[tuple[str, Run, Run]] = [
        (
            "search of resources",
            lambda: [pdp.search_resources(("practitioner", who), "view", "patient") for who, _ in pairs],
            lambda: [list_by_hand(who) for who, _ in pairs],
        ),
        (
            "search of subjects",
            lambda: [pdp.search_subjects("practitioner", "view", ("patient", patient)) for _, patient in pairs],
            lambda: [who_by_hand(patient) for _, patient in pairs],
        ),
    ]
    for what, ours, theirs in kinds:
        _agree(what, ours(), theirs())
        mine, other, ratio = _race(bench.rounds, ours, theirs)
        yield Result(what, _spent(mine, 1000), "a query by hand", _spent(other, 1000), ratio, 1 / 3)


def matrix(bench: Bench) -> Iterator[Result]:
    """Measure the access matrix: every permitted pair."""
    by_hand = contestants.matrix_by_hand(bench.pdp.database)

    def ours() -> list[tuple[str, str]]:
        return [(entry.subject, entry.resource) for entry in bench.pdp.matrix("practitioner", "view", "patient")]

    count = len(ours())
    _agree("the matrix by hand", ours(), by_hand())
    mine, other, ratio = _race(max(3, bench.rounds // 2), ours, by_hand)
    yield Result(f"matrix of {count:,} pairs", _spent(mine), "a query by hand", _spent(other), ratio, 1 / 2)


def growth(small: Bench, large: Bench) -> Iterator[Result]:
    """Compare the same evaluation over a hundred times as many facts."""
    sizes = [len(bench.world.owners) for bench in (large, small)]
    ours, theirs = (_prepare_run(contestants.caregrant(bench.pdp), bench.pairs(5000)) for bench in (large, small))
    mine, other, ratio = _race(small.rounds, ours, theirs)
    yield Result(
        f"evaluate, {sizes[0]:,} patients",
        _rate(mine, 5000),
        f"{sizes[1]:,} patients",
        _rate(other, 5000),
        ratio,
        1 / 1.5,
    )


QUIET = 111_000
"""Queries by hand that the quiet machine answers in a second; the target of the import was set for that machine."""


def importing(bench: Bench, folder: Path) -> Iterator[Result]:
    """Measure the lines of an import: half patients, half shares.

    The target of 20,000 lines a second is for a quiet machine. If a query by hand is slower here than there, the target
    is lower in the same proportion. Both are measured in the same round.
    """
    lines = [orjson.dumps({"subscription": {"id": "clinic", "name": "Clinic"}})]
    for name in ("alice", "bob"):
        lines.append(orjson.dumps({"practitioner": {"id": name, "login": f"{name}@clinic.example", "name": name}}))
        lines.append(orjson.dumps({"membership": {"practitioner": name, "subscription": "clinic", "role": "member"}}))
    for number in range(len(bench.world.owners) // 4):
        patient = {"id": f"p-{number}", "subscription": "clinic", "name": f"Patient {number}", "owner": "alice"}
        lines.append(orjson.dumps({"patient": patient}))
        lines.append(orjson.dumps({"grant": {"patient": f"p-{number}", "practitioner": "bob", "role": "viewer"}}))
    text = b"\n".join(lines) + b"\n"
    types, by_hand = (
        load(shipped_folder("policies")).types,
        _prepare_run(contestants.by_hand(bench.pdp.database), bench.pairs(5000)),
    )
    by_hand()
    rates = []
    for turn in range(5):
        hand = 5000 / min(_time(by_hand) for _ in range(3))
        database = connect(f"sqlite:///{folder}/import-{turn}.db")
        migrate(database)
        spent = _time(partial(import_facts, database, io.BytesIO(text), types, now=NOW))
        close_all(database)
        rates.append((len(lines) / spent, 20_000 * hand / QUIET))
    ours, target = (statistics.median(side) for side in zip(*rates, strict=True))
    ratio = statistics.median(rate / needed for rate, needed in rates)
    yield Result("import", f"{ours:,.0f} lines/s", "20,000, as slow as by hand", f"{target:,.0f} lines/s", ratio, 1)


_START = """
import sys
from authz.cli import main
sys.argv = ["caregrant", "check", "practitioner:practitioner-0", "view", "patient:p-0", "--database", {url!r}]
try:
    main()
finally:
    print(*sorted({{"pandas", "flask", "werkzeug"}} & set(sys.modules)), file=sys.stderr)
"""


def start(url: str, rounds: int) -> Iterator[Result]:
    """Measure `caregrant check`, from start to exit, beside a Python that only imports its libraries."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    loaded = run("-c", _START.format(url=url)).stderr.strip()
    if loaded:
        raise SystemExit(f"caregrant check loads {loaded}")
    check = ["-m", "authz.cli", "check", "practitioner:practitioner-0", "view", "patient:p-0", "--database", url]
    mine, other, ratio = _race(rounds, lambda: run(*check), lambda: run("-c", "import oso, peewee, click, orjson"))
    yield Result(
        "caregrant check, from start to exit", _spent(mine), "importing its libraries", _spent(other), ratio, 1 / 5
    )


def evaluate_on_postgresql(bench: Bench) -> Iterator[Result]:
    """Measure single decisions beside a query through the same driver."""
    made = _against(bench, "a query by hand (psycopg)", contestants.by_hand(bench.pdp.database), 2000, 1 / 2)
    yield Result("evaluate on PostgreSQL", made.ours, made.against, made.theirs, made.ratio, made.target)
