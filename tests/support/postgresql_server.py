"""A real PostgreSQL for tests and benchmarks: Debian's binaries, an empty data directory, loopback only.

It is stopped by `pg_ctl` on its own data directory, never by name.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


def binaries() -> Path | None:
    """Return the folder that holds `initdb` and `pg_ctl`, or None if PostgreSQL is not installed."""
    initdb = shutil.which("initdb")
    folders = [Path(initdb).resolve().parent] if initdb else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@dataclass
class Server:
    """A server in a folder of its own; `start` and `stop` it as often as a test wants."""

    folder: Path
    home: Path
    port: int
    options: str = ""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def url(self) -> str:
        return f"postgresql://caregrant@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the id of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 {self.options}"
        self._control("-l", self.home / "log", "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "-w", "stop")

    def _control(self, *arguments: object) -> None:
        _run([self.folder / "pg_ctl", "-D", self.data, *arguments])

    def copy(self) -> "Server":
        """Start a standby of this server."""
        other = Server(self.folder, Path(tempfile.mkdtemp(prefix="caregrant-pg-")), _free_port(), self.options)
        _own(other.home)
        _run([self.folder / "pg_basebackup", "-D", other.data, "-R", "-X", "stream", "-c", "fast", "-d", self.url])
        other.start()
        return other


_DURABLE = "-c fsync=on"
_TRANSIENT = "-c fsync=off -c full_page_writes=off -c autovacuum=off -c jit=off -c max_wal_size=256MB"
"""Settings of a server that need not survive a crash, and whose databases live for a test."""


@contextmanager
def running(options: str = "", *, fsync: bool = False) -> Iterator[Server]:
    """Run a server; stop it at the end if it still runs."""
    folder = binaries()
    if folder is None:
        raise FileNotFoundError("PostgreSQL's server binaries (initdb, pg_ctl) are not installed")
    settings = f"-c timezone=Asia/Tokyo {_DURABLE if fsync else _TRANSIENT} {options}"
    instance = Server(folder, Path(tempfile.mkdtemp(prefix="caregrant-pg-")), _free_port(), settings)
    try:
        _own(instance.home)
        _run(
            [folder / "initdb", "-D", instance.data, "-A", "trust", "-U", "caregrant", "-E", "UTF8", "--locale=C.UTF-8"]
        )
        instance.start()
        yield instance
    finally:
        remove(instance)


def remove(instance: Server) -> None:
    """Stop a server, if it runs, and remove its folder."""
    with suppress(RuntimeError):
        instance.stop()
    shutil.rmtree(instance.home, ignore_errors=True)


@contextmanager
def server(*, fsync: bool = False, by_socket: bool = False) -> Iterator[str]:
    """Run a server; yield its URL without a database name: ``postgresql://caregrant@127.0.0.1:port``.

    `by_socket`: yield the URL of its socket in the file system, as a client on the same machine reaches it.

    `fsync`: write durably, which tests do not need.
    """
    with running(fsync=fsync) as instance:
        yield (
            f"postgresql://caregrant@{quote(str(instance.home), safe='')}:{instance.port}"
            if by_socket
            else instance.url
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _own(home: Path) -> None:
    """Give the folder to PostgreSQL's own user if this process is root, because PostgreSQL does not run as root."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(home, user.pw_uid, user.pw_gid)


def _run(command: list[object]) -> None:
    # Not a pipe: the server that pg_ctl starts would keep it open.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(part) for part in command],
            user=user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[0]} failed: {output.read().decode(errors='replace')}")
