"""A compiled statement and its arguments: what was asked, and what came with the request, in the policy's kinds.

A value of another kind than the policy compares it with is refused here, before the database sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from authz.domain import parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Statement

Properties = Mapping[str, Any]
"""What came with a request about one of its parts."""

BASIC = ("subject", "resource", "now", "tenant", "after", "limit", "pairs", "after_key", "words", "text")


@dataclass(frozen=True)
class PagePosition:
    """Where a page of a list begins, what is searched in the list, and how many rows are wanted.

    The list is ordered by sort key and id (`by_name`), or by id alone; the page comes after `key` and `after`. `words`
    are folded and all occur in the name or reference of a row, unless `text` is its id.
    """

    limit: int
    after: str = ""
    key: str = ""
    by_name: bool = True
    words: tuple[str, ...] = ()
    text: str = ""

    def values(self) -> dict[str, Any]:
        """The values of the statement, by the names of `BASIC`."""
        words = orjson.dumps(self.words).decode()
        after = {"after": self.after, "after_key": self.key, "limit": self.limit}
        return {**after, "words": words, "text": self.text if self.words else ""}


class WrongType(Exception):
    """A value that came with the request cannot be compared with what the policy compares it with."""


class Plan:
    """A statement with the way its arguments are made."""

    def __init__(self, statement: Statement) -> None:
        self.sql = statement.sql
        self._parameters = statement.parameters
        self._basic = [
            (f"p{number}", BASIC.index(parameter.name[0]))
            for number, parameter in enumerate(statement.parameters)
            if len(parameter.name) == 1
        ]
        self._requested = [
            (f"p{number}", parameter)
            for number, parameter in enumerate(statement.parameters)
            if len(parameter.name) > 1
        ]
        self._listed = statement.listed

    def beside(self, subject: str, resource: str, asked: Mapping[str, Properties]) -> list[Any]:
        """One pair of many, with what came with its question. Raises `WrongType`."""
        return [subject, resource, *(_asked(one.name, one.kind, asked) for one in self._listed)]

    def arguments(self, values: tuple[Any, ...], asked: Mapping[str, Properties]) -> dict[str, Any]:
        """`values` in the order of `BASIC`; `asked` is the request, by subject, action, resource and context.

        Raises `WrongType`.
        """
        made = {name: values[index] for name, index in self._basic}
        for name, one in self._requested:
            made[name] = _asked(one.name, one.kind, asked)
        return made


def _asked(name: tuple[str, ...], kind: str, asked: Mapping[str, Properties]) -> Any:
    value: Any = asked
    for part in name:
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return None
    if kind == "present":
        return "present"
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else float(value)
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    if kind == "string" and isinstance(value, str) and "\0" not in value and value.isascii() | _encodes(value):
        return value
    if kind == "datetime":
        try:
            return to_micros(parse_instant(value))
        except InvalidInput as error:
            raise WrongType(str(error)) from error
    raise WrongType(f"{'.'.join(name)} is not of the kind {kind}")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
