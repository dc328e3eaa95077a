"""Symbolic evaluation: ``allow(actor, action, resource)`` with actor and resource unknown, to conjunctive queries.

Each call of a rule is replaced by its clauses, each ``or`` and each list of literals by its alternatives; what
depends on stored facts or on the question is left as a `Condition`. The clauses that remain on one way through
make one `Query`. Whatever cannot be said as conditions is refused with its place; nothing is guessed.
(Why not Oso's own partial evaluation: `docs/decisions/0002-own-symbolic-evaluation.md`.)
"""

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from authz.errors import Fault
from authz.policy.compiler.ir import NIL, Asked, Condition, Const, Listed, Now, Path, Query, RowVariable, kind_of
from authz.policy.compiler.lives import LIVING
from authz.policy.compiler.parser import Call, Dot, Isa, ListOf, Node, Op, Place, Rule, Var
from authz.policy.compiler.parser import Literal as LiteralNode
from authz.policy.compiler.schema import Scalar, Schema, ToMany, ToOne, Type

MOST_WAYS = 20_000
"""More ways through a policy than this are refused: it would compile to an unreadable statement."""

_ORDERED = {"string", "integer", "number", "datetime"}
_BUILTIN_TYPES = {"String": str, "Integer": int, "Boolean": bool, "Float": float}
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Free:
    """A variable of the policy that stands for nothing yet; `types` limits what it may become."""

    number: int


@dataclass(frozen=True)
class _Many:
    """The rows of a to-many relation, on the right of ``in``."""

    base: RowVariable | Path
    relation: ToMany


@dataclass(frozen=True)
class _Rules:
    """The virtual list ``actor.rules``, in which a rule leaves its number."""


@dataclass(frozen=True)
class _Request:
    """``actor.request`` and what lies on the way to a value of it."""

    path: tuple[str, ...]


class Refused(Exception):
    """Outside the fragment that can be compiled."""

    def __init__(self, place: Place, why: str) -> None:
        self.fault: Fault = place.fault(why)


@dataclass(frozen=True)
class _State:
    """One way through the policy so far."""

    bound: Mapping[Free, Any] = field(default_factory=dict)
    limits: Mapping[Free, frozenset[str]] = field(default_factory=dict)
    rows: tuple[RowVariable, ...] = ()
    conditions: tuple[Condition, ...] = ()
    rules: tuple[str, ...] = ()
    tag: str = ""


_Names = dict[str, Any]
_Stack = tuple[Any, ...]


class Resolver:
    """Resolves one policy.

    `groups` are the unions of types that blocks make (Actor, Resource); `words` the roles, permissions and
    relations that they declare, by rule name and type.
    """

    def __init__(
        self,
        types: Schema,
        rules: list[Rule],
        groups: Mapping[str, frozenset[str]],
        words: Mapping[tuple[str, str], set[str]],
        seconds: float,
    ) -> None:
        self.types = types
        self.rules: dict[tuple[str, int], list[Rule]] = {}
        for rule in rules:
            self.rules.setdefault((rule.name, len(rule.params)), []).append(rule)
        self.words = words
        self.declared = {word for declared in words.values() for word in declared}
        self.groups = groups
        self.deadline = time.monotonic() + seconds
        self.seconds = seconds
        self.fresh = 2

    def queries(self, subject: Type, resource: Type) -> list[Query]:
        """Every way in which a rule allows a subject of one type something on a resource of another.

        Raises `Refused` at the first construct that cannot be compiled.
        """
        self.fresh = 2
        actor, target, action = RowVariable(0, subject.polar), RowVariable(1, resource.polar), Free(self._number())
        place = Place("", 0, 0)
        found: list[Query] = []
        for state in self._call(Call(place, "allow", ()), (actor, action, target), _State(), ()):
            named = self._value(action, state)
            said = named.value if isinstance(named, Const) and isinstance(named.value, str) else None
            if said is None and not isinstance(named, Free):
                raise Refused(self._allow_place(), "an action is a literal string, not something stored or asked")
            found.append(Query(subject.polar, resource.polar, said, state.rules, state.rows, state.conditions))
            if len(found) > MOST_WAYS:
                raise Refused(self._allow_place(), f"more than {MOST_WAYS} ways to allow; use fewer alternatives")
        return found

    def check_time(self, place: Place | None = None) -> None:
        """Raise `Refused` once the time for compiling is over."""
        if time.monotonic() > self.deadline:
            raise Refused(place or self._allow_place(), f"the policy takes longer than {self.seconds:g} s to compile")

    def _allow_place(self) -> Place:
        return self.rules[("allow", 3)][0].place

    def _number(self) -> int:
        self.fresh += 1
        return self.fresh - 1

    # Goals.

    def _solve(self, node: Node, names: _Names, state: _State, stack: _Stack) -> Iterator[_State]:
        self.check_time(node.place)
        if isinstance(node, Op):
            yield from self._operator(node, names, state, stack)
        elif isinstance(node, Call):
            args = tuple(self._term(arg, names, state) for arg in node.args)
            yield from self._call(node, args, state, stack)
        elif isinstance(node, Isa):
            yield from self._isa(node.place, self._term(node.term, names, state), node.type, state)
        elif isinstance(node, LiteralNode) and isinstance(node.value, bool):
            if node.value:
                yield state
        else:
            raise Refused(
                node.place, "a condition is a comparison, a call of a rule, true or false; compare this value"
            )

    def _operator(self, node: Op, names: _Names, state: _State, stack: _Stack) -> Iterator[_State]:
        if node.op == "and":
            yield from self._all(node.args, names, state, stack)
        elif node.op == "or":
            for arm in node.args:
                yield from self._solve(arm, names, state, stack)
        else:
            left, right = (self._term(arg, names, state) for arg in node.args)
            if node.op == "in":
                yield from self._in(node.place, left, right, state)
            elif node.op == "=":
                yield from self._unify(node.place, left, right, state)
            else:
                yield from self._compare(node.place, node.op, left, right, state)

    def _all(self, goals: tuple[Node, ...], names: _Names, state: _State, stack: _Stack) -> Iterator[_State]:
        if not goals:
            yield state
            return
        for after in self._solve(goals[0], names, state, stack):
            yield from self._all(goals[1:], names, after, stack)

    def _call(self, node: Call, args: tuple[Any, ...], state: _State, stack: _Stack) -> Iterator[_State]:
        clauses = self.rules.get((node.name, len(args)), [])
        if not clauses and node.name != "allow":
            known = [name for name, arity in self.rules if arity == len(args)]
            raise Refused(
                node.place, f"there is no rule {node.name} with {len(args)} parameters{near(node.name, known)}"
            )
        self._check_word(node, args, state)
        for clause in clauses:
            entry = (id(clause), tuple(self._shape(arg, state) for arg in args))
            names: _Names = {}
            for matched in self._match(clause, args, names, state):
                if entry in stack:
                    raise Refused(node.place, f"{node.name} calls itself: a recursive rule cannot be compiled")
                if clause.body is None:
                    yield matched
                    continue
                for after in self._solve(clause.body, names, matched, (*stack, entry)):
                    yield replace(after, tag=state.tag)

    def _match(self, clause: Rule, args: tuple[Any, ...], names: _Names, state: _State) -> Iterator[_State]:
        states = [state]
        for param, arg in zip(clause.params, args, strict=True):
            term = self._term(param.term, names, state)
            matched: list[_State] = []
            for one in states:
                for typed in self._isa(clause.place, arg, param.type, one) if param.type else (one,):
                    matched += self._unify(clause.place, term, arg, typed, matching=True)
            states = matched
        yield from states

    def _shape(self, term: Any, state: _State) -> Any:
        """What decides which clauses a call enters: constants, and the types of rows."""
        value = self._value(term, state)
        if isinstance(value, Const):
            return (type(value.value).__name__, value.value)
        if isinstance(value, RowVariable | Path):
            return value.type or "a value"
        return type(value).__name__

    def _check_word(self, node: Call, args: tuple[Any, ...], state: _State) -> None:
        """A role, permission or relation named in a call is one that the resource's block declares."""
        if len(args) != 3:
            return
        word, resource = self._value(args[1], state), self._value(args[2], state)
        declared = self.words.get((node.name, getattr(resource, "type", None) or ""))
        if isinstance(word, Const) and declared and word.value not in declared:
            noun = node.name.removeprefix("has_")
            raise Refused(
                node.place, f"{resource.type} declares no {noun} {word.value!r}{near(str(word.value), declared)}"
            )

    # Terms.

    def _term(self, node: Node, names: _Names, state: _State) -> Any:
        if isinstance(node, LiteralNode):
            if isinstance(node.value, str) and "\0" in node.value:
                raise Refused(node.place, "a string cannot hold the character U+0000")
            return Const(node.value)
        if isinstance(node, ListOf):
            return Listed(tuple(self._value(self._term(item, names, state), state) for item in node.items))
        if isinstance(node, Dot):
            return self._field(node, self._value(self._term(node.base, names, state), state))
        if isinstance(node, Var):
            return self._variable(node, names)
        raise Refused(node.place, "a value was expected here, not a condition")

    def _variable(self, node: Var, names: _Names) -> Any:
        if node.name == "now":
            return Now()
        if node.name == "nil":
            return NIL
        if node.name in self.types.types or node.name in self.groups or node.name in _BUILTIN_TYPES:
            raise Refused(node.place, f"the type {node.name} is not a value")
        if node.name == "_":
            return Free(self._number())
        return names.setdefault(node.name, Free(self._number()))

    def _value(self, term: Any, state: _State) -> Any:
        while isinstance(term, Free) and term in state.bound:
            term = state.bound[term]
        return term

    def _field(self, node: Dot, base: Any) -> Any:
        if isinstance(base, _Request | Asked):
            return self._asked(node, base)
        if isinstance(base, Free):
            raise Refused(node.place, f".{node.field} of something that is not bound to a row yet")
        if not isinstance(base, RowVariable | Path) or base.type is None:
            raise Refused(node.place, f".{node.field}: a {kind_of(base) or 'list'} has no fields")
        if node.field == "rules":
            return _Rules()
        if node.field == "request":
            if isinstance(base, RowVariable) and base.number == 0:
                return _Request(())
            raise Refused(node.place, "the request is the actor's: only the one who asks has it")
        holder = self.types.types[base.type]
        prop = holder.properties.get(node.field)
        if prop is None:
            raise Refused(node.place, f"{base.type} has no field {node.field!r}{near(node.field, holder.properties)}")
        if isinstance(prop, ToMany):
            return _Many(base, prop)
        row, fields = (base, ()) if isinstance(base, RowVariable) else (base.row, base.fields)
        return Path(row, (*fields, node.field), prop)

    def _asked(self, node: Dot, base: _Request | Asked) -> Any:
        path = (*base.path, node.field)
        if path[0] not in ("action", "context"):
            raise Refused(node.place, f"a request has action and context, not {path[0]!r}")
        return _Request(path) if len(path) == 1 else Asked(path)

    # Equality and order.

    def _unify(self, place: Place, left: Any, right: Any, state: _State, matching: bool = False) -> Iterator[_State]:
        left, right = self._value(left, state), self._value(right, state)
        if isinstance(left, Free) or isinstance(right, Free):
            for one in (left, right):
                state = self._present(place, one.row, one.fields[:-1], state) if isinstance(one, Path) else state
            yield from self._bind(left, right, state) if isinstance(left, Free) else self._bind(right, left, state)
        elif isinstance(left, Listed) and isinstance(right, Listed):
            yield from self._unify_lists(place, left.items, right.items, state)
        elif isinstance(left, Const) and isinstance(right, Const):
            if _same(left.value, right.value):
                yield state
        elif isinstance(left, RowVariable) and left == right:
            yield state
        elif not (matching and self._kinds_differ(left, right)):
            yield from self._compare(place, "=", left, right, state)

    def _kinds_differ(self, left: Any, right: Any) -> bool:
        """In the head of a rule, an argument of another kind means only that this clause is not meant."""
        if isinstance(left, Listed | _Many) or isinstance(right, Listed | _Many):
            return True
        kinds = {kind_of(left), kind_of(right)} - {None}
        return len(kinds) > 1

    def _unify_lists(
        self, place: Place, left: tuple[Any, ...], right: tuple[Any, ...], state: _State
    ) -> Iterator[_State]:
        if len(left) != len(right):
            return
        if not left:
            yield state
            return
        for after in self._unify(place, left[0], right[0], state):
            yield from self._unify_lists(place, left[1:], right[1:], after)

    def _bind(self, free: Free, value: Any, state: _State) -> Iterator[_State]:
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
        elif limit is not None and self._type_name(value) not in limit:
            return
        yield replace(state, bound={**state.bound, free: value}, limits=limits)

    def _type_name(self, value: Any) -> str | None:
        if isinstance(value, RowVariable | Path) and value.type is not None:
            return value.type
        kind = kind_of(value) if isinstance(value, RowVariable | Path | Const | Now) else None
        return {"string": "String", "integer": "Integer", "boolean": "Boolean", "number": "Float"}.get(kind or "")

    def _isa(self, place: Place, term: Any, type_name: str, state: _State) -> Iterator[_State]:
        wanted = self.groups.get(type_name) or frozenset({type_name})
        value = self._value(term, state)
        if isinstance(value, Free):
            known = state.limits.get(value)
            both = wanted if known is None else wanted & known
            if both:
                yield replace(state, limits={**state.limits, value: both})
        elif isinstance(value, Asked):
            raise Refused(place, "what comes with the request has no type of its own; compare it instead")
        elif self._type_name(value) in wanted:
            yield self._present(place, value.row, value.fields, state) if isinstance(value, Path) else state

    def _present(self, place: Place, row: RowVariable, fields: tuple[str, ...], state: _State) -> _State:
        """Where a relation on the way may lead nowhere, the row at the end must be there: nil has no type, no field."""
        prop: ToOne | None = None
        holder, nullable = self.types.types[row.type], False
        for name in fields:
            step = holder.properties[name]
            assert isinstance(step, ToOne)
            prop, holder = step, self.types.types[step.target]
            nullable = nullable or step.nullable or step.target == LIVING
        if prop is None or not nullable:
            return state
        return self._with(state, Condition("exists", Path(row, fields, prop), NIL, state.tag, place))

    def _compare(self, place: Place, op: str, left: Any, right: Any, state: _State) -> Iterator[_State]:
        left, right = self._value(left, state), self._value(right, state)
        self._check_operands(place, op, left, right)
        self._check_stored_word(place, left, right)
        self._check_stored_word(place, right, left)
        if isinstance(left, Const) and isinstance(right, Const):
            if _COMPARE[op](left.value, right.value):
                yield state
            return
        if isinstance(left, Const | Asked | Now) and not isinstance(right, Const | Asked | Now):
            left, right, op = right, left, _FLIPPED[op]
        if right == NIL and isinstance(left, RowVariable):
            if op == "!=":
                yield state
            return
        yield self._with(state, Condition(op, left, right, state.tag, place))

    def _check_operands(self, place: Place, op: str, left: Any, right: Any) -> None:
        for one in (left, right):
            if isinstance(one, Free):
                raise Refused(place, "compares something that is not bound to a row or a value yet")
            if isinstance(one, _Many | Listed | _Rules) or (isinstance(one, Path) and _is_list(one)):
                raise Refused(place, "a list is compared with in, not with " + op)
            if isinstance(one, _Request):
                raise Refused(place, "compare a value of the request, such as actor.request.context.purpose")
        if all(isinstance(one, Now | Asked) for one in (left, right)):
            raise Refused(place, "compares two values that come only with the question: nothing stored decides it")
        if {type(left), type(right)} == {Now, Const}:
            raise Refused(place, "now has no value yet when the policy is compiled; compare it with a stored instant")
        kinds = (kind_of(left), kind_of(right))
        if isinstance(left, Asked) or isinstance(right, Asked):
            if any(kind in self.types.types for kind in kinds):
                raise Refused(place, "compare a value of the request with a field such as .id, not with a row")
        elif None not in kinds and kinds[0] != kinds[1] and set(kinds) != {"integer", "number"}:
            raise Refused(place, f"compares {_a(kinds[0])} with {_a(kinds[1])}: never equal")
        if op not in ("=", "!="):
            for one, kind in zip((left, right), kinds, strict=True):
                if not isinstance(one, Asked) and kind not in _ORDERED:
                    raise Refused(place, f"{op} needs numbers, strings or instants, not {_a(kind or 'nil')}")

    def _check_stored_word(self, place: Place, path: Any, word: Any) -> None:
        """A role that no row can hold is a misspelling; one that a block declares may be asked for all the same."""
        if isinstance(path, Path) and isinstance(path.property, Scalar) and isinstance(word, Const):
            words = path.property.words
            if words and word.value not in words and word.value not in self.declared:
                why = f"{path.fields[-1]} is one of {', '.join(map(repr, words))}, never {word.value!r}"
                raise Refused(place, why + near(str(word.value), words))

    def _with(self, state: _State, condition: Condition) -> _State:
        if any(condition.meaning == one.meaning for one in state.conditions):
            return state
        return replace(state, conditions=(*state.conditions, condition))

    # Membership.

    def _in(self, place: Place, item: Any, among: Any, state: _State) -> Iterator[_State]:
        item, among = self._value(item, state), self._value(among, state)
        if isinstance(among, _Rules):
            if not isinstance(item, Const) or not isinstance(item.value, str):
                raise Refused(place, 'a rule leaves its number as a literal: "R4" in actor.rules')
            rules = state.rules if item.value in state.rules else (*state.rules, item.value)
            yield replace(state, rules=rules, tag=item.value)
        elif isinstance(among, Listed):
            yield from self._in_list(place, item, among, state)
        elif isinstance(among, _Many):
            yield from self._in_relation(place, item, among, state)
        elif isinstance(among, Path) and _is_list(among):
            self._check_item(place, item, among)
            yield self._with(state, Condition("holds", among, item, state.tag, place))
        else:
            raise Refused(place, "in needs a to-many relation, a list property or a literal list on its right")

    def _in_list(self, place: Place, item: Any, among: Listed, state: _State) -> Iterator[_State]:
        literal = all(isinstance(one, Const) and one.value is not None for one in among.items)
        if isinstance(item, Path | Asked) and literal and among.items:
            for one in among.items:
                self._check_operands(place, "=", item, one)
                self._check_stored_word(place, item, one)
            yield self._with(state, Condition("in", item, among, state.tag, place))
            return
        for one in among.items:
            yield from self._unify(place, item, one, state)

    def _in_relation(self, place: Place, item: Any, among: _Many, state: _State) -> Iterator[_State]:
        """``g in patient.grants``: ``g`` is a grant, ``g.patient = patient``, and the patient is there."""
        target = among.relation.target
        if isinstance(item, Free):
            row = RowVariable(self._number(), target)
            for bound in self._bind(item, row, state):
                yield from self._in_relation(place, row, among, replace(bound, rows=(*bound.rows, row)))
        elif isinstance(item, RowVariable | Path) and item.type == target:
            row, fields = (item.row, item.fields) if isinstance(item, Path) else (item, ())
            back = self.types.types[target].properties[among.relation.back]
            assert isinstance(back, ToOne)
            if isinstance(among.base, Path) and (back.nullable or among.base.type == LIVING):
                # Nil is the author of nothing, and a patient who has left has no grants.
                state = self._present(place, among.base.row, among.base.fields, state)
            yield self._with(state, Condition("=", Path(row, (*fields, back.name), back), among.base, state.tag, place))
        else:
            raise Refused(place, f"{among.relation.name} holds {target} rows, nothing else")

    def _check_item(self, place: Place, item: Any, among: Path) -> None:
        if isinstance(item, Free):
            raise Refused(place, "in a list property only a known value can be looked for")
        assert isinstance(among.property, Scalar)
        if not isinstance(item, Const | Path | Asked) or (
            kind_of(item) not in (among.property.kind, None) or item == NIL
        ):
            raise Refused(place, f"{among.property.name} holds {among.property.kind} values, nothing else")


def _is_list(path: Path) -> bool:
    return isinstance(path.property, Scalar) and path.property.many


def _same(left: Any, right: Any) -> bool:
    return bool(left == right and isinstance(left, bool) == isinstance(right, bool))


def _a(kind: str | None) -> str:
    return f"an {kind}" if (kind or "")[:1] in "aeiou" else f"a {kind}"


def near(word: str, known: Any) -> str:
    """``; did you mean 'owner'?`` when a known word is near."""
    close = difflib.get_close_matches(word, [str(one) for one in known], 1)
    return f"; did you mean {close[0]!r}?" if close else ""
