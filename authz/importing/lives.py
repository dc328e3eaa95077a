"""The rules for lives: a line begins one, changes the end of one, or repeats one; two of one key never overlap."""

from collections.abc import Sequence
from typing import Any, Literal

from authz.domain import FOREVER_MICROS, format_micros
from authz.errors import InvalidInput
from authz.importing.rows import Life

Outcome = Literal["new", "changed", "unchanged", "ended"]
Fields = dict[str, Any]
"""The values of a line, by its fields; instants are microseconds."""


def require_span(until: int, started: int) -> None:
    """Raise `InvalidInput` unless the end is after the start."""
    if until <= started:
        raise InvalidInput(f"until {format_micros(until)} is not after the start {format_micros(started)}")


def require_line_span(fields: Fields, started: int) -> None:
    """Raise `InvalidInput` unless the end on a line, for ever if there is none, is after the start."""
    require_span(fields.get("until", FOREVER_MICROS), started)


def match_life(lives: Sequence[Life], fields: Fields, started: int, now: int) -> Life | Literal["new", "ended"]:
    """Return the life that a line is about: by its start or, if the line gives none, the current one.

    If there is no such life, the line's is ``"new"`` or, for a line without a start, has ``"ended"`` here and stays so.
    Raises `InvalidInput` if a new one would overlap another.
    """
    lasting = [life for life in lives if life.is_lasting]
    if "started_at" not in fields:
        current = [life for life in lasting if life.ended > now]
        return current[0] if current else "ended" if lives else "new"
    same = [life for life in lives if life.started == started]
    if same:
        return same[-1]
    _require_apart(lasting, started, fields["until"])
    return "new"


def change_end(life: Life, until: int, others: Sequence[Life], now: int) -> Outcome:
    """Give a life that has not ended another end, at the earliest now; one that has ended stays ended.

    Raises `InvalidInput` if the life began or changed on a line before, or would overlap one of `others`.
    """
    if life.ended == until:
        return "unchanged"
    if life.ended <= now:
        return "ended" if until > now else "unchanged"
    if life.id is None or life.previous_end:
        first, last = format_micros(life.started), format_micros(life.ended)
        raise InvalidInput(f"contradicts a line before it, from {first} until {last}")
    end = max(until, now, life.started)
    _require_apart([other for other in others if other is not life and other.is_lasting], life.started, end)
    life.move_end(end, "imported" if end <= now else "")
    return "changed"


def _require_apart(lives: Sequence[Life], started: int, ended: int) -> None:
    for life in lives:
        if life.started < ended and started < life.ended:
            first, last = format_micros(life.started), format_micros(life.ended)
            raise InvalidInput(f"contradicts one that exists from {first} until {last}")
