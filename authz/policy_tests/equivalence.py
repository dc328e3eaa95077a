"""Equivalence of two policies, proven by containment; what is not proven is taken as different.

A query is contained in another if the rows of the other can be mapped to its own rows so that every condition of the
other becomes one of its own (Chandra and Merlin). Two policies are equivalent if for each action each query of either
is contained in a query of the other. Conditions are compared as they stand: nothing is concluded from several of them.
"""

from collections.abc import Iterator, Mapping

from authz.policy.compiler import CompiledPolicy, Query
from authz.policy.compiler.ir import Condition, RowVariable

_MOST_STEPS = 20_000


class _TooManySteps(Exception):
    """The search for a mapping takes too long; nothing is proven."""


def is_equivalent(policy: CompiledPolicy, other: CompiledPolicy) -> bool:
    """Return whether two policies are proven to decide every question alike."""
    try:
        return _covers(policy.queries, other.queries) and _covers(other.queries, policy.queries)
    except _TooManySteps:
        return False


def _covers(
    wide: Mapping[tuple[str, str], tuple[Query, ...]], narrow: Mapping[tuple[str, str], tuple[Query, ...]]
) -> bool:
    """Return whether each query of `narrow` is contained in a query of `wide`."""
    return all(
        any(_contains(candidate, query) for candidate in wide.get(ends, ()))
        for ends, queries in narrow.items()
        for query in queries
    )


def _contains(wide: Query, narrow: Query) -> bool:
    """Return whether a query permits everything that another permits."""
    if wide.action not in (None, narrow.action):
        return False
    types = {row.type for row in (*narrow.ends, *narrow.rows)}
    if any(row.type not in types for row in wide.rows):
        return False
    own = {_meaning(condition) for condition in narrow.conditions}
    ends = dict(zip(wide.ends, narrow.ends, strict=True))
    waiting = sorted(wide.conditions, key=lambda condition: max((row.number for row in condition.rows()), default=0))
    steps = iter(range(_MOST_STEPS))
    return any(True for _ in _mappings(waiting, dict(ends), own, narrow, steps))


def _mappings(
    waiting: list[Condition],
    names: Mapping[RowVariable, RowVariable],
    own: set[object],
    narrow: Query,
    steps: Iterator[int],
) -> Iterator[None]:
    """Yield once for each mapping of the remaining rows under which the waiting conditions are among `own`."""
    if next(steps, None) is None:
        raise _TooManySteps
    if not waiting:
        yield
        return
    condition, *rest = waiting
    free = sorted(condition.rows() - names.keys(), key=lambda row: row.number)
    if not free:
        if _meaning(condition.renamed(names)) in own:
            yield from _mappings(rest, names, own, narrow, steps)
        return
    for row in (*narrow.ends, *narrow.rows):
        if row.type == free[0].type:
            yield from _mappings(waiting, {**names, free[0]: row}, own, narrow, steps)


def _meaning(condition: Condition) -> object:
    """Return the requirement; the two sides of an equality in any order."""
    op, *sides = condition.meaning
    return (op, frozenset(sides)) if op in ("=", "!=") else (op, *sides)
