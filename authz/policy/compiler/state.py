"""The state of symbolic evaluation: what each variable stands for, and the conditions of one derivation so far.

    g in x.grants and g.role = "owner"
    →  bindings {g: RowVariable(2, "Grant")}, conditions (g.patient = x, g.role = "owner")

A state never changes; each step of a derivation makes a new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from authz.policy.compiler.ir import Condition, Operand, Path, RowVariable, Term
from authz.policy.compiler.nodes import Place
from authz.policy.compiler.schema import ToMany


@dataclass(frozen=True)
class Free:
    """A variable of the policy that stands for nothing yet."""

    number: int


@dataclass(frozen=True)
class RelatedRows:
    """The rows of a to-many relation, on the right of ``in``."""

    base: RowVariable | Path
    relation: ToMany


@dataclass(frozen=True)
class RequestPart:
    """``actor.request``, or its ``action`` or ``context``: no value yet."""

    path: tuple[str, ...]


@dataclass(frozen=True)
class ListValue:
    """A list that the policy writes out."""

    items: tuple["Value", ...]


@dataclass(frozen=True)
class Shifted:
    """An instant moved by some microseconds."""

    base: Operand
    micros: int


Value = Operand | Free | RelatedRows | RequestPart | ListValue | Shifted


@dataclass(frozen=True)
class Instance:
    """A rule asked in one way: its name, and for each argument a literal, the type of a row, or what else it is."""

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Scope:
    """The surroundings of a derivation: the instances entered, and those whose calls are left open as tails.

    If `calls` is there, the calls of an instance are explored: it records each call, with its place if it is negated.
    """

    stack: tuple[Instance, ...] = ()
    open_calls: frozenset[Instance] = frozenset()
    calls: dict[Instance, Place | None] | None = None
    negated: bool = False


@dataclass(frozen=True)
class Tail:
    """A call by which a rule comes back to itself: what is called with which arguments, and where."""

    instance: Instance
    arguments: tuple[Value, ...]
    place: Place


@dataclass(frozen=True)
class State:
    """One derivation so far. `limits` are the types that a free variable may become.

    `rules` are the numbers of the rules entered; `number` is that of the innermost, which new conditions carry. `tail`
    is the call that the derivation leaves open, if it is a step of a closure.
    """

    bindings: Mapping[Free, Value] = field(default_factory=dict)
    limits: Mapping[Free, frozenset[str]] = field(default_factory=dict)
    rows: tuple[RowVariable, ...] = ()
    conditions: tuple[Condition, ...] = ()
    rules: tuple[str, ...] = ()
    number: str = ""
    tail: Tail | None = None

    def value(self, term: Value) -> Value:
        """Return what a term stands for, through the variables that are bound."""
        while isinstance(term, Free) and term in self.bindings:
            term = self.bindings[term]
        return term

    def require(self, place: Place, op: str, left: Operand, right: Term, offset: int = 0) -> "State":
        """Return the state with one more condition, unless it states that already."""
        condition = Condition(op, left, right, self.number, place, offset)
        if any(condition.meaning == other.meaning for other in self.conditions):
            return self
        return replace(self, conditions=(*self.conditions, condition))

    def within_rule(self, number: str) -> "State":
        """Return the state within a rule; a rule without a number leaves the number of its caller."""
        if not number:
            return self
        rules = self.rules if number in self.rules else (*self.rules, number)
        return replace(self, rules=rules, number=number)

    def after_rule(self, caller: "State") -> "State":
        """Return the state after a rule: new conditions carry the number of the caller again."""
        return replace(self, number=caller.number)
