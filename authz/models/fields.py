"""Column types and constraints that the models share."""

from datetime import datetime
from typing import Any

import orjson
from peewee import BigIntegerField, Check, Expression, Model, TextField

from authz.domain import FOREVER_MICROS, from_micros, to_micros


class InstantField(BigIntegerField):
    """A UTC instant, stored as whole microseconds since 1970: one form, order and precision on every database."""

    def db_value(self, value: datetime | int | None) -> int | None:
        return to_micros(value) if isinstance(value, datetime) else value

    def python_value(self, value: int | None) -> datetime | None:
        return None if value is None else from_micros(value)


class DocumentField(TextField):
    """A JSON object: text on SQLite, jsonb on PostgreSQL."""

    field_type = "JSON"

    def db_value(self, value: object) -> str | None:
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()

    def python_value(self, value: object) -> object:
        return orjson.loads(value) if isinstance(value, str) else value


class IdField(TextField):
    """An opaque identifier, ordered by its bytes on every database so that a page can follow a page."""

    field_type = "OPAQUE_ID"


class StoredModel(Model):
    """A table whose name is the class name in snake case."""

    class Meta:
        legacy_table_names = False


class Fact(StoredModel):
    """A row with a life ``[started_at, ended_at)``."""

    started_at = InstantField()
    ended_at = InstantField(default=FOREVER_MICROS)


def live_at(model: type[Fact], now: datetime) -> Expression:
    """Return the condition that a row of this fact is live at an instant: begun, and not ended."""
    return (model.started_at <= now) & (model.ended_at > now)


VALID_LIFE = Check("started_at <= ended_at")
"""A fact does not end before it starts."""


def one_of(column: str, values: tuple[str, ...]) -> object:
    """Return the constraint that a column holds one of these values."""
    quoted = ", ".join(f"'{value}'" for value in values)
    return Check(f"{column} IN ({quoted})")


def unique_while_open(model: Any, *columns: str) -> object:
    """Return a unique index over the rows that have no end: at most one open row for each value of the columns."""
    return model.index(
        *(getattr(model, column) for column in columns),
        unique=True,
        where=(model.ended_at == FOREVER_MICROS),
        name=f"{model._meta.table_name}_open",
    )
