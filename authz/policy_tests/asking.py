"""Asking: each question of a story as an evaluation and as both searches, on a database in memory.

The database holds the facts of the story alone. Questions of one instant are evaluated together; each search is sent
once, whatever number of questions it answers.
"""

import io
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import orjson
import peewee

from authz.database import Database, connect, migrate
from authz.errors import Fault, ImportRefused, InvalidInput, PolicyRefused
from authz.importing import import_facts
from authz.policy.compiler import CompiledPolicy, Schema
from authz.policy.decision import Decision, Explanation
from authz.policy.pdp import PDP
from authz.policy_tests.stories import ExpectedAnswer, Story
from authz.policy_tests.transfers import apply_transfer
from authz.policy_tests.yaml_values import YamlRefused


@dataclass(frozen=True)
class Outcome:
    """The answer to a question: the decision, its rule, and the searches that disagree with it.

    `rule` is the rule that permits, or that of the first unmet condition of the nearest derivation. `explanation` is
    there for a question that failed, or whose denial was to have a rule.
    """

    question: ExpectedAnswer
    decision: Decision
    rule: str
    explanation: Explanation | None
    disagreements: tuple[str, ...] = ()
    refused_searches: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if the answer is as the story expects."""
        expected, decision = self.question, self.decision
        same = (decision.allowed, decision.reason) == (expected.allowed, expected.reason)
        return same and expected.rule in ("", self.rule) and not self.disagreements


@contextmanager
def story_database(story: Story, types: Schema) -> Iterator[Database]:
    """Yield a database in memory with the facts of a story. Raises `PolicyRefused` for facts that contradict."""
    database = connect("sqlite:///:memory:")
    database.connect()
    try:
        _template().backup(database.connection())
        _fill(database, story, types)
        yield database
    finally:
        database.close()


@cache
def _template() -> sqlite3.Connection:
    """Return a database in memory with the tables and without rows, which is copied for each story."""
    database = connect("sqlite:///:memory:")
    database.connect()
    migrate(database)
    connection: sqlite3.Connection = database.connection()
    return connection


def _fill(database: Database, story: Story, types: Schema) -> None:
    content = b"\n".join(line for _, line in story.lines)
    try:
        import_facts(database, io.BytesIO(content), types, now=story.now)
    except ImportRefused as refused:
        line = story.lines[refused.line - 1][0] if refused.line else 0
        why = str(refused).partition(": ")[2]
        raise PolicyRefused([Fault(story.file, line, 1, why)]) from refused
    for transfer in story.transfers:
        try:
            apply_transfer(database, transfer)
        except YamlRefused as refused:
            raise PolicyRefused([refused.fault]) from refused
        except peewee.IntegrityError as error:
            raise PolicyRefused([transfer.place.fault(f"the database refuses: {error}")]) from error


def ask_story(story: Story, policy: CompiledPolicy) -> list[Outcome]:
    """Ask every question of a story; return the outcomes in its order."""
    with story_database(story, policy.types) as database:
        pdp = PDP(database, policy)
        decisions = decide(pdp, story.questions)
        searches = _Searches(pdp)
        return [_outcome(pdp, *pair, searches) for pair in zip(story.questions, decisions, strict=True)]


def decide(pdp: PDP, questions: Sequence[ExpectedAnswer]) -> list[Decision]:
    """Evaluate questions in few statements; return the decisions in their order."""
    by_instant: dict[datetime, list[int]] = {}
    for index, question in enumerate(questions):
        by_instant.setdefault(question.at, []).append(index)
    decisions: dict[int, Decision] = {}
    for instant, indexes in by_instant.items():
        batch = [questions[index] for index in indexes]
        triples = [(question.subject, question.action, question.resource) for question in batch]
        requests = [question.request for question in batch]
        decisions.update(zip(indexes, pdp.evaluate_many(triples, now=instant, requests=requests), strict=True))
    return [decisions[index] for index in range(len(questions))]


def explain(pdp: PDP, question: ExpectedAnswer) -> Explanation:
    """Return the explanation of a question."""
    return pdp.explain(question.subject, question.action, question.resource, now=question.at, request=question.request)


def deciding_rule(decision: Decision, explanation: Explanation | None) -> str:
    """Return the rule of a permit, or of the first unmet condition of the nearest derivation."""
    if decision.allowed:
        return decision.rule or ""
    nearest = explanation.nearest if explanation else None
    return (nearest.first_unmet_rule or "") if nearest else ""


def _outcome(pdp: PDP, question: ExpectedAnswer, decision: Decision, searches: "_Searches") -> Outcome:
    differs = (decision.allowed, decision.reason) != (question.allowed, question.reason)
    needs = differs or (not decision.allowed and question.rule)
    explanation = explain(pdp, question) if needs else None
    disagreements = tuple(searches.disagreements(question, decision.allowed))
    refused = tuple(searches.refusals_of(question))
    return Outcome(question, decision, deciding_rule(decision, explanation), explanation, disagreements, refused)


@dataclass
class _Searches:
    """The results of searches, each asked once. A search that is refused has its refusal as its result."""

    pdp: PDP
    results: dict[object, frozenset[str] | str] = field(default_factory=dict)

    def disagreements(self, question: ExpectedAnswer, allowed: bool) -> Iterator[str]:
        """Yield a sentence for each search whose result differs from the decision."""
        sides = (("resources", question.resource), ("subjects", question.subject))
        for (kind, end), result in zip(sides, self._both(question), strict=True):
            if not isinstance(result, str) and (end[1] in result) != allowed:
                what = "leaves out" if allowed else "returns"
                yield f"the search of {kind} {what} {':'.join(end)}"

    def refusals_of(self, question: ExpectedAnswer) -> Iterator[str]:
        """Yield the refusal of each search that the policy does not answer."""
        for kind, result in zip(("resources", "subjects"), self._both(question), strict=True):
            if isinstance(result, str):
                types = f"{question.subject[0]} {question.action} {question.resource[0]}"
                yield f"search of {kind}, {types}: {result}"

    def _both(self, question: ExpectedAnswer) -> tuple[frozenset[str] | str, frozenset[str] | str]:
        subject, action, resource, now = question.subject, question.action, question.resource, question.at
        request, pdp = question.request, self.pdp
        sent = orjson.dumps(request)

        def resources() -> Any:
            return pdp.search_resources(subject, action, resource[0], now=now, request=request)

        def subjects() -> Any:
            return pdp.search_subjects(subject[0], action, resource, now=now, request=request)

        return (
            self._result(("resources", subject, action, resource[0], now, sent), resources),
            self._result(("subjects", subject[0], action, resource, now, sent), subjects),
        )

    def _result(self, key: object, search: Callable[[], Any]) -> frozenset[str] | str:
        if key not in self.results:
            try:
                self.results[key] = frozenset(search())
            except (InvalidInput, PolicyRefused) as error:
                self.results[key] = str(error)
        return self.results[key]
