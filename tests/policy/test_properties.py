"""The compiled policy against plain Oso, and every kind of question against every other.

For random facts, random instants and random policies of the compilable fragment.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from authz.database import Database, close_all, connect, migrate
from authz.domain import FOREVER, from_micros, to_micros
from authz.errors import PolicyRefused
from authz.models import Entity, Practitioner
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.settings import shipped_folder
from tests.support import worlds
from tests.support.oracle import World
from tests.support.people import NOW
from tests.support.worlds import T

EXAMPLES = int(os.environ.get("CAREGRANT_EXAMPLES", "120"))
SHIPPED = {path.name: path.read_text("utf-8") for path in shipped_folder("policies").iterdir() if path.suffix != ".md"}
COMPILED = compile_texts(SHIPPED)
INSTANTS = st.sampled_from((T - 2, T - 1, T, T + 1, T + 10_000_000))
COMMON = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


QUICK_PLANS = "-c plan_cache_mode=force_generic_plan -c enable_hashjoin=off -c enable_mergejoin=off"
"""Options with which PostgreSQL plans these large queries over few rows sooner; planning takes most of the time."""

Fill = Callable[[list[tuple[Any, dict[str, Any]]]], Database]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fill]:
    """Empty a database, fill it with rows, and return it.

    Rows and questions use different connections, because after a refused row the driver forgets prepared statements.
    """
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('properties')}/facts.db"
        database = connect(url)
        migrate(database)
    else:
        url = request.getfixturevalue("new_postgresql_url")()
        database = connect(f"{url}?options={quote(QUICK_PLANS)}")
    writer = connect(url)
    for opened in (database, writer):
        opened.connect(reuse_if_open=True)
    if request.param == "sqlite":
        writer.execute_sql("PRAGMA synchronous = 0")
    else:
        database.connection().prepare_threshold = 0  # plan each statement once, not five times

    def fill(rows: list[tuple[Any, dict[str, Any]]]) -> Database:
        worlds.insert(writer, rows)
        return database

    yield fill
    for opened in (database, writer):
        close_all(opened)


def agree(database: Database, texts: dict[str, str], policy: CompiledPolicy, now: int) -> None:
    """Assert that evaluations equal plain Oso's, and that every other kind of question equals the evaluations."""
    world, instant = World(database, texts, now), from_micros(now)
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


@COMMON
@given(rows=worlds.facts(), texts=worlds.policies(), now=INSTANTS)
def test_random_policies(filled: Fill, rows: list[tuple[Any, dict[str, Any]]], texts: dict[str, str], now: int) -> None:
    """Every random policy that compiles answers as plain Oso does, on both databases."""
    note(texts["policy.polar"])
    try:
        policy = compile_texts(texts)
    except PolicyRefused as refused:
        note(str(refused))
        assume(False)
    agree(filled(rows), texts, policy, now)


@settings(COMMON, max_examples=EXAMPLES // 2)
@given(rows=worlds.facts(), now=INSTANTS)
def test_the_shipped_policies(filled: Fill, rows: list[tuple[Any, dict[str, Any]]], now: int) -> None:
    """The shipped policies answer as plain Oso does, over random facts."""
    agree(filled(rows), SHIPPED, COMPILED, now)


@pytest.mark.parametrize(
    "condition",
    [
        "r in r.author.written",
        "one in r.author.written and one.open = one.open",
        "r in r.author.written and r.author.name = r.author.name",
        "one in r.author.written and one.author = r.author",
        "r in r.next.next.author.written or r in r.author.written",
    ],
)
def test_nobody_is_the_author_of_nothing(filled: Fill, condition: str) -> None:
    """A document without an author, or with an author who does not exist, is not among the documents of an author.

    Random tests found it: two documents without an author had the same author, nil, and everybody was permitted.
    """
    texts = {
        "policy.polar": f'allow(_a: Practitioner, "view", r: Document) if {condition};',
        "types.toml": worlds.TYPES,
    }
    policy, now = compile_texts(texts), to_micros(NOW)
    life = {"started_at": NOW, "ended_at": FOREVER, "properties": {}}
    authors: dict[str, dict[str, str]] = {"none": {}, "gone": {"author": "nobody"}, "hers": {"author": "alice"}}
    rows: list[tuple[Any, dict[str, Any]]] = [(Practitioner, {"id": "alice", "login": "a@x.example", "name": "Alice"})]
    rows += [(Entity, {"id": name, "links": links, **life}) for name, links in authors.items()]
    database = filled(rows)
    agree(database, texts, policy, now)
    questions = [(("practitioner", "alice"), "view", ("document", name)) for name in authors]
    assert [decision.allowed for decision in PDP(database, policy).evaluate_many(questions, now=NOW)] == [
        False,
        False,
        True,
    ]
