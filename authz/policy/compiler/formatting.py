"""Formatting: a policy text in the house's style. Only blanks and line ends change.

    live(fact) if now<fact.ended_at   ;   →   live(fact) if now < fact.ended_at;

- A rule that fits stands on one line. The conditions of a longer rule, and of every rule that grants a role or a
  permission, stand on lines of their own, four blanks in.
- A line of a block stands on a line of its own. A list that does not fit is filled into lines.
- Comments stay where they are, at most one blank line stands between two statements, and none is added, because a blank
  line ends a rule number.

A text that is formatted is formatted already: doing it twice is the same. The tokens of the text stay the same in the
same order, and each rule keeps its number; both are compared at the end.
"""

from collections.abc import Sequence

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler.lexer import tokenize
from authz.policy.compiler.nodes import Source
from authz.policy.compiler.parser import parse
from authz.policy.compiler.statements import GRANTING, Goal, Piece, PolicyStatement, read_statements

_WIDTH = 120
_INDENT = "    "
_KEYWORDS = ("and", "or", "not", "in", "if", "matches", "on", "type", "forall", "mod", "rem")
_TIGHT_BEFORE = (",", ";", ")", "]", ".", ":", "}")
_TIGHT_AFTER = ("(", "[", ".", "{")


def format_text(text: str, file: str) -> str:
    """Return a policy text in the house's style. Raises `PolicyRefused` for a text that cannot be parsed."""
    source = Source()
    parse(text, file, source)
    if source.faults:
        raise PolicyRefused(source.faults)
    lines: list[str] = []
    ends_number = False
    for entry in read_statements(text, file):
        first = entry if isinstance(entry, Piece) else entry.pieces[0]
        if isinstance(entry, Piece) and entry.newlines == 0 and lines:
            lines[-1] += f"  {_comment(entry)}"
            continue
        if lines and (first.newlines > 1 or (ends_number and not first.is_comment)):
            lines.append("")
        lines += [_comment(entry)] if isinstance(entry, Piece) else _statement_lines(entry)
        ends_number = isinstance(entry, PolicyStatement) and any(piece.newlines > 1 for piece in entry.pieces[1:])
    formatted = "\n".join(line.rstrip() for line in lines) + "\n"
    if _meaning(formatted, file) != _meaning(text, file):
        raise PolicyRefused([Fault(file, 0, 0, "cannot be formatted without a change of its meaning")])
    return formatted


def _meaning(text: str, file: str) -> list[tuple[str, str, str]]:
    """Return the tokens of a text, each with its rule number if it can begin a rule."""
    tokens = tokenize(text, file, Source())
    begins = [True, *(token.text in (";", "}") for token in tokens)]
    return [
        (token.kind, token.text, token.comment.number if begin and token.comment else "")
        for token, begin in zip(tokens, begins, strict=False)
    ]


def _comment(piece: Piece) -> str:
    body = piece.text.lstrip("#")
    marks = "#" * (len(piece.text) - len(body))
    return f"{marks} {body}" if body and not body[0].isspace() and body[0] != "!" else piece.text


# Rules.


def _statement_lines(statement: PolicyStatement) -> list[str]:
    if statement.is_block:
        return _block_lines(statement)
    whole = _inline(statement.pieces)
    has_comments = any(piece.is_comment for piece in statement.pieces)
    stands_alone = statement.body is None or statement.name not in GRANTING
    if not has_comments and (statement.body is None or (stands_alone and len(whole) <= _WIDTH)):
        return [whole]
    return _broken_rule(statement)


def _broken_rule(statement: PolicyStatement) -> list[str]:
    """Return the lines of a rule with each condition on a line of its own."""
    lines = _Lines()
    body = statement.body
    begin = body.begin if body else statement.pieces[-1].begin
    for piece in statement.pieces:
        if piece.begin < begin:
            lines.add(piece, _INDENT)
    if body is not None:
        lines.start(_INDENT)
        _add_goal(lines, body, _INDENT)
        for piece in statement.pieces:
            if piece.begin >= body.end:
                lines.add(piece, _INDENT)
    return lines.finished()


def _add_goal(lines: "_Lines", goal: Goal, indent: str) -> None:
    """Add a condition: on the line at hand if it fits, else its parts on lines of their own."""
    has_comments = any(piece.is_comment for piece in goal.pieces)
    is_group = goal.kind != "leaf"
    parenthesised = is_group and goal.pieces[0].text == "(" and goal.pieces[0].begin < goal.parts[0].begin
    fits = len(indent) + len(_inline(goal.pieces)) + len(" and") <= _WIDTH
    if not is_group or (parenthesised and fits and not has_comments):
        for piece in goal.pieces:
            lines.add(piece, indent)
        return
    inner = indent + _INDENT if parenthesised else indent
    begin = goal.pieces[0].begin
    for part in goal.parts:
        between = [piece for piece in goal.pieces if begin <= piece.begin < part.begin]
        for piece in between:
            lines.add(piece, inner)
        if between or part is not goal.parts[0]:
            lines.start(inner)
        _add_goal(lines, part, inner)
        begin = part.end
    closing = [piece for piece in goal.pieces if piece.begin >= begin]
    if closing:
        lines.start(indent)
    for piece in closing:
        lines.add(piece, indent)


class _Lines:
    """Lines being written: pieces follow each other on the last line, and a comment ends its line."""

    def __init__(self) -> None:
        self.lines: list[list[Piece]] = [[]]
        self.indents = [""]

    def add(self, piece: Piece, indent: str) -> None:
        """Add a piece to the last line; a comment that began a line begins one."""
        last = self.lines[-1]
        if last and (last[-1].is_comment or (piece.is_comment and piece.newlines)):
            self.start(indent)
        self.lines[-1].append(piece)

    def start(self, indent: str) -> None:
        """Begin a line."""
        if self.lines[-1]:
            self.lines.append([])
            self.indents.append(indent)
        else:
            self.indents[-1] = indent

    def finished(self) -> list[str]:
        """Return the lines as texts."""
        return [indent + _inline(pieces) for indent, pieces in zip(self.indents, self.lines, strict=True) if pieces]


# Blocks.


def _block_lines(block: PolicyStatement) -> list[str]:
    opening = next(index for index, piece in enumerate(block.pieces) if piece.text == "{")
    head, inner, closing = block.pieces[: opening + 1], block.pieces[opening + 1 : -1], block.pieces[-1]
    if not inner:
        return [_inline((*head, closing))]
    lines = [_inline(head)]
    for number, entry in enumerate(_block_entries(inner)):
        if entry[0].is_comment and entry[0].newlines == 0:
            lines[-1] += f"  {_comment(entry[0])}"
            continue
        if number and entry[0].newlines > 1:
            lines.append("")
        lines += _block_entry(entry)
    return [*lines, "}"]


def _block_entries(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return the entries of a block: each comment between entries, and each line up to its ``;``."""
    entries: list[list[Piece]] = []
    is_open = False
    for piece in pieces:
        if is_open:
            entries[-1].append(piece)
        else:
            entries.append([piece])
        is_open = (is_open or not piece.is_comment) and piece.text != ";"
    return entries


def _block_entry(entry: Sequence[Piece]) -> list[str]:
    whole = _INDENT + _inline(entry)
    if (len(whole) <= _WIDTH and not any(piece.is_comment for piece in entry[1:])) or len(entry) < 6:
        return [whole]
    opening = next((index for index, piece in enumerate(entry) if piece.text in ("[", "{")), None)
    if opening is None:
        return [whole]
    lines = [_INDENT + _inline(entry[: opening + 1])]
    current: list[Piece] = []
    for piece in entry[opening + 1 : -2]:
        fits = len(_INDENT * 2 + _inline([*current, piece])) <= _WIDTH - 1
        begins_line = piece.is_comment and piece.newlines > 0
        after_comment = bool(current) and current[-1].is_comment
        if current and piece.text != "," and (not fits or begins_line or after_comment):
            lines.append(_INDENT * 2 + _inline(current))
            current = []
        current.append(piece)
    return [*lines, _INDENT * 2 + _inline(current), _INDENT + _inline(entry[-2:])]


# Pieces on one line.


def _inline(pieces: Sequence[Piece]) -> str:
    """Return pieces on one line, with the blanks of the style between them."""
    text = ""
    braces: list[bool] = []
    for index, piece in enumerate(pieces):
        before = pieces[index - 1] if index else None
        if before is not None:
            text += _blank(pieces[index - 2] if index > 1 else None, before, piece, braces)
        if piece.kind == "op" and piece.text == "{":
            braces.append(before is not None and before.kind == "op")
        elif piece.kind == "op" and piece.text == "}" and braces:
            braces.pop()
        text += _comment(piece) if piece.is_comment else piece.text
    return text


def _blank(earlier: Piece | None, before: Piece, piece: Piece, braces: Sequence[bool]) -> str:
    """Return the blanks between two pieces of a line; `braces` tells for each open brace if it is a dictionary's."""
    if piece.is_comment:
        return "  "
    if piece.kind == "op":
        if piece.text == "(":
            return "" if before.kind == "name" and before.text not in _KEYWORDS else _after(before)
        if piece.text == "{":
            return " " if before.kind == "op" or _opens_block(earlier) else ""
        if piece.text == "}":
            return " " if braces and braces[-1] and before.text != "{" else ""
        if piece.text in _TIGHT_BEFORE:
            return ""
    if before.kind == "op" and before.text in ("-", "+"):
        return "" if earlier is None or (earlier.kind == "op" and earlier.text not in _TIGHT_BEFORE) else " "
    if before.kind == "op" and before.text == "{":
        return " " if braces and braces[-1] else ""
    return _after(before)


def _opens_block(earlier: Piece | None) -> bool:
    return earlier is not None and earlier.text in ("actor", "resource")


def _after(before: Piece) -> str:
    return "" if before.kind == "op" and before.text in _TIGHT_AFTER else " "
