"""Whole models in files: types, rules, facts, and questions with their answers.

Each question is asked as an evaluation, in a batch and as both searches. Over the stored types every evaluation is also
compared with plain Oso's, and with the lists and the matrix.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from authz.database import Database
from authz.domain import parse_instant, to_micros
from authz.errors import InvalidInput
from authz.importing import import_facts
from authz.policy.compiler import load
from authz.policy.compiler.schema import Scalar
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.policy.preparation import require_preparable
from authz.record import replay_facts
from tests.support.oracle import World
from tests.support.people import NOW

HERE = Path(__file__).parent
MODELS = sorted(folder.name for folder in HERE.iterdir() if (folder / "model.polar").exists())
Question = dict[str, Any]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Path:
    return HERE / str(request.param)


@pytest.fixture
def pdp(model: Path, database: Database) -> PDP:
    policy = load(model)
    with (model / "facts.ndjson").open("rb") as facts:
        import_facts(database, facts, policy.types, now=NOW)
    assert require_preparable(policy, database)
    return PDP(database, policy, clock=lambda: NOW)


def answer(pdp: PDP, question: Question) -> object:
    """Return the answer to a question, as its own kind of search or as an evaluation."""
    options: Any = {
        "request": question.get("request"),
        "now": parse_instant(question["at"]) if "at" in question else NOW,
    }
    if question["ask"] == "who":
        return pdp.search_subjects(question["type"], question["action"], tuple(question["resource"]), **options)
    if question["ask"] == "what":
        return pdp.search_resources(tuple(question["subject"]), question["action"], question["type"], **options)
    parts = tuple(question["subject"]), question["action"], tuple(question["resource"])
    batch = pdp.evaluate_many([parts] * 2, now=options["now"], requests=[question.get("request") or {}] * 2)
    allowed = pdp.evaluate(*parts, **options).allowed
    assert [decision.allowed for decision in batch] == [allowed] * 2
    assert (parts[1] in pdp.search_actions(parts[0], parts[2], **options)) is allowed
    explanation = pdp.explain(*parts, **options)
    assert any(not derivation.unmet for derivation in explanation.derivations) is allowed
    for search in (
        {"ask": "who", "type": parts[0][0], **_without(question, "subject")},
        {"ask": "what", "type": parts[2][0], **_without(question, "resource")},
    ):
        known = parts[0][1] if search["ask"] == "who" else parts[2][1]
        with suppress(InvalidInput):
            ids = answer(pdp, search)
            assert isinstance(ids, list)
            assert (known in ids) is allowed
    return allowed


def _without(question: Question, end: str) -> Question:
    return {name: value for name, value in question.items() if name not in (end, "ask")}


def test_each_question_has_its_answer(model: Path, pdp: PDP) -> None:
    """Each question of a model's file has the expected answer; the events of its facts give its tables."""
    for question in json.loads((model / "questions.json").read_text()):
        assert answer(pdp, question) == question["expected"], question
    assert replay_facts(pdp.database)[1] == []


def test_a_file_of_facts_can_be_imported_again(model: Path, pdp: PDP) -> None:
    """A second import of a model's facts changes nothing."""
    with (model / "facts.ndjson").open("rb") as facts:
        report = import_facts(pdp.database, facts, pdp.policy.types, now=NOW)
    assert (report.new.total(), report.changed.total()) == (0, 0)


def kinds(pdp: PDP) -> Iterator[tuple[str, str, str]]:
    """Yield each action with the stored types of its subjects and resources."""
    for (subject, resource), queries in pdp.policy.queries.items():
        ends = pdp.policy.types.types[subject], pdp.policy.types.types[resource]
        if all(end.stored for end in ends):
            for action in dict.fromkeys(query.action for query in queries if query.action):
                yield ends[0].name, action, ends[1].name


@pytest.mark.parametrize("model", [name for name in MODELS if name != "nested"], indirect=True)  # Oso loops on cycles
def test_every_answer_is_plain_osos(model: Path, pdp: PDP) -> None:
    """Over the stored types evaluations, lists and matrix of a model equal plain Oso's answers."""
    world = World(pdp.database, pdp.policy.texts, to_micros(NOW))
    for subject, action, resource in kinds(pdp):
        whos: list[Ref] = [(subject, name) for name in world.ids(subject)]
        whats: list[Ref] = [(resource, name) for name in world.ids(resource)]
        expected = [(who[1], what[1]) for who in whos for what in whats if world.allowed(who, action, what)]
        questions = [(who, action, what) for who in whos for what in whats]
        decisions = zip(questions, pdp.evaluate_many(questions), strict=True)
        assert [(who[1], what[1]) for (who, _, what), decision in decisions if decision.allowed] == expected
        assert [entry[:2] for entry in pdp.matrix(subject, action, resource)] == expected
        for who in whos:
            assert pdp.search_resources(who, action, resource) == [what for name, what in expected if name == who[1]]
        for what in whats:
            assert pdp.search_subjects(subject, action, what) == [name for name, other in expected if other == what[1]]


def bring(world: World, ref: Ref, properties: dict[str, Any]) -> None:
    """Add the row of a type that is not stored to a world, as a question brings it."""
    declared = world.types.named(ref[0])
    if declared is not None and not declared.stored:
        kinds_of = {prop.name: prop.kind for prop in declared.properties.values() if isinstance(prop, Scalar)}
        instants = {
            name: to_micros(parse_instant(properties[name])) for name in properties if kinds_of.get(name) == "datetime"
        }
        world.bring(ref, {**properties, **instants})


def test_plain_oso_answers_what_comes_with_the_question(sqlite_database: Database) -> None:
    """Plain Oso gives the expected answers over rows that are not stored, unless absence is compared."""
    folder = HERE / "tickets"
    policy = load(folder)
    with (folder / "facts.ndjson").open("rb") as facts:
        import_facts(sqlite_database, facts, policy.types, now=NOW)
    for question in json.loads((folder / "questions.json").read_text()):
        if not question.get("oso", True):
            continue
        world, request = World(sqlite_database, policy.texts, to_micros(NOW)), question.get("request", {})
        for end in ("subject", "resource"):
            if end in question:
                bring(world, tuple(question[end]), request.get(end, {}))
        ends: dict[str, Any] = {end: tuple(question[end]) for end in ("subject", "resource") if end in question}
        if question["ask"] == "check":
            assert world.allowed(ends["subject"], question["action"], ends["resource"]) == question["expected"], (
                question
            )
            continue
        searched = "subject" if question["ask"] == "who" else "resource"
        ids = []
        for name in world.ids(question["type"]):
            pair = {**ends, searched: (question["type"], name)}
            ids += [name] * world.allowed(pair["subject"], question["action"], pair["resource"])
        assert ids == question["expected"], question
