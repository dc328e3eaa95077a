"""What belongs to one subscription, as conditions: a key that is bound to a clinic asks a narrower policy.

A patient is of its subscription; a practitioner of every one where they have worked; an entity of the one that all of
its relations lead to or, where they lead to people alone, of those where one of these people has worked. What leads
nowhere is nobody's; and what a clinic owns (`Entity.subscription`) is no other's, whatever it leads to.

`within` adds these conditions to a query, so that every kind of question is narrowed alike, in
its one statement. Nor do facts of another subscription count on the way: what two people share in one clinic is nothing
to another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from authz.policy.compiler.ir import NIL, Asked, Condition, Path, Query, RowVariable
from authz.policy.compiler.schema import Schema, ToOne

TENANT_ID = Asked(("tenant",))
"""The subscription that is asked within: known only when the question comes."""

Belonging = tuple[tuple[RowVariable, ...], tuple[Condition, ...]]
"""One way to belong: the rows that must exist, and the conditions that must hold."""


_SUBSCRIPTION_OF = {
    "Subscription": (),
    "Licence": ("subscription",),
    "Membership": ("subscription",),
    "Patient": ("subscription",),
    "StandingShare": ("subscription",),
    "Grant": ("patient", "subscription"),
}
"""The way from a row to its subscription, for the types that have one."""


def restrict_facts_to_tenant(query: Query, types: Schema) -> Query:
    """The query over the facts of the subscription asked within; its ends are as they were."""
    ways = [(row, _SUBSCRIPTION_OF[row.type]) for row in query.rows if row.type in _SUBSCRIPTION_OF]
    return replace(query, conditions=(*query.conditions, *(_is_within(types, row, way) for row, way in ways)))


def restrict_to_tenant(query: Query, types: Schema) -> Iterator[Query]:
    """The query once for each way in which both its ends belong to the subscription asked within."""
    query = restrict_facts_to_tenant(query, types)
    free = max((row.number for row in query.rows), default=1) + 1
    for subject, resource in product(*(_ways(types, end, (), ()) for end in query.ends)):
        rows, conditions, number = query.rows, query.conditions, free
        for found, needed in (subject, resource):
            names = {row: replace(row, number=number + at) for at, row in enumerate(found)}
            number += len(found)
            rows += tuple(names.values())
            conditions += tuple(one.renamed(names) for one in needed)
        if not _absurd(conditions):
            yield replace(query, rows=rows, conditions=conditions)


def _absurd(conditions: Sequence[Condition]) -> bool:
    """Whether a relation is to lead nowhere and something stands beyond it: such a query costs and finds nothing."""
    nowhere = {
        (one.left.row, one.left.fields)
        for one in conditions
        if one.op == "=" and one.right == NIL
        if isinstance(one.left, Path)
    }
    return any(
        (path.row, path.fields[:length]) in nowhere
        for one in conditions
        for path in (one.left, one.right)
        if isinstance(path, Path)
        for length in range(1, len(path.fields))
    )


def _ways(types: Schema, row: RowVariable, fields: tuple[str, ...], seen: tuple[str, ...]) -> list[Belonging]:
    """Every way in which what stands at the end of `fields` belongs; `seen` are the declared types on the way."""
    polar = _type_at(types, row, fields)
    if polar == "Subscription":
        return [((), (_is_within(types, row, fields),))]
    if polar == "Patient":
        return [((), (_is_within(types, row, (*fields, "subscription")),))]
    if polar == "Practitioner":
        return [_has_worked(types, row, fields)]
    if not types.types[polar].declared or polar in seen:
        return []
    related = [one for one in types.types[polar].properties.values() if isinstance(one, ToOne)]
    people = [one for one in related if one.target == "Practitioner"]
    things = [one for one in related if one not in people]
    seen = (*seen, polar)
    choices = []
    for one in things:
        absent: Belonging = ((), (Condition("=", Path(row, (*fields, one.name), one), NIL),))
        choices.append([(False, absent), *((True, way) for way in _ways(types, row, (*fields, one.name), seen))])
    ways = []
    for chosen in product(*choices):
        parts = [way for _, way in chosen]
        if any(led for led, _ in chosen):
            ways.append(_together(parts))
        else:
            ways += [_together([*parts, _has_worked(types, row, (*fields, one.name))]) for one in people]
    return ways


def _together(parts: Sequence[Belonging]) -> Belonging:
    """All of these at once; the rows of each get numbers of their own."""
    rows: tuple[RowVariable, ...] = ()
    conditions: tuple[Condition, ...] = ()
    for found, needed in parts:
        names = {row: replace(row, number=_FREE + len(rows) + at) for at, row in enumerate(found)}
        rows += tuple(names.values())
        conditions += tuple(one.renamed(names) for one in needed)
    return rows, conditions


_FREE = 1_000_000  # beyond the rows of any query, until `within` gives the number that is free there


def _is_within(types: Schema, row: RowVariable, fields: tuple[str, ...]) -> Condition:
    key = types.types["Subscription"].properties["id"]
    assert not isinstance(key, ToOne)
    return Condition("=", Path(row, (*fields, "id"), key), TENANT_ID)  # type: ignore[arg-type]


def _has_worked(types: Schema, row: RowVariable, fields: tuple[str, ...]) -> Belonging:
    membership = RowVariable(_FREE, "Membership")
    who = types.types["Membership"].properties["practitioner"]
    assert isinstance(who, ToOne)
    person: RowVariable | Path = row
    if fields:
        relation = types.types[_type_at(types, row, fields[:-1])].properties[fields[-1]]
        assert isinstance(relation, ToOne)
        person = Path(row, fields, relation)
    works = Condition("=", Path(membership, ("practitioner",), who), person)
    return (membership,), (works, _is_within(types, membership, ("subscription",)))


def _type_at(types: Schema, row: RowVariable, fields: tuple[str, ...]) -> str:
    polar = row.type
    for name in fields:
        prop = types.types[polar].properties[name]
        assert isinstance(prop, ToOne)
        polar = prop.target
    return polar
