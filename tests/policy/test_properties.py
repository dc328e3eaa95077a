"""The compiled policy against plain Oso, and every kind of question against every other.

For random facts, random instants and random policies of the compilable fragment.
"""

from typing import Any

import pytest
from hypothesis import assume, given, note, settings

from authz.domain import FOREVER, to_micros
from authz.errors import PolicyRefused
from authz.models import Entity, Practitioner
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from authz.settings import shipped_folder
from tests.support import worlds
from tests.support.agreement import COMMON, EXAMPLES, INSTANTS, Fill, agree
from tests.support.oracle import World
from tests.support.people import NOW

FILES = [path for path in shipped_folder("policies").iterdir() if path.suffix in (".polar", ".toml")]
SHIPPED = {path.name: path.read_text("utf-8") for path in FILES}
COMPILED = compile_texts(SHIPPED)


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
    database = filled(rows)
    agree(database, World(database, texts, now), policy, now)


@settings(COMMON, max_examples=EXAMPLES // 2)
@given(rows=worlds.facts(), now=INSTANTS)
def test_the_shipped_policies(filled: Fill, rows: list[tuple[Any, dict[str, Any]]], now: int) -> None:
    """The shipped policies answer as plain Oso does, over random facts."""
    database = filled(rows)
    agree(database, World(database, SHIPPED, now), COMPILED, now)


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
    agree(database, World(database, texts, now), policy, now)
    questions = [(("practitioner", "alice"), "view", ("document", name)) for name in authors]
    assert [decision.allowed for decision in PDP(database, policy).evaluate_many(questions, now=NOW)] == [
        False,
        False,
        True,
    ]
