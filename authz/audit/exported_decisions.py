"""Decisions from a Parquet export, read through DuckDB by the same SQL as from the database.

The database need not hold the exported months any more. The facts that a question joins (grants, memberships, …) are
copied from the database when a statement first names their table. DuckDB loads and installs no extension, and writes
nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from peewee import AutoField, BigIntegerField, Field, ForeignKeyField, Model

from authz.audit.permissions import NAMES
from authz.database import Database
from authz.errors import InvalidInput
from authz.models import (
    Emergency,
    Entity,
    EntityLink,
    EntityTarget,
    Grant,
    Licence,
    Membership,
    Patient,
    Review,
    StandingShare,
)

_PARAMETER = re.compile(r"(?<![\w:]):([a-z_]+)")
_FACTS: dict[str, type[Model]] = {
    model._meta.table_name: model
    for model in (
        Grant,
        StandingShare,
        Membership,
        Licence,
        Patient,
        Entity,
        EntityLink,
        EntityTarget,
        Review,
        Emergency,
    )
}
_VIEW = """CREATE VIEW decision AS
    SELECT * EXCLUDE (client) REPLACE (epoch_us("at") AS "at", epoch_us(asked_at) AS asked_at), client AS client_id
    FROM read_parquet('{}', hive_partitioning = false)"""
_BATCH = 50_000
_MEMORY = "700MB"


class ExportedDecisions:
    """The Parquet files in a folder, as the table `decision`. Raises `InvalidInput` for a folder without any."""

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

    def execute(
        self, database: Database, sql: str, values: Mapping[str, object]
    ) -> tuple[list[str], list[tuple[object, ...]]]:
        """Return the names of the columns and the rows of a statement; ``:name`` in it stands for a value."""
        for table in _FACTS:
            if table not in self._loaded and re.search(rf'\b(FROM|JOIN) "?{table}\b', sql):
                self._load(database, table)
        cursor = self._duck.execute(*bind_values(sql, values, r"$\1"))
        return [column[0] for column in cursor.description], cursor.fetchall()

    def _load(self, database: Database, table: str) -> None:
        """Copy a table of facts from the database, without the columns that hold names."""
        import pyarrow as pa  # noqa: PLC0415

        fields = [field for field in _FACTS[table]._meta.sorted_fields if field.column_name not in NAMES.get(table, ())]
        columns = ", ".join(f'"{field.column_name}"' for field in fields)
        declared = ", ".join(f'"{field.column_name}" {_duck_type(field)}' for field in fields)
        self._duck.execute(f'CREATE TABLE "{table}" ({declared})')
        cursor = database.execute_sql(f'SELECT {columns} FROM "{table}"')
        while rows := cursor.fetchmany(_BATCH):
            batch = pa.table({str(place): column for place, column in enumerate(zip(*rows, strict=True))})
            self._duck.register("batch", batch)
            self._duck.execute(f'INSERT INTO "{table}" SELECT * FROM batch')
            self._duck.unregister("batch")
        self._loaded.add(table)


def bind_values(sql: str, values: Mapping[str, object], style: str) -> tuple[str, dict[str, object]]:
    """Return a statement with its parameters in the style of a driver, and the values that the statement names."""
    return _PARAMETER.sub(style, sql), {name: values[name] for name in _PARAMETER.findall(sql)}


def _duck_type(field: Field) -> str:
    stored = field.rel_field if isinstance(field, ForeignKeyField) else field
    if stored.field_type == "BOOL":
        return "BOOLEAN"
    return "BIGINT" if isinstance(stored, BigIntegerField | AutoField) else "VARCHAR"
