"""The life of patients: whatever a policy says, a patient who has left the clinic or has not come yet is not there.

    p in actor.subscription.patients  →  … and p.started_at <= now and p.ended_at > now

The same holds for entities, whose versions `sql` chooses by their lives. Other facts (grants, memberships, licences)
may count after their end, so a policy itself says of which it needs a life.
"""

from collections.abc import Iterator
from dataclasses import replace

from authz.policy.compiler.ir import Condition, Now, Path, Query, RowVariable
from authz.policy.compiler.schema import Scalar, Schema, ToOne

LIVING = "Patient"
"""The built-in type whose rows count during their lives alone."""


def restrict_to_lives(query: Query, types: Schema) -> Query:
    """Add the conditions of a life for each patient of whom the query reads a field, unless it states them itself."""
    stated = {condition.meaning for condition in query.conditions}
    added = []
    for row, fields in dict.fromkeys(_patients(query, types)):
        for op, name in (("<=", "started_at"), (">", "ended_at")):
            instant = types.types[LIVING].properties[name]
            assert isinstance(instant, Scalar)
            condition = Condition(op, Path(row, (*fields, name), instant), Now())
            if condition.meaning not in stated:
                added.append(condition)
    return replace(query, conditions=(*query.conditions, *added))


def _patients(query: Query, types: Schema) -> Iterator[tuple[RowVariable, tuple[str, ...]]]:
    """Each row, and each path through relations beyond which something is read, that is a patient."""
    for row in (*query.ends, *query.rows):
        if row.type == LIVING:
            yield row, ()
    for condition in query.conditions:
        for term in (condition.left, condition.right):
            if isinstance(term, Path):
                last = len(term.fields) + (condition.op == "exists")
                for length in range(1, last):
                    if _target(types, term.row, term.fields[:length]) == LIVING:
                        yield term.row, term.fields[:length]


def _target(types: Schema, row: RowVariable, fields: tuple[str, ...]) -> str:
    polar = row.type
    for name in fields:
        step = types.types[polar].properties[name]
        assert isinstance(step, ToOne)
        polar = step.target
    return polar
