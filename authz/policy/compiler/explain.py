"""Explanations: a conjunctive query as sentences, and the queries that probe which sentences hold for a pair.

    Query(rows=(g: Grant,), conditions=(g.patient = x, g.role = "owner"))
    →  "there is a grant whose patient is the patient, role is owner", probed by the same conditions

Each row that must exist makes one sentence with its conditions; each condition on the subject and resource alone makes
another. A row is probed together with the rows that it builds on, so that the first unmet sentence is where the
derivation ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authz.domain import format_micros
from authz.policy.compiler.durations import describe_duration
from authz.policy.compiler.ir import (
    NIL,
    Absence,
    Condition,
    Const,
    Instant,
    LiteralList,
    Now,
    Path,
    Query,
    Reached,
    RequestAttribute,
    RowVariable,
    Subquery,
    Term,
)
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
    "starts_with": "begins with",
    "ends_with": "ends with",
    "in_network": "is an address of",
}


@dataclass(frozen=True)
class Clause:
    """One sentence of a derivation: its rule number, its text if met and if not, and the query that probes it.

    `anytime` is the probe without the life of the row, met by a row that has ended or not begun; None without a life.
    """

    rule: str
    met: str
    unmet: str
    probe: Query
    anytime: Query | None


def clauses(query: Query, schema: Schema) -> list[Clause]:
    """Return the sentences of a query, in the order in which the policy states them."""
    order = {id(condition): number for number, condition in enumerate(query.conditions)}
    placed: list[tuple[int, Clause]] = []
    for conditions in _by_life([condition for condition in query.conditions if _last_row(condition) is None]):
        text = _describe_ends(conditions, schema)
        probe = replace(query, rows=(), conditions=tuple(conditions))
        clause = Clause(conditions[0].rule, text, f"not so: {text}", probe, None)
        placed.append((order[id(conditions[0])], clause))
    for row in query.rows:
        own = [condition for condition in query.conditions if _last_row(condition) == row]
        probe = _restrict_to_rows(query, _rows_below(query, row))
        anytime = None
        if any(map(_is_life, own)):
            lasting = (condition for condition in probe.conditions if not (_is_life(condition) and condition in own))
            anytime = replace(probe, conditions=tuple(lasting))
        text = _describe_row(row, own, schema)
        clause = Clause(own[0].rule, f"there is a {text}", f"there is no {text}", probe, anytime)
        placed.append((order[id(own[0])], clause))
    return [clause for _, clause in sorted(placed, key=lambda pair: pair[0])]


def _last_row(condition: Condition) -> RowVariable | None:
    """Return the last introduced row of a condition, the one that the condition describes; None for the ends alone."""
    return max((row for row in condition.rows() if row.number > 1), key=lambda row: row.number, default=None)


def _rows_below(query: Query, row: RowVariable) -> set[RowVariable]:
    """Return a row and all rows that its conditions build on, directly or through other rows."""
    needed: set[RowVariable] = set()
    waiting = {row}
    while waiting:
        needed |= waiting
        about = (condition for condition in query.conditions if _last_row(condition) in waiting)
        waiting = {other for condition in about for other in condition.rows() if other.number > 1} - needed
    return needed


def _restrict_to_rows(query: Query, rows: set[RowVariable]) -> Query:
    conditions = tuple(condition for condition in query.conditions if _last_row(condition) in rows)
    return replace(query, rows=tuple(row for row in query.rows if row in rows), conditions=conditions)


def _is_life(condition: Condition) -> bool:
    return isinstance(condition.right, Now) and isinstance(condition.left, Path) and not condition.offset


def _by_life(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """Group conditions on the ends: the begin and the end of one life together, any other alone."""
    groups: dict[object, list[Condition]] = {}
    for number, condition in enumerate(conditions):
        key: object = number
        if isinstance(condition.left, Path) and _is_life(condition):
            key = (condition.left.row, condition.left.fields[:-1])
        groups.setdefault(key, []).append(condition)
    return list(groups.values())


def _describe_row(row: RowVariable, conditions: Sequence[Condition], schema: Schema) -> str:
    name = schema.types[row.type].label
    instants = {
        (condition.op, condition.left.fields)
        for condition in conditions
        if isinstance(condition.left, Path) and _is_life(condition)
    }
    live = {("<=", ("started_at",)), (">", ("ended_at",))} <= instants
    if live:
        name = f"live {name}"
    parts = [
        _describe_condition(row, condition, schema) for condition in conditions if not (live and _is_life(condition))
    ]
    return f"{name} whose {', '.join(parts)}" if parts else name


def _describe_condition(row: RowVariable, condition: Condition, schema: Schema) -> str:
    """Describe a condition from the side of a row: ``role is owner``."""
    if isinstance(condition.right, Reached) and condition.right.row == row:
        return _describe_start(condition.left, condition.right, schema)
    left: Term = condition.left
    right = condition.right
    if not (isinstance(left, Path) and left.row == row) and isinstance(right, Path) and right.row == row:
        left, right = right, left
    if isinstance(left, Path) and left.row == row:
        name = "'s ".join(left.fields).replace("_", " ")
        return _describe_comparison(name, condition.op, right, schema) + _describe_offset(condition)
    if condition.op == "holds" and right == row:
        return f"id is in {describe_term(left, schema)}"
    return _describe_comparison(describe_term(left, schema), condition.op, right, schema) + _describe_offset(condition)


def _describe_offset(condition: Condition) -> str:
    """Describe by how much the right side of a comparison is moved."""
    if not condition.offset:
        return ""
    return f", {'plus' if condition.offset > 0 else 'minus'} {describe_duration(abs(condition.offset))}"


def _describe_ends(conditions: Sequence[Condition], schema: Schema) -> str:
    condition = conditions[0]
    if len(conditions) > 1 and isinstance(condition.left, Path):
        fields = (name.replace("_", " ") for name in condition.left.fields[:-1])
        return "'s ".join([describe_term(condition.left.row, schema), *fields]) + " is live"
    text = _describe_comparison(describe_term(condition.left, schema), condition.op, condition.right, schema)
    return text + _describe_offset(condition)


def _describe_start(start: Term, reached: Reached, schema: Schema) -> str:
    """Describe how a row is reached: ``place is the document's parent, or is reached from it by viewer``."""
    names = " and ".join(dict.fromkeys(reached.closure.names))
    return f"place is {describe_term(start, schema)}, or one to which {names} leads from there"


def _describe_absence(absence: Absence, schema: Schema) -> str:
    return "; ".join(f"there is none of this: {_describe_subquery(each, schema)}" for each in absence.subqueries)


def _describe_subquery(subquery: Subquery, schema: Schema) -> str:
    """Describe the rows of a subquery, and its conditions on the rows around it."""
    rows = [
        "a " + _describe_row(row, [each for each in subquery.conditions if _last_row(each) == row], schema)
        for row in subquery.rows
    ]
    others = [
        _describe_comparison(describe_term(each.left, schema), each.op, each.right, schema)
        for each in subquery.conditions
        if _last_row(each) not in subquery.rows
    ]
    return ", ".join([*rows, *others])


def _describe_comparison(left: str, op: str, right: Term, schema: Schema) -> str:
    if isinstance(right, Absence):
        return _describe_absence(right, schema)
    return f"{left} is there" if op == "exists" else f"{left} {_VERBS[op]} {describe_term(right, schema)}"


def describe_term(term: Term, schema: Schema) -> str:
    """Describe a term for people: *the patient's subscription*."""
    match term:
        case RowVariable(number=0):
            return "the subject"
        case RowVariable():
            return f"the {schema.types[term.type].label}"
        case Path():
            fields = (name.replace("_", " ") for name in term.fields)
            return "'s ".join([describe_term(term.row, schema), *fields])
        case LiteralList():
            return " or ".join(describe_term(item, schema) for item in term.items)
        case RequestAttribute():
            return f"the request's {'.'.join(term.path)}"
        case Now():
            return "the instant asked about"
        case Instant():
            return format_micros(term.micros)
        case Const():
            return "absent" if term == NIL else str(term.value)
        case Absence():
            return _describe_absence(term, schema)
        case Reached():
            return f"the {schema.types[term.row.type].label} that is reached"
