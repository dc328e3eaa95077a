"""Running: what a story expects is compared with evaluations and searches, and every difference is shown."""

from xml.etree import ElementTree as ET

import pytest

from authz.errors import PolicyRefused
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from authz.policy_tests.difference import describe_difference, describe_place
from authz.policy_tests.junit import junit_xml
from authz.policy_tests.running import StoryResults, run_stories
from authz.policy_tests.stories import read_story
from tests.support.stories import POLICY, STORY

COMPILED = compile_texts({"clinic.polar": POLICY})


def results(story: str = STORY) -> StoryResults:
    return run_stories(COMPILED, [read_story(story, "clinic_test.yaml", COMPILED)])


def test_what_is_expected_passes() -> None:
    """Every question of a right story passes; several stories do not see each other's facts."""
    stories = [read_story(STORY, f"{number}_test.yaml", COMPILED) for number in range(2)]
    both = run_stories(COMPILED, stories)
    assert [story.file for story, _ in both.results] == ["0_test.yaml", "1_test.yaml"]
    assert [len(both.outcomes), len(both.failures)] == [8, 0]


@pytest.mark.parametrize(
    ("old", "new", "expected", "answered"),
    [
        ("share: R1}\n  -", "share: R2}\n  -", "permit by R2", "permit by R1"),
        ("deny: {share: R1}", "deny: {share: R2}", "deny by R2", "deny by R1"),
        ("permit: {view: R2}\n    deny: {share: R1}", "deny: {view: R2}", "deny by R2", "permit by R2"),
        ("permit: {view: R2}\n    deny: {share: R1}", "permit: [share]", "permit", "deny by R1"),
    ],
)
def test_a_difference_is_described(old: str, new: str, expected: str, answered: str) -> None:
    """A difference of decision or rule names the place, what was expected, and the answer."""
    (failure,) = results(STORY.replace(old, new, 1)).failures
    assert describe_place(failure).startswith(f"clinic_test.yaml:{failure.question.line}:")
    assert describe_difference(failure)[:2] == [f"expected: {expected}", f"answered: {answered}"]


def test_a_denial_is_explained() -> None:
    """A question that should be permitted is shown with the nearest derivation, and what it lacks."""
    story = STORY.replace("deny: {share: R1}", "").replace("permit: {view: R2}", "permit: {view: R2, share: R1}")
    (failure,) = results(story).failures
    text = "\n".join(describe_difference(failure))
    assert "the nearest derivation, R1: The owner shares, and views." in text
    assert "UNMET  R1: there is no live grant whose" in text


def test_context_and_instant_come_with_a_question() -> None:
    """The context of a question decides, and so does its instant; a value of the wrong type has its reason."""
    about = "  - {subject: practitioner:alice, resource: patient:p-1, at: 2024-06-01T00:00:00Z, %s, deny: %s}\n"
    assert not results(STORY + about % ("context: {}", "[view, share]")).failures
    assert not results(STORY + about % ("context: {emergency: 5}", "{view: wrong_type}")).failures
    about = "  - {subject: practitioner:bob, resource: patient:p-1, context: {emergency: %s}, deny: [share]}\n"
    assert not results(STORY + about % "true" + about % "false").failures


def test_searches_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that leaves out what is permitted fails the question, though its evaluation is right."""
    monkeypatch.setattr(PDP, "search_resources", lambda *_, **__: [])
    failures = results().failures
    assert [failure.question.action for failure in failures] == ["view", "share", "view"]
    assert failures[0].disagreements == ("the search of resources leaves out patient:p-1",)


def test_a_refused_search_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that the policy does not answer is listed, and fails no question."""

    def refuse(*_: object, **__: object) -> list[str]:
        raise PolicyRefused([])

    monkeypatch.setattr(PDP, "search_subjects", refuse)
    assert not results().failures
    assert [line.partition(":")[0] for line in results().refused_searches] == [
        "search of subjects, practitioner view patient",
        "search of subjects, practitioner share patient",
    ]


def test_facts_that_contradict_are_refused() -> None:
    """A fact that the import refuses is a fault at its line."""
    story = STORY.replace("owner: alice", "owner: carol")
    with pytest.raises(PolicyRefused, match=r"clinic_test\.yaml:8:1: .*carol"):
        results(story)


def test_junit_has_a_case_for_each_question() -> None:
    """The XML counts questions and failures, and holds the difference; what XML cannot hold is replaced."""
    story = STORY.replace("share: R1}\n  -", "share: R2}\n  -", 1)
    root = ET.fromstring(junit_xml(results(story).results))  # noqa: S314 - it is ours
    assert (root.attrib["tests"], root.attrib["failures"]) == ("4", "1")
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "expected: permit by R2; answered: permit by R1"
    odd = STORY.replace("deny: {share: R1}", 'deny: {"\\u0001": unknown_action}')
    assert ET.fromstring(junit_xml(results(odd).results)) is not None  # noqa: S314 - it is ours
