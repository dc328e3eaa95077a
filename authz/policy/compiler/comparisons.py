"""Comparisons of symbolic values: decided if both sides are known, otherwise a condition of the query.

    "owner" = "viewer"            →   no derivation
    g.role = "owner"              →   Condition("=", g.role, "owner")
    g in x.grants (g is free)     →   a row g: Grant, and Condition("=", g.patient, x)

Every method takes a state and yields the states that go on. Whatever has no meaning as a condition is refused with its
place.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from authz.policy.compiler.ir import (
    NIL,
    Const,
    LiteralList,
    Now,
    Operand,
    Path,
    RequestAttribute,
    RowVariable,
    kind_of,
)
from authz.policy.compiler.lives import LIVING
from authz.policy.compiler.nodes import Place
from authz.policy.compiler.refusals import Refused, suggest
from authz.policy.compiler.schema import Scalar, Schema, ToOne, ToTargets
from authz.policy.compiler.state import Free, ListValue, RelatedRows, RequestPart, State, Value

_ORDERED = {"string", "integer", "number", "datetime"}
_POLAR_TYPES = {"string": "String", "integer": "Integer", "boolean": "Boolean", "number": "Float"}
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Comparisons:
    """Compares values of one policy.

    `groups` are the unions of types that blocks make (Actor, Resource), `declared` every role, permission and relation
    that they declare; `numbers` numbers new rows.
    """

    def __init__(
        self, schema: Schema, groups: Mapping[str, frozenset[str]], declared: set[str], numbers: Iterator[int]
    ) -> None:
        self.schema = schema
        self.groups = groups
        self.declared = declared
        self.numbers = numbers

    def solve(self, place: Place, op: str, left: Value, right: Value, state: State) -> Iterator[State]:
        """Yield the states in which ``left op right`` holds."""
        if op == "in":
            yield from self._contain(place, left, right, state)
        elif op == "=":
            yield from self.unify(place, left, right, state)
        else:
            yield from self._compare(place, op, left, right, state)

    # Equality.

    def unify(self, place: Place, left: Value, right: Value, state: State, matching: bool = False) -> Iterator[State]:
        """Yield the states in which two values are equal; `matching` compares an argument with the head of a rule."""
        left, right = state.value(left), state.value(right)
        match left, right:
            case (other, Path(property=ToTargets(many=False)) as relation) | (
                Path(property=ToTargets(many=False)) as relation,
                other,
            ):
                yield from self._in_targets(place, other, relation, state)
            case (Free(), _) | (_, Free()):
                for value in (left, right):
                    if isinstance(value, Path):
                        state = self._require_row(place, value.row, value.fields[:-1], state)
                yield from self._bind(left, right, state) if isinstance(left, Free) else self._bind(right, left, state)
            case ListValue(), ListValue():
                yield from self._unify_lists(place, left.items, right.items, state)
            case Const(), Const():
                if left.value == right.value and isinstance(left.value, bool) == isinstance(right.value, bool):
                    yield state
            case RowVariable(), _ if left == right:
                yield state
            case _ if not (matching and _kinds_differ(left, right)):
                yield from self._compare(place, "=", left, right, state)

    def _unify_lists(
        self, place: Place, left: tuple[Value, ...], right: tuple[Value, ...], state: State
    ) -> Iterator[State]:
        if len(left) != len(right):
            return
        if not left:
            yield state
            return
        for after in self.unify(place, left[0], right[0], state):
            yield from self._unify_lists(place, left[1:], right[1:], after)

    def _bind(self, free: Value, value: Value, state: State) -> Iterator[State]:
        """Yield the state in which a free variable stands for a value, if its type may be that of the variable."""
        assert isinstance(free, Free)
        if free == value:
            yield state
            return
        limit = state.limits.get(free)
        limits = dict(state.limits)
        if isinstance(value, Free):
            other = state.limits.get(value)
            if limit is not None:
                limits[value] = limit if other is None else limit & other
                if not limits[value]:
                    return
        elif limit is not None and _type_name(value) not in limit:
            return
        yield replace(state, bindings={**state.bindings, free: value}, limits=limits)

    def match_type(self, place: Place, term: Value, type_name: str, state: State) -> Iterator[State]:
        """Yield the states in which a value is of a type or of a group of types."""
        wanted = self.groups.get(type_name) or frozenset({type_name})
        value = state.value(term)
        match value:
            case Free():
                known = state.limits.get(value)
                both = wanted if known is None else wanted & known
                if both:
                    yield replace(state, limits={**state.limits, value: both})
            case RequestAttribute():
                raise Refused(place, "what comes with the request has no type of its own; compare it instead")
            case Path(property=ToTargets() as relation):
                raise Refused(place, f"{relation.name} leads to rows of several types: {describe_naming(relation)}")
            case Path() if _type_name(value) in wanted:
                yield self._require_row(place, value.row, value.fields, state)
            case _ if _type_name(value) in wanted:
                yield state

    def _require_row(self, place: Place, row: RowVariable, fields: tuple[str, ...], state: State) -> State:
        """Require that the row at the end of a path exists, if a relation on the path may lead nowhere.

        Nil has no type and no field.
        """
        prop: ToOne | None = None
        holder, nullable = self.schema.types[row.type], False
        for name in fields:
            step = holder.properties[name]
            assert isinstance(step, ToOne)
            prop, holder = step, self.schema.types[step.target]
            nullable = nullable or step.nullable or step.target == LIVING
        if prop is None or not nullable:
            return state
        return state.require(place, "exists", Path(row, fields, prop), NIL)

    # Order and difference.

    def _compare(self, place: Place, op: str, left: Value, right: Value, state: State) -> Iterator[State]:
        first = _operand(place, op, state.value(left))
        second = _operand(place, op, state.value(right))
        self._require_comparable(place, op, first, second)
        self._require_possible(place, first, second)
        self._require_possible(place, second, first)
        if isinstance(first, Const) and isinstance(second, Const):
            if _COMPARE[op](first.value, second.value):
                yield state
            return
        if isinstance(first, Const | RequestAttribute | Now) and not isinstance(second, Const | RequestAttribute | Now):
            first, second, op = second, first, _FLIPPED[op]
        if second == NIL and isinstance(first, RowVariable):
            if op == "!=":
                yield state
            return
        yield state.require(place, op, first, second)

    def _require_comparable(self, place: Place, op: str, left: Operand, right: Operand) -> None:
        if all(isinstance(side, Now | RequestAttribute) for side in (left, right)):
            raise Refused(place, "compares two values that come only with the question: nothing stored decides it")
        if {type(left), type(right)} == {Now, Const}:
            raise Refused(place, "now has no value yet when the policy is compiled; compare it with a stored instant")
        kinds = (kind_of(left), kind_of(right))
        if isinstance(left, RequestAttribute) or isinstance(right, RequestAttribute):
            if any(kind in self.schema.types for kind in kinds):
                raise Refused(place, "compare a value of the request with a field such as .id, not with a row")
        elif None not in kinds and kinds[0] != kinds[1] and set(kinds) != {"integer", "number"}:
            raise Refused(place, f"compares {_with_article(kinds[0])} with {_with_article(kinds[1])}: never equal")
        if op not in ("=", "!="):
            for side, kind in zip((left, right), kinds, strict=True):
                if not isinstance(side, RequestAttribute) and kind not in _ORDERED:
                    raise Refused(place, f"{op} needs numbers, strings or instants, not {_with_article(kind or 'nil')}")

    def _require_possible(self, place: Place, path: Value, literal: Value) -> None:
        """Refuse a stored role that no row can hold: a misspelling. A role that a block declares may be compared."""
        if isinstance(path, Path) and isinstance(path.property, Scalar) and isinstance(literal, Const):
            choices = path.property.choices
            if choices and literal.value not in choices and literal.value not in self.declared:
                why = f"{path.fields[-1]} is one of {', '.join(map(repr, choices))}, never {literal.value!r}"
                raise Refused(place, why + suggest(str(literal.value), choices))

    # Membership.

    def _contain(self, place: Place, item: Value, container: Value, state: State) -> Iterator[State]:
        item, container = state.value(item), state.value(container)
        match container:
            case ListValue():
                yield from self._in_list(place, item, container, state)
            case RelatedRows():
                yield from self._in_relation(place, item, container, state)
            case Path(property=Scalar(many=True) as prop):
                yield state.require(place, "holds", container, _list_item(place, item, prop))
            case Path(property=ToTargets(many=True)):
                yield from self._in_targets(place, item, container, state)
            case _:
                raise Refused(place, "in needs a to-many relation, a list property or a literal list on its right")

    def _in_list(self, place: Place, item: Value, container: ListValue, state: State) -> Iterator[State]:
        literals = container.items
        if isinstance(item, Path | RequestAttribute) and literals and _are_literals(literals):
            for literal in literals:
                self._require_comparable(place, "=", _operand(place, "=", item), literal)
                self._require_possible(place, item, literal)
            yield state.require(place, "in", item, LiteralList(literals))
            return
        for other in container.items:
            yield from self.unify(place, item, other, state)

    def _in_relation(self, place: Place, item: Value, container: RelatedRows, state: State) -> Iterator[State]:
        """``g in patient.grants``: ``g`` is a grant, ``g.patient = patient``, and the patient exists."""
        target = container.relation.target
        if isinstance(item, Free):
            new = RowVariable(next(self.numbers), target)
            for extended in self._bind(item, new, state):
                yield from self._in_relation(place, new, container, replace(extended, rows=(*extended.rows, new)))
        elif isinstance(item, RowVariable | Path) and item.type == target:
            row, fields = (item.row, item.fields) if isinstance(item, Path) else (item, ())
            back = self.schema.types[target].properties[container.relation.back]
            assert isinstance(back, ToOne | ToTargets)
            base = container.base
            if isinstance(base, Path) and (back.nullable or base.type == LIVING):
                # Nil is the author of nothing, and a patient who has left has no grants.
                state = self._require_row(place, base.row, base.fields, state)
            op = "=" if isinstance(back, ToOne) else "holds"
            yield state.require(place, op, Path(row, (*fields, back.name), back), base)
        else:
            raise Refused(place, f"{container.relation.name} holds {target} rows, nothing else")

    def _in_targets(self, place: Place, item: Value, relation: Path, state: State) -> Iterator[State]:
        """``v in folder.viewers``, ``v = folder.owner``: ``v`` is a row that exists, and the folder names it.

        A value of another type is in no such relation: that alternative is dropped.
        """
        prop, item = relation.property, state.value(item)
        assert isinstance(prop, ToTargets)
        match item:
            case Free():
                for target in prop.targets:
                    new = RowVariable(next(self.numbers), target)
                    for extended in self._bind(item, new, state):
                        added = replace(extended, rows=(*extended.rows, new))
                        yield added.require(place, "holds", relation, new)
            case Path(property=ToTargets(many=False)):
                row = Free(next(self.numbers))
                for extended in self._in_targets(place, row, item, state):
                    yield from self._in_targets(place, row, relation, extended)
            case RowVariable() | Path() if item.type in prop.targets:
                if isinstance(item, Path):
                    state = self._require_row(place, item.row, item.fields, state)
                yield state.require(place, "holds", relation, item)
            case RowVariable() | Path() if item.type is not None:
                return
            case _:
                raise Refused(place, f"{prop.name} holds {' and '.join(prop.targets)} rows, nothing else")


def _operand(place: Place, op: str, value: Value) -> Operand:
    """Return a value that can stand in a comparison. Raise `Refused` for any other."""
    match value:
        case Path(property=ToTargets(many=False)):
            raise Refused(place, f"a relation to several types is compared with =, not with {op}")
        case Free():
            raise Refused(place, "compares something that is not bound to a row or a value yet")
        case RelatedRows() | ListValue() | Path(property=Scalar(many=True) | ToTargets()):
            raise Refused(place, "a list is compared with in, not with " + op)
        case RequestPart():
            raise Refused(place, "compare a value of the request, such as actor.request.context.purpose")
        case _:
            return value


def _list_item(place: Place, item: Value, prop: Scalar) -> Operand:
    """Return a value that a list property can hold. Raise `Refused` for any other."""
    if isinstance(item, Free):
        raise Refused(place, "in a list property only a known value can be looked for")
    if not isinstance(item, Const | Path | RequestAttribute) or kind_of(item) not in (prop.kind, None) or item == NIL:
        raise Refused(place, f"{prop.name} holds {prop.kind} values, nothing else")
    return item


def describe_naming(relation: ToTargets) -> str:
    """Return what to write for a row of a relation to several types."""
    return f"name the row first, as in: row {'in' if relation.many else '='} x.{relation.name}"


def _are_literals(items: tuple[Value, ...]) -> TypeGuard[tuple[Const, ...]]:
    return all(isinstance(item, Const) and item.value is not None for item in items)


def _kinds_differ(left: Value, right: Value) -> bool:
    """Return whether an argument is of another kind than the head of a rule: then the clause does not apply."""
    if isinstance(left, ListValue | RelatedRows) or isinstance(right, ListValue | RelatedRows):
        return True
    return len({kind_of(left), kind_of(right)} - {None}) > 1


def _type_name(value: Value) -> str | None:
    if isinstance(value, RowVariable | Path) and value.type is not None:
        return value.type
    return _POLAR_TYPES.get(kind_of(value) or "")


def _with_article(kind: str | None) -> str:
    return f"an {kind}" if (kind or "")[:1] in "aeiou" else f"a {kind}"
