"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations."""

from authz.database.clock import ask_clock
from authz.database.connection import (
    MIGRATIONS,
    Database,
    absolute_url,
    answering,
    connect,
    gather_statistics,
    give_up,
    migrate,
    own_connection,
    pending,
    pipelined,
    shut,
    write_back,
)
from authz.database.faults import FAULTS, wrapped
from authz.database.postgresql import PostgresqlDatabase
from authz.database.sqlite import SqliteDatabase

__all__ = [
    "FAULTS",
    "MIGRATIONS",
    "Database",
    "PostgresqlDatabase",
    "SqliteDatabase",
    "absolute_url",
    "answering",
    "ask_clock",
    "connect",
    "gather_statistics",
    "give_up",
    "migrate",
    "own_connection",
    "pending",
    "pipelined",
    "shut",
    "wrapped",
    "write_back",
]
