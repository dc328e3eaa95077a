"""The parser: Polar text to the syntax tree of `nodes`, in which every node knows its place.

    live(fact) if fact.started_at <= now;
    →  Rule("live", (fact,), Op("<=", (Dot(fact, "started_at"), Var("now"))))

Oso's own parser must accept the same text too (`load.py`). This parser adds where each construct stands. A construct
outside the fragment that can be compiled is refused by name and place, and reading goes on, so that one load reports
every fault.
"""

import re
from collections.abc import Callable
from math import isfinite
from typing import NoReturn

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
            self.source.rules.pop()
        elif following.text == "(":
            self.rule()
        else:
            self.refuse(self.next.place, f"{self.next.text!r} begins neither a rule nor an actor or resource block")

    def rule(self) -> None:
        name = self.take()
        self.expect("(")
        params = []
        while not self.is_next(")"):
            params.append(self.param())
            if not self.is_next(")"):
                self.expect(",")
        self.expect(")")
        body = None
        if self.is_next("if"):
            self.take()
            body = self.disjunction()
        self.expect(";")
        self.source.rules.append(Rule(name.place, name.text, tuple(params), body, name.comment))

    def param(self) -> Param:
        term = self.term()
        if not self.is_next(":"):
            return Param(term, None)
        self.take()
        return Param(term, self.type_name())

    def type_name(self) -> str:
        token = self.next
        if token.kind != "name":
            self.refuse(token.place, "a type is a name; a pattern of fields cannot be compiled, write it as conditions")
        self.take()
        if self.is_next("{"):
            self.refuse(self.next.place, "a pattern of fields cannot be compiled; write it as conditions of the rule")
        return token.text

    # Blocks.

    def block(self) -> None:
        kind, type_name = self.take(), self.take()
        block = Block(type_name.place, kind.text, type_name.text)
        self.expect("{")
        while not self.is_next("}"):
            if self.next.kind == "string":
                block.shorthands.append(self.shorthand())
                continue
            declared = self.take()
            self.expect("=")
            if declared.text == "relations":
                block.relations.update(self.relations())
            elif declared.text in ("permissions", "roles"):
                getattr(block, declared.text).update(self.names())
            else:
                self.refuse(declared.place, f"a block declares permissions, roles or relations, not {declared.text!r}")
            self.expect(";")
        self.expect("}")
        self.source.blocks.append(block)

    def names(self) -> dict[str, Place]:
        names = {}
        self.expect("[")
        while not self.is_next("]"):
            token = self.next
            names[self.string()] = token.place
            if not self.is_next("]"):
                self.expect(",")
        self.expect("]")
        return names

    def relations(self) -> dict[str, tuple[str, Place]]:
        relations = {}
        self.expect("{")
        while not self.is_next("}"):
            name = self.take()
            self.expect(":")
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
            return Isa(left.place, left, self.type_name())
        if not self.is_next(*_COMPARISONS):
            return left
        operator = self.take()
        compared = Op(left.place, _COMPARISONS[operator.text], (left, self.term()))
        if self.is_next(*_COMPARISONS, "matches"):
            self.refuse(self.next.place, "comparisons are not chained; join them with and")
        return compared

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
            if self.is_next("("):
                self.refuse(name.place, f"the method call .{name.text}(…) cannot be compiled; compare fields instead")
            node = Dot(name.place, node, name.text)
        if self.is_next(*_ARITHMETIC):
            self.refuse(self.next.place, f"arithmetic ({self.next.text}) cannot be compiled")
        if self.is_next(":="):
            self.refuse(self.next.place, "an assignment (:=) cannot be compiled; write =")
        return node

    def primary(self) -> Node:
        token = self.next
        if token.kind == "string":
            return Literal(token.place, self.string())
        if self.is_next(*_REFUSED_CALLS):
            self.refuse(token.place, _REFUSED_CALLS[token.text])
        if self.is_next("{"):
            self.refuse(token.place, "a dictionary cannot be compiled")
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
            return Var(token.place, token.text)
        self.take()
        args = []
        while not self.is_next(")"):
            args.append(self.disjunction())
            if self.is_next(":"):
                self.refuse(self.next.place, "an argument by name cannot be compiled")
            if not self.is_next(")"):
                self.expect(",")
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
