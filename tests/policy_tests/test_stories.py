"""Stories: what is misspelt is a fault with its place, never a question that passes silently."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import PolicyRefused
from authz.policy.compiler import CompiledPolicy, compile_texts
from authz.policy_tests.stories import Story, read_stories, read_story
from authz.policy_tests.yaml_values import DEEPEST, YamlRefused
from tests.support.stories import POLICY, STORY

COMPILED = compile_texts({"clinic.polar": POLICY})


def read(text: str, policy: CompiledPolicy = COMPILED) -> Story:
    return read_story(text, "clinic_test.yaml", policy)


def refusal(text: str) -> str:
    with pytest.raises(YamlRefused) as refused:
        read(text)
    return str(refused.value.fault).removeprefix("clinic_test.yaml:")


FAULTS = [
    ("questions:", "question:", "10:1: there is no key 'question' here; did you mean 'questions'?"),
    ("resource: patient:p-1", "resourc: patient:p-1", "12:5: there is no key 'resourc' here; did you mean 'resource'"),
    ("share: R1}", "shar: R1}", "13:24: no rule names the action 'shar' of a practitioner on a patient; did you mean"),
    ("view: R1", "view: R7", "13:14: 'R7' is no rule of the policy"),
    ("share: R1}\n  - sub", "share: unknown_action}\n  - sub", "13:24: 'unknown_action' is no rule of the policy"),
    ("practitioner:bob\n", "practitioner:bbo\n", "14:14: no fact names the practitioner 'bbo'; did you mean 'bob'?"),
    ("practitioner:bob\n", "practitione:bob\n", "14:14: there is no type 'practitione'; did you mean 'practitioner'?"),
    ("practitioner:bob\n", "bob\n", "14:14: 'bob' is not of the form type:id"),
    ("practitioner:bob\n", "practitioner:bob\n    unknown: subject\n", "14:14: a fact names the practitioner 'bob'"),
    ("deny: {share: R1}", "deny: {view: R2}", "17:12: the action 'view' is both permitted and denied"),
    ("permit: {view: R2}\n    deny: {share: R1}\n", "", "14:5: a question has permit, deny or both"),
    ("deny: {share: R1}", "deny: R1", "17:11: a list is expected here, not a text"),
    ("now: 2026-06-01T12:00:00Z", "now: 2026-06-01", "1:6: "),
    ("id: p-1, ", "idd: p-1, ", "8:14: patient has the unknown field 'idd'"),
    ("- patient:", "- patients:", "8:15: is of the unknown kind 'patients'"),
    ("name: Bob}", "name: Bob, name: Rob}", "5:67: the key 'name' occurs twice"),
    ("name: Bob}", "name: &b Bob}", "5:62: anchors and aliases are not read"),
    ("name: Bob}", "name: !!str Bob}", "5:62: tags such as tag:yaml.org,2002:str are not read"),
    ("name: Bob}", "name: Bob", "6:15: is no YAML: did not find expected ',' or '}'"),
    ("name: Bob}", f"name: {'[' * 30}{']' * 30}}}", "5:"),
    (STORY, f"{STORY}---\nmore\n", "18:1: a second document begins here"),
    (STORY, "", "1:1: is empty"),
    (STORY, "now: 2026-06-01T12:00:00Z\nfacts: []\n", "1:1: questions is missing here"),
    (STORY, "now: 2026-06-01T12:00:00Z\nfacts: []\nquestions: []\n", "3:12: has 0 questions; from 1 to 20,000"),
    (
        "facts:\n",
        "facts:\n  - transfer: {patient: p-1, to: bob, by: alice, when: x}\n",
        "3:15: a transfer has no field",
    ),
]


@pytest.mark.parametrize(("old", "new", "why"), FAULTS)
def test_a_fault_has_its_place(old: str, new: str, why: str) -> None:
    """Each unknown or malformed part of a story is refused with line, column and the reason."""
    assert old in STORY
    assert refusal(STORY.replace(old, new, 1)).startswith(why)


PIECES = [
    "now: ",
    "facts",
    "questions:",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "  ",
    "&a ",
    "*a",
    "!t ",
    "|",
    '"',
    "'",
    "#",
]


@given(st.lists(st.sampled_from([*PIECES, "2026-06-01T12:00:00Z", "a", "%YAML 1.2", "---", "\t", "\x01", "\ufeff"])))
def test_any_text_is_read_or_refused(parts: list[str]) -> None:
    """Whatever a file holds, it is a story or a fault with its place."""
    with contextlib.suppress(YamlRefused):
        read("".join(parts))


def test_depth_is_limited() -> None:
    """Nesting beyond the limit is refused, however deep it is."""
    assert f"in {DEEPEST} levels" in refusal("[" * 100_000)


def test_facts_may_be_the_text_of_an_import() -> None:
    """Facts may be NDJSON; a fault in it has the line of the file."""
    head, _, questions = STORY.partition("facts:\n")[0], None, STORY[STORY.index("questions:") :]
    lines = ['{"practitioner": {"id": "alice", "login": "alice@clinic.example", "name": "Alice"}}', '{"patient": {}}']
    assert refusal(f"{head}facts: |\n  {lines[0]}\n\n  {lines[1]}\n{questions}") == "5:1: patient lacks id"
    assert refusal(f"{head}facts: |\n  {lines[0]}\n  {{\n{questions}").startswith("4:1: is no JSON")


def test_a_question_about_the_unknown_states_it() -> None:
    """A question about a type, an id or an action that does not exist is possible if the story states that."""
    about = "  - subject: robot:r2\n    resource: patient:p-9\n    unknown: [resource]\n    deny: {fly: unknown_type}\n"
    assert read(STORY + about).questions[-1].reason == "unknown_type"
    about = "  - subject: practitioner:bob\n    resource: patient:p-1\n    deny: {fly: unknown_action}\n"
    assert read(STORY + about).questions[-1].reason == "unknown_action"


def test_a_plain_scalar_is_what_it_looks_like() -> None:
    """`no`, dates and numbers with a leading zero are texts; only true, false and numbers are not."""
    context = "  - {subject: practitioner:bob, resource: patient:p-1, permit: [view], context: "
    story = read(STORY + context + "{a: no, b: 2026-01-01, c: 012, d: true, e: 1.5, f: null, g: '1'}}\n")
    expected = {"a": "no", "b": "2026-01-01", "c": "012", "d": True, "e": 1.5, "f": None, "g": "1"}
    assert story.questions[-1].request == {"context": expected}


def test_a_folder_without_stories_is_refused(tmp_path: Path) -> None:
    """A folder without a story is refused, and so is a file that is no UTF-8: nothing passes silently."""
    with pytest.raises(PolicyRefused, match="has 0 files"):
        read_stories(tmp_path, COMPILED)
    (tmp_path / "a_test.yaml").write_bytes(b"\xff")
    with pytest.raises(PolicyRefused, match="cannot be read"):
        read_stories(tmp_path, COMPILED)
