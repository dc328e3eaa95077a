"""Refusals: what a pass of the compiler raises, and the limit of steps after which compiling is refused."""

import difflib
from collections.abc import Iterable

from authz.errors import Fault
from authz.policy.compiler.nodes import Place

MOST_STEPS = 200_000
"""The most steps in which a policy compiles (the shipped policies take about 1,500)."""


class Refused(Exception):
    """A policy outside what can be compiled; `fault` says where and why."""

    def __init__(self, place: Place, why: str) -> None:
        self.fault: Fault = place.fault(why)


class StepBudget:
    """The steps that are left to compile a policy: the same number on every machine, busy or not."""

    def __init__(self, steps: int) -> None:
        self._steps = self._left = steps

    def spend(self, place: Place, steps: int = 1) -> None:
        """Take some steps from the budget. Raise `Refused` if it is used up."""
        self._left -= steps
        if self._left < 0:
            why = f"the policy takes more than {self._steps:,} steps to compile; use fewer alternatives"
            raise Refused(place, why)


def suggest(name: str, known: Iterable[object]) -> str:
    """Return ``; did you mean 'owner'?`` if a known name is near, otherwise an empty text."""
    close = difflib.get_close_matches(name, [str(other) for other in known], 1)
    return f"; did you mean {close[0]!r}?" if close else ""
