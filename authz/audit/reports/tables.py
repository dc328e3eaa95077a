"""A frame as an HTML table for people: yes and no, instants to the second, an empty cell for a missing value."""

from html import escape
from typing import Any

import pandas as pd

MOST_COLUMNS = 10
"""A table with more columns is wide: the columns of `FIRST` come first."""

FIRST = (
    *("change", "at", "day", "practitioner", "role", "what", "did", "action", "patient", "owner", "colleague", "how"),
    *("resource", "allowed", "why", "reason", "rule", "purpose", "given_by", "since", "until", "ended_by", "end_cause"),
)
"""The columns that say who, what, when and why: in a wide table they come first, in this order."""


def arrange(frame: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """Return a frame as people see it, and a note to put below it.

    A wide table loses the columns that are empty throughout. The note lists them, and says how many rows there are
    beyond `most`.
    """
    columns = list(frame.columns)
    empty = [name for name in columns if len(columns) > MOST_COLUMNS and len(frame) and frame[name].isna().all()]
    kept = [name for name in columns if name not in empty]
    if len(kept) > MOST_COLUMNS:
        first = [name for name in FIRST if name in kept]
        kept = [*first, *(name for name in kept if name not in first)]
    more = len(frame) - most
    notes = [f"{more:,} more rows are in the CSV and the workbook."] if more > 0 else []
    notes += [f"Empty throughout: {', '.join(map(heading, empty))}."] if empty else []
    return frame[kept], f"<p class='said'>{escape(' '.join(notes))}</p>" if notes else ""


def as_table(frame: pd.DataFrame, most: int) -> str:
    """Return the first rows of a frame as an HTML table without any script."""
    arranged, note = arrange(frame, most)
    head = "".join(f"<th scope='col'>{escape(heading(name))}</th>" for name in arranged.columns)
    rows = "".join(
        f"<tr>{''.join(map(_cell, arranged.columns, row))}</tr>" for row in arranged.head(most).itertuples(index=False)
    )
    wide = " wide" if len(arranged.columns) > MOST_COLUMNS else ""
    table = f"<table class='answer{wide}'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='scroll'>{table}</div>{note}"


def heading(name: object) -> str:
    """Return a column's name as people read it."""
    return str(name).replace("_", " ")


def _cell(name: str, value: object) -> str:
    kind = " class='instant'" if isinstance(value, pd.Timestamp) else ""
    return f"<td{kind}>{escape(format_cell(name, value))}</td>"


def format_cell(name: object, value: object) -> str:
    """Return one value of a column as people read it; a policy's version is cut to its beginning."""
    text = format_value(value)
    return text[:12] if name == "policy_version" else text


def format_value(value: Any) -> str:
    """Return one value as people read it."""
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d") if value.tzinfo is None else value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
