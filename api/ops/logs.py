"""The log of every process of a service: one line for each entry, as text or JSON (`CAREGRANT_LOG_FORMAT`).

An entry contains time, level, logger, process, the request's id and route, and a message; for an exception also its
type and the place where it was raised, without its text. An entry contains no names, e-mails, bodies or credentials.
Text from a caller is quoted, so that it cannot forge a field or a line.
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

from flask import g, has_request_context, request

from authz.errors import InvalidInput

FORMATS = ("text", "json")
MOST_WAITING = 10_000
_LONGEST = 2000
_LOGGERS_WITH_HANDLERS = ("_granian", "granian.access")


class LineFormatter(logging.Formatter):
    """The formatter of an entry as one line; `log_format` is one of `FORMATS`."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._serialize = _serialize_json if log_format == "json" else _serialize_text

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an entry."""
        return self._serialize(_fields(record))


class LineWriter(logging.Handler):
    """The handler that writes lines to standard error in its own thread, so that a slow reader delays nobody.

    At most `MOST_WAITING` lines wait to be written; further lines are dropped and counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: Queue[str] = Queue(MOST_WAITING)
        self._dropped = 0
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of an entry; format it here, in the thread that knows the request."""
        try:
            self._lines.put_nowait(self.format(record))
        except Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until the queued lines are written, for at most one second."""
        end = time.monotonic() + 1
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write_lines(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{line}\n" if not dropped else f"{line}\n{dropped} lines of the log were dropped\n")
                sys.stderr.flush()
            self._lines.task_done()


def configure(log_format: str) -> None:
    """Make every logger of this process write lines of this format. Raises `InvalidInput` for an unknown format."""
    if log_format not in FORMATS:
        raise InvalidInput(f"CAREGRANT_LOG_FORMAT is {' or '.join(FORMATS)}, not {log_format!r}")
    handler = LineWriter()
    handler.setFormatter(LineFormatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.getLogger("caregrant").setLevel(logging.INFO)
    for name in _LOGGERS_WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [], True
    Finalize(None, handler.flush, exitpriority=0)  # multiprocessing does not run atexit in its processes


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "pid": record.process,
    }
    if has_request_context():
        fields["request"] = g.get("request_id", "")
        fields["route"] = request.url_rule.rule if request.url_rule else "none"
    fields["message"] = record.getMessage()[:_LONGEST]
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        fields["exception"] = type(error).__qualname__
        fields["raised"] = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))[:_LONGEST]
    return fields


def _serialize_json(fields: Mapping[str, object]) -> str:
    return json.dumps(fields)  # ASCII only


def _serialize_text(fields: Mapping[str, object]) -> str:
    head = f"{fields['time']} {fields['level']}"
    return " ".join([head, *(f"{name}={_quote(value)}" for name, value in list(fields.items())[2:])])


def _quote(value: object) -> str:
    """Quote a value as JSON does, unless the value is one plain word; escape characters beyond ASCII."""
    text = str(value)
    is_plain = text and text.isascii() and text.isprintable() and not any(mark in text for mark in ' "=\\')
    return text if is_plain else json.dumps(text)
