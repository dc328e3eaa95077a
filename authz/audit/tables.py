"""A frame as an HTML table for people: yes and no, instants to the second, nothing where there is nothing."""

from html import escape
from typing import Any

import pandas as pd

_WIDE = 10


def as_table(frame: pd.DataFrame, most: int) -> str:
    """The first rows of a frame; how many more there are is said below. Of many columns those that are empty
    throughout are left out, which is said too.
    """
    empty = [name for name in frame.columns if len(frame.columns) > _WIDE and len(frame) and frame[name].isna().all()]
    shown_columns = frame.drop(columns=empty)
    head = "".join(f"<th scope='col'>{escape(str(name)).replace('_', ' ')}</th>" for name in shown_columns.columns)
    rows = "".join(
        f"<tr>{''.join(map(_cell, shown_columns.columns, row))}</tr>"
        for row in shown_columns.head(most).itertuples(index=False)
    )
    more = len(frame) - most
    notes = [f"{more:,} more rows are in the CSV and the workbook."] if more > 0 else []
    notes += [f"Empty throughout: {', '.join(empty).replace('_', ' ')}."] if empty else []
    said = f"<p class='said'>{escape(' '.join(notes))}</p>" if notes else ""
    wide = " wide" if len(shown_columns.columns) > _WIDE else ""
    table = f"<table class='answer{wide}'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='scroll'>{table}</div>{said}"


def _cell(name: str, value: Any) -> str:
    kind = " class='instant'" if isinstance(value, pd.Timestamp) else ""
    text = shown(value)
    return f"<td{kind}>{escape(text[:12] if name == 'policy_version' else text)}</td>"


def shown(value: Any) -> str:
    """One value as people read it."""
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d") if value.tzinfo is None else value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
