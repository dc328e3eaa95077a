"""Comparison of two policies without facts: they give the same, or one gives nothing that the other does not give.

    new:  g in x.grants and g.practitioner = p and g.role = "owner"
    old:  g in x.grants and g.practitioner = p                          →  narrower: new gives nothing that old does not

A query gives nothing that another does not give, if the rows of the other can be mapped to its own rows so that it
states every condition of the other (Chandra and Merlin's containment mapping). A union is contained in another if each
of its queries is contained in some query of the other. If no mapping is found, nothing is known: the verdict is *not
provable*, never a guess. Conditions that are no comparison of values, such as negation and recursion, are not mapped.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from authz.policy.compiler import CompiledPolicy, Parameter, Query, Schema, SqlWriter, Statement
from authz.policy.compiler.ir import (
    Condition,
    Const,
    LiteralList,
    Now,
    Path,
    RequestAttribute,
    RowVariable,
)
from authz.policy.difference import MatrixName, matrix_names, queries_of

Containment = Literal["same", "narrower", "wider", "not provable"]

MOST_STEPS = 100_000
"""The most steps that the search for mappings takes for one action; beyond them nothing is proven."""

_MIRRORED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPERATORS = {*_MIRRORED, "in", "holds", "exists"}
_OPERANDS = (RowVariable, Path, Const, Now, RequestAttribute, LiteralList)

Meaning = tuple[object, ...]
"""A condition as a value that is equal for the same requirement only: the literals 1 and true differ."""


class _OutOfSteps(Exception):
    """The search for mappings has taken `MOST_STEPS`."""


def compare_policies(old: CompiledPolicy, new: CompiledPolicy) -> dict[MatrixName, Containment]:
    """Return for each action what `new` gives, compared with `old`, whatever the facts and the request are."""
    return {name: _compare(old, new, name) for name in matrix_names(old, new)}


def _compare(old: CompiledPolicy, new: CompiledPolicy, name: MatrixName) -> Containment:
    before, after = queries_of(old, name), queries_of(new, name)
    statements = _evaluation(old, before), _evaluation(new, after)
    if statements[0] is not None and statements[0] == statements[1]:
        return "same"
    values = _requested(statements[0]), _requested(statements[1])
    alike = _store_alike(old.types, new.types)
    gains_nothing = alike and values[0] <= values[1] and _is_contained(after, before)
    loses_nothing = alike and values[1] <= values[0] and _is_contained(before, after)
    verdicts: dict[tuple[bool, bool], Containment] = {
        (True, True): "same",
        (True, False): "narrower",
        (False, True): "wider",
        (False, False): "not provable",
    }
    return verdicts[gains_nothing, loses_nothing]


def _store_alike(old: Schema, new: Schema) -> bool:
    """Return whether what both schemas name is the same: a path reads other rows where a relation leads elsewhere."""
    for name in old.types.keys() & new.types.keys():
        before, after = old.types[name], new.types[name]
        both = before.properties.keys() & after.properties.keys()
        if before != after or any(before.properties[key] != after.properties[key] for key in both):
            return False
    return True


def _evaluation(policy: CompiledPolicy, queries: Sequence[Query]) -> Statement | None:
    """Return the statement of an evaluation; policies with the same statement decide alike, whatever it says."""
    return SqlWriter(policy.types, "sqlite").evaluation(queries) if queries else None


def _requested(statement: Statement | None) -> set[Parameter]:
    """Return the values of a request that a statement takes: a value of another kind makes its decision a denial."""
    return {parameter for parameter in statement.parameters if parameter.requested} if statement else set()


def _is_contained(queries: Sequence[Query], others: Sequence[Query]) -> bool:
    """Return whether each of these queries is proven to give nothing that none of the others gives."""
    steps = iter(range(MOST_STEPS))
    try:
        return all(any(_has_mapping(other, query, steps) for other in others) for query in queries)
    except _OutOfSteps:
        return False


def _has_mapping(general: Query, special: Query, steps: Iterator[int]) -> bool:
    """Return whether the rows of `general` can be mapped to rows of `special` that meet all of its conditions."""
    if not (_is_mappable(general) and _is_mappable(special)):
        return False
    statements = _Statements(special)

    def map_from(position: int, names: dict[RowVariable, RowVariable]) -> bool:
        if next(steps, None) is None:
            raise _OutOfSteps
        known = {*general.ends, *general.rows[:position]}
        fresh = set(general.rows[position - 1 : position])
        settled = [
            each for each in general.conditions if each.rows() <= known and (each.rows() & fresh or not position)
        ]
        if not all(statements.imply(condition.renamed(names)) for condition in settled):
            return False
        if position == len(general.rows):
            return True
        row = general.rows[position]
        targets = [other for other in special.rows if other.type == row.type]
        return any(map_from(position + 1, {**names, row: other}) for other in targets)

    return map_from(0, {})


def _is_mappable(query: Query) -> bool:
    """Return whether all conditions of a query are of the kinds that a mapping understands."""
    rows = {*query.ends, *query.rows}
    return all(
        condition.op in _OPERATORS
        and type(condition.left) in _OPERANDS
        and type(condition.right) in _OPERANDS
        and condition.rows() <= rows
        for condition in query.conditions
    )


class _Statements:
    """The requirements of a query, and those that follow from them."""

    def __init__(self, query: Query) -> None:
        self._meanings = {meaning for condition in query.conditions for meaning in _meanings(condition)}
        self._literals = {_key(each.left): _literals(each) for each in query.conditions if _literals(each)}
        self._read = {
            (path.row, path.fields[:length])
            for condition in query.conditions
            if condition.op != "exists"
            for path in (condition.left, condition.right)
            if isinstance(path, Path)
            for length in range(1, len(path.fields))
        }

    def imply(self, condition: Condition) -> bool:
        """Return whether a condition about rows of the query follows from one of its conditions."""
        if self._meanings & set(_meanings(condition)):
            return True
        operand = condition.left
        if condition.op == "exists" and isinstance(operand, Path):
            return (operand.row, operand.fields) in self._read
        wanted = _literals(condition)
        return bool(wanted) and self._literals.get(_key(operand), wanted | {None}) <= wanted


def _meanings(condition: Condition) -> list[Meaning]:
    """Return the meaning of a condition, and of a comparison also with its sides exchanged."""
    sides = _key(condition.left), _key(condition.right)
    if condition.offset:
        return [(condition.op, *sides, condition.offset)]
    mirrored = _MIRRORED.get(condition.op)
    return [(condition.op, *sides), *([(mirrored, *sides[::-1])] if mirrored else [])]


def _key(term: object) -> object:
    """Return a term as a value that is equal for the same term only; Python takes 1, 1.0 and true for equal."""
    if isinstance(term, Const):
        return type(term.value).__name__, term.value
    return frozenset(map(_key, term.items)) if isinstance(term, LiteralList) else term


def _literals(condition: Condition) -> frozenset[object]:
    """Return the literals of which the left side of a condition is one; none if the condition does not list them."""
    match condition:
        case Condition(offset=offset) if offset:
            return frozenset()
        case Condition(op="=", left=Path() | RequestAttribute(), right=Const() as literal) if literal.value is not None:
            return frozenset([_key(literal)])
        case Condition(op="in", left=Path() | RequestAttribute(), right=LiteralList() as literals):
            return frozenset(map(_key, literals.items))
    return frozenset()
