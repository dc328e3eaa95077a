"""Rule numbers are comments: rules that they number, refusals, and the form of older policies (decision 0092)."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from authz.errors import PolicyRefused
from authz.policy.compiler import CompiledPolicy, Query, compile_texts
from tests.support.acting import POLICY

DOOR = """actor Practitioner {}
resource Patient {
    roles = ["owner"];
    permissions = ["view"];
    "view" if "owner";
}
allow(p: Practitioner, action, x: Patient) if has_permission(p, action, x);
"""
OWNER = 'has_role(p: Practitioner, "owner", x: Patient) if held(p, x);\n'
HELPER = "held(p, x) if g in x.grants and g.practitioner = p;\n"
NAMED = 'has_role(p: Practitioner, "owner", x: Patient) if p.name = x.name;\n'


def compiled(text: str) -> CompiledPolicy:
    return compile_texts({"policy.polar": DOOR + text})


def queries(text: str) -> tuple[Query, ...]:
    return compiled(text).queries["Practitioner", "Patient"]


def without_places(numbered: Iterable[Query]) -> list[Query]:
    return [
        replace(query, conditions=tuple(replace(condition, place=None) for condition in query.conditions))
        for query in numbered
    ]


def test_a_comment_directly_above_numbers_a_rule_and_its_conditions() -> None:
    """A query has the numbers of its rules, outermost first, and a condition that of the innermost numbered rule."""
    (query,) = queries(f"# R1. Owners view.\n{OWNER}\n# R2. By a grant.\n{HELPER}")
    assert query.rules == ("R1", "R2")
    assert {condition.rule for condition in query.conditions if condition.place} == {"R2"}
    (query,) = queries(f"# R1. Owners view.\n{OWNER}\n# A helper.\n{HELPER}")
    assert query.rules == ("R1",)
    assert {condition.rule for condition in query.conditions if condition.place} == {"R1"}


def test_a_comment_numbers_the_rules_up_to_a_blank_line() -> None:
    """Rules without a blank line between them share the number; a blank line or another comment ends it."""
    assert [query.rules for query in queries(f"# R1. Owners view.\n{OWNER}{NAMED}\n{HELPER}")] == [("R1",), ("R1",)]
    two = f"# R1. Owners view.\n{OWNER}# R2. And namesakes.\n{NAMED}\n{HELPER}"
    assert [query.rules for query in queries(two)] == [("R1",), ("R2",)]


def test_the_sentence_is_what_the_comments_say() -> None:
    """A sentence continues in the next comment lines; the sentences above several rules of a number are joined once."""
    text = f"# R1. Owners\n#   view.\n{OWNER}\n# R1. And namesakes.\n{NAMED}\n# R1. And namesakes.\n{NAMED}\n{HELPER}"
    assert compiled(text).sentences == {"R1": "Owners view. And namesakes."}
    assert compiled(OWNER + HELPER).sentences == {}


def test_a_comment_behind_code_numbers_nothing() -> None:
    """A comment after code on the same line numbers no rule."""
    assert compiled(f'{OWNER}{HELPER}odd(x) if x.name = "a"; # R2. No.\neven(x) if x.name = "a";\n').sentences == {}


REFUSED = {
    "a role without a number": (f"# R1. Owners view.\n{OWNER}\n{NAMED}\n{HELPER}", 11, "has_role has no number"),
    "an allow that grants": (
        f'# R1. Owners view.\n{OWNER}\n{HELPER}\nallow(p: Practitioner, "view", x: Patient) if p.id = x.id;',
        13,
        "allow has no number",
    ),
    "a number above a blank line": (f"# R1. Owners view.\n{OWNER}\n# R2. By a grant.\n\n{HELPER}", 11, "above no rule"),
    "a number within a rule": (
        f"# R1. Owners view.\n{OWNER}\nheld(p, x) if\n    # R2. By a grant.\n    g in x.grants and g.practitioner = p;",
        12,
        "above no rule",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_directory_that_is_numbered_in_part_is_refused(name: str) -> None:
    """In a directory with numbers, a rule without a number and a number without a rule are refused."""
    text, line, why = REFUSED[name]
    with pytest.raises(PolicyRefused, match=why) as caught:
        compiled(text)
    assert [fault.line for fault in caught.value.faults] == [line]


def test_a_number_in_a_block_is_refused() -> None:
    """A number on a line of a block is refused, because the line has the number of its role's rule."""
    text = DOOR.replace('    "view" if', '    # R1. Owners view.\n    "view" if')
    with pytest.raises(PolicyRefused, match=r"policy\.polar:5:5: a line of a block has the number"):
        compile_texts({"policy.polar": text + OWNER + HELPER})


def test_an_old_policy_is_read_as_it_was() -> None:
    """Numbers as first conditions compile as numbers in comments do; in such a policy comments number nothing."""
    old = OWNER.replace("if", 'if "R1" in p.rules and') + HELPER.replace("if", 'if "R2" in p.rules and')
    new = f"# R1. Owners view.\n{OWNER}\n# R2. By a grant.\n{HELPER}"
    assert without_places(queries(old)) == without_places(queries(new))
    assert without_places(queries(f"# R7. Not read.\n{old}")) == without_places(queries(new))
    assert [query.rules for query in queries(f"{old}{NAMED}")] == [("R1", "R2"), ()]
    assert "write them as comments" in compiled(old).warnings[0]
    assert compiled(new).warnings == ()


def in_old_form(text: str) -> str:
    """Return a shipped policy file as it was before: the number as the first condition of its rules."""
    lines, number = list[str](), ""
    for line in text.split("\n"):
        comment = re.match(r"# (R\d+)\.", line)
        number = comment[1] if comment else number if line else ""
        lines.append(line)
        if number and line.endswith(" if"):
            lines.append(f'    "{number}" in practitioner.rules and')
    return "\n".join(lines)


def test_the_shipped_policies_of_before_compile_to_the_same() -> None:
    """The shipped policies in the old form compile to the same queries, with the same rules in the same order."""
    old = compile_texts({name: in_old_form(text) for name, text in POLICY.texts.items()})
    assert sum(text.count("practitioner.rules") for text in old.texts.values()) == 17
    for pair, expected in POLICY.queries.items():
        assert without_places(old.queries[pair]) == without_places(expected)
    for pair, expected in POLICY.role_queries.items():
        assert without_places(old.role_queries[pair]) == without_places(expected)
    assert old.sentences == {}


@pytest.mark.parametrize(
    "condition",
    [
        'p.id = x.id and "R1" in p.rules',
        "p.id in p.rules",
        '"R1" in p.rules or true',
        '"admin" in p.rules and held(p, x)',
        '"R1" in p.request.rules and held(p, x)',
        '"R1" in p.request.context.rules and held(p, x)',
        '"R1" in x.subscription.rules and held(p, x)',
        'g in x.grants and "R1" in g.rules',
    ],
)
def test_only_a_number_of_a_parameter_is_an_old_number(condition: str) -> None:
    """What is no number in the old form is refused: taken for a number it would no longer restrict the rule."""
    with pytest.raises(PolicyRefused, match="the number of a rule is a comment directly above it"):
        compiled(OWNER.replace("held(p, x)", condition))


@pytest.mark.parametrize("argument", ["p.request", "p.request.context", "p.id", '"R1"'])
def test_an_old_number_is_of_a_row(argument: str) -> None:
    """A number in the old form on a value that is no row is refused where the rule is called."""
    allow = f'allow(p: Practitioner, "view", x: Patient) if seen({argument}) and held(p, x);'
    with pytest.raises(PolicyRefused, match="must be a row"):
        compile_texts({"policy.polar": f'{allow}\nseen(value) if "R1" in value.rules;\n{HELPER}'})
