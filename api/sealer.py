"""What a service does for the record beside answering: every some seconds it seals the answers given, so that the
trees cover them; it makes the partitions of the months to come, and writes SQLite's log back into its file.

A process of its own does it, for hashing in a thread would keep answers waiting (docs/decisions/0034). Nothing is lost
where it fails or ends: what is not sealed is sealed by the next, or by `caregrant audit checkpoint`.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from api.ops import logs
from api.request_context import now
from authz.database import FAULTS, Database, Limits, connect, database_connection, write_back
from authz.database.statements import end_frozen_clients
from authz.errors import CaregrantError
from authz.record import create_partitions, drain_spool, seal

SECONDS = 10.0
_LOOK = 0.5
_LIMITS = Limits(statement=60_000, lock=750, idle=2_000)
_log = logging.getLogger("caregrant")


def heartbeat(folder: str) -> Path:
    """Return the file that the process that seals touches, in a folder of the service."""
    return Path(folder) / "sealing"


def start(url: str, beat: Path, log_format: str = "text") -> Callable[[], None]:
    """Seal what is answered in the database at `url`, after some seconds, until what this returns is called. Should the
    process that does it die, another takes its place.
    """
    ending = threading.Event()
    beat.touch()  # it has not begun, and is not late

    def keep_one() -> None:
        while not ending.wait(SECONDS):
            # Not forked: a service has threads. Its arguments go through a pipe, for a URL may hold a password.
            words = (url, os.getpid(), beat, log_format)
            sealer = get_context("spawn").Process(target=_work, args=words, name="sealing", daemon=True)
            try:
                sealer.start()
            except OSError as error:
                _log.warning("sealing waits: %s", error)
                continue
            while sealer.is_alive() and not ending.wait(_LOOK):
                pass
            sealer.terminate()
            sealer.join()

    def end() -> None:
        ending.set()
        keeper.join()

    keeper = threading.Thread(target=keep_one, name="sealing", daemon=True)
    keeper.start()
    return end


def _work(url: str, parent: int, beat: Path, log_format: str = "text") -> None:
    """Seal every some seconds, as long as the service is there."""
    logs.configure(log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the service says when to end
    database, next_time = connect(url, limits=_LIMITS), 0.0
    while os.getppid() == parent:
        with suppress(OSError):
            beat.touch()
        with suppress(*FAULTS):
            database.connect(reuse_if_open=True)  # for all that follows, until a fault closes it
        with suppress(CaregrantError), database_connection(database):
            if ended := end_frozen_clients(database, _LIMITS.idle):
                _log.warning("ended %s sessions of a service that is frozen", ended)
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + SECONDS
            _seal(database)
        with suppress(CaregrantError):
            drain_spool(database)
            write_back(database)
        time.sleep(_LOOK)


def _seal(database: Database) -> None:
    try:
        create_partitions(database, now())
        seal(database, now(), tries=1)
    except CaregrantError as error:
        _log.warning("sealing waits: %s", error)
