"""The difference and the containment of random policies, against all evaluations over random facts."""

import itertools
import random
import re
from typing import Any

from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st

from authz.domain import from_micros
from authz.errors import PolicyRefused
from authz.policy.compiler import compile_texts
from authz.policy.containment import compare_policies
from authz.policy.decision import Ref
from authz.policy.difference import PolicyDifference
from authz.policy.pdp import PDP
from tests.support import worlds
from tests.support.agreement import COMMON, EXAMPLES, INSTANTS, Fill


@settings(COMMON, max_examples=EXAMPLES // 4)
@given(rows=worlds.facts(), old=worlds.policies(), new=worlds.policies(), now=INSTANTS)
def test_random_differences(
    filled: Fill, rows: list[tuple[Any, dict[str, Any]]], old: dict[str, str], new: dict[str, str], now: int
) -> None:
    """The difference of two random policies is the difference of all their evaluations, with the rule of each."""
    note(f"{old['policy.polar']}\n----\n{new['policy.polar']}")
    try:
        policies = compile_texts(old), compile_texts(new)
    except PolicyRefused:
        assume(False)
    database, instant = filled(rows), from_micros(now)
    before, after = (PDP(database, policy) for policy in policies)
    people: list[Ref] = [("practitioner", name) for name in worlds.PEOPLE]
    resources: list[Ref] = [("patient", name) for name in worlds.PATIENTS]
    resources += [("document", name) for name in worlds.DOCUMENTS]
    expected = set()
    actions = {action for policy in policies for kind in ("Patient", "Document") for action in policy.actions(kind)}
    for question in itertools.product(people, actions, resources):
        answers = [pdp.evaluate(*question, now=instant) for pdp in (before, after)]
        if answers[0].allowed != answers[1].allowed:
            expected.add((answers[1].allowed, *question, answers[answers[1].allowed].rule))
    changes = [change for change in PolicyDifference(before, after, instant).changes() if change.action in actions]
    shown = {change[:5] for change in changes if change.resource[0] in ("patient", "document")}
    assert shown == expected
    assert len(set(changes)) == len(changes)


@settings(COMMON, max_examples=EXAMPLES // 4)
@given(rows=worlds.facts(), old=worlds.policies(), change=st.randoms(use_true_random=False), now=INSTANTS)
def test_random_containment(
    filled: Fill, rows: list[tuple[Any, dict[str, Any]]], old: dict[str, str], change: random.Random, now: int
) -> None:
    """A policy that is proven the same or narrower never gains on random facts, and a wider one never loses."""
    new = {**old, "policy.polar": changed_policy(old["policy.polar"], change)}
    note(f"{old['policy.polar']}\n----\n{new['policy.polar']}")
    try:
        policies = compile_texts(old), compile_texts(new)
    except PolicyRefused:
        assume(False)
    verdicts = compare_policies(*policies)
    database = filled(rows)
    before, after = (PDP(database, policy) for policy in policies)
    event(" ".join(sorted(set(verdicts.values()))))
    for entry in PolicyDifference(before, after, from_micros(now)).changes():
        name = (entry.subject[0], entry.action, entry.resource[0])
        assert verdicts[name] in ("not provable", "wider" if entry.gained else "narrower")


def changed_policy(text: str, change: random.Random) -> str:
    """Return a policy with a condition left out, an alternative swapped for a conjunction, or an operator changed."""
    *before, rules = text.rpartition("live(membership);\n")
    edits = [
        (" and ", " or "),
        (" or ", " and "),
        (" = ", " != "),
        (" != ", " = "),
        ("alice", "north"),
    ]
    places = [(match.start(), *edit) for edit in edits for match in re.finditer(re.escape(edit[0]), rules)]
    places += [(match.start(), match[0], "") for match in re.finditer(r" and [^()]*?(?=;| and )", rules)]
    if not places:
        return text
    start, old, new = change.choice(places)
    return "".join(before) + rules[:start] + new + rules[start + len(old) :]
