"""Log lines: one line an entry, as text or JSON (`CAREGRANT_LOG_FORMAT`), in every process of a service.

An entry holds time, level, logger, process, the request's id and route, and a message; of an exception its type and
where it was raised, without its text. It holds no names, e-mails, bodies or credentials. Text that a caller sent is
quoted, so that it forges no field and no line.
"""

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing.util import Finalize
from queue import Full, Queue
from typing import Any

from flask import g, has_request_context, request

from authz.errors import InvalidInput

FORMATS = ("text", "json")
MOST_WAITING = 10_000
_LONGEST = 2000
_OTHERS = ("_granian", "granian.access")
"""Loggers that bring handlers of their own."""


class Formatter(logging.Formatter):
    """Write an entry as one line; `form` is one of `FORMATS`."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._write = _as_json if form == "json" else _as_text

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an entry."""
        return self._write(_fields(record))


class Writer(logging.Handler):
    """Write lines to standard error in a thread of its own: whoever logs waits for no reader of the log.

    `MOST_WAITING` lines may wait; further ones are dropped and counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: Queue[str] = Queue(MOST_WAITING)
        self._dropped = 0
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of an entry; formatted here, where its request is known."""
        try:
            self._lines.put_nowait(self.format(record))
        except Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until what was queued is written, for at most a second."""
        end = time.monotonic() + 1
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _work(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{line}\n" if not dropped else f"{line}\n{dropped} lines of the log were dropped\n")
                sys.stderr.flush()
            self._lines.task_done()


def configure(form: str) -> None:
    """Let every logger of this process write such lines to standard error. Raises `InvalidInput` for another format."""
    if form not in FORMATS:
        raise InvalidInput(f"CAREGRANT_LOG_FORMAT is {' or '.join(FORMATS)}, not {form!r}")
    handler = Writer()
    handler.setFormatter(Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in _OTHERS:
        other = logging.getLogger(name)
        other.handlers[:], other.propagate = [], True
    Finalize(None, handler.flush, exitpriority=0)  # a process of multiprocessing leaves atexit out


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    made: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "pid": record.process,
    }
    if has_request_context():
        made["request"] = g.get("request_id", "")
        made["route"] = request.url_rule.rule if request.url_rule else "none"
    made["message"] = record.getMessage()[:_LONGEST]
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        made["exception"] = type(error).__qualname__
        made["raised"] = " < ".join(f"{one.name}:{one.lineno}" for one in reversed(frames))[:_LONGEST]
    return made


def _as_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields)  # ASCII alone


def _as_text(fields: Mapping[str, Any]) -> str:
    head = f"{fields['time']} {fields['level']}"
    return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in list(fields.items())[2:])])


def _quoted(value: object) -> str:
    """Quote a value as JSON does, unless it is one plain word. Characters beyond ASCII are escaped."""
    text = str(value)
    plain = text and text.isascii() and text.isprintable() and not any(mark in text for mark in ' "=\\')
    return text if plain else json.dumps(text)
