"""The SQL of a closure: every row that its steps lead to, as a recursive table.

    f reaches f2 by f → f.parent, f known
    →  (WITH RECURSIVE r0 (origin, tag, node) AS (
          SELECT :resource, 0, :resource
          UNION SELECT r0.origin, 0, l0.target FROM r0, …, entity_link AS l0 WHERE r0.tag = 0 AND t0.id = r0.node …)
        SELECT origin, node FROM r0 WHERE tag = 0) AS r0

The table begins at the side that is known: at the rows that steps start from, or backwards at those that they lead to.
``tag`` is the predicate, ``origin`` the row of the begin. UNION leaves out what is there already, which ends circles.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from authz.policy.compiler.ir import Closure, Condition, Path, Query, Reached, RowVariable, Step
from authz.policy.compiler.placeholders import Placeholders

Ends = tuple[str | None, str | None]
"""The SQL that stands for the subject and for the resource; None if the statement searches for it."""


class Builder(Protocol):
    """The builder of a select, as far as closures need it."""

    query: Query
    placeholders: Placeholders
    where: list[str]
    tables: list[str]
    keys: dict[int, str]
    known_ends: Ends
    known_tables: tuple[str, ...]

    def key(self, term: RowVariable | Path, optional: bool = False) -> str:
        """Return the SQL for the id of a row."""

    def body(self) -> str:
        """Return ``FROM … WHERE …``."""

    def is_known(self, row: RowVariable) -> bool:
        """Return whether the id of a row is known before the select is asked."""

    def part(
        self,
        rows: Sequence[RowVariable],
        conditions: Sequence[Condition],
        ends: Ends,
        *,
        keys: Mapping[int, str],
        tables: Sequence[str],
    ) -> "Builder":
        """Return a builder of some rows and conditions of the query, or of a step, for a table that stands in FROM."""


def join_closure(builder: Builder, condition: Condition, reached: Reached) -> None:
    """Add the table of a closure to a select, the key of the row that is reached, and the condition on its start."""
    start, goal = condition.left, reached.row
    assert isinstance(start, RowVariable | Path)
    others = [other for other in builder.query.conditions if other is not condition]
    first = start if isinstance(start, RowVariable) else start.row
    start_side, goal_side = _side(builder, first, goal, others), _side(builder, goal, first, others)
    carried = sorted((row for row in reached.closure.outer_rows() if _is_carried(builder, row)), key=_number)
    forward = _is_forward(builder, reached.closure, others, start_side, goal_side)
    name = builder.placeholders.fresh("r")
    table = _Table(builder, name, reached.closure, carried, forward)
    origin, begin, end = (start, reached.source, reached.target) if forward else (goal, reached.target, reached.source)
    relaxed = _without(reached.closure, carried)
    if carried and not relaxed.outer_rows() & set(carried):
        # Begin with the subjects and resources that could be meant if these conditions of the steps did not matter.
        everything = [replace(condition, right=replace(reached, closure=relaxed)), *others]
        seed = table.seed(everything, set(builder.query.rows) | set(builder.query.ends), origin, begin)
    else:
        seed = table.seed(others, start_side if forward else goal_side, origin, begin)
    builder.tables.append(table.sql(seed, end))
    builder.keys[goal.number] = f"{name}.{'node' if forward else 'origin'}"
    builder.where.append(f"{name}.{'origin' if forward else 'node'} = {builder.key(start)}")
    for row in carried:
        builder.where.append(f"{name}.end{row.number} = {builder.key(row)}")


class _Table:
    """Writes the table of one closure."""

    def __init__(
        self, builder: Builder, name: str, closure: Closure, carried: Sequence[RowVariable], forward: bool
    ) -> None:
        self._builder = builder
        self._name = name
        self._closure = closure
        self._carried = carried
        self._forward = forward
        known: list[str | None] = list(builder.known_ends)
        for row in carried:
            known[row.number] = f"{name}.end{row.number}"
        self._step_ends: Ends = (known[0], known[1])

    def seed(self, others: Sequence[Condition], side: set[RowVariable], origin: RowVariable | Path, tag: int) -> str:
        """Return the select of the rows at which the table begins; `others` are the query's other conditions."""
        builder = self._builder
        conditions = [
            condition
            for condition in others
            if condition.rows() & side and all(row in side or builder.is_known(row) for row in condition.rows())
        ]
        rows = [row for row in builder.query.rows if row in side]
        part = builder.part(rows, conditions, builder.known_ends, keys={}, tables=builder.known_tables)
        key = self._same_type(part.key(origin))
        ends = "".join(f", {self._same_type(part.key(row))}" for row in self._carried)
        return f"SELECT {key}, {tag}, {key}{ends} {part.body()}"

    def sql(self, seed: str, end: int) -> str:
        """Return the table, with the select at which it begins, of the rows of one predicate."""
        name = self._name
        ends = "".join(f", end{row.number}" for row in self._carried)
        passed = "".join(f", {name}.end{row.number}" for row in self._carried)
        if not self._closure.steps:
            recursive = ""
        elif self._builder.placeholders.dialect == "sqlite":
            recursive = "".join(
                f" UNION SELECT {name}.origin, {tag}, {key}{passed} FROM {name}, {', '.join(part.tables)}"
                f" WHERE {' AND '.join(part.where)}"
                for tag, key, part in map(self._step, self._closure.steps)
            )
        else:  # a recursive query of PostgreSQL names itself once, and not inside a subquery of its own
            steps = " UNION ALL ".join(
                f"SELECT {tag}, {key} FROM {', '.join(part.tables)} WHERE {' AND '.join(part.where)}"
                for tag, key, part in map(self._step, self._closure.steps)
            )
            recursive = (
                f" UNION SELECT {name}.origin, step.tag, step.node{passed}"
                f" FROM {name}, LATERAL ({steps}) AS step (tag, node)"
            )
        return (
            f"(WITH RECURSIVE {name} (origin, tag, node{ends}) AS ({seed}{recursive})"
            f" SELECT origin, node{ends} FROM {name} WHERE tag = {end}) AS {name}"
        )

    def _same_type(self, key: str) -> str:
        """Return a key in the collation of stored ids; PostgreSQL requires the same of all parts of a table."""
        return f'({key}) COLLATE "C"' if self._builder.placeholders.dialect == "postgresql" else key

    def _step(self, step: Step) -> tuple[int, str, Builder]:
        """Return the tag and the key of the next row of a step, and the builder of its select."""
        name = self._name
        begin, end = (step.source, step.target) if self._forward else (step.target, step.source)
        last: RowVariable | Path = step.node if self._forward else step.goal
        keys = {last.number: f"{name}.node"} if isinstance(last, RowVariable) else {}
        rows = (step.node, *step.rows)
        part = self._builder.part(rows, step.conditions, self._step_ends, keys=keys, tables=())
        if isinstance(last, Path) or last.number < 2:
            part.where.append(f"{part.key(last)} = {name}.node")
        key = self._same_type(part.key(step.goal if self._forward else step.node))
        part.where.append(f"{name}.tag = {begin}")
        return end, key, part


def _without(closure: Closure, rows: Sequence[RowVariable]) -> Closure:
    """Return a closure without the conditions on some rows of the query around: its steps lead at least as far."""
    steps = (
        replace(step, conditions=tuple(each for each in step.conditions if not each.rows() & set(rows)))
        for step in closure.steps
    )
    return replace(closure, steps=tuple(steps))


def _is_carried(builder: Builder, row: RowVariable) -> bool:
    """Return whether each row of the table needs the subject or the resource beside it, unless it is known."""
    return row in builder.query.ends and (not builder.is_known(row) or bool(builder.known_tables))


def _side(
    builder: Builder, begin: RowVariable, other: RowVariable, conditions: Iterable[Condition]
) -> set[RowVariable]:
    """Return the rows that conditions join to a row, but for the row at the other side and what is known."""
    if builder.is_known(begin):
        return set()
    side, changed = {begin}, True
    while changed:
        changed = False
        for condition in conditions:
            rows = {row for row in condition.rows() if not builder.is_known(row)}
            if rows & side and other not in rows and not rows <= side:
                side |= rows
                changed = True
    return side


def _is_forward(
    builder: Builder,
    closure: Closure,
    others: Sequence[Condition],
    start_side: set[RowVariable],
    goal_side: set[RowVariable],
) -> bool:
    """Return whether the table begins at the rows that steps start from, not at those that they lead to."""
    start_known, goal_known = (_meets_known(builder, others, side) for side in (start_side, goal_side))
    if start_known and goal_known:
        return all(not step.rows for step in closure.steps)  # each row has one next row at most: the shorter way
    if start_known or goal_known:
        return start_known
    return not any(condition.rows() & goal_side for condition in others)


def _meets_known(builder: Builder, others: Sequence[Condition], side: set[RowVariable]) -> bool:
    """Return whether a side is known (it is empty then), or is joined to a row that is known."""
    return not side or any(
        condition.rows() & side and any(builder.is_known(row) for row in condition.rows()) for condition in others
    )


def _number(row: RowVariable) -> int:
    return row.number
