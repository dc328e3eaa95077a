"""Unions and alternatives of any length: SQLite refuses unions and expressions that are too long or too deep."""

from collections.abc import Sequence

_MOST_ARMS = 400
"""The most selects of one union; SQLite takes 500."""


def union(selects: Sequence[str], operator: str = "UNION ALL") -> str:
    """Return the union of selects, in their order; more than `_MOST_ARMS` are united in parts."""
    if len(selects) <= _MOST_ARMS:
        return f"\n{operator}\n".join(selects)
    parts = (selects[begin : begin + _MOST_ARMS] for begin in range(0, len(selects), _MOST_ARMS))
    return union([f"SELECT * FROM ({union(part, operator)}) AS part" for part in parts], operator)


def any_of(conditions: Sequence[str]) -> str:
    """Return the condition that any of these is met, without an expression deeper than SQLite's 1,000."""
    if len(conditions) <= _MOST_ARMS:
        return " OR ".join(conditions)
    parts = (conditions[begin : begin + _MOST_ARMS] for begin in range(0, len(conditions), _MOST_ARMS))
    return any_of([f"({any_of(part)})" for part in parts])
