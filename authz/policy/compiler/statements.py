"""The statements of a policy text by their places: rules and blocks, and the conditions of each body as a tree.

    works(p, s) if live(p) and (a(p) or b(p));
    →  PolicyStatement("works", body=Goal("and", parts=(Goal("leaf"), Goal("or", parts=(…)))))

The tree knows begin and end of everything as offsets of the text, with its comments and blanks: `formatting` writes the
text anew from it, and the policy tests show or change a part of the text by it. The text must be one that `parser`
accepts. Everything that is neither ``and``, ``or`` nor parentheses around them is a leaf.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from authz.policy.compiler.lexer import scan
from authz.policy.compiler.nodes import Place

_OPEN, _CLOSE = "([{", ")]}"
GRANTING = ("has_role", "has_permission", "has_relation")


class Piece(NamedTuple):
    """A token or a comment of a text.

    `newlines` counts the line ends since the piece before; a comment after none stands beside code.
    """

    kind: str
    text: str
    begin: int
    place: Place
    newlines: int

    @property
    def end(self) -> int:
        """The offset after the last character."""
        return self.begin + len(self.text)

    @property
    def is_comment(self) -> bool:
        """True for a comment."""
        return self.kind == "comment"


@dataclass(frozen=True)
class Goal:
    """A condition: a leaf, or the parts that ``and`` or ``or`` joins; with parentheses, if there are any."""

    kind: Literal["leaf", "and", "or"]
    pieces: tuple[Piece, ...]
    parts: tuple["Goal", ...] = ()

    @property
    def begin(self) -> int:
        """The offset of the first character."""
        return self.pieces[0].begin

    @property
    def end(self) -> int:
        """The offset after the last character."""
        return self.pieces[-1].end

    @property
    def place(self) -> Place:
        """The place of the first character."""
        return self.pieces[0].place


@dataclass(frozen=True)
class PolicyStatement:
    """A rule or a block with its pieces, the comments inside among them.

    `name` is the rule's name, or ``actor`` or ``resource``; `head` are the pieces before ``if``.
    """

    name: str
    is_block: bool
    pieces: tuple[Piece, ...]
    head: tuple[Piece, ...] = ()
    body: Goal | None = None

    @property
    def place(self) -> Place:
        """The place of the first character."""
        return self.pieces[0].place


@dataclass(frozen=True)
class BlockLine:
    """A line of a block: ``"granted" if "held" on "relation";``, with the type of the block."""

    type: str
    granted: str
    held: str
    relation: str | None
    pieces: tuple[Piece, ...]


def read_pieces(text: str, file: str) -> list[Piece]:
    """Return the tokens and the comments of a text."""
    pieces: list[Piece] = []
    line, line_start, newlines = 1, 0, 0
    for kind, content, begin in scan(text):
        if kind != "space":
            kept = content.rstrip() if kind == "comment" else content
            pieces.append(Piece(kind, kept, begin, Place(file, line, begin - line_start + 1), newlines))
        newlines = content.count("\n") + (newlines if kind == "space" else 0)
        if "\n" in content:
            line += content.count("\n")
            line_start = begin + content.rindex("\n") + 1
        if kind != "space":
            newlines = 0
    return pieces


def read_statements(text: str, file: str) -> list[PolicyStatement | Piece]:
    """Return the statements of a text, and the comments between them."""
    entries: list[PolicyStatement | Piece] = []
    pieces = read_pieces(text, file)
    at = 0
    while at < len(pieces):
        if pieces[at].is_comment:
            entries.append(pieces[at])
            at += 1
            continue
        end = _end_of_statement(pieces, at)
        entries.append(_statement(tuple(pieces[at:end])))
        at = end
    return entries


def rules_of(entries: Sequence[PolicyStatement | Piece]) -> list[PolicyStatement]:
    """Return the rules among the entries of a text; a declaration ``type …`` is none."""
    statements = (entry for entry in entries if isinstance(entry, PolicyStatement) and not entry.is_block)
    return [rule for rule in statements if not (rule.name == "type" and rule.pieces[1].kind == "name")]


def block_lines(entries: Sequence[PolicyStatement | Piece]) -> list[BlockLine]:
    """Return the lines ``"granted" if "held";`` of the blocks among the entries of a text."""
    return [
        line for entry in entries if isinstance(entry, PolicyStatement) and entry.is_block for line in _lines_of(entry)
    ]


def leaves(goal: Goal | None) -> list[Goal]:
    """Return the leaves below a condition."""
    if goal is None:
        return []
    return [goal] if goal.kind == "leaf" else [leaf for part in goal.parts for leaf in leaves(part)]


def string_of(piece: Piece) -> str:
    """Return the content of a string without escapes, such as a name."""
    return re.sub(r"\\(.)", r"\1", piece.text[1:-1])


def _end_of_statement(pieces: Sequence[Piece], begin: int) -> int:
    """Return the index after a statement: after its ``;``, or after the brace that closes a block."""
    depth, is_block = 0, _is_block(pieces[begin:])
    for index in range(begin, len(pieces)):
        text = pieces[index].text if pieces[index].kind == "op" else ""
        depth += (text != "" and text in _OPEN) - (text != "" and text in _CLOSE)
        if depth == 0 and text == ("}" if is_block else ";"):
            return index + 1
    return len(pieces)


def _is_block(pieces: Sequence[Piece]) -> bool:
    code = [piece for piece in pieces[:8] if not piece.is_comment][:2]
    return code[0].text in ("actor", "resource") and len(code) > 1 and code[1].kind == "name"


def _statement(pieces: tuple[Piece, ...]) -> PolicyStatement:
    if _is_block(pieces):
        return PolicyStatement(pieces[0].text, True, pieces)
    at = next((index for index, piece in enumerate(pieces) if piece.kind == "name" and piece.text == "if"), None)
    if at is None:
        return PolicyStatement(pieces[0].text, False, pieces, pieces[:-1])
    return PolicyStatement(pieces[0].text, False, pieces, pieces[:at], _goal(pieces[at + 1 : -1]))


def _goal(pieces: tuple[Piece, ...]) -> Goal:
    """Return the tree of a condition; ``or`` binds looser than ``and``."""
    pieces = _without_outer_comments(pieces)
    for kind in ("or", "and"):
        parts = _split(pieces, kind)
        if len(parts) > 1:
            return Goal("or" if kind == "or" else "and", pieces, tuple(_goal(part) for part in parts))
    if pieces[0].text == "(" and _closing(pieces, 0) == len(pieces) - 1:
        inner = _goal(pieces[1:-1])
        return Goal(inner.kind, pieces, inner.parts)
    return Goal("leaf", pieces)


def _without_outer_comments(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    code = [index for index, piece in enumerate(pieces) if not piece.is_comment]
    return pieces[code[0] : code[-1] + 1]


def _split(pieces: tuple[Piece, ...], connective: str) -> list[tuple[Piece, ...]]:
    """Split pieces at a connective that stands in no parentheses."""
    parts: list[tuple[Piece, ...]] = []
    depth = begin = 0
    for index, piece in enumerate(pieces):
        if piece.kind == "op":
            depth += (piece.text in _OPEN) - (piece.text in _CLOSE)
        elif depth == 0 and piece.kind == "name" and piece.text == connective:
            parts.append(pieces[begin:index])
            begin = index + 1
    return [*parts, pieces[begin:]]


def _closing(pieces: Sequence[Piece], begin: int) -> int:
    """Return the index of the parenthesis that closes the one at an index."""
    depth = 0
    for index in range(begin, len(pieces)):
        if pieces[index].kind == "op":
            depth += (pieces[index].text in _OPEN) - (pieces[index].text in _CLOSE)
        if depth == 0:
            return index
    return len(pieces)


def _lines_of(block: PolicyStatement) -> list[BlockLine]:
    code = [piece for piece in block.pieces if not piece.is_comment]
    lines: list[BlockLine] = []
    for index, piece in enumerate(code[:-3]):
        is_line = piece.kind == "string" and code[index + 1].text == "if"
        if is_line:
            end = next(at for at in range(index, len(code)) if code[at].text == ";")
            related = string_of(code[index + 4]) if code[index + 3].text == "on" else None
            granted, held = string_of(piece), string_of(code[index + 2])
            lines.append(BlockLine(code[1].text, granted, held, related, tuple(code[index : end + 1])))
    return lines
