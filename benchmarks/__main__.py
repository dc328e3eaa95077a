"""`python -m benchmarks`: fill databases, compare answers, time, print the table; `--write` puts it into README.md."""

import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import measures, operations
from benchmarks.measures import Result
from tests.support import postgresql_server

_README = Path(__file__).with_name("README.md")
_MARKS = "<!-- table -->\n", "<!-- end -->\n"


@click.command()
@click.option("--patients", default=100_000, show_default=True, help="How many patients; half as many shares.")
@click.option("--seed", default=1, show_default=True, help="Of the facts and the questions.")
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Of timing, both sides in each.")
@click.option("--quick", is_flag=True, help="A small run, to see that all sides agree.")
@click.option(
    "--only",
    metavar="MEASURE",
    help="evaluate, evaluate_many, search, matrix, growth, import, start, postgresql, operations",
)
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(patients: int, seed: int, rounds: int, quick: bool, only: str | None, write: bool) -> None:
    """Measure, and print the table; exit 1 if a target is missed."""
    if quick:
        patients, rounds = 1000, 1
    with tempfile.TemporaryDirectory(prefix="caregrant-bench-") as folder:
        results = []
        for result in _results(Path(folder), patients, seed, rounds, only):
            results.append(result)
            click.echo(_line(result))
    if write:
        before, rest = _README.read_text().split(_MARKS[0])
        after = rest.split(_MARKS[1])[1]
        _README.write_text(f"{before}{_MARKS[0]}{_table(results, patients)}{_MARKS[1]}{after}")
    if not quick and any(result.ratio < result.target for result in results):
        raise SystemExit(1)


def _results(folder: Path, patients: int, seed: int, rounds: int, only: str | None) -> Iterator[Result]:
    def wanted(*names: str) -> bool:
        return only is None or only in names

    if wanted("evaluate", "evaluate_many", "search", "matrix", "start", "import"):
        url = f"sqlite:///{folder}/facts.db"
        bench = measures.prepared(url, patients, seed, rounds)
        for measure in (measures.evaluate, measures.evaluate_many, measures.search, measures.matrix):
            if wanted(measure.__name__):
                yield from measure(bench)
        if wanted("start"):
            yield from measures.start(url, rounds)
        if wanted("import"):
            yield from measures.importing(bench, folder)
        bench.pdp.close()
    if wanted("growth"):
        small, large = (
            measures.prepared(f"sqlite:///{folder}/{size}.db", size, seed, rounds)
            for size in (patients // 10, patients * 10)
        )
        yield from measures.growth(small, large)
    if wanted("operations"):
        yield from operations.writes(f"sqlite:///{folder}/operations.db", "SQLite", rounds, 32 * rounds)
        if postgresql_server.binaries() is not None:
            with postgresql_server.server(fsync=True, by_socket=True) as server:
                yield from operations.writes(f"{server}/postgres", "PostgreSQL", rounds, 32 * rounds)
    if wanted("postgresql") and postgresql_server.binaries() is not None:
        with postgresql_server.server() as server:
            bench = measures.prepared(f"{server}/postgres", patients, seed, rounds)
            yield from measures.evaluate_on_postgresql(bench)
            bench.pdp.close()


def _line(result: Result) -> str:
    ratio = f"{result.ratio:.2f}" if result.ratio < 10 else f"{result.ratio:.0f}"
    target = f"{result.target:.2f}" if result.target < 1 else f"{result.target:.0f}"
    met = "yes" if result.ratio >= result.target else "NO"
    return f"| {result.what} | {result.ours} | {result.against} | {result.theirs} | {ratio} | {target} | {met} |"


def _table(results: list[Result], patients: int) -> str:
    head = ["| What | Caregrant | Beside it | Its speed | Ratio | Target | Met |", "|---|---|---|---|---|---|---|"]
    today = datetime.now(UTC).date().isoformat()
    machine = (
        f"{patients:,} patients on {today}: {os.cpu_count()} cores of {_processor()}, Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}.\n\n"
    )
    return machine + "\n".join([*head, *map(_line, results)]) + "\n"


def _processor() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return models[0].split(":", 1)[1].strip() if models else platform.machine()


if __name__ == "__main__":
    main()
