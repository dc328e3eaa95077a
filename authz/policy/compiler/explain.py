"""A conjunctive query in words, and the probes that tell which of its conditions a pair meets.

Each row that must exist makes one sentence with its conditions, each condition on the ends alone another. A row is
probed together with those that it builds on, so that the first unmet sentence is where the way ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authz.policy.compiler.ir import NIL, Asked, Condition, Const, Listed, Now, Path, Query, RowVariable, Term
from authz.policy.compiler.schema import Schema

_VERBS = {
    "=": "is",
    "!=": "is not",
    "<": "is before",
    "<=": "is at most",
    ">": "is after",
    ">=": "is at least",
    "in": "is one of",
    "holds": "holds",
}


@dataclass(frozen=True)
class Clause:
    """One sentence of a way to permit: its rule, in words if met and if not, and the queries that probe it.

    `anytime` is the same without the row's life (None if it has none): met where the row has ended or not begun.
    """

    rule: str
    met: str
    unmet: str
    probe: Query
    anytime: Query | None


def clauses(query: Query, types: Schema) -> list[Clause]:
    """The sentences of one query, in the order in which the policy states them."""
    made = []
    owners = [_introduced(condition) for condition in query.conditions]
    for about in _together([one for one, owner in zip(query.conditions, owners, strict=True) if owner is None]):
        text = _stated(about, types)
        alone = replace(query, rows=(), conditions=tuple(about))
        made.append((about[0], Clause(about[0].rule, text, f"not so: {text}", alone, None)))
    for row in query.rows:
        own = [condition for condition, owner in zip(query.conditions, owners, strict=True) if owner == row]
        needed = _needed(query, row)
        probe = _part(query, needed)
        life = [condition for condition in own if _is_life(condition)]
        text = _row_in_words(row, own, types)
        anytime = None
        if life:
            anytime = replace(probe, conditions=tuple(one for one in probe.conditions if one not in life))
        first = own[0]
        made.append((first, Clause(first.rule, f"there is a {text}", f"there is no {text}", probe, anytime)))
    order = {id(condition): number for number, condition in enumerate(query.conditions)}
    return [clause for _, clause in sorted(made, key=lambda pair: order[id(pair[0])])]


def _introduced(condition: Condition) -> RowVariable | None:
    """The last found of the rows that a condition speaks of: the one that it is said about."""
    return max((row for row in condition.rows() if row.number > 1), key=lambda row: row.number, default=None)


def _needed(query: Query, row: RowVariable) -> set[RowVariable]:
    """A row and the rows found before it that its conditions build on."""
    needed = {row}
    grown = True
    while grown:
        grown = False
        for condition in query.conditions:
            owner = _introduced(condition)
            if owner in needed:
                more = {one for one in condition.rows() if one.number > 1} - needed
                needed |= more
                grown = grown or bool(more)
    return needed


def _part(query: Query, rows: set[RowVariable]) -> Query:
    kept = [one for one in query.conditions if _introduced(one) in rows]
    return replace(query, rows=tuple(row for row in query.rows if row in rows), conditions=tuple(kept))


def _is_life(condition: Condition) -> bool:
    return isinstance(condition.right, Now) and isinstance(condition.left, Path)


def _row_in_words(row: RowVariable, conditions: Sequence[Condition], types: Schema) -> str:
    name = types.types[row.type].words
    life = {
        (one.op, one.left.fields) for one in conditions if isinstance(one.left, Path) and isinstance(one.right, Now)
    }
    live = {("<=", ("started_at",)), (">", ("ended_at",))} <= life
    said = [_about(row, one, types) for one in conditions if not (live and _is_life(one))]
    return f"{'live ' if live else ''}{name} whose {', '.join(said)}" if said else f"{'live ' if live else ''}{name}"


def _about(row: RowVariable, condition: Condition, types: Schema) -> str:
    left, right, op = condition.left, condition.right, condition.op
    if not (isinstance(left, Path) and left.row == row) and isinstance(right, Path) and right.row == row:
        left, right = right, left
    own = isinstance(left, Path) and left.row == row
    field = "'s ".join(left.fields).replace("_", " ") if own and isinstance(left, Path) else term(left, types)
    return _compared(field, op, right, types)


def _together(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """Conditions on the ends, one by one, but the begin and the end of one life together."""
    groups: dict[object, list[Condition]] = {}
    for number, one in enumerate(conditions):
        alive = _is_life(one) and isinstance(one.left, Path)
        key = (one.left.row, one.left.fields[:-1]) if alive and isinstance(one.left, Path) else number
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _stated(about: Sequence[Condition], types: Schema) -> str:
    condition = about[0]
    if len(about) > 1 and isinstance(condition.left, Path):
        holder = [term(condition.left.row, types), *(name.replace("_", " ") for name in condition.left.fields[:-1])]
        return "'s ".join(holder) + " is live"
    return _compared(term(condition.left, types), condition.op, condition.right, types)


def _compared(left: str, op: str, right: Term, types: Schema) -> str:
    return f"{left} is there" if op == "exists" else f"{left} {_VERBS[op]} {term(right, types)}"


def term(value: Term, types: Schema) -> str:
    """A term as a reader would say it: *the patient's subscription*."""
    if isinstance(value, RowVariable):
        return "the subject" if value.number == 0 else f"the {types.types[value.type].words}"
    if isinstance(value, Path):
        return "'s ".join([term(value.row, types), *(name.replace("_", " ") for name in value.fields)])
    if isinstance(value, Listed):
        return " or ".join(term(item, types) for item in value.items)
    if isinstance(value, Asked):
        return f"the request's {'.'.join(value.path)}"
    if value == NIL:
        return "absent"
    return str(value.value) if isinstance(value, Const) else "the instant asked about"
