"""Decisions of the policy decision point, and their explanations."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from authz.domain import FOREVER_MICROS, from_micros

Ref = tuple[str, str]
"""A subject or a resource: its type and its id."""


class Decision(NamedTuple):
    """The answer to one question.

    `rules`, `rule` and the witness (`grant`, `standing_share`) come from the first derivation that permits: `rules` are
    all its rules, `rule` is the outermost. `reason` is a key of `authz.domain.REASONS`. `until` is when the witness
    ends, None if it has no end. `evaluated_micros` is the instant of the question, in microseconds since 1970. For the
    reason ``wrong_type``, `detail` names the value of the request that has the wrong type.
    """

    allowed: bool
    reason: str
    policy_version: str
    evaluated_micros: int
    rules: tuple[str, ...] = ()
    grant: int | None = None
    standing_share: int | None = None
    until_micros: int | None = None
    detail: str = ""

    @property
    def rule(self) -> str | None:
        """The number of the rule that permits; None if it has none, or for a denial."""
        return self.rules[0] if self.rules else None

    @property
    def until(self) -> datetime | None:
        """The end of the witness; None if there is no end."""
        forever = self.until_micros is None or self.until_micros == FOREVER_MICROS
        return None if forever else from_micros(self.until_micros or 0)

    @property
    def evaluated_at(self) -> datetime:
        """The instant asked about."""
        return from_micros(self.evaluated_micros)


class MatrixEntry(NamedTuple):
    """One row of the access matrix."""

    subject: str
    resource: str
    rule: str | None
    grant: int | None


@dataclass(frozen=True)
class Derivation:
    """One way in which the rules permit, with the conditions that a pair meets and fails: texts with rule numbers.

    `sentence` is what the policy says of `rule`. `met_at_another_time` counts the unmet conditions that were met before
    the instant asked about, or will be met after it.
    """

    rule: str | None
    rules: tuple[str, ...]
    met: tuple[str, ...]
    unmet: tuple[str, ...]
    first_unmet_rule: str | None
    met_at_another_time: int = 0
    sentence: str = ""


@dataclass(frozen=True)
class Explanation:
    """The explanation of a decision: every derivation of a permit, the nearest first."""

    decision: Decision
    derivations: tuple[Derivation, ...]

    @property
    def nearest(self) -> Derivation | None:
        """The derivation with the fewest unmet conditions."""
        return self.derivations[0] if self.derivations else None

    def serialize(self) -> list[dict[str, object]]:
        """Return the derivations as JSON, the same over HTTP and at the command line."""
        return [
            {
                "rule": derivation.rule,
                "sentence": derivation.sentence or None,
                "rules": derivation.rules,
                "met": derivation.met,
                "unmet": derivation.unmet,
            }
            for derivation in self.derivations
        ]
