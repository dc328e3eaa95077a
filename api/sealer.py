"""The sealer: a process beside the service that seals recorded decisions into the Merkle trees every `SECONDS`.

On SQLite it also drains the spool, in which the service records its answers, and writes the write-ahead log back into
the database file. On PostgreSQL it creates the partitions of the coming months. It writes the notices of shares that
end by their date.
Sealing has a process of its own because hashing in a thread would delay answers (docs/decisions/0034). If the process
fails or ends, nothing is lost: the next sealer, or `caregrant audit checkpoint`, seals what is still unsealed.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from api import processes
from api.ops import logs
from api.request_context import now
from authz.database import FAULTS, Database, Limits, SqliteDatabase, connect, database_connection, write_back
from authz.database.statements import end_frozen_clients
from authz.errors import CaregrantError
from authz.operations.notices_of_ends import notify_ends
from authz.record import create_partitions, drain_spool, seal

SECONDS = 10.0
"""Seconds between two seals."""

_INTERVAL = 0.2
_PAUSE = 0.003
_LIMITS = Limits(statement=60_000, lock=750, idle=2_000)
_log = logging.getLogger("caregrant")


def heartbeat(folder: str) -> Path:
    """Return the file in a folder of the service that the sealer touches as a sign of life."""
    return Path(folder) / "sealing"


def start(url: str, beat: Path, log_format: str = "text", *, fsync: bool = True) -> Callable[[], None]:
    """Keep a sealer of the database at `url` running; return the function that stops the sealer.

    The process must not have other threads yet, because the first sealer is forked. If it dies, another process takes
    its place after `SECONDS`, which is not forked.
    """
    beat.touch()  # a sealer that has not started yet is not late
    arguments = (url, os.getpid(), beat, log_format, fsync)
    first = get_context("fork").Process(target=_run, args=arguments, name="sealing", daemon=True)
    first.start()
    return processes.keep_running(first, lambda: processes.spawn("sealing", _run, arguments), SECONDS)


def _run(url: str, parent: int, beat: Path, log_format: str = "text", fsync: bool = True) -> None:
    """Seal every `SECONDS` until the parent process, the service, has ended."""
    logs.configure(log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process; the service stops the sealer
    database, next_time = connect(url, limits=_LIMITS), time.monotonic() + SECONDS
    if isinstance(database, SqliteDatabase):  # it reads each row once, and needs no memory for them
        for name, value in (("cache_size", -8000), ("mmap_size", 0)):
            database.pragma(name, value, permanent=True)
    while os.getppid() == parent:
        with suppress(OSError):
            beat.touch()
        with suppress(*FAULTS):
            database.connect(reuse_if_open=True)  # one connection for the whole loop, until a fault closes it
        with suppress(CaregrantError), database_connection(database):
            if ended := end_frozen_clients(database, _LIMITS.idle):
                _log.warning("ended %s database sessions of a service process that does not respond", ended)
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + SECONDS
            _seal(database)
            _notify_ends(database)
        with suppress(CaregrantError):
            drain_spool(database, pause=_PAUSE, fsync=fsync)
            write_back(database)
        time.sleep(_INTERVAL)


def _seal(database: Database) -> None:
    try:
        create_partitions(database, now())
        seal(database, now(), tries=1)
    except CaregrantError as error:
        _log.warning("sealing is delayed: %s", error)


def _notify_ends(database: Database) -> None:
    try:
        notify_ends(database, now())
    except CaregrantError as error:
        _log.warning("notices of shares that end are delayed: %s", error)
