"""The parser: Polar text to the syntax tree of `nodes`, in which every node knows its place.

    live(fact) if fact.started_at <= now;
    →  Rule("live", (fact,), Op("<=", (Dot(fact, "started_at"), Var("now"))))

Oso's own parser must accept the same text too (`load.py`). This parser adds where each construct stands. A construct
outside the fragment that can be compiled is refused by name and place, and reading goes on, so that one load reports
every fault.
"""

import re
from collections.abc import Callable, Collection
from math import isfinite
from typing import NoReturn

from authz.policy.compiler.durations import parse_duration
from authz.policy.compiler.lexer import Token, tokenize
from authz.policy.compiler.nodes import (
    Block,
    Call,
    Dot,
    Isa,
    ListOf,
    Literal,
    Node,
    Op,
    Param,
    Place,
    Rule,
    Shift,
    Shorthand,
    Source,
    Var,
)

_DEEPEST = 50
_MOST_DIGITS = 1000  # leading zeros among them: far fewer than Python refuses to read

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in"}
_ARITHMETIC = {"+", "-", "*", "/", "mod", "rem"}
_REFUSED_CALLS = {
    "cut": "cut changes the meaning of a compiled policy; write the rules so that each stands alone",
    "print": "print has no place in a compiled policy",
    "debug": "debug has no place in a compiled policy",
    "new": "new makes a value in Python while deciding, which cannot be compiled",
}


_SHIFTS = {"plus": 1, "minus": -1}
_METHODS = (
    'compare fields, call starts_with(text, "…"), ends_with(text, "…") or in_network(ip, "10.0.0.0/8"),'
    ' or move an instant by .plus("PT3H") or .minus("PT3H")'
)
_RESERVED = {"and", "or", "if", "in", "matches", "mod", "rem", "type", "isa"}
_KEYWORDS = {*_RESERVED, *_REFUSED_CALLS, "not", "forall", "true", "false", "inf", "nan"}
"""The names that the language keeps for itself, so that no rule and no type has one."""


class _Stop(Exception):
    """The statement being read cannot be read further; its fault is recorded already."""


def parse(text: str, file: str, source: Source) -> None:
    """Add the rules, blocks and faults of one file to `source`."""
    _Parser(text, file, source).statements()


class _Parser:
    def __init__(self, text: str, file: str, source: Source) -> None:
        self.source = source
        self.tokens = tokenize(text, file, source)
        self.at = 0
        self.depth = 0
        self.variables: list[Var] = []

    # Looking and stepping.

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.next
        self.at += token.kind != "end"
        return token

    def is_next(self, *texts: str) -> bool:
        return self.next.kind in ("op", "name") and self.next.text in texts

    def expect(self, text: str) -> Token:
        if not self.is_next(text):
            self.refuse(self.next.place, f"expected {text!r}, found {self.next.text!r}")
        return self.take()

    def refuse(self, place: Place, why: str) -> NoReturn:
        self.source.faults.append(place.fault(why))
        raise _Stop

    # Statements.

    def statements(self) -> None:
        while self.next.kind != "end":
            begun, self.depth = self.at, 0
            try:
                self.statement()
            except _Stop:
                self._skip(begun)

    def _skip(self, begun: int) -> None:
        """Continue after the statement that begins at a token: past its ``;``, or past its closing brace."""
        self.at, depth = begun, 0
        while self.next.kind != "end":
            text = self.take().text
            depth += (text in ("{", "(", "[")) - (text in ("}", ")", "]"))
            if depth <= 0 and (text == ";" or (text == "}" and not self.is_next(";"))):
                return

    def statement(self) -> None:
        if self.is_next("?="):
            self.refuse(self.next.place, "an inline query (?=) has no place in a compiled policy; write a policy test")
        if self.next.kind != "name":
            self.refuse(self.next.place, f"a rule or a block begins with a name, found {self.next.text!r}")
        following = self.tokens[self.at + 1]
        if following.kind == "name" and self.next.text in ("actor", "resource"):
            self.block()
        elif following.kind == "name" and self.next.text == "type":
            self.take()
            self.rule()
            prototype = self.source.rules.pop()
            if prototype.body is not None:
                self.refuse(prototype.place, "a type of a rule has parameters and their types alone, no conditions")
            self.source.prototypes.append(prototype)
        elif following.text == "(":
            self.rule()
        else:
            self.refuse(self.next.place, f"{self.next.text!r} begins neither a rule nor an actor or resource block")

    def rule(self) -> None:
        name, self.variables = self.name(), []
        self.expect("(")
        params: list[Param] = []
        goals: list[Node] = []
        while not self.is_next(")"):
            params.append(self.param(goals))
            self.separator()
        self.expect(")")
        if self.is_next("if"):
            self.take()
            goals.append(self.disjunction())
        self.expect(";")
        body = _conjunction(goals) if goals else None
        variables = tuple(self.variables)
        self.source.rules.append(Rule(name.place, name.text, tuple(params), body, name.comment, variables=variables))

    def param(self, goals: list[Node]) -> Param:
        """Read a parameter, and add the conditions of its pattern to `goals`."""
        term = self.term()
        if not self.is_next(":"):
            return Param(term, None)
        self.take()
        if isinstance(term, Var) and term.name == "_":
            term = Var(term.place, f"_{term.place.line}_{term.place.column}")
        place = self.next.place
        type_name, fields = self.pattern(term)
        if fields and not isinstance(term, Var):
            self.refuse(place, "a pattern of fields belongs to a variable; write name: Type{field: value}")
        goals += fields
        return Param(term, type_name)

    def type_name(self) -> str:
        token = self.next
        if token.kind != "name":
            self.refuse(token.place, f"a type is a name, found {token.text!r}")
        return self.name().text

    def name(self) -> Token:
        """Read a name of a rule or a type; refuse a word of the language."""
        token = self.take()
        if token.text in _KEYWORDS:
            self.refuse(token.place, f"{token.text!r} is a word of the language, not a name")
        return token

    def separator(self) -> None:
        """Read the comma after an argument, unless it is the last."""
        if not self.is_next(")"):
            comma = self.expect(",")
            if self.is_next(")"):
                self.refuse(comma.place, "after this comma a further argument was expected")

    # Patterns: User{active: true}, {active: true}.

    def pattern(self, term: Node) -> tuple[str | None, list[Node]]:
        """Read a pattern; return its type, if it has one, and its conditions on the fields of a term."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.refuse(self.next.place, "is nested too deeply")
        type_name = None if self.is_next("{") else self.type_name()
        goals: dict[str, list[Node]] = {}
        if self.is_next("{"):
            self.take()
            while not self.is_next("}"):
                name = self.field_name()
                if name.text in goals:
                    self.refuse(name.place, f"the field {name.text} stands twice in this pattern")
                goals[name.text] = self.field_conditions(Dot(name.place, term, name.text))
                if not self.is_next("}"):
                    self.expect(",")
            self.take()
        self.depth -= 1
        return type_name, [goal for conditions in goals.values() for goal in conditions]

    def field_name(self) -> Token:
        name = self.take()
        if name.kind != "name":
            self.refuse(name.place, f"a field is a name, found {name.text!r}")
        self.expect(":")
        return name

    def field_conditions(self, field: Dot) -> list[Node]:
        """Read the value of a field in a pattern, which may be a pattern; return the conditions on the field."""
        if self.is_next("{") or (self.next.kind == "name" and self.tokens[self.at + 1].text == "{"):
            return self.conditions_of_pattern(field)
        return [Op(field.place, "=", (field, self.term()))]

    def conditions_of_pattern(self, term: Node) -> list[Node]:
        """Read a pattern; return its conditions on a term, that on its type first."""
        place = self.next.place
        type_name, goals = self.pattern(term)
        return goals if type_name is None else [Isa(place, term, type_name), *goals]

    # Blocks.

    def block(self) -> None:
        kind, type_name = self.take(), self.take()
        block = Block(type_name.place, kind.text, type_name.text)
        declarations: set[str] = set()
        self.expect("{")
        while not self.is_next("}"):
            if self.next.kind == "string":
                block.shorthands.append(self.shorthand())
                continue
            declared = self.take()
            self.expect("=")
            if declared.text in declarations:
                self.refuse(declared.place, f"{block.type} declares {declared.text} twice; write one list")
            declarations.add(declared.text)
            if declared.text == "relations":
                block.relations.update(self.relations(block))
            elif declared.text in ("permissions", "roles"):
                getattr(block, declared.text).update(self.names(block))
            else:
                self.refuse(declared.place, f"a block declares permissions, roles or relations, not {declared.text!r}")
            self.expect(";")
        self.expect("}")
        self.source.blocks.append(block)

    def require_new(self, name: str, place: Place, block: Block, names: Collection[str]) -> None:
        """Refuse a name that a block declares already."""
        if name in names or name in block.permissions or name in block.roles or name in block.relations:
            self.refuse(place, f"{block.type} declares {name!r} already")

    def names(self, block: Block) -> dict[str, Place]:
        names: dict[str, Place] = {}
        self.expect("[")
        while not self.is_next("]"):
            token = self.next
            name = self.string()
            self.require_new(name, token.place, block, names)
            names[name] = token.place
            if not self.is_next("]"):
                self.expect(",")
        self.expect("]")
        return names

    def relations(self, block: Block) -> dict[str, tuple[str, Place]]:
        relations: dict[str, tuple[str, Place]] = {}
        self.expect("{")
        while not self.is_next("}"):
            name = self.take()
            self.expect(":")
            self.require_new(name.text, name.place, block, relations)
            relations[name.text] = (self.type_name(), name.place)
            if not self.is_next("}"):
                self.expect(",")
        self.expect("}")
        return relations

    def shorthand(self) -> Shorthand:
        first = self.next
        granted = self.string()
        self.expect("if")
        held, relation = self.string(), None
        if self.is_next("on"):
            self.take()
            relation = self.string()
        self.expect(";")
        return Shorthand(first.place, granted, held, relation, first.comment)

    # Expressions, from the loosest binding to the tightest.

    def disjunction(self) -> Node:
        return self._operands("or", self.conjunction)

    def conjunction(self) -> Node:
        return self._operands("and", self.negation)

    def _operands(self, operator: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.is_next(operator):
            self.take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Op(parts[0].place, operator, tuple(parts))

    def negation(self) -> Node:
        if not self.is_next("not"):
            return self.comparison()
        place = self.take().place
        if self.is_next("not"):
            self.refuse(self.next.place, "not of not is what it negates; write it without both")
        return Op(place, "not", (self.comparison(),))

    def forall(self) -> Node:
        """Read ``forall(condition, requirement)``: there is nothing that meets the first and not the second."""
        place = self.take().place
        self.expect("(")
        condition = self.disjunction()
        self.expect(",")
        requirement = self.disjunction()
        self.expect(")")
        unmet = Op(requirement.place, "not", (requirement,))
        return Op(place, "not", (Op(condition.place, "and", (condition, unmet)),))

    def comparison(self) -> Node:
        if self.is_next("forall"):
            return self.forall()
        if self.is_next(*_REFUSED_CALLS):
            self.refuse(self.next.place, _REFUSED_CALLS[self.next.text])
        left = self.term()
        if self.is_next("matches"):
            self.take()
            return self.matches(left)
        if not self.is_next(*_COMPARISONS):
            return left
        operator = self.take()
        compared = Op(left.place, _COMPARISONS[operator.text], (left, self.term()))
        if self.is_next(*_COMPARISONS, "matches"):
            self.refuse(self.next.place, "comparisons are not chained; join them with and")
        return compared

    def matches(self, left: Node) -> Node:
        if self.next.kind not in ("name", "op"):
            self.refuse(self.next.place, "matches takes a type or a pattern of fields; compare a value by =")
        type_name, fields = self.pattern(left)
        goals = [Isa(left.place, left, type_name)] if type_name else []
        return _conjunction([*goals, *fields]) if goals or fields else Literal(left.place, True)

    def term(self) -> Node:
        begun = self.next.place
        self.depth += 1
        if self.depth > _DEEPEST:
            self.refuse(begun, "is nested too deeply")
        node = self.primary()
        self.depth -= 1
        dots = 0
        while self.is_next("."):
            self.take()
            dots += 1
            if dots > _DEEPEST:
                self.refuse(begun, "is a path of too many fields")
            name = self.next
            if name.kind != "name":
                self.refuse(name.place, f"a field is a name, found {name.text!r}")
            self.take()
            node = self.shift(name, node) if self.is_next("(") else Dot(name.place, node, name.text)
        if self.is_next(*_ARITHMETIC):
            self.refuse(self.next.place, f"arithmetic ({self.next.text}) cannot be compiled")
        if self.is_next(":="):
            self.refuse(self.next.place, "an assignment (:=) cannot be compiled; write =")
        return node

    def shift(self, method: Token, base: Node) -> Node:
        """Read the duration of ``.plus("PT3H")`` or ``.minus("PT3H")``, the only methods."""
        if method.text not in _SHIFTS:
            why = f"the method call .{method.text}(…) cannot be compiled; {_METHODS}"
            self.refuse(method.place, why)
        self.take()
        place = self.next.place
        micros = parse_duration(self.string())
        if micros is None:
            self.refuse(place, 'a duration is a text such as "PT3H" or "P1DT30M": weeks, days, hours, minutes, seconds')
        self.expect(")")
        return Shift(method.place, base, _SHIFTS[method.text] * micros)

    def primary(self) -> Node:
        token = self.next
        if token.kind == "string":
            return Literal(token.place, self.string())
        if self.is_next(*_REFUSED_CALLS):
            self.refuse(token.place, _REFUSED_CALLS[token.text])
        if self.is_next("{"):
            self.refuse(token.place, "a dictionary cannot be compiled; write name: Type{field: value}, or conditions")
        if token.kind == "name" and token.text in ("inf", "nan"):
            self.refuse(token.place, f"{token.text} is no number that a database compares; leave the condition out")
        if token.kind == "name" and token.text in _RESERVED:
            self.refuse(token.place, f"{token.text!r} is a word of the language, not a name; a value was expected")
        if self.is_next("-", "+"):
            return self.negative()
        self.take()
        if token.kind in ("integer", "float"):
            return Literal(token.place, self.number(token.place, token))
        if token.text == "(":
            inner = self.disjunction()
            self.expect(")")
            return inner
        if token.text == "[":
            return self.list_of(token.place)
        if token.kind == "name":
            return self.named(token)
        self.refuse(token.place, f"a term was expected, found {token.text!r}")

    def negative(self) -> Node:
        sign, number = self.take(), self.take()
        if number.kind not in ("integer", "float"):
            self.refuse(sign.place, f"arithmetic ({sign.text}) cannot be compiled")
        return Literal(sign.place, self.number(sign.place, number, sign.text))

    def number(self, place: Place, token: Token, sign: str = "") -> int | float:
        """Return the number of a token; refuse one that no database compares."""
        if token.kind == "float":
            value = float(sign + token.text)
            if isfinite(value):
                return value
        elif len(token.text) <= _MOST_DIGITS and int(token.text) < 2**63:
            return int(sign + token.text)
        self.refuse(place, "this number is too large: a whole one has 64 bits, another is a double")

    def named(self, token: Token) -> Node:
        if token.text in ("true", "false"):
            return Literal(token.place, token.text == "true")
        if not self.is_next("("):
            self.variables.append(Var(token.place, token.text))
            return self.variables[-1]
        self.take()
        args = []
        while not self.is_next(")"):
            args.append(self.disjunction())
            if self.is_next(":"):
                self.refuse(self.next.place, "an argument by name cannot be compiled")
            self.separator()
        self.expect(")")
        return Call(token.place, token.text, tuple(args))

    def list_of(self, place: Place) -> Node:
        items = []
        while not self.is_next("]"):
            if self.is_next("*", "|"):
                self.refuse(self.next.place, "a list with a rest variable cannot be compiled")
            items.append(self.term())
            if not self.is_next("]"):
                self.expect(",")
        self.expect("]")
        return ListOf(place, tuple(items))

    def string(self) -> str:
        token = self.next
        if token.kind != "string":
            self.refuse(token.place, f"a string was expected, found {token.text!r}")
        self.take()
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(1)), token.text[1:-1])


def _conjunction(goals: list[Node]) -> Node:
    """Return the conjunction of conditions, those of conjunctions among them too."""
    flat: list[Node] = []
    for goal in goals:
        flat += goal.args if isinstance(goal, Op) and goal.op == "and" else (goal,)
    return flat[0] if len(flat) == 1 else Op(flat[0].place, "and", tuple(flat))
