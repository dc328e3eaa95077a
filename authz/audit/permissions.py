"""The permissions of a reader of the audit in the database: read all but names and secrets, and add to the record.

On SQLite the two connections of an audit refuse the rest (an authorizer of SQLite). On PostgreSQL the grants of the
reader's account refuse the rest; `grant_statements` returns the statements that make them (docs/decisions/0091).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from peewee import Model

from authz.database import Database, SqliteDatabase
from authz.models import MODELS, IdempotentResponse, KeptSelection, Patient, Practitioner, RequestCount, Secret

NAMES = {"practitioner": ("name", "search_key"), "patient": ("name", "reference", "search_key")}
"""The columns that hold names, by table."""

_SECRETS: tuple[type[Model], ...] = (IdempotentResponse, Secret, RequestCount, KeptSelection)
_SECRET_TABLES = tuple(model._meta.table_name for model in _SECRETS)
_HIDDEN = {**NAMES, "client": ("key_hash",)}
_RECORD = ("event", "leaf", "node", "tree", "personal_secret")
_PENDING = ("pending_event",)

_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_ADDING = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE)
_TRANSACTIONS = (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_PRAGMA)
_UNSAFE_PRAGMAS = ("writable_schema", "query_only")


def _authorize_reading(action: int, table: str | None, column: str | None, *_: object) -> int:
    """Refuse names, secrets and other files; SQLite itself refuses to write, as the file is opened read only."""
    hidden = action == sqlite3.SQLITE_READ and (column in _HIDDEN.get(str(table), ()) or table in _SECRET_TABLES)
    unsafe = action == sqlite3.SQLITE_ATTACH or (action == sqlite3.SQLITE_PRAGMA and table in _UNSAFE_PRAGMAS)
    return sqlite3.SQLITE_DENY if hidden or unsafe else sqlite3.SQLITE_OK


def _authorize_recording(action: int, table: str | None, *_: object) -> int:
    """Refuse every change but an addition to the record.

    SQLite changes ``sqlite_master`` while it prepares a query over JSON. A statement that makes a table changes it,
    too, but needs another action, which is refused.
    """
    adds = action in _ADDING and table in (*_RECORD, "sqlite_master")
    transaction = action in _TRANSACTIONS and table not in _UNSAFE_PRAGMAS
    return sqlite3.SQLITE_OK if adds or transaction or action in _READING else sqlite3.SQLITE_DENY


def restrict_connections(reading: Database, writing: Database) -> None:
    """Keep the connections of an audit from names, secrets and facts.

    On PostgreSQL this does nothing: the grants of the account do.
    """
    if isinstance(reading, SqliteDatabase) and isinstance(writing, SqliteDatabase):
        reading.authorizer, writing.authorizer = _authorize_reading, _authorize_recording


@contextmanager
def names_readable(reading: Database) -> Iterator[None]:
    """Permit the statements inside to read names.

    A question does so that records who asked and why, and a verification, which only hashes names.
    """
    if not isinstance(reading, SqliteDatabase):
        yield
        return
    connection = reading.connection()
    connection.set_authorizer(None)
    try:
        yield
    finally:
        connection.set_authorizer(reading.authorizer)


def grant_statements(role: str, *, names: bool) -> list[str]:
    """Return the statements of PostgreSQL that let a role read the audit; with `names` it may read names, too.

    The role must exist.
    """
    quoted = '"' + role.replace('"', '""') + '"'
    statements = [f"GRANT SELECT ON schema_migration, {', '.join((*_RECORD, *_PENDING))} TO {quoted};"]
    for model in (model for model in MODELS if model not in _SECRETS and model._meta.table_name not in _RECORD):
        table = model._meta.table_name
        hidden = () if names and model in (Patient, Practitioner) else _HIDDEN.get(table, ())
        columns = ", ".join(
            f'"{field.column_name}"' for field in model._meta.sorted_fields if field.column_name not in hidden
        )
        statements.append(f'GRANT SELECT ({columns}) ON "{table}" TO {quoted};')
    statements.append(f"GRANT INSERT ON {', '.join((*_RECORD, *_PENDING))} TO {quoted};")
    statements.append(f"GRANT UPDATE ON tree TO {quoted};")
    statements.append(f"GRANT DELETE ON {', '.join(_PENDING)} TO {quoted};")
    statements.append(f"GRANT USAGE ON SEQUENCE event_id_seq TO {quoted};")
    return statements
