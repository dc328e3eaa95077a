"""The page of the language is true: each example of it compiles, or is refused with its place."""

import re

import pytest

from authz.errors import PolicyRefused
from authz.policy.compiler import compile_texts
from tests.support.documents import page

TEXT = page("docs/reference/language.md")
(TYPES,) = re.findall(r"```toml\n(.*?)```", TEXT, re.S)
COMPILED, REFUSED = TEXT.split("## Refused")


def rows(text: str) -> list[tuple[str, str]]:
    """Return construct and example of each row of a table."""
    return re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|", text, re.M)


def texts(example: str) -> dict[str, str]:
    """Return the policy of an example: itself if it is whole, otherwise a rule with it as a condition."""
    whole = example.endswith(";") or "; " in example
    rule = f'allow(u: User, "view", f: File) if u.id = u.id and f.id = f.id and ({example});'
    return {"p.polar": example if whole else rule, "types.toml": TYPES}


@pytest.mark.parametrize(("construct", "example"), rows(COMPILED))
def test_what_the_page_calls_compiled(construct: str, example: str) -> None:
    """Each construct that the page calls compiled permits something."""
    assert compile_texts(texts(example)).queries, construct


@pytest.mark.parametrize(("construct", "example"), rows(REFUSED))
def test_what_the_page_calls_refused(construct: str, example: str) -> None:
    """Each construct that the page calls refused is refused at its place, by a sentence of our own."""
    with pytest.raises(PolicyRefused) as caught:
        compile_texts(texts(example))
    for fault in caught.value.faults:
        assert fault.file == "p.polar", construct
        assert fault.line == 1
        assert fault.column >= 1
        assert not re.search(r"_value_|\{\}|token", fault.why), fault


def test_the_page_has_both_tables() -> None:
    """Both tables have the rows that the page shows, none twice."""
    both = rows(COMPILED) + rows(REFUSED)
    assert len(both) == len(re.findall(r"^\| [^C-]", TEXT, re.M)) == len({construct for construct, _ in both})
