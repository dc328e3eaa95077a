"""Processes beside the service: each is kept running until the service stops."""

import logging
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

_MOST_STOP_SECONDS = 10
_WATCH_SECONDS = 0.5
_log = logging.getLogger("caregrant")


def spawn(name: str, run: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Return a process, not started, that is not forked; its arguments go through a pipe, for they may hold secrets."""
    return get_context("spawn").Process(target=run, args=arguments, name=name, daemon=True)


def keep_running(first: BaseProcess, make: Callable[[], BaseProcess], pause: float) -> Callable[[], None]:
    """Keep a started process running; return the function that stops it.

    If it dies, `make` returns another process after `pause` seconds.
    """
    stopping = threading.Event()

    def watch() -> None:
        process = first
        while not stopping.wait(_WATCH_SECONDS):
            if process.is_alive():
                continue
            if stopping.wait(pause):
                break
            process = make()
            try:
                process.start()
            except OSError as error:
                _log.warning("%s is delayed: %s", process.name, error)
        if process.pid is not None:
            process.terminate()
            process.join(_MOST_STOP_SECONDS)
            process.kill()  # ends a process that has not ended yet
            process.join()

    def stop() -> None:
        stopping.set()
        keeper.join()

    keeper = threading.Thread(target=watch, name=first.name, daemon=True)
    keeper.start()
    return stop
