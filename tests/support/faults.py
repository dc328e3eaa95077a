"""Faults of PostgreSQL on real servers, and what apps get during each fault.

``python -m tests.support.faults`` writes the table of docs/reference/postgresql.md; the tests run each fault for some
seconds. Each fault is a function that breaks something while apps ask and change, repairs it, and returns the outcome.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from authz.audit.integrity.verification import verification
from authz.database import close_all, connect, migrate
from authz.record import seal
from tests.support.pgbouncer import pooled
from tests.support.postgresql_server import Server, remove, running
from tests.support.server import get
from tests.support.services import OK, Caller, check_nothing_lost, clinic, service, until, working

NAME = "clinic"
LIMITS = {"CAREGRANT_CONNECTION_TIMEOUT": "3000", "CAREGRANT_STATEMENT_TIMEOUT": "2000", "CAREGRANT_FSYNC": "true"}
BACK_SECONDS = 15.0
_MOST_SECONDS = 8.0
_SMALL = "32m"
_TABLES = """SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    AND NOT relispartition ORDER BY 1"""


@dataclass
class Outcome:
    """The responses to apps during a fault, and the seconds after the fault until the service answered again."""

    fault: str
    done: int = 0
    refused: int = 0
    others: set[int] = field(default_factory=set)
    slowest: float = 0.0
    health: float = 0.0
    back: float = 0.0

    def row(self) -> str:
        return (
            f"| {self.fault} | {self.done} | {self.refused} | {self.slowest:.1f} s | {self.health * 1000:.0f} ms "
            f"| {self.back:.1f} s |"
        )


class Watched:
    """A service on a database and the apps that use it."""

    def __init__(self, port: int, key: str, name: str) -> None:
        self.port, self.key = port, key
        self.callers = [Caller(port, key, f"{name}{number}") for number in range(3)]
        self.health = 0.0

    @contextmanager
    def meanwhile(self, outcome: Outcome) -> Iterator[None]:
        """Measure what the apps get while the block runs."""
        before = [len(caller.answers.got) for caller in self.callers]
        stop = threading.Event()
        watch = threading.Thread(target=self._watch, args=(stop,))
        watch.start()
        yield
        stop.set()
        watch.join()
        got = [
            answer for caller, count in zip(self.callers, before, strict=True) for answer in caller.answers.got[count:]
        ]
        outcome.done = sum(status in OK for _, status, _ in got)
        outcome.refused = sum(status == 503 for _, status, _ in got)
        outcome.others = {status for _, status, _ in got} - {*OK, 503}
        outcome.slowest = max((seconds for _, _, seconds in got), default=0.0)
        outcome.health = self.health

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.05):
            began = time.monotonic()
            get(self.port, "/healthz")
            self.health = max(self.health, time.monotonic() - began)

    def back(self) -> float:
        """Return how many seconds it takes until a decision and a change are answered."""
        prober = Caller(self.port, self.key, f"back{time.monotonic_ns()}")

        def answers() -> bool:
            try:
                return prober.ask() in OK and prober.change() in OK
            except OSError:
                return False

        return until(answers, BACK_SECONDS)


@contextmanager
def watched(url: str, key: str, name: str, **environment: str) -> Iterator[Watched]:
    with service(url, environment={**LIMITS, **environment}) as (port, _):
        yield Watched(port, key, name)


@contextmanager
def serving(options: str = "", **environment: str) -> Iterator[tuple[Server, str, Watched]]:
    """Run a server of its own with a migrated clinic, and a service on it."""
    with running(options) as server:
        url = new_clinic(server, "")
        with watched(url, clinic(url), "c", **environment) as apps:
            yield server, url, apps


def new_clinic(server: Server, more: str) -> str:
    """Create and migrate a new database of a server; return its URL."""
    with administering(server) as admin:
        admin.execute(f"CREATE DATABASE {NAME} {more}".encode())
    url = f"{server.url}/{NAME}"
    database = connect(url)
    migrate(database)
    close_all(database)
    return url


def administering(server: Server, name: str = "postgres") -> psycopg.Connection[Any]:
    return psycopg.connect(f"{server.url}/{name}", autocommit=True)


def check(url: str, apps: Watched) -> None:
    """Require that nothing answered is lost and that the record is whole."""
    database = connect(url)
    check_nothing_lost(database, *apps.callers)
    seal(database, datetime.now(UTC))
    result = verification(database)
    assert (result.ok, result.problem, result.report.unsealed) == (True, None, 0)
    close_all(database)


def killed(seconds: float) -> Outcome:
    outcome = Outcome("server killed (kill -9), started again")
    with serving() as (server, url, apps):
        with working(*apps.callers):
            time.sleep(0.5)
            with apps.meanwhile(outcome):
                os.kill(server.pid, signal.SIGKILL)
                time.sleep(seconds)
                until(lambda: _started(server), 30)
            outcome.back = apps.back()
        check(url, apps)
    return outcome


def _started(server: Server) -> bool:
    """Start a server that was killed; return False while its last process still runs."""
    try:
        server.start()
    except RuntimeError:
        return False
    return True


def paused(seconds: float) -> Outcome:
    outcome = Outcome("every process of the server paused (SIGSTOP)")
    with serving() as (server, url, apps):
        with working(*apps.callers):
            time.sleep(0.5)
            stopped = [server.pid, *_children(server.pid)]
            with apps.meanwhile(outcome):
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(seconds + 4)
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            outcome.back = apps.back()
        check(url, apps)
    return outcome


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def locked(seconds: float, tables: Sequence[str] = ()) -> list[Outcome]:
    """Lock each of these tables in turn, or each table of the database."""
    outcomes = []
    with serving() as (server, url, apps), administering(server, NAME) as other:
        rows = other.execute(_TABLES).fetchall()
        assert set(tables) <= {name for (name,) in rows}
        with working(*apps.callers):
            time.sleep(0.5)
            for table in tables or [name for (name,) in rows]:
                outcome = Outcome(f"`lock table {table}`")
                with apps.meanwhile(outcome), other.transaction():
                    other.execute(f'LOCK TABLE "{table}"'.encode())
                    time.sleep(seconds)
                outcome.back = apps.back()
                outcomes.append(outcome)
        check(url, apps)
    return outcomes


def out_of_connections(seconds: float) -> Outcome:
    outcome = Outcome("no connection left")
    with serving("-c max_connections=24") as (server, url, apps):
        with working(*apps.callers):
            time.sleep(0.5)
            with apps.meanwhile(outcome), ExitStack() as held:
                admin = held.enter_context(administering(server))
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    try:
                        held.enter_context(psycopg.connect(f"{server.url}/postgres"))
                    except psycopg.OperationalError:
                        admin.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [NAME]
                        )
            outcome.back = apps.back()
        check(url, apps)
    return outcome


def read_only(seconds: float) -> Outcome:
    outcome = Outcome("database read-only, then writable again")
    with serving() as (server, url, apps), administering(server) as admin:
        with working(*apps.callers):
            time.sleep(0.5)
            with apps.meanwhile(outcome):
                admin.execute(f"ALTER DATABASE {NAME} SET default_transaction_read_only = on")
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [NAME])
                time.sleep(seconds)
                admin.execute(f"ALTER DATABASE {NAME} RESET default_transaction_read_only")
            outcome.back = apps.back()
        check(url, apps)
    return outcome


def disk_full(seconds: float) -> Outcome:
    outcome = Outcome("disk full, then room again")
    with running() as server, _small_disk(server) as small:
        with administering(server) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{small}'".encode())
        url = new_clinic(server, "TABLESPACE small")
        with watched(url, clinic(url), "c") as apps:
            with working(*apps.callers):
                time.sleep(0.5)
                with apps.meanwhile(outcome):
                    filler = Path(small).parent / "filler"
                    with filler.open("wb") as file, _until_full():
                        while True:
                            file.write(b"\0" * 65536)
                            file.flush()
                    time.sleep(seconds)
                    filler.unlink()
                outcome.back = apps.back()
            check(url, apps)
    return outcome


@contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


@contextmanager
def _small_disk(server: Server) -> Iterator[str]:
    """Mount a folder on a small file system of its own, which the server owns. Needs root."""
    with tempfile.TemporaryDirectory(prefix="caregrant-small-") as folder:
        Path(folder).chmod(0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "tmpfs", folder], check=True)
        try:
            small = Path(folder) / "space"
            small.mkdir()
            owner = server.data.stat()
            os.chown(small, owner.st_uid, owner.st_gid)
            yield str(small)
            server.stop()
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def promoted(seconds: float) -> Outcome:
    outcome = Outcome("primary killed, standby promoted (synchronous, two hosts in the URL)")
    with running() as server:
        url = new_clinic(server, "")
        key = clinic(url)
        standby = server.copy()
        try:
            hosts = f"127.0.0.1:{server.port},127.0.0.1:{standby.port}"
            both = f"postgresql://caregrant@{hosts}/{NAME}?target_session_attrs=read-write"
            with administering(server) as admin:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
            with watched(both, key, "c", CAREGRANT_FSYNC="true") as apps:
                with working(*apps.callers):
                    time.sleep(0.5)
                    with apps.meanwhile(outcome):
                        server.stop()
                        time.sleep(seconds)
                        with administering(standby) as admin:
                            admin.execute("SELECT pg_promote()")
                    outcome.back = apps.back()
                check(f"{standby.url}/{NAME}", apps)
        finally:
            remove(standby)
    return outcome


def frozen(seconds: float) -> Outcome:
    outcome = Outcome("one of two services frozen (SIGSTOP)")
    with serving() as (_, url, apps), service(url) as (port, group):
        rest = [Caller(port, apps.key, f"f{number}") for number in range(3)]
        with working(*apps.callers, *rest):
            time.sleep(0.5)
            with apps.meanwhile(outcome):
                os.killpg(group, signal.SIGSTOP)
                time.sleep(seconds)
                os.killpg(group, signal.SIGCONT)
            outcome.back = apps.back()
        check(url, apps)
    return outcome


def pooler_gone(seconds: float) -> Outcome:
    outcome = Outcome("PgBouncer between, its server processes ended")
    with running() as server:
        url = new_clinic(server, "")
        key = clinic(url)
        with pooled(url) as through, watched(through, key, "c") as apps, administering(server) as admin:
            with working(*apps.callers):
                time.sleep(0.5)
                with apps.meanwhile(outcome):
                    until = time.monotonic() + seconds
                    while time.monotonic() < until:
                        admin.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [NAME]
                        )
                        time.sleep(0.2)
                outcome.back = apps.back()
            check(url, apps)
    return outcome


FAULTS: tuple[Callable[[float], Outcome], ...] = (
    killed,
    paused,
    out_of_connections,
    read_only,
    disk_full,
    promoted,
    frozen,
    pooler_gone,
)


def require_right(outcome: Outcome) -> None:
    """Require that refusals were 503 and in time, and that the service answered again soon."""
    assert outcome.others == set(), outcome
    assert outcome.slowest < _MOST_SECONDS, outcome
    assert outcome.back < BACK_SECONDS, outcome


def main() -> None:
    write = sys.stdout.write
    write("| Fault | done meanwhile | refused (503) | slowest answer | slowest `/healthz` | back after |\n")
    write("|---|---|---|---|---|---|\n")
    for fault in FAULTS:
        outcome = fault(5.0)
        require_right(outcome)
        write(outcome.row() + "\n")
        sys.stdout.flush()
    for outcome in locked(3.0):
        require_right(outcome)
        write(outcome.row() + "\n")


if __name__ == "__main__":
    main()
