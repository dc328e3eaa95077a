"""Coverage and mutants of a small policy, against tables made by hand; and those of the shipped policies."""

from authz.policy.compiler import compile_texts, load
from authz.policy_tests.coverage import Coverage, measure, uncovered
from authz.policy_tests.listing import coverage_page, listed_files
from authz.policy_tests.mutants import mutants, try_mutants
from authz.policy_tests.running import run_stories
from authz.policy_tests.stories import read_stories, read_story
from authz.settings import shipped_folder
from tests.support.stories import POLICY, STORY

COMPILED = compile_texts({"clinic.polar": POLICY})
MEASURED = measure(COMPILED, [read_story(STORY, "clinic_test.yaml", COMPILED)])

BY_HAND = [
    # Line, condition, decides a permit, alone causes a denial (None: the policy does not compile without it).
    (1, "has_permission(p, action, x)", True, None),
    (13, "fact.started_at <= now", True, False),
    (13, "now < fact.ended_at", True, False),
    (17, "g in x.grants", True, None),
    (18, "g.practitioner = p", True, True),
    (19, 'g.role = "owner"', True, True),
    (20, "live(g)", True, False),
    (21, 'has_role(p, "owner", x)', True, False),  # no question is denied a view
    (25, "g in x.grants", True, None),
    (26, "g.practitioner = p", True, False),
    (27, 'g.role = "viewer"', True, False),
    (27, "p.request.context.emergency = true", False, False),
]


def test_the_table_by_hand() -> None:
    """Each condition has the coverage that a person finds by hand."""
    measured = [
        (condition.condition.span.line, condition.condition.span.cut(POLICY), condition.permits, condition.denies)
        for rule in MEASURED.rules
        for condition in rule.conditions
    ]
    assert sorted(measured, key=lambda row: row[0]) == BY_HAND


def test_lines_of_blocks_and_rules() -> None:
    """A line of a block and a rule are covered if a permit goes through them."""
    permits = {rule.rule.span.line: rule.permits for rule in MEASURED.rules}
    assert permits == {1: True, 9: True, 10: True, 13: True, 16: True, 21: True, 24: True}
    only_alice = STORY[: STORY.index("  - subject: practitioner:bob")]
    measured = measure(COMPILED, [read_story(only_alice, "clinic_test.yaml", COMPILED)])
    assert ("clinic.polar:24:1", "no question is permitted by this rule") in list(uncovered(measured))
    assert measured.percent < MEASURED.percent < 100


def marks(coverage: Coverage) -> dict[int, str]:
    ((_, lines),) = listed_files(COMPILED.texts, coverage)
    return {line.number: line.mark for line in lines}


def test_the_listing_marks_each_line() -> None:
    """The mark of a line is its worst state; the page holds the text, escaped, with a state for each part."""
    assert {number: mark for number, mark in marks(MEASURED).items() if mark != " "} == {
        **dict.fromkeys((1, 9, 10, 16, 17, 18, 19, 24, 25), "+"),
        **dict.fromkeys((13, 20, 21, 26), "~"),
        27: "-",
    }
    page = coverage_page(COMPILED.texts, MEASURED, COMPILED.version)
    assert '<span class="partly" title="partly">fact.started_at &lt;= now</span>' in page
    assert "clinic.polar:27:" in page


def test_a_mutant_is_noticed_or_listed() -> None:
    """Each mutant is noticed if a question gets another answer; those that none notices are what a person expects."""
    results = list(try_mutants(COMPILED, [read_story(STORY, "clinic_test.yaml", COMPILED)]))
    names = [result.mutant.name for result in results]
    assert len(set(names)) == len(names)
    unnoticed = [result.mutant.change for result in results if result.verdict == "unnoticed"]
    assert unnoticed == [
        "without fact.started_at <= now",
        "without now < fact.ended_at",
        "< for <= in fact.started_at <= now",
        "<= for < in now < fact.ended_at",
        "without live(g)",
        "without g.practitioner = p",
        "without the alternative p.request.context.emergency = true",
        "!= for = in p.request.context.emergency = true",
        "false for true in p.request.context.emergency = true",
    ]
    noticed = {result.mutant.change for result in results if result.verdict == "noticed"}
    assert {'without g.role = "owner"', "dropped", '"viewer" for "owner" in "share" if "owner";'} <= noticed


def test_an_equivalent_mutant_is_proven() -> None:
    """A condition that the compiler adds anyway can be dropped: the mutant is equivalent, which containment proves."""
    policy = POLICY.replace("g in x.grants and\n", "live(x) and\n    g in x.grants and\n", 1)
    compiled = compile_texts({"clinic.polar": policy})
    only = [mutant for mutant in mutants(compiled.texts) if mutant.change == "without live(x)"]
    stories = [read_story(STORY, "clinic_test.yaml", compiled)]
    assert [result.verdict for result in try_mutants(compiled, stories, only=only)] == ["equivalent"]


def test_no_mutant_of_the_shipped_policies_is_unnoticed() -> None:
    """The stories of the shipped policies pass, name every rule, and notice each change of a condition.

    Of the lines of blocks with another role every fourth is tried; `caregrant policy test --mutate` tries all.
    Changes that are proven to change nothing are those of `live(patient)`, which the compiler adds to every policy, and
    of the auditor's role for a manager, who audits anyway.
    """
    folder = shipped_folder("policies")
    policy = load(folder)
    stories = read_stories(folder, policy)
    assert not run_stories(policy, stories).failures
    assert {question.rule for story in stories for question in story.questions} - {""} == set(policy.sentences)
    every = mutants(policy.texts)
    swapped_roles = [mutant for mutant in every if " if " in mutant.rule and " for " in mutant.change]
    chosen = [
        mutant for mutant in every if mutant not in swapped_roles[1::4] + swapped_roles[2::4] + swapped_roles[3::4]
    ]
    verdicts = {result.mutant.name: result.verdict for result in try_mutants(policy, stories, only=chosen)}
    assert [name for name, verdict in verdicts.items() if verdict == "unnoticed"] == []
    equivalent = sorted(name.rpartition(": ")[2] for name, verdict in verdicts.items() if verdict == "equivalent")
    assert equivalent == ['["auditor", "manager"] for ["auditor"]', *["without live(patient)"] * 3]
