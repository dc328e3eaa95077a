"""A frame as an HTML table for people: yes and no, instants to the second, nothing where there is nothing."""

from html import escape
from typing import Any

import pandas as pd

MOST_COLUMNS = 10
"""A table with more columns is wide: those of `FIRST` come first."""

FIRST = (
    *("change", "at", "day", "practitioner", "role", "what", "did", "action", "patient", "owner", "colleague", "how"),
    *("resource", "allowed", "why", "reason", "rule", "purpose", "given_by", "since", "until", "ended_by", "end_cause"),
)
"""The columns that say who, what, when and why: of a wide table they come first, in this order."""


def arrange(frame: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """A frame as it is shown, and what is said below it: how many more rows there are, and which columns of many are
    left out because they are empty throughout.
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
    """The first rows of a frame; nothing of it runs."""
    arranged, note = arrange(frame, most)
    head = "".join(f"<th scope='col'>{escape(heading(name))}</th>" for name in arranged.columns)
    rows = "".join(
        f"<tr>{''.join(map(_cell, arranged.columns, row))}</tr>" for row in arranged.head(most).itertuples(index=False)
    )
    wide = " wide" if len(arranged.columns) > MOST_COLUMNS else ""
    table = f"<table class='answer{wide}'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='scroll'>{table}</div>{note}"


def heading(name: object) -> str:
    """A column's name as people read it."""
    return str(name).replace("_", " ")


def _cell(name: str, value: Any) -> str:
    kind = " class='instant'" if isinstance(value, pd.Timestamp) else ""
    return f"<td{kind}>{escape(shown_cell(name, value))}</td>"


def shown_cell(name: object, value: Any) -> str:
    """One value of a column as people read it; of a policy's version the beginning."""
    text = shown(value)
    return text[:12] if name == "policy_version" else text


def shown(value: Any) -> str:
    """One value as people read it."""
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d") if value.tzinfo is None else value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
