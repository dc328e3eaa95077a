"""Rule numbers: which rule of the prose each rule of a policy states.

    # R3. The owner views.
    has_role(p: Practitioner, "owner", x: Patient) if …;   →   Rule("has_role", …, comment R3)

A numbered comment numbers the rules directly below it. In a directory with one, each rule that grants something has a
number: `has_role`, `has_permission`, and an `allow` that does more than call `has_permission`. Other rules are helpers,
and their conditions belong to the rule that calls them, unless they have a number of their own. Lines of a block take
the number of the rule of their role.

Older policies have ``"R3" in p.rules`` as the first condition instead. A directory with one such condition is read as
before, so that the past stays answerable (`docs/decisions/0092-rule-numbers-are-comments.md`).
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from authz.policy.compiler.nodes import Call, Dot, Literal, NumberedComment, Op, Rule, Source, Var, walk

_OLD_FORM = (
    "the number of a rule is a comment directly above it (# R3. Sentence.), or in old policies its first condition"
)
_IN_BLOCK = "a line of a block has the number of the rule of its role; write this comment above that rule"
_UNUSED = "this number stands directly above no rule"
_UNNUMBERED = "{} has no number, but other rules have: write a comment # R3. Sentence. directly above"
_NUMBER = re.compile(r"R[0-9]{1,6}")
_GRANTING = ("has_role", "has_permission")


def number_rules(source: Source) -> bool:
    """Give each rule of a directory its number; return whether the numbers are in the old form.

    Adds a fault for each rule that lacks a number in a numbered directory, and for each number that numbers no rule.
    """
    if any(_is_marker(node) for rule in source.rules for node in walk(rule.body)):
        source.rules[:] = [_take_marker(rule) for rule in source.rules]
        left_over = (node for rule in source.rules for node in walk(rule.body) if _is_marker(node))
        source.faults += [node.place.fault(_OLD_FORM) for node in left_over]
        return True
    in_blocks = {line.comment for block in source.blocks for line in block.shorthands}
    source.faults += [comment.place.fault(_IN_BLOCK) for comment in source.comments if comment in in_blocks]
    used = {rule.comment for rule in source.rules if rule.comment}
    if used:
        placed = used | in_blocks
        unused = (comment for comment in source.comments if comment not in placed)
        source.faults += [comment.place.fault(_UNUSED) for comment in unused]
        unnumbered = (rule for rule in source.rules if not rule.number and _grants(rule))
        source.faults += [rule.place.fault(_UNNUMBERED.format(rule.name)) for rule in unnumbered]
    return False


def sentences_of(rules: list[Rule]) -> Iterator[tuple[str, str]]:
    """Yield each rule number with its sentence: what its comments say, in order, each once."""
    comments: dict[str, dict[str, None]] = {}
    for rule in rules:
        if rule.comment is not None and rule.comment.lines:
            comments.setdefault(rule.number, {})[" ".join(rule.comment.lines)] = None
    for number, texts in comments.items():
        yield number, " ".join(texts)


def _grants(rule: Rule) -> bool:
    if rule.name == "allow":
        return not (isinstance(rule.body, Call) and rule.body.name == "has_permission")
    return rule.name in _GRANTING


def _is_marker(node: object) -> bool:
    """Return whether a node looks like ``"R3" in actor.rules``, whatever its two sides are."""
    if not isinstance(node, Op) or node.op != "in":
        return False
    return isinstance(node.args[1], Dot) and node.args[1].field == "rules"


def _take_marker(rule: Rule) -> Rule:
    """Return a rule of the old form with its first condition as its number, and without other numbers.

    Only ``"R3" in p.rules`` of a parameter `p` is a number, and `p` must stand for a row wherever the rule is called.
    Everything else stays in the body, and is refused: a condition that is taken for a number restricts nothing.
    """
    goals = rule.body.args if isinstance(rule.body, Op) and rule.body.op == "and" else (rule.body,)
    match goals[0]:
        case Op(op="in", args=(Literal(value=str(number)) as item, Dot(base=Var() as marked, field="rules"))):
            if not _NUMBER.fullmatch(number) or marked.name not in _parameters(rule):
                return replace(rule, comment=None)
        case _:
            return replace(rule, comment=None)
    others = tuple(goal for goal in goals[1:] if goal is not None)
    body = others[0] if len(others) == 1 else Op(item.place, "and", others) if others else None
    return replace(rule, body=body, comment=NumberedComment(item.place, number), marked=marked)


def _parameters(rule: Rule) -> set[str]:
    return {param.term.name for param in rule.params if isinstance(param.term, Var)}
