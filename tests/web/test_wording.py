"""Every refusal, problem and notification has its own sentence, and no sentence is made from an identifier."""

import re
from pathlib import Path

import pytest

from api.errors import _KIND_BY_ERROR, PROBLEMS
from api.web.refusals import _SENTENCES
from api.web.wording import _INVALID_FIELDS, NOTIFICATIONS, FormError, describe_refusal
from authz import errors
from authz.errors import DENIALS, CaregrantError, Denied, InvalidInput

ANSWERED_OTHERWISE = {"BatchRefused", "InvalidInput", "TooMany", "Unavailable"}
"""Errors for which `problem_of` makes the problem from the error itself."""

NEVER_IN_A_REQUEST = {"ImportRefused", "PolicyRefused"}
"""Errors of an import or of the start of a service."""

ROOT = Path(__file__).parents[2]


def is_sentence(text: str) -> bool:
    return text[:1].isupper() and text[-1:] == "." and not re.search(r"\w_\w|None|[{}]", text)


def test_every_action_has_a_denial() -> None:
    """Each action of the decision tables, and provisioning, has its own sentence of refusal."""
    tables = re.findall(r"^\| Subject \| (.*) \|$", (ROOT / "policies" / "README.md").read_text(encoding="utf-8"), re.M)
    actions = {action.strip() for table in tables[:2] for action in table.split("|")}
    assert len(actions) >= 12
    assert set(DENIALS) == actions | {"provision", "break_glass", "review_emergency"}
    assert len(set(DENIALS.values())) == len(DENIALS)
    assert all(is_sentence(str(Denied(action))) for action in DENIALS)


def test_every_error_is_a_problem() -> None:
    """Each class of error is a problem, or is known to concern no request."""
    classes = {
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, CaregrantError)
    }
    known = {each.__name__ for each in _KIND_BY_ERROR} | ANSWERED_OTHERWISE | NEVER_IN_A_REQUEST | {"CaregrantError"}
    assert classes == known
    assert set(_KIND_BY_ERROR.values()) <= set(PROBLEMS)


def test_every_problem_has_a_page() -> None:
    """Each kind of problem has a title for apps, and a title and a sentence for people."""
    assert set(_SENTENCES) == set(PROBLEMS)
    assert len({title for _, title in PROBLEMS.values()}) == len(PROBLEMS)
    for title, sentence in _SENTENCES.values():
        assert is_sentence(f"{title}.")
        assert is_sentence(sentence)


def test_every_notification_has_a_sentence() -> None:
    """Each kind of notification in events.md has a sentence, which names people and patients alone."""
    text = next((ROOT / "docs").rglob("events.md")).read_text(encoding="utf-8")
    *_, table = re.findall(r"(?:^\| `.*\n)+", text, re.M)
    assert set(NOTIFICATIONS) == set(re.findall(r"^\| `(\w+:\w+)` \|", table, re.M))
    for sentence in NOTIFICATIONS.values():
        assert is_sentence(f"{sentence.format(actor='Ann', colleague='Bob', patient='Carl', end='on 3 May')}.")


@pytest.mark.parametrize("field", [*_INVALID_FIELDS, "some_field"])
def test_no_sentence_is_made_from_a_field(field: str) -> None:
    """A form reports an invalid value in the page's own sentence, without the field's name."""
    sentence = describe_refusal(InvalidInput(f"{field}: is not one_of these"))
    assert is_sentence(sentence)
    assert "one_of" not in sentence
    assert describe_refusal(FormError(field, "Choose the colleague first.")) == "Choose the colleague first."
