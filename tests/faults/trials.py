"""Each fault, made under a running service, and what it came to."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg

from authz import demo
from authz.clients import add_client
from authz.compiler import load
from authz.database import connect, migrate, shut
from authz.settings import shipped
from tests.faults.callers import Call, Callers, during, slowest, statuses
from tests.faults.cluster import Cluster, cluster, pgbouncer, standby
from tests.server import COMMAND, free_port, serving

KINDS = ("healthz", "decision", "change")


@dataclass(frozen=True)
class Outcome:
    """What a fault came to: calls by kind and status while it lasted, the slowest of each kind (seconds), seconds from
    its end until decisions and changes were carried out again, answers that the record lacks, and wrong answers.
    """

    fault: str
    calls: dict[str, Counter[int]]
    slowest: dict[str, float]
    back: float
    lost: int
    wrong: int
    whole: bool


@dataclass(frozen=True)
class Scene:
    """Where a fault happens: the server, the URL by which services reach it, the service's processes, `seconds`."""

    server: Cluster
    service: subprocess.Popen[bytes]
    neighbour: subprocess.Popen[bytes] | None


Fault = Callable[[Scene], AbstractContextManager[None]]


# The faults.


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    """The server dies, and is started again at the end."""
    scene.server.stop()
    yield
    scene.server.start()


@contextmanager
def paused(scene: Scene) -> Iterator[None]:
    """Every process of the server stands still."""
    with scene.server.paused():
        yield


@contextmanager
def locked(table: str, scene: Scene) -> Iterator[None]:
    """Somebody holds a table with the strongest lock."""
    with psycopg.connect(scene.server.url) as connection:
        connection.execute(f'LOCK TABLE "{table}" IN ACCESS EXCLUSIVE MODE'.encode())
        yield
        connection.rollback()


@contextmanager
def without_connections(scene: Scene) -> Iterator[None]:
    """Others hold every connection that the server allows, those of the service too."""
    with ExitStack() as held:
        others = "FROM pg_stat_activity WHERE usename IS NOT NULL AND pid <> pg_backend_pid()"
        stop = threading.Event()

        def take() -> None:
            while not stop.is_set():
                try:
                    held.enter_context(psycopg.connect(scene.server.url, connect_timeout=2))
                except psycopg.OperationalError:
                    stop.wait(0.02)

        scene.server.execute(f"SELECT pg_terminate_backend(pid) {others}")
        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        try:
            yield
        finally:
            stop.set()
            taker.join()


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """The server refuses every change, as a failover or an operator makes it."""
    scene.server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    scene.server.execute("SELECT pg_reload_conf()")
    yield
    scene.server.execute("BEGIN READ WRITE; ROLLBACK")
    with psycopg.connect(scene.server.url, autocommit=True) as connection:
        connection.execute(b"SET default_transaction_read_only = off")
        connection.execute(b"ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute(b"SELECT pg_reload_conf()")


@contextmanager
def full(scene: Scene) -> Iterator[None]:
    """The server's disk is full."""
    filler = scene.server.home / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    yield
    filler.unlink()
    with ExitStack() as done:  # it may have given up for want of room
        done.callback(lambda: None)
        try:
            scene.server.execute("SELECT 1")
        except psycopg.OperationalError:
            scene.server.start()


@contextmanager
def frozen(scene: Scene) -> Iterator[None]:
    """The other service stands still amid its writes, its processes and connections included."""
    assert scene.neighbour is not None
    stopped = _family(scene.neighbour.pid)
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)


@contextmanager
def nothing(_: Scene) -> Iterator[None]:
    """No fault: what stands between (PgBouncer) is what is tried."""
    yield


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    below = [int(one) for task in Path(f"/proc/{pid}/task").glob("*/children") for one in task.read_text().split()]
    return [pid, *(other for one in below for other in _family(one))]


TABLES = ("grant", "patient", "membership", "decision", "event", "client", "subscription", "practitioner", "tree")
FAULTS: dict[str, Fault] = {
    "server killed": killed,
    "server paused": paused,
    **{f"table {one} locked": partial(locked, one) for one in TABLES},
    "out of connections": without_connections,
    "read-only": read_only,
    "disk full": full,
    "one of two services frozen": frozen,
    "PgBouncer between": nothing,
}
PROMOTED = "standby promoted"


# A trial.


def tried(name: str, seconds: float) -> Outcome:
    """Make a fault for some seconds under a service that callers call, and tell what it came to."""
    if name == PROMOTED:
        return _promoted(seconds)
    with cluster(megabytes=600 if name == "disk full" else 0) as server:
        decide, act = _fill(server.url)
        with pgbouncer(server) if name == "PgBouncer between" else nullcontext(server.port) as port:
            url = server.url.replace(str(server.port), str(port))
            with _service(url) as (at, service), ExitStack() as others:
                neighbour = None
                if name == "one of two services frozen":
                    beside, neighbour = others.enter_context(_service(url))
                    others.callback(Callers(beside, decide, act).stop)
                scene = Scene(server, service, neighbour)
                callers = Callers(at, decide, act)
                try:
                    return _outcome(name, callers, server.url, partial(FAULTS[name], scene), seconds)
                finally:
                    callers.stop()


def _promoted(seconds: float) -> Outcome:
    """The primary dies and its standby takes over; services know both hosts."""
    with cluster() as server:
        decide, act = _fill(server.url)
        server.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        with standby(server) as second:
            server.execute("SELECT pg_reload_conf()")
            hosts = f"127.0.0.1:{server.port},127.0.0.1:{second.port}"
            url = f"postgresql://caregrant@{hosts}/clinic?target_session_attrs=read-write"

            @contextmanager
            def fault() -> Iterator[None]:
                server.stop()
                yield
                second.promote()
                second.execute("ALTER SYSTEM RESET synchronous_standby_names")
                second.execute("SELECT pg_reload_conf()")

            with _service(url) as (at, _):
                callers = Callers(at, decide, act)
                try:
                    return _outcome(PROMOTED, callers, second.url, fault, seconds)
                finally:
                    callers.stop()


def _fill(url: str) -> tuple[str, str]:
    """The demonstration clinic, and the keys of an app that asks and of one that acts."""
    database, began = connect(url), datetime.now(UTC) - timedelta(hours=1)
    migrate(database)
    demo.fill(database, load(shipped("policies")).types, began)
    keys = (
        add_client(database, name="asks", scopes=("decide",), now=began),
        add_client(database, name="acts", scopes=("act",), now=began),
    )
    shut(database)
    return keys


@contextmanager
def _service(url: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    environment = {"CAREGRANT_FSYNC": "true"}
    with serving("serve", "--database", url, port=port, environment=environment) as process:
        yield port, process


def _outcome(
    name: str, callers: Callers, url: str, fault: Callable[[], AbstractContextManager[None]], seconds: float
) -> Outcome:
    began = time.monotonic()
    _until(lambda: callers.answered("decision", began) and callers.answered("change", began), 30)
    with fault():
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
    over = time.monotonic()
    _until(lambda: callers.answered("decision", over) and callers.answered("change", over), 60)
    back = time.monotonic() - over
    callers.stop()
    calls = during(callers.calls, begin, end)
    lost = _lost(url, callers.calls)
    wrong = sum(not one.right for one in callers.calls)
    by_kind = {kind: statuses(calls, kind) for kind in KINDS}
    verified = subprocess.run([COMMAND, "audit", "verify", "--database", url], capture_output=True, check=False)
    whole = verified.returncode == 0
    return Outcome(name, by_kind, {kind: slowest(calls, kind) for kind in KINDS}, back, lost, wrong, whole)


def _lost(url: str, calls: list[Call]) -> int:
    """How many answers that were given are in no record."""
    with psycopg.connect(url) as connection:
        decided = {one for (one,) in connection.execute(b"SELECT request_id FROM decision")}
        changed = {one for (one,) in connection.execute(b"SELECT request_id FROM event")}
    record = {"decision": decided, "change": changed}
    given = [one for one in calls if one.kind in record and one.status in (200, 201)]
    return sum(one.request not in record[one.kind] for one in given)


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.05)
