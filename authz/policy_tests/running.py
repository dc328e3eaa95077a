"""Running: every story of a folder, in as many processes as wanted, and their outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy_tests.asking import Outcome, ask_story
from authz.policy_tests.parallel import map_in_processes
from authz.policy_tests.stories import Story


@dataclass(frozen=True)
class StoryResults:
    """The outcomes of every question, by story."""

    results: tuple[tuple[Story, tuple[Outcome, ...]], ...]

    @property
    def outcomes(self) -> list[Outcome]:
        """Every outcome, in order."""
        return [outcome for _, outcomes in self.results for outcome in outcomes]

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes that are not as expected."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def refused_searches(self) -> list[str]:
        """The searches that the policy does not answer, each once."""
        return list(dict.fromkeys(refusal for outcome in self.outcomes for refusal in outcome.refused_searches))


def run_stories(policy: CompiledPolicy, stories: Sequence[Story], jobs: int = 1) -> StoryResults:
    """Ask every question of every story. Raises `PolicyRefused` for facts that contradict each other."""
    outcomes = map_in_processes(_run_story, stories, jobs, _prepare, dict(policy.texts))
    results, faults = list[tuple[Story, tuple[Outcome, ...]]](), list[Fault]()
    for story, answer in zip(stories, outcomes, strict=True):
        if isinstance(answer, list):
            results.append((story, tuple(answer)))
        else:
            faults += answer.faults
    if faults:
        raise PolicyRefused(faults)
    return StoryResults(tuple(results))


@dataclass(frozen=True)
class _UnreadableStory:
    """The faults of a story whose facts contradict each other; an error does not travel between processes."""

    faults: tuple[Fault, ...]


_process: dict[str, CompiledPolicy] = {}


def _prepare(texts: Mapping[str, str]) -> None:
    _process["policy"] = compile_texts(texts)


def _run_story(story: Story) -> list[Outcome] | _UnreadableStory:
    try:
        return ask_story(story, _process["policy"])
    except PolicyRefused as refused:
        return _UnreadableStory(tuple(refused.faults))
