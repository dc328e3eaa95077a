"""Decisions from a Parquet export, through DuckDB: the same SQL, on months that the database need not hold any more.

The facts that such a question joins (grants, memberships, …) are read from the database once, when a statement first
names them. DuckDB loads and installs no extension, and writes nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peewee import AutoField, BigIntegerField, ForeignKeyField

from authz.audit.permissions import NAMES
from authz.database import Database
from authz.errors import InvalidInput
from authz.models import Entity, EntityLink, Grant, Licence, Membership, Patient, Review, StandingShare

_NAMED = re.compile(r"(?<![\w:]):([a-z_]+)")
_FACTS: dict[str, Any] = {
    one._meta.table_name: one
    for one in (Grant, StandingShare, Membership, Licence, Patient, Entity, EntityLink, Review)
}
_VIEW = """CREATE VIEW decision AS
    SELECT * EXCLUDE (client) REPLACE (epoch_us("at") AS "at", epoch_us(asked_at) AS asked_at), client AS client_id
    FROM read_parquet('{}', hive_partitioning = false)"""
_AT_ONCE = 50_000
_MEMORY = "700MB"


class DecisionLog:
    """The Parquet files under a directory, as the table `decision`."""

    def __init__(self, folder: Path) -> None:
        import duckdb  # noqa: PLC0415 - only an export needs it

        if not any(folder.rglob("*.parquet")):
            raise InvalidInput(f"{folder} holds no .parquet file; make an export with: caregrant audit export")
        self.folder = folder
        self._loaded: set[str] = set()
        self._duck = duckdb.connect(
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "memory_limit": _MEMORY,
                "threads": "2",
            }
        )
        files = str(folder / "**" / "*.parquet").replace("'", "''")
        self._duck.execute(_VIEW.format(files))

    def rows(self, database: Database, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement; ``:name`` in it stands for a value."""
        for name in _FACTS:
            if name not in self._loaded and re.search(rf'\b(FROM|JOIN) "?{name}\b', sql):
                self._load(database, name)
        given = {name: values[name] for name in _NAMED.findall(sql)}
        return self._duck.execute(_NAMED.sub(r"$\1", sql), given).fetchall()

    def _load(self, database: Database, name: str) -> None:
        import pyarrow as pa  # noqa: PLC0415

        fields = [one for one in _FACTS[name]._meta.sorted_fields if one.column_name not in NAMES.get(name, ())]
        columns = ", ".join(f'"{one.column_name}"' for one in fields)
        declared = ", ".join(f'"{one.column_name}" {_duck_type(one)}' for one in fields)
        self._duck.execute(f'CREATE TABLE "{name}" ({declared})')
        cursor = database.execute_sql(f'SELECT {columns} FROM "{name}"')
        while rows := cursor.fetchmany(_AT_ONCE):
            batch = pa.table({str(at): column for at, column in enumerate(zip(*rows, strict=True))})
            self._duck.register("batch", batch)
            self._duck.execute(f'INSERT INTO "{name}" SELECT * FROM batch')
            self._duck.unregister("batch")
        self._loaded.add(name)


def _duck_type(field: Any) -> str:
    held = field.rel_field if isinstance(field, ForeignKeyField) else field
    if held.field_type == "BOOL":
        return "BOOLEAN"
    return "BIGINT" if isinstance(held, BigIntegerField | AutoField) else "VARCHAR"
