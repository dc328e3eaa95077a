"""What a resolved policy is made of: terms, conditions, and conjunctive queries.

A policy for one (subject type, resource type) is a union of conjunctive queries: each says that rows exist for
which every condition holds. `SUBJECT` and `RESOURCE` are the two ends of the question.
"""

import builtins
from dataclasses import dataclass, replace
from typing import Any

from authz.policy.compiler.nodes import Place
from authz.policy.compiler.schema import Kind, Scalar, ToOne


@dataclass(frozen=True)
class RowVariable:
    """A row of a type. Number 0 is the subject, 1 the resource; the others are found through relations."""

    number: int
    type: str


@dataclass(frozen=True)
class Path:
    """A field of a row, through to-one relations: `property` is what stands at its end."""

    row: RowVariable
    fields: tuple[str, ...]
    property: Scalar | ToOne

    @builtins.property
    def type(self) -> str | None:
        """The type of the row at its end, if it ends in a row."""
        return self.property.target if isinstance(self.property, ToOne) else None


@dataclass(frozen=True)
class Const:
    """A literal of the policy, or nil (None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True)
class Now:
    """The instant asked about: known only when the question comes."""


@dataclass(frozen=True)
class Asked:
    """A value that comes with the question: ``actor.request.context.purpose`` is ("context", "purpose")."""

    path: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """A literal list."""

    items: tuple[Any, ...]


Term = RowVariable | Path | Const | Now | Asked | Listed
NIL = Const(None)


@dataclass(frozen=True)
class Condition:
    """One requirement: ``left op right``, the rule that states it, and where.

    `op` is a comparison, ``in`` (right is `Listed`), ``holds`` (left is a list property that holds right) or
    ``exists`` (the row at the end of left is there; right is nil).
    """

    op: str
    left: Term
    right: Term
    rule: str = ""
    place: Place | None = None

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What it says, without where it says so."""
        return (self.op, self.left, self.right)

    def rows(self) -> set[RowVariable]:
        return {row for term in (self.left, self.right) for row in rows_of(term)}

    def renamed(self, names: dict[RowVariable, RowVariable]) -> "Condition":
        return replace(self, left=_renamed(self.left, names), right=_renamed(self.right, names))


@dataclass(frozen=True)
class Query:
    """One conjunctive query: the way to a permit that one chain of rules describes.

    `subject` and `resource` are the types of the ends, in Polar's names; `action` None means any action; `rules` are
    the rule numbers on the way, the outermost first.
    """

    subject: str
    resource: str
    action: str | None
    rules: tuple[str, ...]
    rows: tuple[RowVariable, ...]
    conditions: tuple[Condition, ...]

    @property
    def ends(self) -> tuple[RowVariable, RowVariable]:
        return (RowVariable(0, self.subject), RowVariable(1, self.resource))


def rows_of(term: Any) -> set[RowVariable]:
    """Every row that a term speaks of."""
    if isinstance(term, RowVariable):
        return {term}
    return {term.row} if isinstance(term, Path) else set()


def _renamed(term: Any, names: dict[RowVariable, RowVariable]) -> Any:
    if isinstance(term, RowVariable):
        return names.get(term, term)
    return replace(term, row=names.get(term.row, term.row)) if isinstance(term, Path) else term


def kind_of(term: Term) -> Kind | str | None:
    """The kind of a scalar term, the Polar name of a row's type, or None where only the question will tell."""
    if isinstance(term, RowVariable):
        return term.type
    if isinstance(term, Path):
        return term.property.target if isinstance(term.property, ToOne) else term.property.kind
    if isinstance(term, Now):
        return "datetime"
    if isinstance(term, Const) and term.value is not None:
        return {str: "string", bool: "boolean", int: "integer", float: "number"}[type(term.value)]
    return None
