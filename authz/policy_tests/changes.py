"""Changes of a policy text: its conditions and rules by their places, and the same text without one of them.

    works(p, s) and live(p)   →   true and live(p)

A condition that is dropped becomes ``true``, or ``(… or true)`` if a variable would stand nowhere else, which Oso
refuses. An alternative and a rule get ``and false``. Lines, comments and rule numbers stay where they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from authz.policy.compiler.statements import BlockLine, Goal, PolicyStatement, block_lines, read_statements, rules_of


@dataclass(frozen=True)
class TextSpan:
    """A part of a file's text, with its place: from `begin` to `end`."""

    file: str
    begin: int
    end: int
    line: int
    column: int

    def cut(self, text: str) -> str:
        """Return the part of the file's text, on one line."""
        return " ".join(text[self.begin : self.end].split())

    def replaced(self, other: str) -> "Edit":
        """Return the edit that puts another text in the place of this part."""
        return Edit(self.begin, self.end, other)


class Edit(NamedTuple):
    """A change of a text: what stands from `begin` to `end` becomes `other`."""

    begin: int
    end: int
    other: str

    def apply(self, text: str) -> str:
        """Return the changed text."""
        return text[: self.begin] + self.other + text[self.end :]


@dataclass(frozen=True)
class ConditionSpan:
    """A condition of a rule: a leaf of its body. `is_alternative`: it is an operand of ``or``."""

    span: TextSpan
    goal: Goal
    is_alternative: bool


@dataclass(frozen=True)
class RuleSpan:
    """A rule with its conditions, or a line of a block. `name` describes it; `number` is its rule number, if any."""

    span: TextSpan
    name: str
    statement: PolicyStatement | None
    line: BlockLine | None = None
    conditions: tuple[ConditionSpan, ...] = field(default=())


def rule_spans(texts: Mapping[str, str]) -> list[RuleSpan]:
    """Return every rule and every line of a block of a policy, by file and place."""
    return [span for file, text in texts.items() if file.endswith(".polar") for span in _of_file(file, text)]


def _of_file(file: str, text: str) -> Iterator[RuleSpan]:
    entries = read_statements(text, file)
    for statement in rules_of(entries):
        span = TextSpan(file, statement.pieces[0].begin, statement.pieces[-1].end, *statement.place[1:])
        head = TextSpan(file, statement.head[0].begin, statement.head[-1].end, *statement.place[1:])
        conditions = tuple(_conditions(file, statement.body, is_alternative=False))
        yield RuleSpan(span, head.cut(text), statement, None, conditions)
    for line in block_lines(entries):
        span = TextSpan(file, line.pieces[0].begin, line.pieces[-1].end, *line.pieces[0].place[1:])
        yield RuleSpan(span, f"{line.type}: {span.cut(text)}", None, line)


def _conditions(file: str, goal: Goal | None, *, is_alternative: bool) -> Iterator[ConditionSpan]:
    if goal is None:
        return
    if goal.kind == "leaf":
        yield ConditionSpan(TextSpan(file, goal.begin, goal.end, *goal.place[1:]), goal, is_alternative)
    for part in goal.parts:
        yield from _conditions(file, part, is_alternative=is_alternative or goal.kind == "or")


def alternatives(goal: Goal | None) -> Iterator[Goal]:
    """Yield every operand of an ``or`` below a condition."""
    for part in goal.parts if goal else ():
        if goal is not None and goal.kind == "or":
            yield part
        yield from alternatives(part)


def without_rule(rule: RuleSpan, text: str) -> Edit:
    """Return the edit of a file's text after which a rule never applies."""
    statement = rule.statement
    if statement is None:
        return rule.span.replaced("")
    if statement.body is None:
        end = statement.pieces[-1].begin
        return Edit(end, end, " if false")
    span = TextSpan(rule.span.file, statement.body.begin, statement.body.end, *statement.body.place[1:])
    return never(span, text)


def never(span: TextSpan, text: str) -> Edit:
    """Return the edit after which a condition is never met."""
    return span.replaced(f"(({text[span.begin : span.end]}) and false)")


def always(span: TextSpan, text: str) -> tuple[Edit, Edit]:
    """Return two edits after each of which a condition is always met; the first may be refused."""
    return span.replaced("true"), span.replaced(f"({text[span.begin : span.end]} or true)")
