"""What drivers raise when a database cannot answer."""

import sqlite3
from contextlib import AbstractContextManager

import peewee

wrapped: AbstractContextManager[None] = vars(peewee)["__exception_wrapper__"]
"""Turns what a driver raises into Peewee's errors, as Peewee does for its own statements."""


class WriteLocked(peewee.OperationalError):
    """Another transaction holds SQLite's write lock, and nothing of this one was begun."""


def _driver_errors() -> tuple[type[Exception], ...]:
    ours = (peewee.OperationalError, peewee.InterfaceError, peewee.DatabaseError)
    try:
        import psycopg  # noqa: PLC0415
    except ImportError:
        return (*ours, sqlite3.Error)
    return (*ours, sqlite3.Error, psycopg.Error)


FAULTS = _driver_errors()
"""What a driver raises when it cannot answer; `peewee.IntegrityError` is one, so catch that first."""
