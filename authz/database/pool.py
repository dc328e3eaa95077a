"""The connections of a process: lent to one thread each, kept for the next, never waited for without an end.

No lock is held while a server is waited for. A server that did not answer a moment ago is asked by one thread at a
time; others are refused at once. A connection that was lent for too long is cut off by a thread that watches, and the
thread that waits on it gets an error: a server that is paused, or a network that swallows everything, answers nothing,
and no limit of the server's applies.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import peewee

if TYPE_CHECKING:
    from authz.database.sessions import Session

_OLDEST_SECONDS = 300.0
_RETRY_SECONDS = 0.5
_SLOW_SECONDS = 0.5
_LOOKS = 20


class Pool:
    """At most `size` sessions, each made by `open_session`; `held` is after how many milliseconds one is cut off."""

    def __init__(self, open_session: Callable[[], "Session"], size: int, held: int | None) -> None:
        self._open_session = open_session
        self._size = size
        self._held = None if held is None else held / 1000
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._lent: dict[Session, float] = {}
        self._opened: dict[Session, float] = {}
        self._opening = 0
        self._failed: Exception | None = None
        self._retry = 0.0
        self._watching = False

    def take(self) -> "Session":
        """Lend a session. Raises psycopg's errors, `Unavailable` and, if all are lent, `peewee.OperationalError`."""
        while session := self._take_idle():
            if not _is_readable(session) and session.fit:
                return session
            self.discard(session)
        return self._open()

    def _take_idle(self) -> "Session | None":
        with self._lock:
            if self._idle:
                session = self._idle.pop()
                self._lend(session)
                return session
            if len(self._lent) + self._opening >= self._size:
                raise peewee.OperationalError(f"all {self._size} connections to the database are in use")
            if self._failed is not None and (self._opening or time.monotonic() < self._retry):
                raise peewee.OperationalError(f"the database did not answer a moment ago: {self._failed}")
            self._opening += 1
            return None

    def _open(self) -> "Session":
        began, failed = time.monotonic(), None
        try:
            session = self._open_session()
        except Exception as error:
            failed = error
            raise
        finally:
            with self._lock:
                self._opening -= 1
                now = time.monotonic()
                self._retry = now + (_RETRY_SECONDS if now - began > _SLOW_SECONDS else 0)
                self._failed = failed
        with self._lock:
            self._opened[session] = time.monotonic()
            self._lend(session)
        return session

    def _lend(self, session: "Session") -> None:
        self._lent[session] = time.monotonic()
        if self._held is not None and not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, args=(self._held,), name="connections", daemon=True).start()

    def give_back(self, session: "Session") -> None:
        """Keep a session for the next, or close it: one that is old, unfit, or inside a transaction."""
        old = time.monotonic() - self._opened.get(session, 0) > _OLDEST_SECONDS
        if old or not session.fit:
            self.discard(session)
            return
        with self._lock:
            if self._lent.pop(session, None) is not None:
                self._idle.append(session)
                return
        self.discard(session)  # the pool was closed meanwhile

    def discard(self, session: "Session") -> None:
        """Close a session."""
        with self._lock:
            self._lent.pop(session, None)
            self._opened.pop(session, None)
        with suppress(Exception):
            session.close()

    def close(self) -> None:
        """Close every session, lent or not."""
        with self._lock:
            sessions = [*self._idle, *self._lent]
            self._idle, self._lent, self._opened = [], {}, {}
        for session in sessions:
            with suppress(Exception):
                session.close()

    def _watch(self, held: float) -> None:
        while True:
            time.sleep(held / _LOOKS)
            before = time.monotonic() - held
            with self._lock:
                if not self._lent:
                    self._watching = False
                    return
                overdue = [session for session, since in self._lent.items() if since < before]
                for session in overdue:
                    _cut_off(session)


def _is_readable(session: "Session") -> bool:
    """Whether a session that asked for nothing got something: its server ended it, or changed its settings."""
    try:
        poll = select.poll()
        poll.register(session.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except Exception:
        return True


def _cut_off(session: "Session") -> None:
    """Shut a session's socket down: whoever waits on it is told that the connection is lost."""
    session.unfit = True
    with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
