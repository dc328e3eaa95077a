"""The lives of patients: a patient who has left the clinic, or has not come yet, does not exist for any policy.

    p in actor.subscription.patients  →  … and p.started_at <= now and p.ended_at > now

The same holds for entities, whose versions `sql` chooses by their lives. Other facts (grants, memberships, licences)
may count after their end, so a policy itself says of which it needs a live one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from authz.policy.compiler.ir import Condition, Now, Path, Query, RowVariable, map_subqueries
from authz.policy.compiler.schema import Scalar, Schema

LIVING = "Patient"
"""The built-in type whose rows count during their lives alone."""


def restrict_to_lives(query: Query, schema: Schema) -> Query:
    """Add the conditions of a life for each patient that the query reads, unless the query states them itself."""
    inner = tuple(
        map_subqueries(condition, lambda each: _with_lives(each.rows, each.conditions, schema))
        for condition in query.conditions
    )
    return replace(query, conditions=_with_lives((*query.ends, *query.rows), inner, schema))


def _with_lives(
    rows: Sequence[RowVariable], conditions: tuple[Condition, ...], schema: Schema
) -> tuple[Condition, ...]:
    stated = {condition.meaning for condition in conditions}
    added = []
    for row, fields in dict.fromkeys(_patients(rows, conditions, schema)):
        for op, name in (("<=", "started_at"), (">", "ended_at")):
            instant = schema.types[LIVING].properties[name]
            assert isinstance(instant, Scalar)
            condition = Condition(op, Path(row, (*fields, name), instant), Now())
            if condition.meaning not in stated:
                added.append(condition)
    return (*conditions, *added)


def _patients(
    rows: Sequence[RowVariable], conditions: Sequence[Condition], schema: Schema
) -> Iterator[tuple[RowVariable, tuple[str, ...]]]:
    """Yield each row that is a patient, and each path to a patient of whom a field is read."""
    for row in rows:
        if row.type == LIVING:
            yield row, ()
    for condition in conditions:
        for term in (condition.left, condition.right):
            if isinstance(term, Path):
                last = len(term.fields) + (condition.op == "exists")
                for length in range(1, last):
                    if schema.type_at(term.row.type, term.fields[:length]).polar == LIVING:
                        yield term.row, term.fields[:length]
