"""A PostgreSQL server of a test's own that may be broken: killed, paused, filled up, made read-only, followed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.postgresql_server import binaries, own, run
from tests.server import free_port

_SETTINGS = "listen_addresses=127.0.0.1 fsync=off max_connections=60 superuser_reserved_connections=3"


class Cluster:
    """One server with its data directory below `home`; its database is called ``clinic``."""

    def __init__(self, home: Path) -> None:
        found = binaries()
        if found is None:
            raise FileNotFoundError("PostgreSQL's server binaries (initdb, pg_ctl) are not installed")
        self.programs, self.home, self.data, self.port = found, home, home / "data", free_port()

    @property
    def url(self) -> str:
        return f"postgresql://caregrant@127.0.0.1:{self.port}/clinic"

    def create(self) -> None:
        """Make the data directory, start the server and create the database."""
        words = [self.programs / "initdb", "-D", self.data, "-A", "trust", "-U", "caregrant", "-E", "UTF8", "-N"]
        run([*words, "--locale=C.UTF-8"])
        self.start()
        self.execute("CREATE DATABASE clinic", database="postgres")

    def follow(self, home: Path) -> "Cluster":
        """Make a hot standby of this server, streaming, with its data below `home`."""
        standby = Cluster(home)
        source = f"postgresql://caregrant@127.0.0.1:{self.port}/postgres"
        run([self.programs / "pg_basebackup", "-D", standby.data, "-R", "-X", "stream", "-c", "fast", "-d", source])
        standby.start()
        return standby

    def start(self) -> None:
        settings = " ".join(f"-c {one}" for one in _SETTINGS.split())
        options = f"-p {self.port} -k {self.home} {settings}"
        self._control("-l", self.home / "log", "-o", options, "-w", "-t", "60", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._control("-m", mode, "-w", "stop")

    def promote(self) -> None:
        self._control("-w", "promote")

    def execute(self, sql: str, database: str = "clinic") -> None:
        url = self.url.removesuffix("clinic") + database
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.encode())

    def pids(self) -> list[int]:
        """The server's processes: the postmaster and its children."""
        postmaster = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        tasks = Path(f"/proc/{postmaster}/task").glob("*/children")
        return [postmaster, *(int(one) for task in tasks for one in task.read_text().split())]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process of the server without ending it."""
        stopped = self.pids()
        try:
            for one in stopped:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGSTOP)
            yield
        finally:
            for one in stopped:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGCONT)

    def _control(self, *words: object) -> None:
        run([self.programs / "pg_ctl", "-D", self.data, *words])


@contextmanager
def cluster(megabytes: int = 0) -> Iterator[Cluster]:
    """A running server; with `megabytes` its disk is a tmpfs of that size, which needs root."""
    home = Path(tempfile.mkdtemp(prefix="caregrant-faults-"))
    if megabytes:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", home], check=True)
    own(home)
    made = Cluster(home)
    try:
        made.create()
        yield made
    finally:
        _end(made)
        if megabytes:
            subprocess.run(["umount", "-l", home], check=True)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def standby(of: Cluster) -> Iterator[Cluster]:
    """A running hot standby of a server."""
    home = Path(tempfile.mkdtemp(prefix="caregrant-faults-"))
    own(home)
    made = of.follow(home)
    try:
        yield made
    finally:
        _end(made)
        shutil.rmtree(home, ignore_errors=True)


def _end(made: Cluster) -> None:
    with suppress(RuntimeError):  # a fault may have stopped it already
        made.stop()


@contextmanager
def pgbouncer(of: Cluster) -> Iterator[int]:
    """PgBouncer in transaction mode before a server; its port."""
    home, port = Path(tempfile.mkdtemp(prefix="caregrant-pgbouncer-")), free_port()
    own(home)
    (home / "users").write_text('"caregrant" ""\n')
    (home / "ini").write_text(
        f"[databases]\nclinic = host=127.0.0.1 port={of.port} dbname=clinic user=caregrant\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\npool_mode = transaction\nauth_type = trust\n"
        f"auth_file = {home}/users\nunix_socket_dir =\ndefault_pool_size = 8\nmax_client_conn = 200\n"
        "ignore_startup_parameters = extra_float_digits,options\n"
    )
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    user = "postgres" if os.geteuid() == 0 else None
    words = [program, str(home / "ini")]
    process = subprocess.Popen(words, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://caregrant@127.0.0.1:{port}/clinic", connect_timeout=2).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody answers on port {port}")
