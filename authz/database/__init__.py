"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations."""

from authz.database.clock import ask_clock
from authz.database.connection import (
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
    schema_version,
    shut,
    write_back,
)
from authz.database.faults import FAULTS, WriteLocked, wrapped
from authz.database.masking import masked_url
from authz.database.postgresql import PostgresqlDatabase
from authz.database.schema_version import MIGRATIONS, known_version
from authz.database.session_limits import Limits
from authz.database.sqlite import SqliteDatabase

__all__ = [
    "FAULTS",
    "MIGRATIONS",
    "Database",
    "Limits",
    "PostgresqlDatabase",
    "SqliteDatabase",
    "WriteLocked",
    "absolute_url",
    "answering",
    "ask_clock",
    "connect",
    "gather_statistics",
    "give_up",
    "known_version",
    "masked_url",
    "migrate",
    "own_connection",
    "pending",
    "pipelined",
    "schema_version",
    "shut",
    "wrapped",
    "write_back",
]
