"""Warnings: what loads and then never permits, or means nothing.

x.kind = "a" and x.kind = "b"   →   warning: this never holds
odd(x) if x.id = "a";           →   warning: no rule calls odd      (if none does)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from authz.policy.compiler.ir import Condition, Const, Path, Query, RowVariable
from authz.policy.compiler.nodes import Call, Place, Rule, walk
from authz.policy.compiler.schema import Schema, ToOne

_ENTRIES = {"allow", "allow_field", "allow_request", "has_permission", "has_role", "has_relation"}
"""The rules that a question or a block asks."""


def warn(rules: Sequence[Rule], queries: Mapping[tuple[str, str], tuple[Query, ...]], schema: Schema) -> Iterator[str]:
    """Yield the warnings about a policy that permits something."""
    if not any(queries.values()):
        return
    yield from _unused_rules(rules)
    every = [query for of_types in queries.values() for query in of_types]
    yield from dict.fromkeys(text for query in every for text in _contradictions(query))
    yield from _unread_types(every, schema)


def _unused_rules(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield a warning for each rule that no question reaches."""
    called = {rule.name for rule in rules if rule.name in _ENTRIES}
    waiting = set(called)
    while waiting:
        waiting = _called_by(rule for rule in rules if rule.name in waiting) - called
        called |= waiting
    for name in dict.fromkeys(rule.name for rule in rules if rule.name not in called):
        place = next(rule.place for rule in rules if rule.name == name)
        yield str(place.fault(f"no rule that is asked calls {name}, so it means nothing"))


def _called_by(rules: Iterable[Rule]) -> set[str]:
    return {node.name for rule in rules for node in walk(rule.body) if isinstance(node, Call)}


def _contradictions(query: Query) -> Iterator[str]:
    """Yield a warning for each value that must equal two different literals."""
    literals: dict[object, Condition] = {}
    for condition in query.conditions:
        if condition.op != "=" or not isinstance(condition.right, Const):
            continue
        earlier = literals.setdefault(condition.left, condition)
        if earlier.right != condition.right and isinstance(earlier.right, Const) and condition.place is not None:
            both = f"{earlier.right.value!r} at line {_line(earlier.place)} and {condition.right.value!r} here"
            yield str(condition.place.fault(f"this never holds: the same value is {both}"))


def _line(place: Place | None) -> int:
    return place.line if place is not None else 0


def _unread_types(queries: Sequence[Query], schema: Schema) -> Iterator[str]:
    """Yield a warning for each declared type that no rule is about."""
    read = {name for query in queries for name in (query.subject, query.resource)}
    read |= {row.type for query in queries for row in query.rows}
    for query in queries:
        for term in _named_rows(query.conditions):
            read |= set(_types_of(term, schema))
    for declared in schema.types.values():
        if declared.declared and declared.polar not in read:
            yield f"types.toml: no rule that permits something is about the type {declared.name}"


def _named_rows(value: object) -> Iterator[RowVariable | Path]:
    """Yield each row and path that conditions name, also inside what they hold."""
    if isinstance(value, RowVariable | Path):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _named_rows(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _named_rows(getattr(value, each.name))


def _types_of(term: RowVariable | Path, schema: Schema) -> Iterator[str]:
    """Yield the types of the rows that a term reads, in Polar's names."""
    if isinstance(term, RowVariable):
        yield term.type
    else:
        last = len(term.fields) - (not isinstance(term.property, ToOne))
        for length in range(last + 1):
            yield schema.type_at(term.row.type, term.fields[:length]).polar
