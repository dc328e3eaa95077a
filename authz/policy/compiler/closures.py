"""The SQL of a closure: every row that its steps lead to, as a recursive table.

    f reaches f2 by f → f.parent, f known
    →  WITH RECURSIVE r0 (tag, node) AS (
         SELECT 0, :resource
         UNION SELECT 0, l0.target FROM r0, …, entity_link AS l0 WHERE r0.tag = 0 AND t0.id = r0.node …)
       SELECT … WHERE f2.id IN (SELECT node FROM r0 WHERE tag = 0)

The table begins at the side that is known: at the rows that steps start from, or backwards at those that they lead to.
``tag`` is the predicate. UNION leaves out what is there already, which ends circles. If the other side has to know
where the table began, the row of the begin stands in a column ``origin``; else the table stands for its side whole.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Join:
    """The way to join a closure: its table begins at the start of its steps (`forward`) or at their goal.

    `side` are the rows that are joined to that end, `others` the other conditions of the query. `carried` are the ends
    that the table needs in columns. `absorbed` are the conditions that the table meets alone, so that the select does
    not state them again; None if it has to.
    """

    condition: Condition
    reached: Reached
    others: tuple[Condition, ...]
    forward: bool
    side: frozenset[RowVariable]
    carried: tuple[RowVariable, ...]
    absorbed: tuple[Condition, ...] | None


def plan_joins(builder: Builder, witnesses: Set[str]) -> list[Join]:
    """Return how each closure of a query is joined, without those that another absorbs.

    Rows of the types `witnesses` are not absorbed, because a permit names them.
    """
    joins = [
        _plan_join(builder, condition, condition.right, witnesses)
        for condition in builder.query.conditions
        if isinstance(condition.right, Reached)
    ]
    chosen: list[Join] = []
    absorbed: list[Condition] = []
    for join in sorted(joins, key=lambda each: -len(each.absorbed or ())):
        if join.condition not in absorbed:
            chosen.append(join)
            absorbed += join.absorbed or ()
    return chosen


def _plan_join(builder: Builder, condition: Condition, reached: Reached, witnesses: Set[str]) -> Join:
    start, goal = _start(condition), reached.row
    others = tuple(other for other in builder.query.conditions if other is not condition)
    first = start if isinstance(start, RowVariable) else start.row
    start_side, goal_side = _side(builder, first, goal, others), _side(builder, goal, first, others)
    carried = tuple(sorted((row for row in reached.closure.outer_rows() if _is_carried(builder, row)), key=_number))
    forward = _is_forward(builder, reached.closure, others, start_side, goal_side)
    side = frozenset(start_side if forward else goal_side)
    touching = tuple(other for other in others if other.rows() & side)
    is_closed = all(row in side or builder.is_known(row) for other in touching for row in other.rows())
    is_named = any(row.number < 2 or row.type in witnesses for row in side)
    absorbed = None if carried or is_named or not is_closed or builder.known_tables else touching
    return Join(condition, reached, others, forward, side, carried, absorbed)


def _start(condition: Condition) -> RowVariable | Path:
    assert isinstance(condition.left, RowVariable | Path)
    return condition.left


def join_closure(builder: Builder, join: Join) -> None:
    """Add the table of a closure to a select, the key of the row that is reached, and the condition on its start."""
    reached, forward, carried = join.reached, join.forward, join.carried
    start, goal = _start(join.condition), reached.row
    name = builder.placeholders.fresh("r")
    table = _Table(builder, name, join)
    origin, begin, end = (start, reached.source, reached.target) if forward else (goal, reached.target, reached.source)
    relaxed = _without(reached.closure, carried)
    if carried and not relaxed.outer_rows() & set(carried):
        # Begin with the subjects and resources that could be meant if these conditions of the steps did not matter.
        everything = [replace(join.condition, right=replace(reached, closure=relaxed)), *join.others]
        seed = table.seed(everything, {*builder.query.rows, *builder.query.ends}, origin, begin)
    else:
        seed = table.seed(join.others, join.side, origin, begin)
    kept, select = table.sql(seed)
    named = builder.placeholders.table(name, f"tag, {kept}", select)
    rows = f"SELECT {kept} FROM {named} WHERE tag = {end}"
    if join.absorbed is not None:
        builder.where.append(f"{builder.key(goal if forward else start)} IN ({rows})")
        return
    builder.tables.append(f"({rows}) AS {name}")
    builder.keys[goal.number] = f"{name}.{'node' if forward else 'origin'}"
    builder.where.append(f"{name}.{'origin' if forward else 'node'} = {builder.key(start)}")
    for row in carried:
        builder.where.append(f"{name}.end{row.number} = {builder.key(row)}")


class _Table:
    """Writes the table of one closure."""

    def __init__(self, builder: Builder, name: str, join: Join) -> None:
        self._builder = builder
        self._name = name
        self._closure = join.reached.closure
        self._carried = join.carried
        self._forward = join.forward
        kept = [f"end{row.number}" for row in join.carried]
        self._kept = kept if join.absorbed is not None else ["origin", *kept]
        known: list[str | None] = list(builder.known_ends)
        for row in join.carried:
            known[row.number] = f"{name}.end{row.number}"
        self._step_ends: Ends = (known[0], known[1])

    def seed(self, others: Sequence[Condition], side: Set[RowVariable], origin: RowVariable | Path, tag: int) -> str:
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
        kept = [key] if "origin" in self._kept else []
        kept += [self._same_type(part.key(row)) for row in self._carried]
        return f"SELECT {', '.join([str(tag), key, *kept])} {part.body()}"

    def sql(self, seed: str) -> tuple[str, str]:
        """Return the columns of the table beside its tag, and its select, which begins with a seed."""
        name = self._name
        passed = "".join(f", {name}.{column}" for column in self._kept)
        is_sqlite = self._builder.placeholders.dialect == "sqlite"
        tables, columns = ([name], passed) if is_sqlite else ([], "")
        steps = [
            f"SELECT {tag}, {key}{columns} FROM {', '.join([*tables, *part.tables])} WHERE {' AND '.join(part.where)}"
            for tag, key, part in map(self._step, self._closure.steps)
        ]
        if is_sqlite or not steps:
            recursive = "".join(f" UNION {step}" for step in steps)
        else:  # a recursive query of PostgreSQL names itself once, and not inside a subquery of its own
            united = " UNION ALL ".join(steps)
            recursive = f" UNION SELECT step.tag, step.node{passed} FROM {name}, LATERAL ({united}) AS step (tag, node)"
        return ", ".join(["node", *self._kept]), f"{seed}{recursive}"

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
        # Without statistics of the table SQLite would take it to be large, and index the facts for it anew.
        is_sqlite = self._builder.placeholders.dialect == "sqlite"
        part.where.append(f"likelihood({name}.tag = {begin}, 0.0001)" if is_sqlite else f"{name}.tag = {begin}")
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
