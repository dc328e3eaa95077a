"""What a reader of the audit may do to the database: read all but names and secrets, and add to the record.

On SQLite the connections themselves refuse the rest (an authorizer of SQLite's); on PostgreSQL the account of the
reader does, for which `statements_for` makes the statements (docs/decisions/0091).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authz.database import Database, SqliteDatabase
from authz.models import MODELS, IdempotentResponse, Patient, Practitioner, RequestCount, Secret

NAMES = {"practitioner": ("name", "search_key"), "patient": ("name", "reference", "search_key")}
"""The columns that hold names, by table."""

_SECRETS: tuple[Any, ...] = (IdempotentResponse, Secret, RequestCount)
_SECRET_TABLES = tuple(one._meta.table_name for one in _SECRETS)
_HIDDEN = {**NAMES, "client": ("key_hash",)}
_RECORD = ("event", "leaf", "node", "tree", "personal_secret")
_PENDING = ("pending_event",)
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_WHOLE = (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_PRAGMA)

_SWITCHES = ("writable_schema", "query_only")


def _without_names(action: int, table: str | None, column: str | None, *_: Any) -> int:
    """Refuse to read a name or a secret, and another file; that nothing is written is how the file was opened."""
    hidden = action == sqlite3.SQLITE_READ and (column in _HIDDEN.get(str(table), ()) or table in _SECRET_TABLES)
    opens = action == sqlite3.SQLITE_ATTACH or (action == sqlite3.SQLITE_PRAGMA and table in _SWITCHES)
    return sqlite3.SQLITE_DENY if hidden or opens else sqlite3.SQLITE_OK


def _recording_only(action: int, table: str | None, *_: Any) -> int:
    """Refuse every change but an addition to the record.

    ``sqlite_master`` is changed while a query over JSON is prepared, and by what makes a table: that is refused itself.
    """
    adds = action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE) and table in (*_RECORD, "sqlite_master")
    whole = action in _WHOLE and table not in _SWITCHES
    return sqlite3.SQLITE_OK if adds or whole or action in _READS else sqlite3.SQLITE_DENY


def fence(reading: Database, writing: Database) -> None:
    """Keep the connections of an audit from names, secrets and facts; on PostgreSQL the account's grants do so."""
    if isinstance(reading, SqliteDatabase) and isinstance(writing, SqliteDatabase):
        reading.authorizer, writing.authorizer = _without_names, _recording_only


@contextmanager
def names_readable(reading: Database) -> Iterator[None]:
    """Let names be read within: by a question that records who asked, and why, and by a verification, which only hashes
    them.
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


def statements_for(role: str, *, names: bool) -> list[str]:
    """PostgreSQL's statements that let a role, which is there, read the audit; `names`: and names, with a reason."""
    quoted = '"' + role.replace('"', '""') + '"'
    lines = [f"GRANT SELECT ON schema_migration, {', '.join((*_RECORD, *_PENDING))} TO {quoted};"]
    for model in (one for one in MODELS if one not in _SECRETS and one._meta.table_name not in _RECORD):
        table = model._meta.table_name
        hidden = () if names and model in (Patient, Practitioner) else _HIDDEN.get(table, ())
        columns = ", ".join(
            f'"{one.column_name}"' for one in model._meta.sorted_fields if one.column_name not in hidden
        )
        lines.append(f'GRANT SELECT ({columns}) ON "{table}" TO {quoted};')
    lines.append(f"GRANT INSERT ON {', '.join((*_RECORD, *_PENDING))} TO {quoted};")
    lines.append(f"GRANT UPDATE ON tree TO {quoted};")
    lines.append(f"GRANT DELETE ON {', '.join(_PENDING)} TO {quoted};")
    lines.append(f"GRANT USAGE ON SEQUENCE event_id_seq TO {quoted};")
    return lines
