"""What the policy decision point answers, and how it is explained."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from authz.domain import FOREVER_MICROS, from_micros

Ref = tuple[str, str]
"""A subject or a resource: its type and its id."""


class Decision(NamedTuple):
    """One answer. `rule` and the witness (`grant`, `standing_share`) are those of the first way that permits.

    `reason` is a key of `authz.domain.REASONS`; `until` is when the witness ends (None: it has no end); `rules` are
    all rules on the way, `rule` the outermost; `evaluated_micros` is the instant asked about. `detail` says, of the
    reason ``wrong_type``, which value is meant.
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
        return self.rules[0] if self.rules else None

    @property
    def until(self) -> datetime | None:
        forever = self.until_micros is None or self.until_micros == FOREVER_MICROS
        return None if forever else from_micros(self.until_micros or 0)

    @property
    def evaluated_at(self) -> datetime:
        return from_micros(self.evaluated_micros)


class MatrixEntry(NamedTuple):
    """One row of the access matrix."""

    subject: str
    resource: str
    rule: str | None
    grant: int | None


@dataclass(frozen=True)
class Derivation:
    """One way to a permit, and how far a pair gets on it: sentences, each with its rule's number.

    `once` counts the unmet conditions that were met at another time, or will be.
    """

    rule: str | None
    rules: tuple[str, ...]
    met: tuple[str, ...]
    unmet: tuple[str, ...]
    first_unmet_rule: str | None
    once: int = 0


@dataclass(frozen=True)
class Explanation:
    """Why a decision is what it is: every way to a permit, the nearest first."""

    decision: Decision
    ways: tuple[Derivation, ...]

    @property
    def nearest(self) -> Derivation | None:
        return self.ways[0] if self.ways else None

    def told(self) -> list[dict[str, Any]]:
        """The ways for a program to read, alike over HTTP and at the command line."""
        return [{"rule": way.rule, "rules": way.rules, "met": way.met, "unmet": way.unmet} for way in self.ways]
