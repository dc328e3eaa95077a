"""The bench: the databases of all stories, filled once, on which one changed policy after another is tried."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from authz.database import Database
from authz.errors import PolicyRefused
from authz.policy.compiler import CompiledPolicy, Schema, compile_texts
from authz.policy.decision import Decision
from authz.policy.pdp import PDP
from authz.policy_tests.asking import decide, deciding_rule, explain, story_database
from authz.policy_tests.changes import Edit
from authz.policy_tests.stories import Story


class StoryBench:
    """The stories of a folder with their databases."""

    def __init__(self, databases: Sequence[tuple[Story, Database]]) -> None:
        self._databases = databases

    def decisions(self, policy: CompiledPolicy) -> list[Decision]:
        """Return the decision of a policy on every question, in order."""
        return [
            decision
            for story, database in self._databases
            for decision in decide(PDP(database, policy), story.questions)
        ]

    def notices(self, policy: CompiledPolicy) -> bool:
        """Return whether a question gets another answer than its story expects."""
        if any(self._decides_otherwise(story, database, policy) for story, database in self._databases):
            return True
        return any(self._denies_otherwise(story, database, policy) for story, database in self._databases)

    def _decides_otherwise(self, story: Story, database: Database, policy: CompiledPolicy) -> bool:
        decisions = decide(PDP(database, policy), story.questions)
        return any(
            (decision.allowed, decision.reason) != (question.allowed, question.reason)
            or (decision.allowed and question.rule not in ("", decision.rule))
            for question, decision in zip(story.questions, decisions, strict=True)
        )

    def _denies_otherwise(self, story: Story, database: Database, policy: CompiledPolicy) -> bool:
        pdp = PDP(database, policy)
        explanations = (
            (question, explain(pdp, question)) for question in story.questions if question.rule and not question.allowed
        )
        return any(
            deciding_rule(explanation.decision, explanation) != question.rule for question, explanation in explanations
        )


@contextmanager
def open_bench(stories: Sequence[Story], types: Schema) -> Iterator[StoryBench]:
    """Yield the bench of some stories. Raises `PolicyRefused` for facts that contradict each other."""
    with ExitStack() as stack:
        yield StoryBench([(story, stack.enter_context(story_database(story, types))) for story in stories])


def compile_changed(texts: Mapping[str, str], file: str, edits: Sequence[Edit]) -> CompiledPolicy | None:
    """Return a policy after an edit of a file, the first that compiles; None if each is refused."""
    for edit in edits:
        with suppress(PolicyRefused):
            return compile_texts({**texts, file: edit.apply(texts[file])})
    return None
