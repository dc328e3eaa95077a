"""PgBouncer (Debian's) in transaction mode before a PostgreSQL of the tests, on loopback, ended by its own id."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.support.server import free_port
from tests.support.services import until


def binary() -> str | None:
    """Return the program, or None if it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooled(url: str, *, size: int = 10, ignore: str = "") -> Iterator[str]:
    """Run a pooler of `size` server processes; yield the URL of the same database through it.

    The pooler drops the start-up parameters `ignore`.
    """
    program = binary()
    if program is None:
        raise FileNotFoundError("pgbouncer is not installed")
    parts, port = urlsplit(url), free_port()
    home = Path(tempfile.mkdtemp(prefix="caregrant-pgbouncer-"))
    (home / "users").write_text('"caregrant" ""\n')
    (home / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={parts.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {home}/users\npool_mode = transaction\ndefault_pool_size = {size}\n"
        f"max_client_conn = 200\nlogfile = {home}/log\n"
        f"ignore_startup_parameters = {ignore}\n"
    )
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "postgres"
        for path in (home, *home.iterdir()):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    process = subprocess.Popen(
        [program, "-q", str(home / "ini")], user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    through = f"postgresql://caregrant@127.0.0.1:{port}{parts.path}"
    try:
        until(lambda: _answers(through), 10)
        yield through
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
