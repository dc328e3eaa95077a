"""`python -m benchmarks.questions`: each question of the audit at scale, its time and its peak memory.

The years of a platform are written straight into the tables, because operations would take too long: patients, grants,
memberships, and decisions in the proportions of `benchmarks.data`; the same decisions as Parquet. Each question is
asked in a process of its own, so that its peak memory is its own. `--postgresql` asks a PostgreSQL with the same rows
instead of the Parquet files.
"""

import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from authz.audit import questions as ask
from authz.audit.session import open_audit
from authz.callers.clients import add_client
from authz.database import PostgresqlDatabase, SqliteDatabase, close_all, connect, gather_statistics, migrate
from authz.database.statements import insert_rows
from authz.domain import to_micros
from authz.models import Grant
from authz.record import create_partitions
from authz.settings import shipped_folder
from benchmarks.data import NOW, fill
from tests.support import postgresql_server

_README = Path(__file__).with_name("README.md")
_MARKS = "<!-- questions -->\n", "<!-- end of questions -->\n"
_YEARS = 3
_DECIDED = (
    "at, asked_at, client_id, request_id, subject_type, subject, action, resource_type, resource, allowed, reason, "
    'rule, "grant", standing_share, policy_version, actor, address, purpose, size, subscription, membership'
)
_AT_ONCE = 100_000
_LIMIT = 1_500_000_000
_TABLES = ("subscription", "licence", "practitioner", "membership", "patient", "grant", "standing_share", "client")


def prepare(folder: Path, decisions: int, grants: int) -> str:
    """Make a database with decisions and grants, and the decisions as Parquet; return the database's URL."""
    url = f"sqlite:///{folder}/scale.db"
    database = connect(url)
    assert isinstance(database, SqliteDatabase)
    migrate(database)
    database.connect(reuse_if_open=True)
    for pragma in ("synchronous = 0", "journal_mode = off", "cache_size = -400000"):
        database.execute_sql(f"PRAGMA {pragma}")
    patients = grants * 2 // 5
    world = fill(database, patients, 1)
    add_client(database, name="bench", scopes=("decide",), subscription=None, now=NOW)
    _past_shares(database, world.colleagues, patients, grants)
    # Indexes and triggers after the rows: what a bulk load does.
    kept = database.execute_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'decision' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in kept:
        database.execute_sql(f'DROP INDEX "{name}"')
    _decide(database, world, patients, decisions)
    for _, sql in kept:
        database.execute_sql(sql)
    gather_statistics(database)
    close_all(database)
    _parquet(folder)
    return url


def _past_shares(database: SqliteDatabase, colleagues: list[list[str]], patients: int, grants: int) -> None:
    """Insert shares that began and ended in the past, until there are as many grants as wanted."""
    dice = random.Random(2)
    have = Grant.select().count(database)
    begin = to_micros(NOW - timedelta(days=365 * _YEARS - 200))
    rows = []
    for number in range(grants - have):
        patient, turn = number % patients, number // patients
        here = colleagues[patient % len(colleagues)]
        at = begin + (turn * 200 + dice.randrange(90)) * 86_400_000_000
        viewer = dice.choice(here)
        rows.append((f"p-{patient}", viewer, "viewer", "share", here[0], "", "", "ended", at, at + 50 * 86_400_000_000))
    database.execute_sql("DROP TRIGGER IF EXISTS grant_insert_1")  # overlaps are impossible but for the owner's own
    fields = ("patient", "practitioner", "role", "origin", "given_by", "reason", "ended_by", "end_cause")
    with database.atomic():
        insert_rows(database, Grant, (*fields, "started_at", "ended_at"), rows)


def _decide(database: SqliteDatabase, world: Any, patients: int, decisions: int) -> None:
    dice = random.Random(3)
    begin = to_micros(NOW - timedelta(days=365 * _YEARS))
    step = (to_micros(NOW) - begin) // decisions
    version = "a" * 64
    sql = f"INSERT INTO decision ({_DECIDED}) VALUES ({', '.join('?' * 21)})"
    cursor = database.connection().cursor()
    clinics = len(world.colleagues)
    for first in range(0, decisions, _AT_ONCE):
        rows = []
        for number in range(first, min(first + _AT_ONCE, decisions)):
            at, kind = begin + number * step, number % 10
            if kind < 6:
                patient = dice.randrange(patients)
                who, rule, allowed = world.owners[patient], "R3", 1
            elif kind < 9:
                who, name = world.viewers[dice.randrange(len(world.viewers))]
                patient, rule, allowed = int(name[2:]), "R5", 1
            else:
                patient = dice.randrange(patients)
                who, rule, allowed = dice.choice(world.colleagues[patient % clinics]), "", 0
            why = "permitted" if allowed else "denied"
            row = (at, at, 1, f"r-{number}", "practitioner", who, "view", "patient", f"p-{patient}", allowed, why)
            place = (f"clinic-{patient % clinics}", "member")
            rows.append((*row, rule, None, None, version, who, "192.0.2.1", "TREAT", None, *place))
        with database.atomic():
            cursor.executemany(sql, rows)


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL with the rows of the SQLite database; yield its URL."""
    with postgresql_server.server() as server:
        url = f"{server}/postgres"
        database = connect(url)
        assert isinstance(database, PostgresqlDatabase)
        migrate(database)
        for days in range(0, 365 * _YEARS, 60):
            create_partitions(database, NOW - timedelta(days=days))
        source = sqlite3.connect(folder / "scale.db")
        with database.atomic():
            database.execute_sql("SET LOCAL session_replication_role = replica")
            for table in (*_TABLES, "decision"):
                rows = source.execute(f'SELECT * FROM "{table}"')
                columns = ", ".join(f'"{column[0]}"' for column in rows.description)
                with database.cursor().copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy:
                    for row in rows:
                        copy.write_row(row)
        source.close()
        for table in ("client", "decision"):
            database.execute_sql(f"SELECT setval('{table}_id_seq', (SELECT MAX(id) FROM {table}))")
        gather_statistics(database)
        close_all(database)
        yield url


def _parquet(folder: Path) -> None:
    """Write the decisions as an export would hold them, by months."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    from authz.audit.export.parquet import SCHEMA  # noqa: PLC0415 - needs pyarrow

    names = [f'"{name}"' if name != "client" else "client_id" for name in SCHEMA.names]
    connection = sqlite3.connect(folder / "scale.db")
    cursor = connection.execute(f"SELECT {', '.join(names)} FROM decision ORDER BY id")
    number = 0
    while rows := cursor.fetchmany(1_000_000):
        columns = [
            pa.array([bool(value) for value in column] if field.name == "allowed" else column, field.type)
            for field, column in zip(SCHEMA, zip(*rows, strict=True), strict=True)
        ]
        into = folder / f"parquet/part={number}"
        into.mkdir(parents=True)
        pq.write_table(pa.table(columns, schema=SCHEMA), into / "decisions.parquet", compression="zstd")
        number += 1
    connection.close()


@click.command()
@click.option("--decisions", default=10_000_000, show_default=True)
@click.option("--grants", default=1_000_000, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep the database here, and use the one that is there."
)
@click.option("--postgresql", is_flag=True, help="Ask a PostgreSQL, too, and not Parquet files.")
@click.option("--question", hidden=True, nargs=2, help="Ask this question of this database, in this process.")
@click.option("--parquet", hidden=True, default="")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(
    decisions: int,
    grants: int,
    folder: Path | None,
    postgresql: bool,
    question: tuple[str, str] | None,
    parquet: str,
    write: bool,
) -> None:
    """Ask every question, and print the table; exit 1 if a question takes more than 1.5 GB."""
    if question is not None:
        _ask(*question, parquet)
        return
    with tempfile.TemporaryDirectory(prefix="caregrant-scale-") as made:
        here = folder or Path(made)
        here.mkdir(parents=True, exist_ok=True)
        if not (here / "scale.db").exists():
            began = time.monotonic()
            prepare(here, decisions, grants)
            click.echo(f"prepared in {time.monotonic() - began:.0f} s")
        sized = _sized(here, decisions, grants)
        if postgresql:
            with _postgresql(here) as url:
                lines, worst = _ask_all(here, sized, "PostgreSQL", url)
        else:
            lines, worst = _ask_all(here, sized, "Parquet (DuckDB)")
    if write:
        before, rest = _README.read_text().split(_MARKS[0])
        _README.write_text(before + _MARKS[0] + "\n".join(lines) + "\n" + _MARKS[1] + rest.split(_MARKS[1])[1])
    if worst > _LIMIT:
        raise SystemExit(1)


def _sized(folder: Path, decisions: int, grants: int) -> str:
    size = (folder / "scale.db").stat().st_size
    small = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return (
        f"{decisions:,} decisions and {grants:,} grants on {datetime.now(UTC).date()}: {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}. "
        f"The database has {size / 1e9:.1f} GB, the same decisions as Parquet {small / 1e9:.2f} GB.\n"
    )


def _ask_all(folder: Path, sized: str, other: str, url: str = "") -> tuple[list[str], int]:
    """Return the table, line by line as it is printed, and the most memory that a question took.

    Beside SQLite stands the database at `url`, or the Parquet files for the questions that read decisions.
    """
    lines = [sized, f"| Question | Rows | SQLite | Memory | {other} | Memory |", "|---|---|---|---|---|---|"]
    click.echo("\n".join(lines))
    worst = 0
    for question in ask.QUESTIONS:
        costs = [_measured(question.name, f"sqlite:///{folder}/scale.db")]
        if url:
            costs.append(_measured(question.name, url))
        elif any(name.startswith("decision_") for name in question.function.__code__.co_names):  # it reads decisions
            costs.append(_measured(question.name, f"sqlite:///{folder}/scale.db", f"{folder}/parquet"))
        worst = max(worst, *(cost["memory"] for cost in costs))
        cells = [f"{cost['seconds']:.2f} s | {cost['memory'] / 1e6:.0f} MB" for cost in costs]
        cells += ["– | –"] * (2 - len(costs))
        lines.append(f"| {question.number} {question.name} | {costs[0]['rows']:,} | {' | '.join(cells)} |")
        click.echo(lines[-1])
    return lines, worst


def _measured(name: str, url: str, parquet: str = "") -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.questions", "--question", name, url, "--parquet", parquet]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        click.echo(done.stderr[-600:], err=True)
        return {"seconds": float("nan"), "memory": 0, "rows": -1}
    cost: dict[str, Any] = json.loads(done.stdout)
    return cost


def _ask(name: str, url: str, parquet: str) -> None:
    question = next(question for question in ask.QUESTIONS if question.name == name)
    needed = {"patient": "p-11", "practitioner": "practitioner-11", "subscription": "clinic-1"}
    needed["reason"] = "the measurement of questions"
    wanted = [*question.required, *(["patient"] if name == "who_is" else [])]
    arguments = {key: value for key, value in needed.items() if key in wanted}
    audit = open_audit(url, as_of=NOW, policies=shipped_folder("policies"), parquet=parquet)
    began = time.monotonic()
    answer = question(audit, **arguments)
    seconds = time.monotonic() - began
    click.echo(json.dumps({"seconds": seconds, "memory": _peak(), "rows": len(answer)}))


def _peak() -> int:
    """Return the most memory that this process had, in bytes; getrusage includes the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
