"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations."""

from authz.database.clock import check_clock
from authz.database.connection import (
    Database,
    absolute_url,
    answering,
    close_all,
    connect,
    discard_connection,
    gather_statistics,
    migrate,
    own_connection,
    pending_migrations,
    pipelined,
    schema_version,
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
    "check_clock",
    "close_all",
    "connect",
    "discard_connection",
    "gather_statistics",
    "known_version",
    "masked_url",
    "migrate",
    "own_connection",
    "pending_migrations",
    "pipelined",
    "schema_version",
    "wrapped",
    "write_back",
]
