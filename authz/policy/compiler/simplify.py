"""Simplification: the same union of conjunctive queries, smaller. Each step is exact.

    g in x.grants and h in x.grants and h.role = "owner"   →   h in x.grants and h.role = "owner"       (eliminate rows)
    p.name = "a" or p.name = "b"                           →   p.name in ["a", "b"]                     (merge literals)
    x.patient exists and x.patient.name = "a"              →   x.patient.name = "a"                     (drop exists)

A row is eliminated if another row of the query meets all of its conditions as well (Chandra and Merlin's minimisation,
for one row at a time). Two queries that differ only in the literal of one condition become one, with a list.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from authz.policy.compiler.ir import Condition, Const, LiteralList, Path, Query, RowVariable

_LITERALS_A_STEP = 20

Spend = Callable[[int], object]


def simplify(queries: Iterable[Query], spend: Spend = lambda _steps: None) -> tuple[Query, ...]:
    """Return the queries without redundant rows and repeats, and with literals merged into lists.

    `spend` is called with the number of steps of each piece of work, so that a caller can limit them.
    """
    distinct: dict[object, Query] = {}
    for query in queries:
        spend(1)
        smaller = _eliminate_rows(_drop_redundant_exists(query), spend)
        distinct.setdefault(_canonical(smaller), _renumber(smaller))
    merged = list(distinct.values())
    before = len(merged) + 1
    while len(merged) < before:
        before, merged = len(merged), _merge(merged, spend)
    return tuple(merged)


def _drop_redundant_exists(query: Query) -> Query:
    """Drop each ``exists`` of a row of which another condition reads a field."""
    read = {
        (path.row, path.fields[:length])
        for condition in query.conditions
        if condition.op != "exists"
        for path in (condition.left, condition.right)
        if isinstance(path, Path)
        for length in range(1, len(path.fields))
    }
    kept = [
        condition
        for condition in query.conditions
        if not (
            condition.op == "exists"
            and isinstance(condition.left, Path)
            and (condition.left.row, condition.left.fields) in read
        )
    ]
    return replace(query, conditions=tuple(kept))


def _eliminate_rows(query: Query, spend: Spend) -> Query:
    """Eliminate each row that another row of its type stands for."""
    for row in query.rows:
        spend(1)
        smaller = _eliminate_row(query, row)
        if smaller is not None:
            return _eliminate_rows(smaller, spend)
    return query


def _eliminate_row(query: Query, row: RowVariable) -> Query | None:
    about = [condition for condition in query.conditions if row in condition.rows()]
    others = {condition.meaning for condition in query.conditions if row not in condition.rows()}
    for other in query.rows:
        if other == row or other.type != row.type:
            continue
        if all(condition.renamed({row: other}).meaning in others for condition in about):
            conditions = tuple(condition for condition in query.conditions if condition not in about)
            return replace(query, rows=tuple(kept for kept in query.rows if kept != row), conditions=conditions)
    return None


def _canonical(query: Query) -> tuple[object, ...]:
    """Return a value that is equal for queries that differ only in the numbers of rows or the order of conditions."""
    names = {row: RowVariable(number, row.type) for number, row in enumerate(query.rows, 2)}
    conditions = frozenset(condition.renamed(names).meaning for condition in query.conditions)
    return (query.action, query.rules, tuple(row.type for row in query.rows), conditions)


def _renumber(query: Query) -> Query:
    names = {row: RowVariable(number, row.type) for number, row in enumerate(query.rows, 2)}
    conditions = tuple(condition.renamed(names) for condition in query.conditions)
    return replace(query, rows=tuple(names[row] for row in query.rows), conditions=conditions)


def _merge(queries: list[Query], spend: Spend) -> list[Query]:
    """Merge queries that differ only in the literal of one condition; each query takes part in one merge."""
    first: dict[object, tuple[int, int]] = {}
    kept: dict[int, Query] = {}
    merged_at: dict[int, int] = {}
    for index, query in enumerate(queries):
        spend(1)
        shapes = list(_shapes(query))
        for position, shape in shapes:
            at = first.get(shape)
            if at is not None and merged_at.setdefault(at[0], at[1]) == at[1]:
                kept[at[0]] = _add_literals(kept[at[0]], at[1], query.conditions[position], spend)
                break
        else:
            kept[index] = query
            for position, shape in shapes:
                first.setdefault(shape, (index, position))
    return list(kept.values())


def _shapes(query: Query) -> Iterator[tuple[int, object]]:
    """Yield the position of each condition with literals, and all of the query but the literals."""
    for position, condition in enumerate(query.conditions):
        if _literals(condition):
            others = frozenset(other.meaning for at, other in enumerate(query.conditions) if at != position)
            shape = (query.action, query.rules, tuple(row.type for row in query.rows), condition.left, others)
            yield position, shape


def _add_literals(query: Query, position: int, other: Condition, spend: Spend) -> Query:
    """Add the literals of another condition to those of the query's own condition at a position."""
    own = query.conditions[position]
    items = tuple(dict.fromkeys((*_literals(own), *_literals(other))))
    spend(len(items) // _LITERALS_A_STEP)
    merged = replace(own, op="in", right=LiteralList(items))
    return replace(query, conditions=(*query.conditions[:position], merged, *query.conditions[position + 1 :]))


def _literals(condition: Condition) -> tuple[Const, ...]:
    """Return the literals of ``path = "x"`` and ``path in ["x", "y"]``; none for other conditions."""
    match condition:
        case Condition(op="=", left=Path(), right=Const() as literal) if literal.value is not None:
            return (literal,)
        case Condition(op="in", left=Path(), right=LiteralList() as literals):
            return literals.items
    return ()
