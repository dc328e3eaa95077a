"""The errors that drivers raise if a database cannot answer."""

import sqlite3
from contextlib import AbstractContextManager

import peewee

peewee_errors: AbstractContextManager[None] = vars(peewee)["__exception_wrapper__"]
"""Turns a driver's error into one of Peewee's, as Peewee does for its own statements."""


class WriteLocked(peewee.OperationalError):
    """Another transaction holds SQLite's write lock, and nothing of this one was begun."""


def _driver_errors() -> tuple[type[Exception], ...]:
    errors = (peewee.OperationalError, peewee.InterfaceError, peewee.DatabaseError, sqlite3.Error)
    try:
        import psycopg  # noqa: PLC0415
    except ImportError:
        return errors
    return (*errors, psycopg.Error)


FAULTS = _driver_errors()
"""The errors of a database that cannot answer; `peewee.IntegrityError` is one of them, so catch that first."""
