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

from authz.domain import parse_instant, to_micros
from authz.errors import Fault, InvalidInput
from authz.networks import network_fault
from authz.policy.compiler.ir import (
    NIL,
    Const,
    Instant,
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
from authz.policy.compiler.state import Free, ListValue, RelatedRows, RequestPart, Shifted, State, Value

_ORDERED = {"string", "integer", "number", "datetime"}
_LISTED = {"string", "integer", "number", "boolean", None}
_KNOWN = Const | Instant | RequestAttribute | Now
"""The operands that need no stored fact."""
_ARITY = 2
_EXAMPLES = {
    "starts_with": 'starts_with(resource.path, "/a")',
    "ends_with": 'ends_with(resource.path, ".txt")',
    "in_network": 'in_network(actor.request.context.ip, "10.0.0.0/8")',
}
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
        self.possible: set[tuple[Place, str]] = set()
        self.impossible: dict[tuple[Place, str], Fault] = {}

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
                yield self._require_value(place, value, state)
            case _ if _type_name(value) in wanted:
                yield state

    def _require_value(self, place: Place, value: Path, state: State) -> State:
        """Require that there is something at the end of a path: nil has no type."""
        if isinstance(value.property, ToOne):
            return self._require_row(place, value.row, value.fields, state)
        state = self._require_row(place, value.row, value.fields[:-1], state)
        return state.require(place, "!=", value, NIL) if value.property.nullable else state

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
        left, right = state.value(left), state.value(right)
        (base, before), (other, after) = _moved(left), _moved(right)
        first, second = _operand(place, op, base), _operand(place, op, other)
        if _is_instant(left) or _is_instant(right):
            first, second = _as_instant(place, first), _as_instant(place, second)
        if isinstance(left, Shifted) or isinstance(right, Shifted):
            _require_instants(place, first, second)
        if not self._are_comparable(place, op, first, second):
            return
        self._require_ordered(place, op, first, second)
        self._require_possible(place, first, second)
        self._require_possible(place, second, first)
        if isinstance(first, Const) and isinstance(second, Const):
            if _COMPARE[op](first.value, second.value):
                yield state
            return
        if isinstance(first, Instant) and isinstance(second, Instant):
            if _COMPARE[op](first.micros + before, second.micros + after):
                yield state
            return
        if isinstance(first, _KNOWN) and (not isinstance(second, _KNOWN) or isinstance(first, Const | Instant)):
            first, second, op, before, after = second, first, _FLIPPED[op], after, before
        if second == NIL and isinstance(first, RowVariable):
            if op == "!=":
                yield state
            return
        offset = after - before
        if isinstance(second, Instant):
            second, offset = Instant(second.micros + offset), 0
        yield state.require(place, op, first, second, offset)

    def _are_comparable(self, place: Place, op: str, left: Operand, right: Operand) -> bool:
        """Return whether two values can be equal by their kinds; keep what cannot, for `faults` and `warnings`.

        Raises `Refused` if they are never compared, whatever the types of a rule's arguments.
        """
        kinds = (kind_of(left), kind_of(right))
        at = (place, " ".join([op, *(repr(side.value) for side in (left, right) if isinstance(side, Const))]))
        if isinstance(left, RequestAttribute) or isinstance(right, RequestAttribute):
            if any(kind in self.schema.types for kind in kinds):
                raise Refused(place, "compare a value of the request with a field such as .id, not with a row")
        elif None not in kinds and kinds[0] != kinds[1] and set(kinds) != {"integer", "number"}:
            why = f"compares {_with_article(kinds[0])} with {_with_article(kinds[1])}: never equal"
            if op != "=":
                raise Refused(place, why)
            self.impossible.setdefault(at, place.fault(why))
            return False
        self.possible.add(at)
        return True

    def faults(self) -> list[Fault]:
        """Return a fault for each comparison that is possible for no types for which its rule is asked."""
        return [fault for at, fault in self.impossible.items() if at not in self.possible]

    def warnings(self) -> list[str]:
        """Return a warning for each comparison that is possible for some types, and for others permits nothing."""
        return [
            f"{fault}, where its rule is asked about these types; this alternative then permits nothing"
            for at, fault in self.impossible.items()
            if at in self.possible
        ]

    def _require_ordered(self, place: Place, op: str, left: Operand, right: Operand) -> None:
        kinds = (kind_of(left), kind_of(right))
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

    # Conditions without an operator.

    def hold(self, place: Place, value: Value, state: State) -> Iterator[State]:
        """Yield the states in which a truth value that stands as a condition is true."""
        value = state.value(value)
        if not isinstance(value, RequestAttribute) and (_is_list(value) or kind_of(value) != "boolean"):
            raise Refused(place, "a condition is a comparison, a call of a rule or a truth value; compare this value")
        yield from self._compare(place, "=", value, Const(True), state)

    def shift(self, place: Place, value: Value, micros: int, state: State) -> Shifted:
        """Return an instant moved by some microseconds."""
        base, moved = _moved(state.value(value))
        if not isinstance(base, RequestAttribute) and (_is_list(base) or kind_of(base) != "datetime"):
            raise Refused(place, "only an instant is moved by a duration: a stored one, now, or one of the request")
        return Shifted(_operand(place, "=", base), moved + micros)

    def apply(self, place: Place, name: str, args: tuple[Value, ...], state: State) -> State:
        """Return the state in which a function of `functions` is met."""
        if len(args) != _ARITY:
            raise Refused(place, f"{name} takes two texts, as in {_EXAMPLES[name]}")
        text, part = (_operand(place, name, state.value(arg)) for arg in args)
        if name == "in_network" and not (isinstance(part, Const) and isinstance(part.value, str)):
            raise Refused(place, f"the network is written out in the policy, as in {_EXAMPLES[name]}")
        for side in (text, part):
            if not isinstance(side, RequestAttribute) and kind_of(side) != "string":
                raise Refused(place, f"{name} takes texts, not {_with_article(kind_of(side) or 'nil')}")
        if isinstance(text, Const):
            raise Refused(place, f"the first text of {name} is stored or comes with the request")
        if name == "in_network" and isinstance(part, Const) and (why := network_fault(str(part.value))):
            raise Refused(place, why)
        return state.require(place, name, text, part)

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
            case RequestAttribute():
                yield state.require(place, "in", _requested_item(place, item), container)
            case _:
                raise Refused(place, "in needs a to-many relation, a list property or a literal list on its right")

    def _in_list(self, place: Place, item: Value, container: ListValue, state: State) -> Iterator[State]:
        literals = container.items
        if isinstance(item, Path | RequestAttribute) and literals and _are_literals(literals):
            possible = [literal for literal in literals if self._can_be(place, item, literal)]
            if possible:
                yield state.require(place, "in", item, LiteralList(tuple(possible)))
            return
        for other in container.items:
            yield from self.unify(place, item, other, state)

    def _can_be(self, place: Place, item: Path | RequestAttribute, literal: Const) -> bool:
        """Return whether a value can equal a literal of a list."""
        self._require_possible(place, item, literal)
        return self._are_comparable(place, "=", _operand(place, "=", item), literal)

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
        elif isinstance(item, RowVariable | Path) and item.type is not None:
            why = f"{container.relation.name} holds {target} rows, nothing else"
            self.impossible.setdefault((place, "in"), place.fault(why))
            return
        else:
            raise Refused(place, f"{container.relation.name} holds {target} rows, nothing else")
        self.possible.add((place, "in"))

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


def _moved(value: Value) -> tuple[Value, int]:
    """Return an instant and the microseconds by which it is moved; any other value as it is."""
    return (value.base, value.micros) if isinstance(value, Shifted) else (value, 0)


def _is_instant(value: Value) -> bool:
    return isinstance(value, Shifted) or kind_of(value) == "datetime"


def _require_instants(place: Place, *sides: Operand) -> None:
    for side in sides:
        if not isinstance(side, RequestAttribute) and kind_of(side) != "datetime":
            why = (
                f"an instant moved by a duration is compared with {_with_article(kind_of(side) or 'nil')}: never equal"
            )
            raise Refused(place, why)


def _as_instant(place: Place, value: Operand) -> Operand:
    """Return a text that is compared with an instant as the instant that it writes out; any other value as it is."""
    if not (isinstance(value, Const) and isinstance(value.value, str)):
        return value
    try:
        return Instant(to_micros(parse_instant(value.value)))
    except InvalidInput as error:
        raise Refused(place, f"compares an instant with a text: {error}") from error


def _is_list(value: Value) -> bool:
    return isinstance(value, Path) and isinstance(value.property, Scalar) and value.property.many


def _requested_item(place: Place, item: Value) -> Operand:
    """Return a value that can be looked for in a list of the request. Raise `Refused` for any other."""
    operand = _operand(place, "in", item)
    if operand == NIL or isinstance(operand, Now | Instant) or kind_of(operand) not in _LISTED:
        raise Refused(place, "in a list of the request a text, a number or a truth value is looked for, such as .id")
    return operand


def _operand(place: Place, op: str, value: Value) -> Operand:
    """Return a value that can stand in a comparison. Raise `Refused` for any other."""
    match value:
        case Path(property=ToTargets(many=False)):
            raise Refused(place, f"a relation to several types is compared with =, not with {op}")
        case Free():
            raise Refused(place, "compares something that is not bound to a row or a value yet")
        case RelatedRows() | ListValue() | Path(property=Scalar(many=True) | ToTargets()):
            raise Refused(place, "a list is compared with in, not with " + op)
        case Shifted():
            raise Refused(place, f"an instant moved by a duration is compared, not used by {op}")
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
    if _is_list(value):
        return None
    if isinstance(value, RowVariable | Path) and value.type is not None:
        return value.type
    return _POLAR_TYPES.get(kind_of(value) or "")


def _with_article(kind: str | None) -> str:
    return f"an {kind}" if (kind or " ")[0] in "aeiou" else f"a {kind}"
