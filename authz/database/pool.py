"""A pool of connections: each is lent to one thread, then kept for the next; no wait is without an end.

No lock is held while a thread waits for a server. If a server did not answer a moment ago, one thread at a time tries
to connect; the others are refused at once. A watchdog thread cuts off a connection that was lent for too long, and the
thread that waits on the connection gets an error. A paused server, or a network that drops every packet, does not
answer at all, and no time limit of the server applies then.
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
_CHECKS = 20
"""The number of checks by the watchdog within the time limit of a connection."""


class Pool:
    """At most `size` sessions, each opened by `open_session`.

    A session that is lent for longer than `limit` milliseconds is cut off; None: no limit.
    """

    def __init__(self, open_session: Callable[[], "Session"], size: int, limit: int | None) -> None:
        self._open_session = open_session
        self._size = size
        self._limit = None if limit is None else limit / 1000
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._lent: dict[Session, float] = {}
        self._opened: dict[Session, float] = {}
        self._opening = 0
        self._error: Exception | None = None
        self._retry_at = 0.0
        self._watching = False

    def take(self) -> "Session":
        """Lend a session. Raises psycopg's errors, `Unavailable` and, if all are lent, `peewee.OperationalError`."""
        while session := self._take_idle():
            if not _is_readable(session) and session.usable:
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
            if self._error is not None and (self._opening or time.monotonic() < self._retry_at):
                raise peewee.OperationalError(f"the database did not answer a moment ago: {self._error}")
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
                self._retry_at = now + (_RETRY_SECONDS if now - began > _SLOW_SECONDS else 0)
                self._error = failed
        with self._lock:
            self._opened[session] = time.monotonic()
            self._lend(session)
        return session

    def _lend(self, session: "Session") -> None:
        self._lent[session] = time.monotonic()
        if self._limit is not None and not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, args=(self._limit,), name="connections", daemon=True).start()

    def give_back(self, session: "Session") -> None:
        """Keep a session for the next thread, or close it if it is old, unusable, or inside a transaction."""
        old = time.monotonic() - self._opened.get(session, 0) > _OLDEST_SECONDS
        if old or not session.usable:
            self.discard(session)
            return
        with self._lock:
            if self._lent.pop(session, None) is not None:
                self._idle.append(session)
                return
        self.discard(session)  # the pool was closed in the meantime

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

    def _watch(self, limit: float) -> None:
        while True:
            time.sleep(limit / _CHECKS)
            latest = time.monotonic() - limit
            with self._lock:
                if not self._lent:
                    self._watching = False
                    return
                overdue = [session for session, lent_at in self._lent.items() if lent_at < latest]
                for session in overdue:
                    _cut_off(session)


def _is_readable(session: "Session") -> bool:
    """Return whether an idle session has received data: its server ended it, or changed its settings."""
    try:
        poll = select.poll()
        poll.register(session.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except Exception:
        return True


def _cut_off(session: "Session") -> None:
    """Shut down the socket of a session: a thread that waits on the socket gets the error of a lost connection."""
    session.broken = True
    with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)
