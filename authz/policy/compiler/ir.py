"""The intermediate representation: terms, conditions, and conjunctive queries.

    has_role(p, "owner", x) if g in x.grants and g.practitioner = p;
    →  Query(rows=(g: Grant,), conditions=(g.patient = x, g.practitioner = p))

A policy for one (subject type, resource type) is a union of conjunctive queries. Each query says that rows exist for
which every condition holds. Rows 0 and 1 are the subject and the resource of the question.
"""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from authz.policy.compiler.nodes import Place
from authz.policy.compiler.schema import Kind, Scalar, ToOne


@dataclass(frozen=True)
class RowVariable:
    """A row of a type. Number 0 is the subject, 1 the resource; the others are found through relations."""

    number: int
    type: str


@dataclass(frozen=True)
class Path:
    """A field of a row, reached through to-one relations; `property` describes the last field."""

    row: RowVariable
    fields: tuple[str, ...]
    property: Scalar | ToOne

    @builtins.property
    def type(self) -> str | None:
        """The type of the row at the end, or None if the path ends in a value."""
        return self.property.target if isinstance(self.property, ToOne) else None


@dataclass(frozen=True)
class Const:
    """A literal of the policy, or nil (None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True)
class Now:
    """The instant asked about, known only when the question comes."""


@dataclass(frozen=True)
class RequestAttribute:
    """A value that comes with the question: ``actor.request.context.purpose`` is ("context", "purpose")."""

    path: tuple[str, ...]


@dataclass(frozen=True)
class LiteralList:
    """A list of literals."""

    items: tuple[Const, ...]


Operand = RowVariable | Path | Const | Now | RequestAttribute
Term = Operand | LiteralList
NIL = Const(None)

T = TypeVar("T")


@dataclass(frozen=True)
class Condition:
    """One requirement: ``left op right``, the number of the rule that states it, and its place.

    `op` is a comparison, ``in`` (right is a `LiteralList`), ``holds`` (left is a list property that holds right) or
    ``exists`` (the row at the end of left exists; right is nil).
    """

    op: str
    left: Operand
    right: Term
    rule: str = ""
    place: Place | None = None

    @property
    def meaning(self) -> tuple[str, Operand, Term]:
        """The requirement without its rule and place."""
        return (self.op, self.left, self.right)

    def rows(self) -> set[RowVariable]:
        """Return the rows that the condition is about."""
        return {row for term in (self.left, self.right) for row in _rows_of(term)}

    def renamed(self, names: Mapping[RowVariable, RowVariable]) -> "Condition":
        """Return the condition about other rows."""
        return replace(self, left=_renamed(self.left, names), right=_renamed(self.right, names))


@dataclass(frozen=True)
class Query:
    """One conjunctive query: the derivation of a permit that one chain of rules describes.

    `subject` and `resource` are the types of the ends, in Polar's names. `action` is the action, or the role if the
    query asks who has a role; None means any action. `rules` are the numbers of the rules, the outermost first.
    """

    subject: str
    resource: str
    action: str | None
    rules: tuple[str, ...]
    rows: tuple[RowVariable, ...]
    conditions: tuple[Condition, ...]

    @property
    def ends(self) -> tuple[RowVariable, RowVariable]:
        """The rows of the subject and the resource."""
        return (RowVariable(0, self.subject), RowVariable(1, self.resource))


def _rows_of(term: Term) -> set[RowVariable]:
    if isinstance(term, RowVariable):
        return {term}
    return {term.row} if isinstance(term, Path) else set()


def _renamed(term: T, names: Mapping[RowVariable, RowVariable]) -> T:
    renamed: object = term
    if isinstance(term, RowVariable):
        renamed = names.get(term, term)
    elif isinstance(term, Path):
        renamed = replace(term, row=names.get(term.row, term.row))
    return cast(T, renamed)


def kind_of(term: object) -> Kind | str | None:
    """Return the kind of a scalar, the Polar name of a row's type, or None if only the question tells."""
    match term:
        case RowVariable():
            return term.type
        case Path():
            return term.property.target if isinstance(term.property, ToOne) else term.property.kind
        case Now():
            return "datetime"
        case Const(value=value) if value is not None:
            return {str: "string", bool: "boolean", int: "integer", float: "number"}[type(value)]
    return None
