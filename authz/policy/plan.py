"""A plan: a compiled statement, and how its arguments are made from a question and its request.

A value of the request whose type the policy cannot compare is refused here, before the statement is sent.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson

from authz.domain import finite_number, parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import LIST_KINDS, Parameter, Statement

MOST_LISTED = 1000
"""The most values of a list of the request in which a policy looks for one."""
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

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
    value, kind = _value_at(request, parameter.name), parameter.kind
    if parameter.op:
        return compare_requested(parameter.op, value, _value_at(request, parameter.other))
    if value is None:
        return None
    if kind in LIST_KINDS:
        return _list_text(parameter, value)
    return _scalar(parameter, kind, value)


def _value_at(request: Request, path: tuple[str, ...]) -> object:
    value: object = request
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _list_text(parameter: Parameter, value: object) -> str:
    """Return a list of the request as JSON. Raises `WrongType` if it is none, is too long or holds another kind."""
    if not isinstance(value, list) or len(value) > MOST_LISTED:
        raise WrongType(f"{'.'.join(parameter.name)} is not a list of at most {MOST_LISTED} values")
    return orjson.dumps([_scalar(parameter, LIST_KINDS[parameter.kind], item) for item in value]).decode()


def compare_requested(op: str, value: object, other: object) -> bool:
    """Return whether a comparison of two values of the request holds: an absent value equals an absent one alone.

    Raises `WrongType` for the order of values that are not both numbers or both texts, and for `in` without a list.
    """
    if op == "in":
        if other is not None and (not isinstance(other, list) or len(other) > MOST_LISTED):
            raise WrongType(f"in needs a list of at most {MOST_LISTED} values, which the request does not have")
        return value is not None and any(compare_requested("=", value, item) for item in other or ())
    kinds = [_comparable_kind(side) for side in (value, other)]
    if op in ("=", "!="):
        return (kinds[0] == kinds[1] and value == other) == (op == "=")
    if None in (value, other):
        return False
    if kinds[0] != kinds[1] or kinds[0] not in (str, float):
        raise WrongType("two values of the request are compared by order, but are not both numbers or both texts")
    return _ORDER[op](value, other)


def _comparable_kind(value: object) -> type:
    """Return the kind of a value of the request. Raises `WrongType` for a list or an object."""
    if isinstance(value, list | Mapping):
        raise WrongType("two values of the request are compared, but one is a list or an object")
    return float if type(value) is int else type(value)


def _scalar(parameter: Parameter, kind: str, value: object) -> object:
    """Return a single value of the request as it is bound. Raises `WrongType` if it is of another kind."""
    if kind == "present":
        return "present"
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "number" and (number := finite_number(value)) is not None:
        return number
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
