"""The same union of conjunctive queries, smaller.

Steps, each exact. *Folding*: an existential row all of whose conditions another row of the query meets as well
says nothing and goes (Chandra and Merlin's minimisation, for one row at a time). *Merging*: two queries that differ
only in the literal of one equality become one, with a list.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from authz.policy.compiler.ir import Condition, Const, Listed, Path, Query, RowVariable


def simplified(queries: Iterable[Query], tick: Callable[[], object] = lambda: None) -> tuple[Query, ...]:
    """The queries without rows that say nothing, without repeats, and with literals merged into lists.

    `tick` is called at every step, so that a caller can stop what takes too long.
    """
    found: dict[object, Query] = {}
    for query in queries:
        tick()
        one = _folded(_terse(query))
        found.setdefault(_canonical(one), _renumbered(one))
    kept = list(found.values())
    before = len(kept) + 1
    while len(kept) < before:
        before, kept = len(kept), _merged(kept, tick)
    return tuple(kept)


def _terse(query: Query) -> Query:
    """Without each ``exists`` of a row of which another condition reads a field: that says it too."""
    read = {
        (path.row, path.fields[:length])
        for condition in query.conditions
        if condition.op != "exists"
        for path in (condition.left, condition.right)
        if isinstance(path, Path)
        for length in range(1, len(path.fields))
    }
    kept = [
        one
        for one in query.conditions
        if not (one.op == "exists" and isinstance(one.left, Path) and (one.left.row, one.left.fields) in read)
    ]
    return replace(query, conditions=tuple(kept))


def _folded(query: Query) -> Query:
    for row in query.rows:
        about = [condition for condition in query.conditions if row in condition.rows()]
        for other in query.rows:
            if other == row or other.type != row.type:
                continue
            rest = {condition.meaning for condition in query.conditions if row not in condition.rows()}
            if all(condition.renamed({row: other}).meaning in rest for condition in about):
                kept = tuple(condition for condition in query.conditions if condition not in about)
                return _folded(replace(query, rows=tuple(one for one in query.rows if one != row), conditions=kept))
    return query


def _canonical(query: Query) -> tuple[object, ...]:
    """What a query says, with its rows numbered in order, so that equal queries are equal."""
    names = {row: RowVariable(number, row.type) for number, row in enumerate(query.rows, 2)}
    said = frozenset(condition.renamed(names).meaning for condition in query.conditions)
    return (query.action, query.rules, tuple(row.type for row in query.rows), said)


def _renumbered(query: Query) -> Query:
    names = {row: RowVariable(number, row.type) for number, row in enumerate(query.rows, 2)}
    conditions = tuple(condition.renamed(names) for condition in query.conditions)
    return replace(query, rows=tuple(names[row] for row in query.rows), conditions=conditions)


def _merged(queries: list[Query], tick: Callable[[], object]) -> list[Query]:
    """The queries, those that differ only in the literal of one condition made one; each takes part in one merge."""
    first: dict[object, tuple[int, int]] = {}
    kept: dict[int, Query] = {}
    merged_at: dict[int, int] = {}
    for index, query in enumerate(queries):
        tick()
        shapes = list(_shapes(query))
        for position, shape in shapes:
            at = first.get(shape)
            if at is not None and merged_at.setdefault(at[0], at[1]) == at[1]:
                kept[at[0]] = _joined(kept[at[0]], at[1], query.conditions[position])
                break
        else:
            kept[index] = query
            for position, shape in shapes:
                first.setdefault(shape, (index, position))
    return list(kept.values())


def _shapes(query: Query) -> Iterator[tuple[int, object]]:
    """Each condition with literals, as its position and all that the query says beside the literals."""
    for position, condition in enumerate(query.conditions):
        if _literals(condition) is not None:
            others = frozenset(one.meaning for at, one in enumerate(query.conditions) if at != position)
            shape = (query.action, query.rules, tuple(row.type for row in query.rows), condition.left, others)
            yield position, shape


def _joined(query: Query, position: int, other: Condition) -> Query:
    """The query with the literals of another's condition added to those of its own at that position."""
    own = query.conditions[position]
    items = tuple(dict.fromkeys((*(_literals(own) or ()), *(_literals(other) or ()))))
    merged = replace(own, op="in", right=Listed(items))
    return replace(query, conditions=(*query.conditions[:position], merged, *query.conditions[position + 1 :]))


def _literals(condition: Condition) -> tuple[Const, ...] | None:
    """The literals of ``path = "x"`` and ``path in ["x", "y"]``; None for other conditions."""
    if not isinstance(condition.left, Path):
        return None
    if condition.op == "=" and isinstance(condition.right, Const) and condition.right.value is not None:
        return (condition.right,)
    if condition.op == "in" and isinstance(condition.right, Listed):
        return condition.right.items
    return None
