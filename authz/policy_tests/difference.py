"""Descriptions: what a story expects and what the policy answers, for people.

policies/patient_test.yaml:57:14: practitioner:bob view patient:p-1 at 2026-06-01T12:00:00Z
    expected: permit by R5
    answered: deny by R2
"""

from authz.domain import REASONS, format_instant
from authz.policy.decision import Derivation
from authz.policy_tests.asking import Outcome


def describe_place(outcome: Outcome) -> str:
    """Return the place of a question and the question."""
    question = outcome.question
    at = format_instant(question.at)
    return f"{question.file}:{question.line}:{question.column}: {question.text} at {at}"


def describe_difference(outcome: Outcome) -> list[str]:
    """Return the lines that describe a question that failed: expected, answered, the searches, and the reason."""
    question, decision = outcome.question, outcome.decision
    lines = [
        f"expected: {_answer(question.allowed, question.reason, question.rule)}",
        f"answered: {_answer(decision.allowed, decision.reason, outcome.rule)}",
        *(f"but {disagreement}" for disagreement in outcome.disagreements),
    ]
    if decision.detail:
        lines.append(decision.detail)
    explanation = outcome.explanation
    derivations = explanation.derivations if explanation else ()
    if decision.allowed:
        shown = [derivation for derivation in derivations if not derivation.unmet][:1]
    else:
        shown = [*derivations[:1]]
    for derivation in shown:
        lines += _derivation(derivation)
    return lines


def _answer(allowed: bool, reason: str, rule: str) -> str:
    parts = ["permit" if allowed else "deny"]
    if rule:
        parts.append(f"by {rule}")
    if reason not in ("permitted", "denied"):
        parts.append(f"({reason}: {REASONS[reason]})")
    return " ".join(parts)


def _derivation(derivation: Derivation) -> list[str]:
    verdict = "the nearest derivation" if derivation.unmet else "the derivation that permits"
    sentence = f": {derivation.sentence}" if derivation.sentence else ""
    return [
        f"{verdict}, {derivation.rule or 'a rule without a number'}{sentence}",
        *(f"  met    {condition}" for condition in derivation.met),
        *(f"  UNMET  {condition}" for condition in derivation.unmet),
    ]
