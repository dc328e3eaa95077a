"""The text of cells: no spreadsheet takes it for a formula, and an id that comes back from an office is unchanged."""

import re

_FORMULA = re.compile(r"\s*[=+\-@\t\r|＝＋－＠]")
_UNCHANGED = re.compile(r"(?!(?:true|false)$)[^\W\d_]+|[A-Za-z]{1,2}[-_]?\d+", re.IGNORECASE)

RETURNED_SHEETS = {"review_sheet": ("patient", "practitioner")}
"""The questions whose sheets come back, each with its columns of ids."""


def escape_formula(value: str) -> str:
    """Put an apostrophe before a text that a spreadsheet could take for a formula."""
    return f"'{value}" if _FORMULA.match(value) else value


def unescape_formula(value: str) -> str:
    """Return the text from which `escape_formula` made this one."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value[1:]) else value


def protect_id(value: str) -> str:
    """Put an apostrophe before an id that a spreadsheet could change.

    A spreadsheet changes what could be a number, a date, a truth value or a formula. An id that begins with an
    apostrophe gets a second one.
    """
    return value if _UNCHANGED.fullmatch(value) else f"'{value}"


def unprotect_id(value: str) -> str:
    """Return the id from which `protect_id` made this text."""
    return value[1:] if value.startswith("'") else value
