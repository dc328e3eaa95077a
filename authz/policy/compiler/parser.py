"""Polar text to a syntax tree in which every node knows its place.

Oso's own parser must accept the same text too (`load.py`). This one adds where each construct stands, and which
constructs lie outside the fragment that can be compiled: those are refused by name, each with its place, and reading
goes on, so that one load reports them all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple, NoReturn

from authz.errors import Fault


class Place(NamedTuple):
    """Where a construct begins: file name, line and column, both from 1."""

    file: str
    line: int
    column: int

    def fault(self, why: str) -> Fault:
        return Fault(self.file, self.line, self.column, why)


@dataclass(frozen=True)
class Node:
    """A part of a policy text, and where it stands."""

    place: Place


@dataclass(frozen=True)
class Var(Node):
    """A variable."""

    name: str


@dataclass(frozen=True)
class Literal(Node):
    """A string, a number or a truth value."""

    value: str | int | float | bool


@dataclass(frozen=True)
class ListOf(Node):
    """A literal list."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Dot(Node):
    """A field of something."""

    base: Node
    field: str


@dataclass(frozen=True)
class Call(Node):
    """A call of a rule by name."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Op(Node):
    """``and or = != < <= > >= in``, with its operands."""

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Isa(Node):
    """``term matches Type``."""

    term: Node
    type: str


@dataclass(frozen=True)
class Param:
    """A parameter of a rule: a term, and the type that it must be of (None: any)."""

    term: Node
    type: str | None


@dataclass(frozen=True)
class Rule:
    """One clause: ``name(params) if body;`` (no body: always)."""

    place: Place
    name: str
    params: tuple[Param, ...]
    body: Node | None


@dataclass(frozen=True)
class Shorthand:
    """``"granted" if "held" on "relation";`` in a resource block."""

    place: Place
    granted: str
    held: str
    relation: str | None


@dataclass
class Block:
    """``actor Type { … }`` or ``resource Type { … }``."""

    place: Place
    kind: str
    type: str
    permissions: dict[str, Place] = field(default_factory=dict)
    roles: dict[str, Place] = field(default_factory=dict)
    relations: dict[str, tuple[str, Place]] = field(default_factory=dict)
    shorthands: list[Shorthand] = field(default_factory=list)


@dataclass
class Source:
    """What one or more files hold."""

    rules: list[Rule] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class _Token(NamedTuple):
    kind: str
    text: str
    place: Place


_DEEPEST = 50
_MOST_DIGITS = 1000  # leading zeros among them: far fewer than Python refuses to read


class _Stop(Exception):
    """The statement being read cannot be read further; the fault is recorded already."""


_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<integer>\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<op>\?=|:=|==|!=|<=|>=|[=<>+\-*/.,;:(){}\[\]|])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in"}
_ARITHMETIC = {"+", "-", "*", "/", "mod", "rem"}
_REFUSED_CALLS = {
    "cut": "cut changes the meaning of a compiled policy; write the rules so that each stands alone",
    "forall": "forall is a negation over a relation, which cannot be compiled; state what must exist instead",
    "print": "print has no place in a compiled policy",
    "debug": "debug has no place in a compiled policy",
    "new": "new makes a value in Python while deciding, which cannot be compiled",
    "not": "not cannot be compiled over relations; state what must hold, or use != for a single value",
}


def read(text: str, file: str, source: Source) -> None:
    """Add the rules, blocks and faults of one file to `source`."""
    _Reader(text, file, source).statements()


class _Reader:
    def __init__(self, text: str, file: str, source: Source) -> None:
        self.source = source
        self.tokens = self._tokens(text, file)
        self.at = 0
        self.depth = 0

    def _tokens(self, text: str, file: str) -> list[_Token]:
        tokens, position, line, line_start = [], 0, 1, 0
        while position < len(text):
            place = Place(file, line, position - line_start + 1)
            match = _TOKEN.match(text, position)
            if match is None and text[position] == '"':
                self.source.faults.append(place.fault("this string is not closed"))
                tokens.append(_Token("string", '""', place))  # it holds the rest of the text
                position = len(text)
                continue
            if match is None:
                self.source.faults.append(place.fault(f"{text[position]!r} cannot be read here"))
                position += 1
                continue
            if match.lastgroup != "space":
                tokens.append(_Token(match.lastgroup or "", match.group(), place))
            newlines = match.group().count("\n")
            if newlines:
                line += newlines
                line_start = match.start() + match.group().rindex("\n") + 1
            position = match.end()
        tokens.append(_Token("end", "", Place(file, line, position - line_start + 1)))
        return tokens

    # Looking and stepping.

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.next
        self.at += token.kind != "end"
        return token

    def is_next(self, *texts: str) -> bool:
        return self.next.kind in ("op", "name") and self.next.text in texts

    def expect(self, text: str) -> _Token:
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
        """On to what follows the statement begun there: past its ``;``, or past its closing brace."""
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
        self.source.rules.append(Rule(name.place, name.text, tuple(params), body))

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
                getattr(block, declared.text).update(self.words())
            else:
                self.refuse(declared.place, f"a block declares permissions, roles or relations, not {declared.text!r}")
            self.expect(";")
        self.expect("}")
        self.source.blocks.append(block)

    def words(self) -> dict[str, Place]:
        words = {}
        self.expect("[")
        while not self.is_next("]"):
            token = self.next
            words[self.string()] = token.place
            if not self.is_next("]"):
                self.expect(",")
        self.expect("]")
        return words

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
        place = self.next.place
        granted = self.string()
        self.expect("if")
        held, relation = self.string(), None
        if self.is_next("on"):
            self.take()
            relation = self.string()
        self.expect(";")
        return Shorthand(place, granted, held, relation)

    # Expressions, from the loosest binding to the tightest.

    def disjunction(self) -> Node:
        return self._joined("or", self.conjunction)

    def conjunction(self) -> Node:
        return self._joined("and", self.comparison)

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.is_next(word):
            self.take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Op(parts[0].place, word, tuple(parts))

    def comparison(self) -> Node:
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

    def number(self, place: Place, token: _Token, sign: str = "") -> int | float:
        """The number of a token. Refuses what no database compares: it is cheap to say and hard to find there."""
        if token.kind == "float":
            value = float(sign + token.text)
            if isfinite(value):
                return value
        elif len(token.text) <= _MOST_DIGITS and int(token.text) < 2**63:
            return int(sign + token.text)
        self.refuse(place, "this number is too large: a whole one has 64 bits, another is a double")

    def named(self, token: _Token) -> Node:
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
