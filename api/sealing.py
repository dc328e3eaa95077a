"""What a service does for the record beside answering: every some seconds it seals the answers given, so that the
trees cover them; and it makes the partitions of the months to come.

Each process does it, and they take turns. Nothing is lost where it fails or the process ends: what is not sealed is
sealed by the next, or by `caregrant audit checkpoint`.
"""

import logging
import threading
from collections.abc import Callable

from api.requests import now
from authz.database import Database
from authz.errors import CaregrantError
from authz.record import make_partitions, seal

SECONDS = 10.0
_PATIENCE = "200ms"
_log = logging.getLogger("caregrant")


def start(database: Database) -> Callable[[], None]:
    """Seal in a thread of its own until what this returns is called, which waits for what is under way."""
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(SECONDS):
            try:
                make_partitions(database, now())
                seal(database, now(), patience=_PATIENCE)
            except CaregrantError as error:
                _log.warning("sealing waits: %s", error)

    def end() -> None:
        ending.set()
        thread.join()

    thread = threading.Thread(target=work, name="sealing", daemon=True)
    thread.start()
    return end
