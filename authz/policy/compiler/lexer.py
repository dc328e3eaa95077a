"""The lexer: Polar text to tokens, each with its place and the numbered comment above it.

    # R3. The owner views.
    has_role(…)             →   Token("name", "has_role", 2:1, comment R3), Token("op", "(", …), …

A comment `# R3. Sentence.` that begins a line numbers what stands directly below, up to the next comment or blank line;
the sentence may go on in the comment lines below it (`docs/decisions/0092-rule-numbers-are-comments.md`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from authz.policy.compiler.nodes import NumberedComment, Place, Source


class Token(NamedTuple):
    """A token: its kind (string, float, integer, name, op or end), text, place, and the numbered comment above it."""

    kind: str
    text: str
    place: Place
    comment: NumberedComment | None = None


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<integer>\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<op>\?=|:=|==|!=|<=|>=|[=<>+\-*/.,;:(){}\[\]|])""",
    re.VERBOSE,
)
_NUMBERED = re.compile(r"#+ *(R[0-9]{1,6})\. +(.*)")


def scan(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield each piece of a text with its kind and its offset: tokens, blanks and comments.

    A character that cannot be read is of the kind ``unknown``.
    """
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        content = text[position] if match is None else match.group()
        yield "unknown" if match is None else match.lastgroup or "", content, position
        position += len(content)


def tokenize(text: str, file: str, source: Source) -> list[Token]:
    """Return the tokens of a file, the last of kind ``end``; add its numbered comments and faults to `source`."""
    tokens: list[Token] = []
    numbering = _Numbering(source.comments)
    position, line, line_start = 0, 1, 0
    while position < len(text):
        place = Place(file, line, position - line_start + 1)
        match = _TOKEN.match(text, position)
        if match is None and text[position] == '"':
            source.faults.append(place.fault("this string is not closed"))
            tokens.append(Token("string", '""', place))  # the rest of the text is taken as the string
            position = len(text)
            continue
        if match is None:
            source.faults.append(place.fault(f"{text[position]!r} cannot be read here"))
            position += 1
            continue
        kind, content = match.lastgroup or "", match.group()
        if kind == "space":
            numbering.skip_space(content)
        elif kind == "comment":
            if not text[line_start:position].strip():
                numbering.read_comment(content, place)
        else:
            tokens.append(Token(kind, content, place, numbering.comment))
            numbering.after_comment = False
        newlines = content.count("\n")
        if newlines:
            line += newlines
            line_start = match.start() + content.rindex("\n") + 1
        position = match.end()
    tokens.append(Token("end", "", Place(file, line, position - line_start + 1)))
    return tokens


class _Numbering:
    """The numbered comment that holds at the place being read."""

    def __init__(self, comments: list[NumberedComment]) -> None:
        self.comments = comments
        self.comment: NumberedComment | None = None
        self.after_comment = False

    def skip_space(self, space: str) -> None:
        """End the number at a blank line."""
        if space.count("\n") > 1:
            self.comment, self.after_comment = None, False

    def read_comment(self, text: str, place: Place) -> None:
        """Begin a number, continue the sentence of one, or end it, at a comment that begins a line."""
        numbered = _NUMBERED.match(text)
        if numbered is not None:
            self.comment = NumberedComment(place, numbered[1], [numbered[2].strip()])
            self.comments.append(self.comment)
        elif self.comment is not None and self.after_comment:
            self.comment.lines.append(text.strip("# \t\r"))
        else:
            self.comment = None
        self.after_comment = True
