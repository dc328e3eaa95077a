"""Placeholders: the parameters of a statement, each written once however often it is used.

    Parameter(("now",), "datetime")           →   :now   on SQLite,   %(now)s::bigint   on PostgreSQL
    Parameter(("context", "ip"), "string")    →   :p2    on SQLite,   %(p2)s::text      on PostgreSQL

A value of the request is named by its place among the parameters, any other by its own name.
"""

import itertools
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from authz.policy.compiler.tenancy import TENANT_ID

Dialect = Literal["sqlite", "postgresql"]

PG_TYPES = {
    "string": "text",
    "integer": "bigint",
    "boolean": "boolean",
    "datetime": "bigint",
    "number": "float8",
    "present": "text",
}
LIST_KINDS = {f"{kind} list": kind for kind in ("string", "integer", "boolean", "number")}
PG_TYPES |= dict.fromkeys(LIST_KINDS, "jsonb")


@dataclass(frozen=True)
class Parameter:
    """A value bound when the question comes: its path (`("now",)`, `("context", "ip")`, …) and kind.

    With `op` it is the truth value of a comparison of two values of the request, the second at the path `other`.
    """

    name: tuple[str, ...]
    kind: str
    op: str = ""
    other: tuple[str, ...] = ()

    @property
    def requested(self) -> bool:
        """Whether the value comes with the request: then its path has two parts or more."""
        return len(self.name) > 1


SUBJECT = Parameter(("subject",), "string")
RESOURCE = Parameter(("resource",), "string")
NOW = Parameter(("now",), "datetime")
AFTER = Parameter(("after",), "string")
LIMIT = Parameter(("limit",), "integer")
PAIRS = Parameter(("pairs",), "json")
AFTER_KEY = Parameter(("after_key",), "string")
WORDS = Parameter(("words",), "json")
TEXT = Parameter(("text",), "string")
TENANT = Parameter(TENANT_ID.path, "string")


@dataclass(frozen=True)
class Statement:
    """SQL text and its parameters; the value of each of `per_pair` stands beside each pair of a batch instead."""

    sql: str
    parameters: tuple[Parameter, ...]
    per_pair: tuple[Parameter, ...] = ()


_NAMES = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\b[rs]\d+(?=[tlm]\d|\b)")


def _without_names(text: str, name: str, tables: Collection[str]) -> str:
    """Return the text of a table with the names that are its own replaced by their order.

    Names are counted: an older one than the table's is of a select around, or of another table.
    """
    numbers: dict[str, int] = {}

    def replaced(match: re.Match[str]) -> str:
        own = match[0]
        if own[0] in "'\"" or (own in tables and own != name) or int(own[1:]) < int(name[1:]):
            return own
        return f"#{numbers.setdefault(own, len(numbers))}#"

    return _NAMES.sub(replaced, text)


class Placeholders:
    """The placeholders of one statement."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.parameters: list[Parameter] = []
        self._names = itertools.count()
        self._tables: dict[str, str] = {}

    def table(self, name: str, columns: str, select: str) -> str:
        """Define a recursive table before the select that is being written; return its name.

        A table with the same rows that is defined already is used again.
        """
        text = f"({columns}) AS ({select})"
        defined = {_without_names(other, known, self._tables): known for known, other in self._tables.items()}
        key = _without_names(text, name, self._tables)
        if key in defined:
            return defined[key]
        self._tables[name] = text
        return name

    @contextmanager
    def inner_tables(self) -> Iterator[None]:
        """Write a select that cannot use the tables around, nor be used around: it is asked row by row."""
        around, self._tables = self._tables, {}
        yield
        assert not self._tables
        self._tables = around

    def with_tables(self, select: str) -> str:
        """Return a select after the definitions of its tables."""
        tables, self._tables = self._tables, {}
        if not tables:
            return select
        definitions = ",\n".join(f"{name} {text}" for name, text in tables.items())
        return f"WITH RECURSIVE {definitions}\n{select}"

    def fresh(self, prefix: str) -> str:
        """Return a name that no other table of the statement has."""
        return f"{prefix}{next(self._names)}"

    def __call__(self, parameter: Parameter) -> str:
        """Return the SQL that stands for a parameter."""
        if parameter not in self.parameters:
            self.parameters.append(parameter)
        name = f"p{self.parameters.index(parameter)}" if parameter.requested else parameter.name[0]
        if self.dialect == "sqlite":
            return f":{name}"
        cast = PG_TYPES.get(parameter.kind)
        return f"%({name})s::{cast}" if cast else f"%({name})s"

    def statement(self, sql: str) -> Statement:
        """Return the statement of a text that these placeholders stand in."""
        return Statement(self.with_tables(sql), tuple(self.parameters))


class BatchPlaceholders(Placeholders):
    """The placeholders of a statement about many pairs: a value of the request is a column beside its pair."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.per_pair: list[Parameter] = []

    def __call__(self, parameter: Parameter) -> str:
        """Return the SQL that stands for a parameter: for a value of the request, a column of ``asked``."""
        if not parameter.requested:
            return super().__call__(parameter)
        if parameter not in self.per_pair:
            self.per_pair.append(parameter)
        return f"asked.v{self.per_pair.index(parameter)}"

    def columns(self) -> Iterator[str]:
        """Yield the columns of ``asked`` for the values of the request, after those of the pair."""
        for at, parameter in enumerate(self.per_pair):
            cast = f"::{PG_TYPES[parameter.kind]}" if self.dialect == "postgresql" else ""
            yield f", (value ->> {at + 2}){cast} AS v{at}"

    def statement(self, sql: str) -> Statement:
        """Return the statement of a text that these placeholders stand in."""
        return Statement(self.with_tables(sql), tuple(self.parameters), tuple(self.per_pair))
