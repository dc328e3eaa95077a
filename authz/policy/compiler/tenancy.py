"""Tenancy: the conditions by which a query is about one subscription alone.

    x: Patient   →   x.subscription.id = tenant        (the subscription of the caller's key)

A patient belongs to its subscription; a practitioner to every subscription where they have worked; an entity to the one
that all of its relations lead to or, if they lead to people alone, to those where one of these people has worked. What
leads nowhere belongs to nobody. What a clinic owns (`Entity.subscription`) belongs to no other, whatever it leads to.
An entity of a type with a relation to many belongs to the clinic that owns it, and to no other. What comes with the
question belongs to whoever asks, if each of its relations leads there or nowhere.

The conditions are added to the query, so that every kind of question is narrowed alike, in its one statement. Facts of
another subscription do not count either: what two people share in one clinic is nothing to another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from authz.policy.compiler.ir import (
    NIL,
    Condition,
    Path,
    Query,
    RequestAttribute,
    RowVariable,
    Subquery,
    map_subqueries,
)
from authz.policy.compiler.schema import Scalar, Schema, ToOne, ToTargets

TENANT_ID = RequestAttribute(("tenant",))
"""The id of the tenant, known only when the question comes."""

Belonging = tuple[tuple[RowVariable, ...], tuple[Condition, ...]]
"""One way to belong: the rows that must exist, and the conditions that must hold."""

_PATH_TO_SUBSCRIPTION = {
    "Subscription": (),
    "Licence": ("subscription",),
    "Membership": ("subscription",),
    "Patient": ("subscription",),
    "StandingShare": ("subscription",),
    "Grant": ("patient", "subscription"),
}
"""The path from a row to its subscription, for the types that have one."""


def restrict_facts_to_tenant(query: Query, schema: Schema) -> Query:
    """Return the query over the facts of the tenant alone; its subject and resource are not restricted."""

    def restricted(facts: Subquery) -> tuple[Condition, ...]:
        added = (
            _belongs_to_tenant(schema, row, _PATH_TO_SUBSCRIPTION[row.type])
            for row in facts.rows
            if row.type in _PATH_TO_SUBSCRIPTION
        )
        return (*facts.conditions, *added)

    inner = tuple(map_subqueries(condition, restricted) for condition in query.conditions)
    return replace(query, conditions=restricted(Subquery(query.rows, inner)), of_tenant=True)


def restrict_to_tenant(query: Query, schema: Schema) -> Iterator[Query]:
    """Yield the query once for each way in which both its subject and its resource can belong to the tenant."""
    query = restrict_facts_to_tenant(query, schema)
    free = max((row.number for row in query.rows), default=1) + 1
    for subject, resource in product(*(_belongings(schema, end, (), ()) for end in query.ends)):
        rows, conditions, number = query.rows, query.conditions, free
        for added_rows, added_conditions in (subject, resource):
            names = {row: replace(row, number=number + at) for at, row in enumerate(added_rows)}
            number += len(added_rows)
            rows += tuple(names.values())
            conditions += tuple(condition.renamed(names) for condition in added_conditions)
        if not _is_contradictory(conditions):
            yield replace(query, rows=rows, conditions=conditions)


def _is_contradictory(conditions: Sequence[Condition]) -> bool:
    """Return whether a relation must lead nowhere and a condition reads a field beyond it: no row meets both."""
    nowhere = {
        (condition.left.row, condition.left.fields)
        for condition in conditions
        if condition.op == "=" and condition.right == NIL
        if isinstance(condition.left, Path)
    }
    return any(
        (path.row, path.fields[:length]) in nowhere
        for condition in conditions
        for path in (condition.left, condition.right)
        if isinstance(path, Path)
        for length in range(1, len(path.fields))
    )


def _belongings(schema: Schema, row: RowVariable, fields: tuple[str, ...], seen: tuple[str, ...]) -> list[Belonging]:
    """Return each way in which the row at the end of `fields` can belong; `seen` are the declared types before it."""
    type_of_row = schema.type_at(row.type, fields)
    polar = type_of_row.polar
    if polar == "Subscription":
        return [((), (_belongs_to_tenant(schema, row, fields),))]
    if polar == "Patient":
        return [((), (_belongs_to_tenant(schema, row, (*fields, "subscription")),))]
    if polar == "Practitioner":
        return [_has_worked_there(schema, row, fields)]
    if not type_of_row.declared or polar in seen:
        return []
    if any(isinstance(prop, ToTargets) for prop in type_of_row.properties.values()):
        return [((), (Condition("=", Path(row, (*fields, _OWNER.name), _OWNER), TENANT_ID),))]
    relations = [prop for prop in type_of_row.properties.values() if isinstance(prop, ToOne)]
    people = [relation for relation in relations if relation.target == "Practitioner"]
    others = [relation for relation in relations if relation not in people]
    choices = []
    for relation in others:
        path = (*fields, relation.name)
        absent: Belonging = ((), (Condition("=", Path(row, path, relation), NIL),))
        present = _belongings(schema, row, path, (*seen, polar))
        choices.append([(False, absent), *((True, belonging) for belonging in present)])
    belongings = []
    for chosen in product(*choices):
        parts = [belonging for _, belonging in chosen]
        if any(is_present for is_present, _ in chosen) or not type_of_row.stored:
            belongings.append(_conjunction(parts))
        else:
            by_person = [_has_worked_there(schema, row, (*fields, person.name)) for person in people]
            belongings += [_conjunction([*parts, belonging]) for belonging in by_person]
    return belongings


_OWNER = Scalar("subscription", "string", "subscription")
"""The column of an entity that says which clinic owns it; no policy reads it."""


def _conjunction(parts: Sequence[Belonging]) -> Belonging:
    """Return the conjunction of several parts; the rows of each part get numbers of their own."""
    rows: tuple[RowVariable, ...] = ()
    conditions: tuple[Condition, ...] = ()
    for added_rows, added_conditions in parts:
        names = {row: replace(row, number=_FREE + len(rows) + at) for at, row in enumerate(added_rows)}
        rows += tuple(names.values())
        conditions += tuple(condition.renamed(names) for condition in added_conditions)
    return rows, conditions


_FREE = 1_000_000  # beyond the rows of any query, until `restrict_to_tenant` numbers them


def _belongs_to_tenant(schema: Schema, row: RowVariable, fields: tuple[str, ...]) -> Condition:
    key = schema.types["Subscription"].properties["id"]
    assert isinstance(key, Scalar)
    return Condition("=", Path(row, (*fields, "id"), key), TENANT_ID)


def _has_worked_there(schema: Schema, row: RowVariable, fields: tuple[str, ...]) -> Belonging:
    membership = RowVariable(_FREE, "Membership")
    practitioner = schema.types["Membership"].properties["practitioner"]
    assert isinstance(practitioner, ToOne)
    person: RowVariable | Path = row
    if fields:
        relation = schema.type_at(row.type, fields[:-1]).properties[fields[-1]]
        assert isinstance(relation, ToOne)
        person = Path(row, fields, relation)
    of_person = Condition("=", Path(membership, ("practitioner",), practitioner), person)
    return (membership,), (of_person, _belongs_to_tenant(schema, membership, ("subscription",)))
