"""The database: SQLite (WAL) or PostgreSQL, chosen by a URL, with the migrations of the schema."""

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
    require_current,
    schema_version,
    unpooled_connection,
    write_back,
)
from authz.database.faults import FAULTS, WriteLocked, peewee_errors
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
    "check_clock",
    "close_all",
    "connect",
    "database_connection",
    "discard_connection",
    "gather_statistics",
    "known_version",
    "masked_url",
    "migrate",
    "peewee_errors",
    "pending_migrations",
    "pipelined",
    "require_current",
    "schema_version",
    "unpooled_connection",
    "write_back",
]
