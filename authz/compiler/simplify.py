"""The same union of conjunctive queries, smaller.

Two steps, both exact. *Folding*: an existential row all of whose conditions another row of the query meets as well
says nothing and goes (Chandra and Merlin's minimisation, for one row at a time). *Merging*: two queries that differ
only in the literal of one equality become one, with a list.
"""

from collections.abc import Iterable
from dataclasses import replace

from authz.compiler.terms import Condition, Const, Listed, Path, Query, Row


def simplified(queries: Iterable[Query]) -> tuple[Query, ...]:
    """The queries without rows that say nothing, without repeats, and with literals merged into lists."""
    found: list[Query] = []
    for query in queries:
        one = _folded(query)
        if _canonical(one) not in {_canonical(other) for other in found}:
            found.append(one)
    merged = True
    while merged:
        found, merged = _merge_one(found)
    return tuple(found)


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
    names = {row: Row(number, row.type) for number, row in enumerate(query.rows, 2)}
    said = frozenset(condition.renamed(names).meaning for condition in query.conditions)
    return (query.action, query.rules, tuple(row.type for row in query.rows), said)


def _renumbered(query: Query) -> Query:
    names = {row: Row(number, row.type) for number, row in enumerate(query.rows, 2)}
    conditions = tuple(condition.renamed(names) for condition in query.conditions)
    return replace(query, rows=tuple(names[row] for row in query.rows), conditions=conditions)


def _merge_one(queries: list[Query]) -> tuple[list[Query], bool]:
    """One merge of the first two queries that can be merged, or the same queries and False."""
    seen: dict[object, tuple[int, int]] = {}
    numbered = [_renumbered(query) for query in queries]
    for index, query in enumerate(numbered):
        for position, condition in enumerate(query.conditions):
            if _literals(condition) is None:
                continue
            others = frozenset(one.meaning for at, one in enumerate(query.conditions) if at != position)
            shape = (query.action, query.rules, tuple(row.type for row in query.rows), condition.left, others)
            first, at = seen.setdefault(shape, (index, position))
            if first != index:
                joined = _joined(numbered[first], at, condition)
                kept = [joined if one == first else other for one, other in enumerate(numbered) if one != index]
                return kept, True
    return numbered, False


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
