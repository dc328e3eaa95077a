"""Symbolic evaluation: ``allow(actor, action, resource)`` with actor and resource unknown, to conjunctive queries.

    allow(p: Practitioner, "view", x: Patient) if owns(p, x) or p.id = "admin";
    →  Query(action="view", rows=(g,), conditions=(g.patient = x, g.practitioner = p))   (by the body of owns)
       Query(action="view", rows=(), conditions=(p.id = "admin",))

Each call of a rule is replaced by its clauses, each ``or`` and each list of literals by its alternatives. What depends
on stored facts or on the question is left as a `Condition`. Each derivation, a choice of clauses and alternatives,
makes one `Query`. Whatever cannot be expressed as conditions is refused with its place; nothing is guessed.
(Why not Oso's own partial evaluation: `docs/decisions/0002-own-symbolic-evaluation.md`.)
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from authz.errors import Fault
from authz.policy.compiler.clause_index import ClauseIndex
from authz.policy.compiler.comparisons import Comparisons, describe_naming
from authz.policy.compiler.functions import FUNCTIONS
from authz.policy.compiler.ir import (
    FIRST_INNER,
    NIL,
    Absence,
    Const,
    Now,
    Path,
    Query,
    RequestAttribute,
    RowVariable,
    Subquery,
    kind_of,
)
from authz.policy.compiler.nodes import Call, Dot, Isa, ListOf, Literal, Node, Op, Place, Rule, Shift, Var
from authz.policy.compiler.recursion import Recursion, require_ends
from authz.policy.compiler.refusals import Refused, StepBudget, suggest
from authz.policy.compiler.schema import Schema, ToMany, ToOne, ToTargets, Type
from authz.policy.compiler.state import (
    Free,
    Instance,
    ListValue,
    RelatedRows,
    RequestPart,
    Scope,
    Shifted,
    State,
    Tail,
    Value,
)

MOST_DERIVATIONS = 20_000
"""The most derivations of a policy: with more it would compile to an unreadable statement."""

_BUILTIN_TYPES = {"String", "Integer", "Boolean", "Float"}

Names = dict[str, Value]


class Resolver:
    """Resolves one policy.

    `groups` are the unions of types that blocks make (Actor, Resource); `declared` the roles, permissions and relations
    that they declare, by rule name and type.
    """

    def __init__(
        self,
        schema: Schema,
        rules: list[Rule],
        groups: Mapping[str, frozenset[str]],
        declared: Mapping[tuple[str, str], set[str]],
        budget: StepBudget,
    ) -> None:
        self._schema = schema
        self._rules: dict[tuple[str, int], list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault((rule.name, len(rule.params)), []).append(rule)
        self._index = ClauseIndex(self._rules, groups)
        self._declared = declared
        self._groups = groups
        self._budget = budget
        self.numbers: Iterator[int] = itertools.count(2)
        names = {name for names in declared.values() for name in names}
        self._comparisons = Comparisons(schema, groups, names, self.numbers)
        self.named_types: Set[str] = {resource.polar for resource in schema.resources}
        self._recursion = Recursion(self, self._rules)

    def permits(self, subject: Type, resource: Type) -> list[Query]:
        """Return a query for each derivation by which a subject of one type may do something to a resource of another.

        Raises `Refused` at the first construct that cannot be compiled.
        """
        return self._queries("allow", subject, resource, Free(next(self.numbers)))

    def holders(self, subject: Type, resource: Type, role: str) -> list[Query]:
        """Return a query for each derivation by which a subject has a role on a resource; raises as `permits`."""
        return self._queries("has_role", subject, resource, Const(role))

    def faults(self) -> list[Fault]:
        """Return a fault for each comparison that was never possible."""
        return self._comparisons.faults()

    def warnings(self) -> list[str]:
        """Return a warning for each comparison that was possible for some types alone."""
        return self._comparisons.warnings()

    def spend(self, steps: int = 1) -> None:
        """Take steps of a later pass from the budget. Raise `Refused` if it is used up."""
        self._budget.spend(self._place_of("allow"), steps)

    def _queries(self, rule: str, subject: Type, resource: Type, name: Free | Const) -> list[Query]:
        actor, target = RowVariable(0, subject.polar), RowVariable(1, resource.polar)
        queries: list[Query] = []
        for state in self.call(Call(self._place_of(rule), rule, ()), (actor, name, target), State(), Scope()):
            action = state.value(name)
            if not isinstance(action, Free) and not (isinstance(action, Const) and isinstance(action.value, str)):
                raise Refused(self._place_of(rule), "an action is a literal string, not something stored or asked")
            require_ends(state.conditions)
            named = str(action.value) if isinstance(action, Const) else None
            queries.append(Query(subject.polar, resource.polar, named, state.rules, state.rows, state.conditions))
            if len(queries) > MOST_DERIVATIONS:
                why = f"more than {MOST_DERIVATIONS} ways to allow; use fewer alternatives"
                raise Refused(self._place_of(rule), why)
        return queries

    def _place_of(self, rule: str) -> Place:
        clauses = self._rules.get((rule, 3)) or next(iter(self._rules.values()), None)
        return clauses[0].place if clauses else Place("", 0, 0)

    # Conditions and calls.

    def _solve(self, node: Node, names: Names, state: State, scope: Scope) -> Iterator[State]:
        """Yield a state for each derivation of a condition."""
        self._budget.spend(node.place)
        match node:
            case Op(op="and"):
                yield from self._solve_all(_goals(node), names, state, scope)
            case Op(op="not"):
                yield from self._negate(node, names, state, scope)
            case Op(op="or"):
                for alternative in node.args:
                    yield from self._solve(alternative, names, state, scope)
            case Op():
                left, right = (self._term(arg, names, state) for arg in node.args)
                yield from self._comparisons.solve(node.place, node.op, left, right, state)
            case Call():
                args = tuple(self._term(arg, names, state) for arg in node.args)
                if node.name in FUNCTIONS and not any(name == node.name for name, _ in self._rules):
                    yield self._comparisons.apply(node.place, node.name, args, state)
                    return
                yield from self.call(node, args, state, scope)
            case Isa():
                term = self._term(node.term, names, state)
                yield from self._comparisons.match_type(node.place, term, node.type, state)
            case Literal(value=True):
                yield state
            case Literal(value=False):
                return
            case Dot() | Var():
                yield from self._comparisons.hold(node.place, self._term(node, names, state), state)
            case _:
                why = "a condition is a comparison, a call of a rule, true or false; compare this value"
                raise Refused(node.place, why)

    def _solve_all(self, goals: tuple[Node, ...], names: Names, state: State, scope: Scope) -> Iterator[State]:
        if not goals:
            yield state
            return
        for after in self._solve(goals[0], names, state, scope):
            yield from self._solve_all(goals[1:], names, after, scope)

    def _negate(self, node: Op, names: Names, state: State, scope: Scope) -> Iterator[State]:
        """Yield the state in which the operand of a negation does not hold, whatever its own variables stand for."""
        known = [value for value in map(state.value, names.values()) if isinstance(value, Free)]
        inner = State(state.bindings, state.limits, number=state.number)
        unmet: list[Subquery] = []
        for met in self._solve(node.args[0], dict(names), inner, replace(scope, negated=True)):
            if any(met.value(free) != free or met.limits.get(free) != state.limits.get(free) for free in known):
                why = "a negation cannot choose a value; bind the variable by another condition, or use it here alone"
                raise Refused(node.place, why)
            if met.tail is not None:
                raise Refused(node.place, f"{met.tail.instance.name} comes back to itself within a negation")
            unmet.append(_subquery(met))
        if scope.calls is not None:  # calls are explored as if they held: what follows is explored, too
            yield state
            return
        if any(not subquery.conditions and not subquery.rows for subquery in unmet):
            return
        yield state.require(node.place, "absent", NIL, Absence(tuple(unmet))) if unmet else state

    def call(self, node: Call, args: tuple[Value, ...], state: State, scope: Scope) -> Iterator[State]:
        """Yield a state for each derivation of a call."""
        clauses = self.clauses(node.name, len(args))
        if not clauses and node.name != "allow":
            known = [name for name, arity in self._rules if arity == len(args)]
            why = f"there is no rule {node.name} with {len(args)} parameters{suggest(node.name, known)}"
            raise Refused(node.place, why)
        self._require_declared(node, args, state)
        for with_rows, after in self._recursion.bind_rows(node, tuple(map(state.value, args)), state):
            yield from self._call_with_rows(node, with_rows, after, scope)

    def _call_with_rows(self, node: Call, args: tuple[Value, ...], state: State, scope: Scope) -> Iterator[State]:
        instance = Instance(node.name, tuple(_shape(arg, state) for arg in args))
        if scope.calls is not None:
            yield from self._recursion.explore_call(node, instance, args, state, scope)
        elif instance in scope.open_calls:
            if state.tail is not None:
                why = f"{node.name} comes back to itself twice in one alternative; leave one of the calls out"
                raise Refused(node.place, why)
            yield replace(state, tail=Tail(instance, args, node.place))
        elif circle := self._recursion.circle(node, instance, args, state):
            yield from self._recursion.solve(node, instance, circle, args, state, scope)
        else:
            yield from self.resolve_clauses(node, args, state, scope)

    def resolve_clauses(self, node: Call, args: tuple[Value, ...], state: State, scope: Scope) -> Iterator[State]:
        """Yield a state for each derivation of a call by a clause of its rule."""
        instance = Instance(node.name, tuple(_shape(state.value(arg), state) for arg in args))
        scope = replace(scope, stack=(*scope.stack, instance))
        for clause in self._index.candidates(node.name, tuple(map(state.value, args))):
            names: Names = {}
            for matched in self._match(clause, args, names, state):
                if clause.marked is not None:
                    _require_row(clause.marked, matched.value(names[clause.marked.name]))
                goals = () if clause.body is None else (clause.body,)
                for after in self._solve_all(goals, names, matched.within_rule(clause.number), scope):
                    yield after.after_rule(state)

    def clauses(self, name: str, arity: int) -> Sequence[Rule]:
        """Return the clauses of a rule."""
        return self._rules.get((name, arity), ())

    def row_types(self, name: str) -> frozenset[str] | None:
        """Return the types of rows that a type or a group of types holds; None if it holds values."""
        return None if name in _BUILTIN_TYPES else self._groups.get(name) or frozenset({name})

    def _match(self, clause: Rule, args: tuple[Value, ...], names: Names, state: State) -> Iterator[State]:
        """Yield the states in which the arguments are those of a clause's head."""
        states = [state]
        for param, arg in zip(clause.params, args, strict=True):
            term = self._term(param.term, names, state)
            matched: list[State] = []
            for before in states:
                of_type: Iterator[State] = iter((before,))
                if param.type:
                    of_type = self._comparisons.match_type(clause.place, arg, param.type, before)
                for typed in of_type:
                    matched += self._comparisons.unify(clause.place, term, arg, typed, matching=True)
            states = matched
        yield from states

    def _require_declared(self, node: Call, args: tuple[Value, ...], state: State) -> None:
        """Refuse a call that names a role, permission or relation that the resource's block does not declare."""
        if len(args) != 3:
            return
        name, resource = state.value(args[1]), state.value(args[2])
        if not isinstance(name, Const) or not isinstance(resource, RowVariable | Path):
            return
        declared = self._declared.get((node.name, resource.type or ""))
        if declared and name.value not in declared:
            noun = node.name.removeprefix("has_")
            why = f"{resource.type} declares no {noun} {name.value!r}{suggest(str(name.value), declared)}"
            raise Refused(node.place, why)

    # Terms.

    def _term(self, node: Node, names: Names, state: State) -> Value:
        match node:
            case Literal(value=str() as text) if "\0" in text:
                raise Refused(node.place, "a string cannot hold the character U+0000")
            case Literal():
                return Const(node.value)
            case ListOf():
                return ListValue(tuple(state.value(self._term(item, names, state)) for item in node.items))
            case Shift():
                return self._comparisons.shift(node.place, self._term(node.base, names, state), node.micros, state)
            case Dot():
                return self._field(node, state.value(self._term(node.base, names, state)))
            case Var():
                return self._variable(node, names)
        raise Refused(node.place, "a value was expected here, not a condition")

    def _variable(self, node: Var, names: Names) -> Value:
        if node.name == "now":
            return Now()
        if node.name == "nil":
            return NIL
        if node.name in self._schema.types or node.name in self._groups or node.name in _BUILTIN_TYPES:
            raise Refused(node.place, f"the type {node.name} is not a value")
        if node.name == "_":
            return Free(next(self.numbers))
        return names.setdefault(node.name, Free(next(self.numbers)))

    def _field(self, node: Dot, base: Value) -> Value:
        match base:
            case RequestPart() | RequestAttribute():
                return _request_field(node, base)
            case Free():
                raise Refused(node.place, f".{node.field} of something that is not bound to a row yet")
            case RowVariable() | Path() if base.type is not None:
                return self._row_field(node, base, self._schema.types[base.type])
            case Path(property=ToTargets() as relation):
                raise Refused(node.place, f".{node.field} of a {kind_of(base)}: {describe_naming(relation)}")
        why = f".{node.field}: {_description(base)} has no fields"
        raise Refused(node.place, why)

    def _row_field(self, node: Dot, base: RowVariable | Path, holder: Type) -> Value:
        if node.field == "request":
            if isinstance(base, RowVariable) and base.number == 0:
                return RequestPart(())
            raise Refused(node.place, "the request is the actor's: only the one who asks has it")
        key = holder.key_of(node.field)
        prop = holder.properties.get(key)
        if prop is None:
            why = f"{holder.polar} has no field {node.field!r}{suggest(node.field, holder.fields)}"
            raise Refused(node.place, why)
        if isinstance(prop, ToMany):
            return RelatedRows(base, prop)
        row, fields = (base, ()) if isinstance(base, RowVariable) else (base.row, base.fields)
        return Path(row, (*fields, key), prop)


def _description(value: Value) -> str:
    """Describe a value without fields."""
    kind = "datetime" if isinstance(value, Shifted) else kind_of(value) or "list"
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _request_field(node: Dot, base: RequestPart | RequestAttribute) -> RequestPart | RequestAttribute:
    path = (*base.path, node.field)
    if path[0] not in ("action", "context"):
        raise Refused(node.place, f"a request has action and context, not {path[0]!r}")
    return RequestPart(path) if len(path) == 1 else RequestAttribute(path)


def _goals(node: Op) -> tuple[Node, ...]:
    """Return the conditions of a conjunction, those within conjunctions too; the negated last, when all is bound."""
    goals: list[Node] = []
    for arg in node.args:
        goals += _goals(arg) if isinstance(arg, Op) and arg.op == "and" else (arg,)
    return tuple(sorted(goals, key=lambda goal: isinstance(goal, Op) and goal.op == "not"))


def _subquery(met: State) -> Subquery:
    """Return the rows and conditions of a derivation as a subquery; its rows get numbers of their own."""
    names = {row: replace(row, number=FIRST_INNER + row.number) for row in met.rows}
    return Subquery(tuple(names.values()), tuple(condition.renamed(names) for condition in met.conditions))


def _shape(value: Value, state: State) -> object:
    """Return what decides which clauses a call enters: a constant, the type of a row, or the limits of a variable."""
    match value:
        case Const():
            return (type(value.value).__name__, value.value)
        case RowVariable() | Path():
            return value.type or "a value"
        case Free():
            return ("Free", state.limits.get(value))
        case RequestAttribute():
            return value
    return type(value).__name__


def _require_row(marked: Var, value: Value) -> None:
    """Refuse a rule number of the old form on what is no row, such as a value of the request."""
    is_row = isinstance(value, RowVariable) or (isinstance(value, Path) and isinstance(value.property, ToOne))
    if not is_row:
        raise Refused(marked.place, f"{marked.name}.rules names a rule number, so that {marked.name} must be a row")
