"""Explanations: the conditions that a pair meets and fails, in the policy's words."""

from authz.database import Database
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.acting import POLICY, pdp_of
from tests.support.people import NOW

CHAIN = """
allow(p: Practitioner, "view", x: Patient) if
    a in p.grants and
    b in a.patient.grants and
    c in b.practitioner.grants and
    c.patient = x;
"""


def test_a_row_is_probed_with_all_rows_that_it_builds_on(database: Database) -> None:
    """The third row of a chain builds on the first through the second: without the first, none of them is met."""
    people.fill(database)
    pdp = PDP(database, compile_texts({"p.polar": CHAIN}), clock=lambda: NOW)
    for who, unmet in (("alice", 0), ("dan", 3)):
        (derivation,) = pdp.explain(("practitioner", who), "view", ("patient", "p-1")).derivations
        assert (len(derivation.unmet), len(derivation.met)) == (unmet, 4 - unmet), derivation


def test_an_explanation_names_the_rule_and_its_sentence(database: Database) -> None:
    """Each derivation carries the number of its outermost rule and the rule's sentence."""
    people.fill(database)
    explanation = pdp_of(database).explain(("practitioner", "bob"), "view", ("patient", "p-1"))
    sentences = {derivation.rule: derivation.sentence for derivation in explanation.derivations}
    assert sentences == {rule: POLICY.sentences[rule] for rule in ("R3", "R4", "R5")}
    assert explanation.nearest is not None
    assert explanation.nearest.sentence == "A viewer views, and may give up their own share. Nothing else."
    assert explanation.serialize()[0]["sentence"] == explanation.nearest.sentence


def test_a_rule_without_a_number_has_no_sentence(database: Database) -> None:
    """A derivation of a policy without rule numbers names no rule and no sentence."""
    people.fill(database)
    pdp = PDP(database, compile_texts({"p.polar": CHAIN}), clock=lambda: NOW)
    derivations = pdp.explain(("practitioner", "alice"), "view", ("patient", "p-1")).serialize()
    assert [(derivation["rule"], derivation["sentence"], derivation["rules"]) for derivation in derivations] == [
        (None, None, ())
    ]
