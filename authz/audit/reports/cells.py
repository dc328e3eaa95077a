"""The text of cells: no spreadsheet takes one for a formula, and ids that come back are what they were."""

import re

_FORMULA = re.compile(r"\s*[=+\-@\t\r|＝＋－＠]")
_UNCHANGED = re.compile(r"(?!(?:true|false)$)[^\W\d_]+|[A-Za-z]{1,2}[-_]?\d+", re.IGNORECASE)

RETURNED = {"review_sheet": ("patient", "practitioner")}
"""The questions whose sheets come back, each with its columns of ids."""


def safe(value: str) -> str:
    """A text that no spreadsheet takes for a formula: one that could be begins with an apostrophe."""
    return f"'{value}" if _FORMULA.match(value) else value


def unsafe(value: str) -> str:
    """Return the text from which `safe` made this one."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value[1:]) else value


def guarded(value: str) -> str:
    """An id that an office gives back as it is: one that could be a number, a date, a truth value or a formula, or that
    begins with an apostrophe, has an apostrophe before it.
    """
    return value if _UNCHANGED.fullmatch(value) else f"'{value}"


def recovered(value: str) -> str:
    """Return the text from which `guarded` made this one."""
    return value[1:] if value.startswith("'") else value
