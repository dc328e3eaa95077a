"""Coverage: which rules and conditions decide a permit, and which conditions alone cause a denial.

A rule decides a permit if the first derivation that permits a question goes through it, and its conditions do with it;
an alternative does if a question is denied without it. A condition alone causes a denial if a question that is denied
would be permitted without this condition. This is not counted for a condition without which the policy cannot be
compiled, or is proven to decide the same (`equivalence`).

The derivation is known by its rule numbers: every rule and every line of a block gets a number of its own in a copy of
the policy (`numbered_policy`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy.compiler.nodes import Block, Source
from authz.policy.compiler.parser import parse
from authz.policy.compiler.statements import BlockLine, read_pieces
from authz.policy_tests.bench import StoryBench, compile_changed, open_bench
from authz.policy_tests.changes import ConditionSpan, RuleSpan, always, never, rule_spans
from authz.policy_tests.equivalence import is_equivalent
from authz.policy_tests.parallel import map_in_processes
from authz.policy_tests.stories import Story

_NUMBERED = re.compile(r"(#+ *R[0-9]{1,6})\.")


@dataclass(frozen=True)
class ConditionCoverage:
    """A condition: whether it decides a permit, and whether it alone causes a denial (None: cannot be left out)."""

    condition: ConditionSpan
    permits: bool
    denies: bool | None


@dataclass(frozen=True)
class RuleCoverage:
    """A rule or a line of a block: whether it decides a permit, and its conditions."""

    rule: RuleSpan
    permits: bool
    conditions: tuple[ConditionCoverage, ...]


@dataclass(frozen=True)
class Coverage:
    """The coverage of a policy by its stories."""

    rules: tuple[RuleCoverage, ...]

    @property
    def facets(self) -> list[bool]:
        """Everything that is counted: each rule, and each condition as a permit and as a denial."""
        conditions = [condition for rule in self.rules for condition in rule.conditions]
        denials = [condition.denies for condition in conditions if condition.denies is not None]
        return [*(rule.permits for rule in self.rules), *(condition.permits for condition in conditions), *denials]

    @property
    def percent(self) -> float:
        """The part of it that is covered."""
        return 100 * sum(self.facets) / len(self.facets) if self.facets else 100.0


def measure(policy: CompiledPolicy, stories: Sequence[Story], jobs: int = 1) -> Coverage:
    """Return the coverage of a policy by stories. Raises `PolicyRefused` for rule numbers in the old form."""
    if any("old form" in warning for warning in policy.warnings):
        raise PolicyRefused(policy_faults("coverage needs rule numbers as comments", policy))
    rules = rule_spans(policy.texts)
    deciding = _deciding_rules(policy, rules, stories)
    conditions = [condition for rule in rules for condition in rule.conditions]
    flips = dict(
        zip(
            map(id, conditions),
            map_in_processes(_flips, conditions, jobs, _prepare, dict(policy.texts), tuple(stories)),
            strict=True,
        )
    )
    return Coverage(tuple(_of_rule(rule, index in deciding, flips) for index, rule in enumerate(rules)))


def policy_faults(why: str, policy: CompiledPolicy) -> list[Fault]:
    """Return a fault about a policy as a whole."""
    return [Fault(", ".join(policy.texts), 0, 0, why)]


def _of_rule(rule: RuleSpan, permits: bool, flips: Mapping[int, tuple[bool, bool | None]]) -> RuleCoverage:
    conditions = []
    for condition in rule.conditions:
        decides, denies = flips[id(condition)]
        conditions.append(ConditionCoverage(condition, permits and (decides or not condition.is_alternative), denies))
    return RuleCoverage(rule, permits, tuple(conditions))


# Denials: the policy without a condition.

_process: dict[str, tuple[CompiledPolicy, StoryBench, list[bool]]] = {}
_open: list[object] = []


def _prepare(texts: Mapping[str, str], stories: Sequence[Story]) -> None:
    policy = compile_texts(texts)
    context = open_bench(stories, policy.types)
    bench = context.__enter__()
    _process["current"] = (policy, bench, [decision.allowed for decision in bench.decisions(policy)])
    _open[:] = [context]  # the databases stay open while this process asks them


def _flips(condition: ConditionSpan) -> tuple[bool, bool | None]:
    """Return whether a permit needs an alternative, and whether a denial needs a condition."""
    policy, bench, allowed = _process["current"]
    file = condition.span.file
    decides = False
    if condition.is_alternative:
        without = compile_changed(policy.texts, file, [never(condition.span, policy.texts[file])])
        after = bench.decisions(without) if without else []
        decides = any(before and not decision.allowed for before, decision in zip(allowed, after, strict=False))
    changed = compile_changed(policy.texts, file, always(condition.span, policy.texts[file]))
    if changed is None:
        return decides, None
    after = bench.decisions(changed)
    denies = any(decision.allowed and not before for before, decision in zip(allowed, after, strict=True))
    return decides, True if denies else None if is_equivalent(policy, changed) else False


# Permits: the policy with a number for each rule.


def _deciding_rules(policy: CompiledPolicy, rules: Sequence[RuleSpan], stories: Sequence[Story]) -> set[int]:
    """Return the indexes of the rules through which a permit is derived."""
    numbered = numbered_policy(policy, rules)
    with open_bench(stories, policy.types) as bench:
        decisions = bench.decisions(numbered)
    return {int(number[1:]) for decision in decisions if decision.allowed for number in decision.rules}


def numbered_policy(policy: CompiledPolicy, rules: Sequence[RuleSpan]) -> CompiledPolicy:
    """Return the policy with the rule number ``R<index>`` for each rule, and with lines of blocks as rules."""
    source = Source()
    texts = dict(policy.texts)
    for file, text in policy.texts.items():
        if file.endswith(".polar"):
            parse(text, file, source)
    blocks = {block.type: block for block in source.blocks}
    for file, text in policy.texts.items():
        if file.endswith(".polar"):
            own = [(index, rule) for index, rule in enumerate(rules) if rule.span.file == file]
            texts[file] = _numbered(text, file, own, blocks)
    return compile_texts(texts)


def _numbered(text: str, file: str, rules: Sequence[tuple[int, RuleSpan]], blocks: Mapping[str, Block]) -> str:
    changes: list[tuple[int, int, str]] = []
    for piece in read_pieces(text, file):
        numbered = _NUMBERED.match(piece.text) if piece.is_comment else None
        if numbered is not None:
            changes.append((piece.begin, piece.begin + numbered.end(), f"{numbered[1]}:"))
    added = []
    for index, rule in rules:
        if rule.line is None:
            changes.append((rule.span.begin, rule.span.begin, f"\n# R{index}. Rule.\n"))
        else:
            changes.append((rule.span.begin, rule.span.end, ""))
            added.append(f"\n# R{index}. Line.\n{_rule_of_line(rule.line, blocks)}\n")
    for begin, end, other in sorted(changes, reverse=True):
        text = text[:begin] + other + text[end:]
    return text + "\n" + "".join(added)


def _rule_of_line(line: BlockLine, blocks: Mapping[str, Block]) -> str:
    """Return a line of a block as the rule that it stands for."""
    block = blocks[line.type]
    head = f'{_predicate(block, line.granted)}(actor: Actor, "{line.granted}", resource: {line.type})'
    if line.relation is None:
        return f'{head} if {_predicate(block, line.held)}(actor, "{line.held}", resource);'
    holder = blocks[block.relations[line.relation][0]]
    related = f'has_relation(related, "{line.relation}", resource)'
    return f'{head} if {related} and {_predicate(holder, line.held)}(actor, "{line.held}", related);'


def _predicate(block: Block, name: str) -> str:
    if name in block.permissions:
        return "has_permission"
    return "has_role" if name in block.roles else "has_relation"


def uncovered(coverage: Coverage) -> Iterator[tuple[str, str]]:
    """Yield the place and the lack of each facet that is not covered, in the order of the text."""
    for rule in coverage.rules:
        if not rule.permits:
            span = rule.rule.span
            yield f"{span.file}:{span.line}:{span.column}", "no question is permitted by this rule"
        for condition in rule.conditions:
            span = condition.condition.span
            place = f"{span.file}:{span.line}:{span.column}"
            if rule.permits and not condition.permits:
                yield place, "no question is permitted by this alternative"
            if condition.denies is False:
                yield place, "no question is denied by this condition alone"
