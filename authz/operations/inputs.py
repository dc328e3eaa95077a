"""The checks of an operation's input: number of patients, reason, end."""

from collections.abc import Sequence
from datetime import datetime

from authz.domain import FOREVER, format_instant
from authz.errors import InvalidInput

MOST_AT_ONCE = 1000
"""The most patients of one request."""
LONGEST_REASON = 500
"""Characters of a reason."""


def require_distinct(patients: Sequence[str]) -> None:
    """Raise `InvalidInput` for no patient, for too many, or for one that is named twice."""
    if not patients:
        raise InvalidInput("patients: name at least one")
    if len(patients) > MOST_AT_ONCE:
        raise InvalidInput(f"patients: name at most {MOST_AT_ONCE}")
    if len(set(patients)) < len(patients):
        raise InvalidInput("patients: one is named twice")


def parse_reason(reason: str) -> str:
    """Return a reason as it is stored. Raises `InvalidInput` for one that is too long or holds control characters."""
    if len(reason) > LONGEST_REASON or not all(character.isprintable() for character in reason):
        raise InvalidInput(f"reason: up to {LONGEST_REASON} characters, none of them a control character")
    return reason


def parse_end(until: datetime | None, now: datetime) -> datetime:
    """Return the end of a fact, `FOREVER` for None. Raises `InvalidInput` for one that is not in the future."""
    if until is not None and until <= now:
        raise InvalidInput(f"until: the end {format_instant(until)} is not in the future")
    return FOREVER if until is None else until
