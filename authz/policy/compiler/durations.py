"""Durations: a text of ISO 8601 to microseconds.

    "PT3H"   →  10_800_000_000

Weeks, days, hours, minutes and seconds alone: a month and a year have no fixed length.
"""

import re

_DURATION = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})(?:\.([0-9]{1,6}))?S)?)?"
)
_SECONDS = (7 * 86_400, 86_400, 3600, 60, 1)


def parse_duration(text: str) -> int | None:
    """Return the microseconds of a duration; None if the text is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    *parts, fraction = match.groups()
    seconds = sum(int(part or 0) * each for part, each in zip(parts, _SECONDS, strict=True))
    return seconds * 1_000_000 + int((fraction or "").ljust(6, "0"))


def describe_duration(micros: int) -> str:
    """Describe a duration for people: ``3 hours``, ``1 day 30 minutes``."""
    parts = []
    for name, size in (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000)):
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    if micros or not parts:
        parts.append(f"{micros / 1_000_000:g} seconds")
    return " ".join(parts)
