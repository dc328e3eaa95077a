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
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def binaries() -> Path | None:
    """The folder that holds `initdb` and `pg_ctl`, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def server(*, fsync: bool = False, by_socket: bool = False) -> Iterator[str]:
    """A running server; its URL without a database name: ``postgresql://caregrant@127.0.0.1:port``, or `by_socket` that
    of its socket in the file system, as one on the same machine is reached.

    Tests outlive no power loss; with `fsync` it writes as one that must.
    """
    folder = binaries()
    if folder is None:
        raise FileNotFoundError("PostgreSQL's server binaries (initdb, pg_ctl) are not installed")
    home = Path(tempfile.mkdtemp(prefix="caregrant-pg-"))
    data, port = home / "data", _free_port()
    try:
        own(home)
        run([folder / "initdb", "-D", data, "-A", "trust", "-U", "caregrant", "-E", "UTF8", "--locale=C.UTF-8"])
        options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c timezone=Asia/Tokyo -c fsync={fsync:d}"
        run([folder / "pg_ctl", "-D", data, "-l", home / "log", "-o", options, "-w", "-t", "60", "start"])
        try:
            yield f"postgresql://caregrant@{quote(str(home), safe='') if by_socket else '127.0.0.1'}:{port}"
        finally:
            run([folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def own(home: Path) -> None:
    """PostgreSQL refuses to run as root: then its own user gets the folder."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(home, user.pw_uid, user.pw_gid)


def run(command: list[object]) -> None:
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
