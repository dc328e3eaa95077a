"""The thread that takes an activated policy into a process of the service, within a second of its activation.

Each worker has one: activations are in the database, which is all that the workers of all machines share.
"""

import threading
import time
from contextlib import suppress

from api.ops.meters import meters
from authz.policy.served import ServedPolicy

SECONDS = 0.25
"""Seconds between two looks at the last activation: one row by an index."""


def start(served: ServedPolicy) -> None:
    """Follow the activations until the process ends."""
    threading.Thread(target=_watch, args=(served,), name="policy", daemon=True).start()


def _watch(served: ServedPolicy) -> None:
    while True:
        time.sleep(SECONDS)
        look(served)


def look(served: ServedPolicy) -> None:
    """Take another active policy, if there is one, and count it; after any error the old one goes on to decide."""
    try:
        if served.follow():
            meters().activations.inc()
    except Exception as error:  # the thread must not end: the next look tries again
        served.report(f"an unexpected {type(error).__name__}")
    if served.fault:
        with suppress(Exception):  # counting must not end the thread either
            meters().stale_policies.inc()
