"""Mutants: the policy with one condition dropped or swapped, and whether a question notices.

Dropped is each condition, each alternative, each rule and each line of a block. Swapped are comparisons (``<=`` for
``<``), truth values, items of lists, and literals that stand in the same place of other calls. A mutant that the
compiler refuses can never serve. A mutant that no question notices is equivalent if its compiled queries contain those
of the policy and are contained in them (`equivalence`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from authz.errors import InvalidInput
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy.compiler.statements import Piece, PolicyStatement
from authz.policy_tests.bench import StoryBench, compile_changed, open_bench
from authz.policy_tests.changes import Edit, RuleSpan, TextSpan, alternatives, always, never, rule_spans, without_rule
from authz.policy_tests.equivalence import is_equivalent
from authz.policy_tests.parallel import map_in_processes
from authz.policy_tests.stories import Story

MOST_MUTANTS = 20_000
_OTHER_COMPARISON = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "!=", "==": "!=", "!=": "="}
_OTHER_NAME = {"true": "false", "false": "true"}
_LITERALS = ("string", "integer", "float")

Verdict = Literal["noticed", "refused", "equivalent", "unnoticed"]


@dataclass(frozen=True)
class Mutant:
    """A changed policy: the part that is changed, its rule, and the change, in words and as edits of the file.

    Of the edits the first is tried that compiles. `number` counts mutants of the same name.
    """

    span: TextSpan
    rule: str
    change: str
    edits: tuple[Edit, ...]
    number: int = 1

    @property
    def name(self) -> str:
        """The name by which a story can list the mutant: file, rule and change, without line numbers."""
        return f"{self.span.file}: {self.rule}: {self.change}{f' ({self.number})' if self.number > 1 else ''}"


@dataclass(frozen=True)
class MutantResult:
    """A mutant and its verdict."""

    mutant: Mutant
    verdict: Verdict


def mutants(texts: Mapping[str, str]) -> list[Mutant]:
    """Return every mutant of a policy. Raises `InvalidInput` for more than `MOST_MUTANTS`."""
    rules = rule_spans(texts)
    literals = _literals_by_argument(rules)
    items = {piece.text for rule in rules if rule.statement for piece in _list_items(rule.statement)}
    held = {rule.line.type: set[str]() for rule in rules if rule.line}
    for rule in rules:
        if rule.line:
            held[rule.line.type].add(rule.line.held)
    every = (mutant for rule in rules for mutant in _of_rule(rule, texts[rule.span.file], literals, items, held))
    made = list(islice(every, MOST_MUTANTS + 1))
    if len(made) > MOST_MUTANTS:
        raise InvalidInput(f"the policy has more than {MOST_MUTANTS:,} mutants")
    distinct = {(mutant.span.file, mutant.edits): mutant for mutant in made}
    counts: Counter[str] = Counter()
    numbered = []
    for mutant in distinct.values():
        counts[mutant.name] += 1
        numbered.append(replace(mutant, number=counts[mutant.name]))
    return numbered


def try_mutants(
    policy: CompiledPolicy, stories: Sequence[Story], jobs: int = 1, only: Sequence[Mutant] | None = None
) -> Iterator[MutantResult]:
    """Yield the verdict on every mutant of a policy, or on some, in the order of the text."""
    chosen = mutants(policy.texts) if only is None else only
    verdicts = map_in_processes(_try_mutant, chosen, jobs, _prepare, dict(policy.texts), tuple(stories))
    for mutant, verdict in zip(chosen, verdicts, strict=True):
        yield MutantResult(mutant, verdict)


_process: dict[str, tuple[CompiledPolicy, StoryBench]] = {}
"""The policy and the bench of this process."""
_open: list[object] = []


def _prepare(texts: Mapping[str, str], stories: Sequence[Story]) -> None:
    policy = compile_texts(texts)
    context = open_bench(stories, policy.types)
    _process["current"] = (policy, context.__enter__())
    _open[:] = [context]  # the databases stay open while this process tries mutants


def _try_mutant(mutant: Mutant) -> Verdict:
    policy, bench = _process["current"]
    changed = compile_changed(policy.texts, mutant.span.file, mutant.edits)
    if changed is None:
        return "refused"
    if bench.notices(changed):
        return "noticed"
    return "equivalent" if is_equivalent(policy, changed) else "unnoticed"


# The changes.


def _of_rule(
    rule: RuleSpan,
    text: str,
    literals: Mapping[tuple[str, int], set[str]],
    items: set[str],
    held: Mapping[str, set[str]],
) -> Iterator[Mutant]:
    yield Mutant(rule.span, rule.name, "dropped", (without_rule(rule, text),))
    if rule.line is not None:
        piece = rule.line.pieces[2]
        for other in sorted(held[rule.line.type] - {rule.line.held}):
            yield _swap(rule, piece, f'"{other}"', text)
        return
    statement = rule.statement
    if statement is None or statement.body is None:
        return
    for condition in rule.conditions:
        if not condition.is_alternative:
            change = f"without {condition.span.cut(text)}"
            yield Mutant(condition.span, rule.name, change, always(condition.span, text))
    for goal in alternatives(statement.body):
        span = TextSpan(rule.span.file, goal.begin, goal.end, *goal.place[1:])
        yield Mutant(span, rule.name, f"without the alternative {span.cut(text)}", (never(span, text),))
    for piece, other in _swaps(statement, literals):
        yield _swap(rule, piece, other, text)
    for span, other in _list_changes(rule, statement, items):
        yield Mutant(span, rule.name, f"{other} for {span.cut(text)}", (span.replaced(other),))


def _swap(rule: RuleSpan, piece: Piece, other: str, text: str) -> Mutant:
    span = TextSpan(rule.span.file, piece.begin, piece.end, *piece.place[1:])
    conditions = (condition.span for condition in rule.conditions)
    around = next((whole for whole in conditions if whole.begin <= span.begin < whole.end), rule.span)
    change = f"{other} for {piece.text} in {around.cut(text)}"
    return Mutant(span, rule.name, change, (span.replaced(other),))


def _swaps(statement: PolicyStatement, literals: Mapping[tuple[str, int], set[str]]) -> Iterator[tuple[Piece, str]]:
    """Yield the tokens of a body that can be swapped, each with what stands instead."""
    body = _body(statement)
    in_lists = set(_list_items(statement))
    arguments = dict(_arguments(body))
    for piece in body:
        if piece.kind == "op" and piece.text in _OTHER_COMPARISON:
            yield piece, _OTHER_COMPARISON[piece.text]
        elif piece.kind == "name" and piece.text in _OTHER_NAME:
            yield piece, _OTHER_NAME[piece.text]
        elif piece in arguments and piece not in in_lists:
            for other in sorted(literals[arguments[piece]] - {piece.text}):
                yield piece, other


def _list_changes(rule: RuleSpan, statement: PolicyStatement, items: set[str]) -> Iterator[tuple[TextSpan, str]]:
    """Yield each list of a body with what stands instead: without an item, and with an item of another list."""
    for pieces in _lists(_body(statement)):
        span = TextSpan(rule.span.file, pieces[0].begin, pieces[-1].end, *pieces[0].place[1:])
        own = [piece.text for piece in pieces if piece.kind in _LITERALS]
        for item in own if len(own) > 1 else ():
            yield span, f"[{', '.join(other for other in own if other != item)}]"
        for item in sorted(items - set(own)):
            yield span, f"[{', '.join([*own, item])}]"


def _body(statement: PolicyStatement) -> list[Piece]:
    return [piece for piece in statement.body.pieces if not piece.is_comment] if statement.body else []


def _list_items(statement: PolicyStatement) -> list[Piece]:
    return [piece for pieces in _lists(_body(statement)) for piece in pieces if piece.kind == "string"]


def _lists(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces of each list of literals, with its brackets."""
    begin = None
    for index, piece in enumerate(pieces):
        if piece.kind == "op" and piece.text == "[":
            begin = index
        elif piece.kind == "op" and piece.text == "]" and begin is not None:
            whole = list(pieces[begin : index + 1])
            if all(inner.kind in _LITERALS or inner.text == "," for inner in whole[1:-1]):
                yield whole
            begin = None


def _literals_by_argument(rules: Iterable[RuleSpan]) -> dict[tuple[str, int], set[str]]:
    """Return the strings that stand as an argument of each rule, by its name and the position, also in heads."""
    literals: dict[tuple[str, int], set[str]] = {}
    for rule in rules:
        if rule.statement is not None:
            code = [piece for piece in rule.statement.pieces if not piece.is_comment]
            for piece, argument in _arguments(code):
                literals.setdefault(argument, set()).add(piece.text)
    return literals


def _arguments(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, tuple[str, int]]]:
    """Yield each string that is an argument of a call by itself, with the call's name and the argument's position."""
    calls: list[tuple[str, int]] = []
    for index, piece in enumerate(pieces):
        if piece.kind == "op" and piece.text in "([{":
            name = pieces[index - 1].text if index and pieces[index - 1].kind == "name" else ""
            calls.append((name if piece.text == "(" else "", 0))
        elif piece.kind == "op" and piece.text in ")]}" and calls:
            calls.pop()
        elif piece.kind == "op" and piece.text == "," and calls:
            calls[-1] = (calls[-1][0], calls[-1][1] + 1)
        elif piece.kind == "string" and calls and calls[-1][0]:
            before, after = pieces[index - 1].text, pieces[index + 1].text
            if before in ("(", ",") and after in (",", ")"):
                yield piece, calls[-1]
