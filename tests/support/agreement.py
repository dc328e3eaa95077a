"""Agreement: every kind of question about random facts answers as an oracle does."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from authz.database import Database
from authz.domain import from_micros
from authz.policy.compiler import CompiledPolicy
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from tests.support import worlds
from tests.support.oracle import World
from tests.support.worlds import T

EXAMPLES = int(os.environ.get("CAREGRANT_EXAMPLES", "120"))
INSTANTS = st.sampled_from((T - 2, T - 1, T, T + 1, T + 10_000_000))
COMMON = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


Fill = Callable[[list[tuple[Any, dict[str, Any]]]], Database]


def agree(database: Database, world: World, policy: CompiledPolicy, now: int) -> None:
    """Assert that evaluations equal an oracle's, and that every other kind of question equals the evaluations."""
    instant = from_micros(now)
    pdp = PDP(database, policy, clock=lambda: instant)
    people: list[Ref] = [("practitioner", name) for name in world.ids("practitioner")]
    for kind in ("patient", "document"):
        names = worlds.PATIENTS if kind == "patient" else worlds.DOCUMENTS
        resources: list[Ref] = [(kind, name) for name in sorted({*names, *world.ids(kind)})]
        resource = policy.types.named(kind)
        assert resource is not None
        actions = policy.actions(resource.polar) or ["view"]
        expected = {
            (who, action, what): world.allowed(who, action, what)
            for who in people
            for action in actions
            for what in resources
        }
        answers = {question: pdp.evaluate(*question).allowed for question in expected}
        assert answers == expected
        assert [decision.allowed for decision in pdp.evaluate_many(list(expected))] == list(expected.values())
        for who in people:
            for what in resources:
                assert pdp.search_actions(who, what) == [action for action in actions if expected[who, action, what]]
        for action in actions:
            held = sorted(
                (who[1], what[1]) for (who, what_for, what), yes in expected.items() if yes and what_for == action
            )
            assert [row[:2] for row in pdp.matrix("practitioner", action, kind)] == held
            for who in people:
                ids = [resource for subject, resource in held if subject == who[1]]
                assert pdp.search_resources(who, action, kind) == ids
                assert paged(pdp, who, action, kind) == ids
            for what in resources:
                ids = [subject for subject, resource in held if resource == what[1]]
                assert pdp.search_subjects("practitioner", action, what) == ids


def paged(pdp: PDP, who: Ref, action: str, kind: str) -> list[str]:
    """Return the list of a resource search, read in pages of one."""
    resources: list[str] = []
    while page := pdp.search_resources(who, action, kind, limit=1, after=resources[-1] if resources else None):
        resources += page
    return resources
