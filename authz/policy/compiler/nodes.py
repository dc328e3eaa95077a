"""The syntax tree of a policy: what the parser makes of Polar text, and the later passes read.

    "view" if "owner";  →  Shorthand(granted="view", held="owner", relation=None)

Every node has its place, so that a refusal can name it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from authz.errors import Fault


class Place(NamedTuple):
    """The place where a construct begins: file name, line and column, both from 1."""

    file: str
    line: int
    column: int

    def fault(self, why: str) -> Fault:
        """Return a fault that stands here."""
        return Fault(self.file, self.line, self.column, why)


@dataclass(frozen=True, eq=False)
class NumberedComment:
    """A comment ``# R3. Sentence.``: where it begins, its rule number, and the lines of its sentence."""

    place: Place
    number: str
    lines: list[str] = field(default_factory=list)


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
    """A field: ``base.field``."""

    base: Node
    field: str


@dataclass(frozen=True)
class Call(Node):
    """A call of a rule by name."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Op(Node):
    """``and or not = != < <= > >= in``, with its operands."""

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Shift(Node):
    """``base.plus("PT3H")`` or ``base.minus("PT3H")``: an instant some microseconds after or before another."""

    base: Node
    micros: int


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
    """One clause: ``name(params) if body;`` (no body: always), and the numbered comment above it, if any."""

    place: Place
    name: str
    params: tuple[Param, ...]
    body: Node | None
    comment: NumberedComment | None = None
    marked: Var | None = None
    """In old policies the parameter whose list `rules` names the number; it must stand for a row."""
    variables: tuple[Var, ...] = ()
    """Each variable of the text, as often as it stands there."""

    @property
    def number(self) -> str:
        """The rule number, or an empty text."""
        return self.comment.number if self.comment else ""


@dataclass(frozen=True)
class Shorthand:
    """``"granted" if "held" on "relation";`` in a resource block."""

    place: Place
    granted: str
    held: str
    relation: str | None
    comment: NumberedComment | None = None


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
    """The content of a directory's files, and the faults up to now."""

    rules: list[Rule] = field(default_factory=list)
    prototypes: list[Rule] = field(default_factory=list)
    """The heads that ``type f(x: Patient);`` declares: each rule of the name must fit one."""
    blocks: list[Block] = field(default_factory=list)
    comments: list[NumberedComment] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def walk(node: Node | None) -> Iterable[Node]:
    """Yield a node and all nodes below it."""
    if node is None:
        return
    yield node
    for part in (getattr(node, name, None) for name in ("args", "items", "base", "term")):
        if isinstance(part, Node):
            yield from walk(part)
        elif isinstance(part, tuple):
            for child in part:
                yield from walk(child)
