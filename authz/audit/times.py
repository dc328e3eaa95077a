"""Instants and time zones of an audit: what people type, and the days of a time zone for SQL."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from authz.domain import from_micros, parse_instant, to_micros
from authz.errors import InvalidInput
from authz.texts import quote_value

When = datetime | str | None
"""An instant: a datetime with a zone, RFC 3339, or a date such as ``2026-03-01``: midnight in the time zone."""

_DAY = 86_400_000_000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_time_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as ``Europe/Helsinki``. Raises `InvalidInput`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError) as error:
        raise InvalidInput(f"tz: {quote_value(name)} is not a time zone such as UTC or Europe/Helsinki") from error


def parse_time(name: str, value: object, tz: ZoneInfo) -> datetime:
    """Return an instant in UTC from one of the forms of `When`; `name` is the parameter. Raises `InvalidInput`."""
    if isinstance(value, datetime):
        to_micros(value)
        return value.astimezone(UTC)
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=tz).astimezone(UTC)
        return parse_instant(value)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}, nor a day such as 2026-03-01") from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: {quote_value(value)} is not a day that exists") from error


def offset_spans(begin: int, end: int, tz: ZoneInfo) -> Iterator[tuple[int, int, int]]:
    """Divide a period into parts with one offset from UTC each, so that SQL can compute days.

    Yields ``(begin, end, offset)`` in microseconds.
    """
    start = begin
    while start < end:
        offset, stop = utc_offset(start, tz), start
        while stop < end and utc_offset(stop, tz) == offset:
            stop = min(stop + _DAY, end)
        if utc_offset(stop, tz) != offset:  # the clock changed within that last day
            low = max(start, stop - _DAY)
            while stop - low > 1:
                middle = (low + stop) // 2
                low, stop = (middle, stop) if utc_offset(middle, tz) == offset else (low, middle)
        yield start, stop, offset
        start = stop


def utc_offset(micros: int, tz: ZoneInfo) -> int:
    """Return how far a time zone is from UTC at an instant, in microseconds."""
    difference = from_micros(micros).astimezone(tz).utcoffset() or timedelta()
    return difference // timedelta(microseconds=1)
