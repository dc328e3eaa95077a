"""A naive evaluator of Polar rules, the oracle for rules that come back to themselves, where Oso does not end.

    repeat: for each rule and each choice of rows for its parameters, if the body holds, add the head to what is true
    until nothing is added

What is negated is a rule of an earlier stratum, of which all is known already.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from authz.database import Database
from authz.policy.compiler.blocks import expand
from authz.policy.compiler.nodes import Call, Dot, Isa, ListOf, Literal, Node, Op, Rule, Source, Var, walk
from authz.policy.compiler.parser import parse
from authz.policy.decision import Ref
from tests.support.oracle import Nothing, World

Bindings = dict[str, Any]
_UNBOUND = object()
_COMPARE = {
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: b < a if isinstance(b, Nothing) else a > b,
    ">=": lambda a, b: a >= b,
}


class NaiveWorld(World):
    """Every row of a database at one instant, and what the rules of a policy make true of them."""

    def __init__(self, database: Database, texts: Mapping[str, str], now: int) -> None:
        super().__init__(database, texts, now)
        source = Source()
        for name, text in texts.items():
            if name.endswith(".polar"):
                parse(text, name, source)
        self._rules = expand(source, self.types).rules
        assert not source.faults
        self._now = now
        self._true: dict[tuple[str, int], set[tuple[Any, ...]]] = {}
        for rules in _strata(self._rules):
            while sum(self._apply(rule) for rule in rules):
                pass

    def allowed(self, subject: Ref, action: str, resource: Ref) -> bool:
        """Return whether the rules make a permit true; False if the subject or the resource does not exist."""
        ends = []
        for kind, name in (subject, resource):
            declared = self.types.named(kind)
            assert declared is not None
            ends.append(self.rows[declared.polar].get(name))
        return (ends[0], action, ends[1]) in self._true.get(("allow", 3), set())

    def _apply(self, rule: Rule) -> bool:
        """Add what a rule makes true now; return whether it adds anything."""
        known = self._true.setdefault((rule.name, len(rule.params)), set())
        before = len(known)
        for bindings in self._heads(rule):
            for met in self._solve(rule.body, bindings):
                known.add(tuple(self._value(param.term, met) for param in rule.params))
        return len(known) > before

    def _heads(self, rule: Rule) -> Iterator[Bindings]:
        """Yield each choice of rows for the parameters of a rule."""
        variables = [(param.term.name, param.type) for param in rule.params if isinstance(param.term, Var)]
        choices = [
            [row for name, rows in self.rows.items() if wanted in (None, name) for row in rows.values()]
            for _, wanted in variables
        ]
        for chosen in itertools.product(*choices):
            yield {name: row for (name, _), row in zip(variables, chosen, strict=True)}

    def _solve(self, node: Node | None, bindings: Bindings) -> Iterator[Bindings]:
        match node:
            case None | Literal(value=True):
                yield bindings
            case Op(op="and", args=args):
                goal, *others = sorted(args, key=lambda arg: isinstance(arg, Op) and arg.op == "not")
                for met in self._solve(goal, bindings):
                    yield from self._solve(Op(node.place, "and", tuple(others)), met) if others else iter((met,))
            case Op(op="or", args=args):
                for arg in args:
                    yield from self._solve(arg, bindings)
            case Op(op="not", args=(arg,)):
                if not any(True for _ in self._solve(arg, bindings)):
                    yield bindings
            case Op(op="=", args=(first, right)):
                yield from self._unify(first, self._value(right, bindings), bindings, right)
            case Op(op="in", args=(item, container)):
                for value in self._value(container, bindings):
                    yield from self._unify(item, value, bindings)
            case Op(op=op, args=(first, right)):
                if _COMPARE[op](self._value(first, bindings), self._value(right, bindings)):
                    yield bindings
            case Isa(term=term, type=name):
                if isinstance(self._value(term, bindings), self._classes[name]):
                    yield bindings
            case Call(name=name, args=args):
                for values in tuple(self._true.get((name, len(args)), ())):
                    yield from self._unify_all(args, values, bindings)

    def _unify_all(self, args: tuple[Node, ...], values: tuple[Any, ...], bindings: Bindings) -> Iterator[Bindings]:
        if not args:
            yield bindings
            return
        for met in self._unify(args[0], values[0], bindings):
            yield from self._unify_all(args[1:], values[1:], met)

    def _unify(self, node: Node, value: Any, bindings: Bindings, other: Node | None = None) -> Iterator[Bindings]:
        first = self._value(node, bindings)
        if first is _UNBOUND:
            assert isinstance(node, Var)
            yield {**bindings, node.name: value}
        elif value is _UNBOUND:
            assert isinstance(other, Var)
            yield {**bindings, other.name: first}
        elif first == value:
            yield bindings

    def _value(self, node: Node, bindings: Bindings) -> Any:
        match node:
            case Literal(value=value):
                return value
            case Var(name="now"):
                return self._now
            case Var(name="nil"):
                return Nothing()
            case Var(name=name):
                return bindings.get(name, _UNBOUND)
            case Dot(base=base, field=field):
                return getattr(self._value(base, bindings), field)
            case ListOf(items=items):
                return [self._value(item, bindings) for item in items]
        raise AssertionError(node)


def _strata(rules: list[Rule]) -> list[list[Rule]]:
    """Return the rules so that each stands after those that it negates, and beside those that it calls."""
    level = {rule.name: 0 for rule in rules}
    for _ in rules:
        for rule in rules:
            negated = {
                part.name
                for node in walk(rule.body)
                if isinstance(node, Op) and node.op == "not"
                for part in walk(node)
                if isinstance(part, Call)
            }
            for part in walk(rule.body):
                if isinstance(part, Call):
                    level[rule.name] = max(level[rule.name], level[part.name] + (part.name in negated))
    return [[rule for rule in rules if level[rule.name] == each] for each in sorted(set(level.values()))]
