"""Where the facts are: SQLite (WAL) or PostgreSQL, chosen by a URL, with the schema's migrations."""

from authz.database.clock import check_clock
from authz.database.connection import (
    Database,
    absolute_url,
    close_all,
    connect,
    database_connection,
    discard_connection,
    gather_statistics,
    migrate,
    pending_migrations,
    pipelined,
    schema_version,
    unpooled_connection,
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
    "database_connection",
    "check_clock",
    "close_all",
    "connect",
    "discard_connection",
    "gather_statistics",
    "known_version",
    "masked_url",
    "migrate",
    "unpooled_connection",
    "pending_migrations",
    "pipelined",
    "schema_version",
    "wrapped",
    "write_back",
]
