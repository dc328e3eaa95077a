"""A plan: a compiled statement, and how its arguments are made from a question and its request.

A value of the request whose type the policy cannot compare is refused here, before the statement is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import orjson

from authz.domain import parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Parameter, Statement

Properties = Mapping[str, object]
"""The properties that an app sends with one part of a question, such as the subject."""

Request = Mapping[str, Properties]
"""The properties that an app sends: ``{"action": …, "context": …, "subject": …, "resource": …}``."""


class Arguments(TypedDict, total=False):
    """The arguments of a statement, by the names of its parameters; `now` is in microseconds."""

    subject: str
    resource: str
    now: int
    tenant: str | None
    after: str
    after_key: str
    limit: int | None
    pairs: str
    words: str
    text: str
    clinic: str
    soon: int
    offset: int


@dataclass(frozen=True)
class PagePosition:
    """A page of a list: where it begins, which rows are searched for, and how many are wanted.

    The list is ordered by sort key and id (`by_name`), or by id alone; the page comes after `key` and `after`. `words`
    are folded and all occur in the name or reference of a row, unless `text` is its id.
    """

    limit: int
    after: str = ""
    key: str = ""
    by_name: bool = True
    words: tuple[str, ...] = ()
    text: str = ""

    def values(self) -> Arguments:
        """Return the arguments of a statement about this page."""
        return {
            "after": self.after,
            "after_key": self.key,
            "limit": self.limit,
            "words": orjson.dumps(self.words).decode(),
            "text": self.text if self.words else "",
        }


class WrongType(Exception):
    """A value of the request has a type that the policy cannot compare."""


class Plan:
    """A statement, and the values that it takes from a request."""

    def __init__(self, statement: Statement) -> None:
        self.sql = statement.sql
        self._requested = [
            (f"p{number}", parameter) for number, parameter in enumerate(statement.parameters) if parameter.requested
        ]
        self._per_pair = statement.per_pair

    @property
    def requested(self) -> list[str]:
        """The values of a request that the statement takes, such as ``context.purpose``."""
        return [".".join(parameter.name) for _, parameter in self._requested] + [
            ".".join(parameter.name) for parameter in self._per_pair
        ]

    def is_same_statement(self, other: "Plan") -> bool:
        """Return whether another plan asks the same of every database."""
        return (self.sql, self._requested, self._per_pair) == (other.sql, other._requested, other._per_pair)

    def bind(self, arguments: Arguments, request: Request) -> Mapping[str, object]:
        """Return the arguments with the values of the request that the statement takes. Raises `WrongType`."""
        if not self._requested:
            return arguments
        requested = {name: _requested_value(parameter, request) for name, parameter in self._requested}
        return {**arguments, **requested}

    def pair(self, subject: str, resource: str, request: Request) -> list[object]:
        """Return one pair of a batch, with the values of its request. Raises `WrongType`."""
        return [subject, resource, *(_requested_value(parameter, request) for parameter in self._per_pair)]


def _requested_value(parameter: Parameter, request: Request) -> object:
    """Return the value of a request for a parameter, None if it is absent. Raises `WrongType`."""
    value: object = request
    for part in parameter.name:
        value = value.get(part) if isinstance(value, Mapping) else None
    kind = parameter.kind
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
    if kind == "string" and isinstance(value, str) and "\0" not in value and _is_unicode(value):
        return value
    if kind == "datetime":
        try:
            return to_micros(parse_instant(value))
        except InvalidInput as error:
            raise WrongType(str(error)) from error
    raise WrongType(f"{'.'.join(parameter.name)} is not of the kind {kind}")


def _is_unicode(text: str) -> bool:
    """Return whether a text holds no lone surrogate, so that it can be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
