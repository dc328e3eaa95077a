"""Recursion: a rule that comes back to itself, as steps from row to row.

    viewer(u, f: Folder) if f.owner = u;
    viewer(u, f: Folder) if viewer(u, f.parent);
    →  viewer(u, f)  is  Condition(f reaches f2) and f2.owner = u,  with the step  f → f.parent

Rules that call each other in a circle make one closure: each is a predicate about one row, the row that changes from
call to call; what else they take must stay the same. A derivation that calls back is a step of the closure, any other
derivation is resolved as always, for the row that is reached.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol

from authz.policy.compiler.ir import (
    FIRST_INNER,
    Closure,
    Condition,
    Const,
    Now,
    Path,
    Reached,
    RequestAttribute,
    RowVariable,
    Step,
    subqueries,
)
from authz.policy.compiler.nodes import Call, Place, Rule, walk
from authz.policy.compiler.refusals import Refused
from authz.policy.compiler.state import Free, Instance, Scope, State, Tail, Value

_VARIABLE = -1
_TOO_MANY_ROWS = "{name} comes back to itself: the subject, the resource and one more row decide it, no other"
Slots = dict[tuple[Instance, int], int]
"""For each argument of each predicate: the argument of the first call that it always is, or `_VARIABLE`."""


class Rules(Protocol):
    """The resolver, as far as recursion needs it."""

    numbers: Iterator[int]
    named_types: Set[str]

    def clauses(self, name: str, arity: int) -> Sequence[Rule]:
        """Return the clauses of a rule."""

    def row_types(self, name: str) -> frozenset[str] | None:
        """Return the types of rows that a type or a group of types holds; None if it holds values."""

    def call(self, node: Call, args: tuple[Value, ...], state: State, scope: Scope) -> Iterator[State]:
        """Yield the states in which a call holds."""

    def resolve_clauses(self, node: Call, args: tuple[Value, ...], state: State, scope: Scope) -> Iterator[State]:
        """Yield the states in which a clause of a call holds."""


@dataclass(frozen=True)
class _OpenDerivation:
    """A derivation of a predicate that ends with a call of a predicate of the same closure."""

    source: Instance
    target: Instance
    state: State
    tail: Tail


@dataclass(frozen=True)
class _Program:
    """The predicates of a closure, in the order in which the first reaches them, and the steps between them."""

    predicates: tuple[Instance, ...]
    own: Mapping[Instance, tuple[Value, ...]]
    node_at: Mapping[Instance, int]
    slots: Slots
    steps: tuple[Step, ...]


class Recursion:
    """Finds the rules of a policy that call themselves, and resolves calls of them."""

    def __init__(self, rules: Rules, clauses: Mapping[tuple[str, int], Sequence[Rule]]) -> None:
        self._rules = rules
        self._names = _names_in_circles(clauses)
        self._calls: dict[Instance, dict[Instance, Place | None]] = {}
        self._examples: dict[Instance, tuple[tuple[Value, ...], State]] = {}
        self._circles: dict[Instance, frozenset[Instance]] = {}
        self._programs: dict[Instance, _Program] = {}

    # Which calls come back.

    def circle(self, node: Call, instance: Instance, args: tuple[Value, ...], state: State) -> frozenset[Instance]:
        """Return the instances that call each other in a circle with a call; none if it never comes back to itself.

        Raises `Refused` if there is a negation in the circle.
        """
        if instance.name not in self._names:
            return frozenset()
        if instance not in self._circles:
            self._explore(node, instance, args, state)
            reached = self._reached(instance)
            circle = frozenset(other for other in reached if instance in self._reached(other))
            for place in (place for each in circle for other, place in self._calls[each].items() if other in circle):
                if place is not None:
                    why = f"{instance.name} depends on its own negation, which has no meaning; leave the negation out"
                    raise Refused(place, why)
            self._circles[instance] = circle
        return self._circles[instance]

    def explore_call(
        self, node: Call, instance: Instance, args: tuple[Value, ...], state: State, scope: Scope
    ) -> Iterator[State]:
        """Record a call, and yield the states in which the variables among its arguments stand for something."""
        assert scope.calls is not None
        if scope.negated or instance not in scope.calls:
            scope.calls[instance] = node.place if scope.negated else None
        self._explore(node, instance, args, state)
        if instance in scope.stack or not any(isinstance(arg, Free) for arg in args):
            yield state
        else:
            yield from self._rules.resolve_clauses(node, args, state, scope)

    def _explore(self, node: Call, instance: Instance, args: tuple[Value, ...], state: State) -> None:
        if instance not in self._calls:
            calls = self._calls[instance] = {}
            self._examples[instance] = (args, state)
            for _ in self._rules.resolve_clauses(node, args, state, Scope(calls=calls)):
                pass

    def _reached(self, instance: Instance) -> set[Instance]:
        """Return the instances that one calls, directly or through others."""
        reached: set[Instance] = set()
        waiting = [instance]
        while waiting:
            called = self._calls[waiting.pop()].keys() - reached
            reached |= called
            waiting += called
        return reached

    def bind_rows(self, node: Call, args: tuple[Value, ...], state: State) -> Iterator[tuple[tuple[Value, ...], State]]:
        """Yield the arguments of a rule in a circle with rows for the variables that its heads take as rows.

        The rows are of any such type, and nothing is known of them yet.
        """
        choices: list[list[Value]] = []
        for at, arg in enumerate(args):
            types = None
            if isinstance(arg, Free) and node.name in self._names:
                types = self._head_types(node.name, at, len(args))
            if types is None:
                choices.append([arg])
            else:
                assert isinstance(arg, Free)
                named = sorted(types & state.limits.get(arg, types))
                choices.append([RowVariable(next(self._rules.numbers), name) for name in named])
        for chosen in itertools.product(*choices):
            bindings = {arg: row for row, arg in zip(chosen, args, strict=True) if isinstance(arg, Free) and row != arg}
            rows = tuple(row for row in bindings.values() if isinstance(row, RowVariable))
            yield chosen, replace(state, rows=(*state.rows, *rows), bindings={**state.bindings, **bindings})

    def _head_types(self, name: str, at: int, arity: int) -> frozenset[str] | None:
        """Return the types that the heads of a rule take at a place; None if one of them takes anything, or values."""
        types: frozenset[str] = frozenset()
        for clause in self._rules.clauses(name, arity):
            declared = clause.params[at].type
            of_head = self._rules.row_types(declared) if declared is not None else None
            if of_head is None:
                return None
            types |= of_head
        return types

    # Calls that come back, as closures.

    def solve(
        self,
        node: Call,
        instance: Instance,
        circle: frozenset[Instance],
        args: tuple[Value, ...],
        state: State,
        scope: Scope,
    ) -> Iterator[State]:
        """Yield the states in which a call of a rule that comes back to itself holds."""
        if instance not in self._programs:
            self._programs[instance] = self._program(node, instance, circle)
        program = self._programs[instance]
        start = args[program.node_at[instance]]
        assert isinstance(start, RowVariable | Path)
        closure = _specialize(node, program, args)
        for number, predicate in enumerate(program.predicates):
            goal = RowVariable(next(self._rules.numbers), closure.types[number])
            reached = replace(state, rows=(*state.rows, goal), tail=None).require(
                node.place, "reaches", start, Reached(goal, closure, 0, number)
            )
            call = replace(node, name=predicate.name)
            arguments = self._arguments_at(program, predicate, args, goal)
            inner = Scope((*scope.stack, instance), circle)
            for end in self._rules.resolve_clauses(call, arguments, reached, inner):
                if end.tail is None:
                    yield replace(end, tail=state.tail)

    def _arguments_at(
        self, program: _Program, predicate: Instance, args: tuple[Value, ...], goal: RowVariable
    ) -> tuple[Value, ...]:
        """Return the arguments of a predicate when its row is the one that is reached."""
        arguments: list[Value] = []
        for at, own in enumerate(program.own[predicate]):
            slot = program.slots.get((predicate, at))
            if at == program.node_at[predicate]:
                arguments.append(goal)
            elif slot is None:
                arguments.append(own)
            else:
                arguments.append(Free(next(self._rules.numbers)) if slot == _VARIABLE else args[slot])
        return tuple(arguments)

    def _program(self, node: Call, first: Instance, circle: frozenset[Instance]) -> _Program:
        own = {predicate: self._own_arguments(node, predicate) for predicate in circle}
        derivations: list[_OpenDerivation] = []
        for predicate in sorted(circle, key=repr):
            state = State(limits=self._examples[predicate][1].limits)
            call = replace(node, name=predicate.name)
            for after in self._rules.resolve_clauses(call, own[predicate], state, Scope((predicate,), circle)):
                if after.tail is not None:
                    derivations.append(_OpenDerivation(predicate, after.tail.instance, after, after.tail))
        predicates, slots = _slots(first, own, derivations)
        node_at = _nodes(node, predicates, own, slots, derivations, self._rules.named_types)
        numbers = {predicate: number for number, predicate in enumerate(predicates)}
        steps = tuple(_step(each, numbers, own, node_at) for each in derivations if each.source in numbers)
        return _Program(predicates, own, node_at, slots, steps)

    def _own_arguments(self, node: Call, predicate: Instance) -> tuple[Value, ...]:
        """Return arguments that stand for any of a predicate's: a new row for each row, literals as they are."""
        args, state = self._examples[predicate]
        own: list[Value] = []
        for value in (state.value(arg) for arg in args):
            match value:
                case RowVariable() | Path() if value.type is not None:
                    own.append(RowVariable(FIRST_INNER + next(self._rules.numbers), value.type))
                case Const() | RequestAttribute() | Now() | Free():
                    own.append(value)
                case _:
                    why = f"{predicate.name} comes back to itself, so that it takes rows and literals, nothing else"
                    raise Refused(node.place, why)
        return tuple(own)


def require_ends(conditions: Sequence[Condition]) -> None:
    """Raise `Refused` for a closure whose steps are about other rows of the query around than its ends."""
    for condition in (*conditions, *(inner for part in subqueries(conditions) for inner in part.conditions)):
        reached = condition.right
        if isinstance(reached, Reached) and any(row.number > 1 for row in reached.closure.outer_rows()):
            assert condition.place is not None
            raise Refused(condition.place, _TOO_MANY_ROWS.format(name=reached.closure.names[0]))


def _names_in_circles(clauses: Mapping[tuple[str, int], Sequence[Rule]]) -> frozenset[str]:
    """Return the names of the rules that may come back to themselves, by the names that their bodies call."""
    calls: dict[str, set[str]] = {}
    for (name, _), alternatives in clauses.items():
        called = {part.name for rule in alternatives for part in walk(rule.body) if isinstance(part, Call)}
        calls.setdefault(name, set()).update(called)
    circles: set[str] = set()
    for name in calls:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            new = calls.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        if name in reached:
            circles.add(name)
    return frozenset(circles)


def _slots(
    first: Instance, own: Mapping[Instance, tuple[Value, ...]], derivations: Sequence[_OpenDerivation]
) -> tuple[tuple[Instance, ...], Slots]:
    """Return the predicates that the first reaches, and which argument of the first call each argument always is."""
    slots: Slots = {(first, at): at for at, value in enumerate(own[first]) if _varies(value)}
    predicates = [first]
    changed = True
    while changed:
        changed = False
        for each in derivations:
            if each.source not in predicates:
                continue
            if each.target not in predicates:
                predicates.append(each.target)
                changed = True
            for at, value in enumerate(own[each.target]):
                if _varies(value):
                    passed = _passed(each, at, own[each.source], slots)
                    known = slots.get((each.target, at))
                    new = passed if known is None or known == passed else _VARIABLE
                    changed = changed or new != known
                    slots[each.target, at] = new
    return tuple(predicates), slots


def _varies(value: Value) -> bool:
    return isinstance(value, RowVariable | Free)


def _passed(each: _OpenDerivation, at: int, own: tuple[Value, ...], slots: Slots) -> int:
    """Return the argument of the first call that a step passes at a place, or `_VARIABLE`."""
    value = each.state.value(each.tail.arguments[at])
    for number, argument in enumerate(own):
        if argument == value and _varies(argument):
            return slots[each.source, number]
    return _VARIABLE


def _nodes(
    node: Call,
    predicates: Sequence[Instance],
    own: Mapping[Instance, tuple[Value, ...]],
    slots: Slots,
    derivations: Sequence[_OpenDerivation],
    named: Set[str],
) -> dict[Instance, int]:
    """Return the place of the row that changes among the arguments of each predicate.

    `named` are the types whose rows have a text as id.
    """
    node_at: dict[Instance, int] = {}
    for predicate in predicates:
        rows = [at for at, value in enumerate(own[predicate]) if isinstance(value, RowVariable)]
        variable = [at for at in rows if slots[predicate, at] == _VARIABLE]
        if len(variable) > 1:
            why = f"{predicate.name} comes back to itself with more than one other row; let only one of them change"
            raise Refused(next(each.tail.place for each in derivations), why)
        if not rows:
            raise Refused(node.place, f"{predicate.name} comes back to itself about no row")
        node_at[predicate] = variable[0] if variable else rows[-1]
        if _type_of(own[predicate][node_at[predicate]]) not in named:
            raise Refused(node.place, f"{predicate.name} comes back to itself about rows that have no id of their own")
    return node_at


def _step(
    each: _OpenDerivation,
    numbers: Mapping[Instance, int],
    own: Mapping[Instance, tuple[Value, ...]],
    node_at: Mapping[Instance, int],
) -> Step:
    source, target, state = each.source, each.target, each.state
    for value in own[source]:
        if isinstance(value, Free) and not isinstance(state.value(value), Free):
            raise Refused(
                each.tail.place, f"{source.name} comes back to itself, but for one value alone; write it in the head"
            )
    node = own[source][node_at[source]]
    goal = state.value(each.tail.arguments[node_at[target]])
    assert isinstance(node, RowVariable)
    if not isinstance(goal, RowVariable | Path):
        raise Refused(each.tail.place, f"{target.name} is asked about something that is not bound to a row")
    return Step(numbers[source], numbers[target], node, goal, state.rows, state.conditions)


def _specialize(node: Call, program: _Program, args: tuple[Value, ...]) -> Closure:
    """Return the closure of a program for a call: what its rules take beside the row that changes is the call's."""
    names: dict[RowVariable, RowVariable] = {}
    others: set[RowVariable] = set()
    for predicate in program.predicates:
        for at, own in enumerate(program.own[predicate]):
            if isinstance(own, RowVariable) and at != program.node_at[predicate]:
                actual = args[program.slots[predicate, at]]
                if isinstance(actual, RowVariable) and (actual.number < 2 or actual.number >= FIRST_INNER):
                    names[own] = actual
                else:
                    others.add(own)
    steps = tuple(step.renamed(names) for step in program.steps)
    closure = Closure(
        tuple(predicate.name for predicate in program.predicates),
        tuple(_type_of(program.own[predicate][program.node_at[predicate]]) for predicate in program.predicates),
        steps,
    )
    if closure.outer_rows() & others:
        raise Refused(node.place, _TOO_MANY_ROWS.format(name=node.name))
    return closure


def _type_of(value: Value) -> str:
    assert isinstance(value, RowVariable)
    return value.type
