"""The intermediate representation: terms, conditions, and conjunctive queries.

    has_role(p, "owner", x) if g in x.grants and g.practitioner = p;
    →  Query(rows=(g: Grant,), conditions=(g.patient = x, g.practitioner = p))

A policy for one (subject type, resource type) is a union of conjunctive queries. Each query says that rows exist for
which every condition holds. Rows 0 and 1 are the subject and the resource of the question.
"""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from authz.policy.compiler.nodes import Place
from authz.policy.compiler.schema import Kind, Scalar, ToOne, ToTargets


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
    property: Scalar | ToOne | ToTargets

    @builtins.property
    def type(self) -> str | None:
        """The type of the row at the end, or None if the path ends in a value or leads to rows of several types."""
        return self.property.target if isinstance(self.property, ToOne) else None


@dataclass(frozen=True)
class Const:
    """A literal of the policy, or nil (None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True)
class Now:
    """The instant asked about, known only when the question comes."""


@dataclass(frozen=True)
class Instant:
    """An instant that the policy writes out, in microseconds."""

    micros: int


@dataclass(frozen=True)
class RequestAttribute:
    """A value that comes with the question: ``actor.request.context.purpose`` is ("context", "purpose")."""

    path: tuple[str, ...]


@dataclass(frozen=True)
class LiteralList:
    """A list of literals."""

    items: tuple[Const, ...]


Operand = RowVariable | Path | Const | Now | Instant | RequestAttribute
NIL = Const(None)
FIRST_INNER = 10**9
"""The number of the first row of a subquery or a step: beyond the rows of every query."""


@dataclass(frozen=True)
class Subquery:
    """Rows that exist together so that every condition holds, for given rows of the query around."""

    rows: tuple[RowVariable, ...]
    conditions: tuple["Condition", ...]

    def outer_rows(self) -> set[RowVariable]:
        """Return the rows of the query around that the conditions are about."""
        return {row for condition in self.conditions for row in condition.rows()} - set(self.rows)


@dataclass(frozen=True)
class Absence:
    """Subqueries none of which is met: what ``not`` and ``forall`` require. Its rows are those of the query around."""

    subqueries: tuple[Subquery, ...]


@dataclass(frozen=True)
class Step:
    """One step of a closure: from a `node` that `source` is asked of, to the row that `target` is asked of then.

    `source` and `target` count the predicates of the closure; `goal` is the row at the end of the step.
    """

    source: int
    target: int
    node: RowVariable
    goal: "RowVariable | Path"
    rows: tuple[RowVariable, ...]
    conditions: tuple["Condition", ...]

    def renamed(self, names: Mapping[RowVariable, RowVariable]) -> "Step":
        """Return the step about other rows of the query around."""
        conditions = tuple(condition.renamed(names) for condition in self.conditions)
        return replace(self, goal=_renamed(self.goal, names), conditions=conditions)


@dataclass(frozen=True)
class Closure:
    """Rules that come back to themselves: predicates about one row each, and the steps from one to another.

    `names` are those of the predicates' rules, `types` the types of their rows, in Polar's names.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    steps: tuple[Step, ...]

    def outer_rows(self) -> set[RowVariable]:
        """Return the rows of the query around that steps are about: its subject or its resource."""
        rows: set[RowVariable] = set()
        for step in self.steps:
            about = _rows_of(step.goal) | {row for condition in step.conditions for row in condition.rows()}
            rows |= about - {step.node, *step.rows}
        return rows


@dataclass(frozen=True)
class Reached:
    """The row that some steps of a closure lead to, from predicate `source` of the row on the left to `target`."""

    row: RowVariable
    closure: Closure
    source: int
    target: int


Term = Operand | LiteralList | Absence | Reached

T = TypeVar("T")


@dataclass(frozen=True)
class Condition:
    """One requirement: ``left op right``, the number of the rule that states it, and its place.

    `op` is a comparison, ``in`` (right is a `LiteralList`, or a list of the request), ``holds`` (left is a list
    property that holds right, or a relation to many that leads to the row right), ``exists`` (the row at the end of
    left exists; right is nil), a function of `functions`, ``absent`` (right is an `Absence`; left is nil) or
    ``reaches`` (right is a `Reached`; left is the row from which it is reached). Instants are compared with right moved
    by `offset` microseconds.
    """

    op: str
    left: Operand
    right: Term
    rule: str = ""
    place: Place | None = None
    offset: int = 0

    @property
    def meaning(self) -> tuple[object, ...]:
        """The requirement without its rule and place."""
        return (self.op, self.left, self.right, self.offset)

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
    query asks who has a role; None means any action. `rules` are the numbers of the rules, the outermost first. A query
    `of_tenant` reads the facts of the tenant alone.
    """

    subject: str
    resource: str
    action: str | None
    rules: tuple[str, ...]
    rows: tuple[RowVariable, ...]
    conditions: tuple[Condition, ...]
    of_tenant: bool = False

    @property
    def ends(self) -> tuple[RowVariable, RowVariable]:
        """The rows of the subject and the resource."""
        return (RowVariable(0, self.subject), RowVariable(1, self.resource))


def subqueries(conditions: Iterable[Condition]) -> Iterator[Subquery]:
    """Yield the subqueries of conditions, with those inside them; each step of a closure is one."""
    for condition in conditions:
        inner: Iterable[Subquery] = ()
        if isinstance(condition.right, Absence):
            inner = condition.right.subqueries
        elif isinstance(condition.right, Reached):
            steps = condition.right.closure.steps
            inner = (Subquery((step.node, *step.rows), step.conditions) for step in steps)
        for subquery in inner:
            yield subquery
            yield from subqueries(subquery.conditions)


def map_subqueries(condition: Condition, change: Callable[[Subquery], tuple[Condition, ...]]) -> Condition:
    """Return a condition whose subqueries have the conditions that `change` makes of each; the innermost first."""

    def changed(rows: tuple[RowVariable, ...], conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        return change(Subquery(rows, tuple(map_subqueries(inner, change) for inner in conditions)))

    match condition.right:
        case Absence(subqueries=inner):
            absence = Absence(tuple(Subquery(each.rows, changed(each.rows, each.conditions)) for each in inner))
            return replace(condition, right=absence)
        case Reached(closure=closure) as reached:
            steps = tuple(
                replace(step, conditions=changed((step.node, *step.rows), step.conditions)) for step in closure.steps
            )
            return replace(condition, right=replace(reached, closure=replace(closure, steps=steps)))
    return condition


def _rows_of(term: Term) -> set[RowVariable]:
    match term:
        case RowVariable():
            return {term}
        case Path():
            return {term.row}
        case Absence():
            return {row for subquery in term.subqueries for row in subquery.outer_rows()}
        case Reached():
            return {term.row, *term.closure.outer_rows()}
    return set()


def _renamed(term: T, names: Mapping[RowVariable, RowVariable]) -> T:
    renamed: object = term
    match term:
        case RowVariable():
            renamed = names.get(term, term)
        case Path():
            renamed = replace(term, row=names.get(term.row, term.row))
        case Absence():
            renamed = Absence(
                tuple(
                    replace(each, conditions=tuple(inner.renamed(names) for inner in each.conditions))
                    for each in term.subqueries
                )
            )
        case Reached():
            closure = replace(term.closure, steps=tuple(step.renamed(names) for step in term.closure.steps))
            renamed = replace(term, row=names.get(term.row, term.row), closure=closure)
    return cast(T, renamed)


def kind_of(term: object) -> Kind | str | None:
    """Return the kind of a scalar, the Polar name of a row's type, or None if only the question tells."""
    match term:
        case RowVariable():
            return term.type
        case Path(property=ToTargets(many=many)):
            return "relation to many" if many else "relation to several types"
        case Path(property=ToOne(target=target)):
            return target
        case Path(property=Scalar(kind=kind)):
            return kind
        case Now() | Instant():
            return "datetime"
        case Const(value=value) if value is not None:
            return {str: "string", bool: "boolean", int: "integer", float: "number"}[type(value)]
    return None
