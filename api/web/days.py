"""Days on the pages: an instant is shown, and a last day is read, in the time zone of the clinic that it belongs to.

A form offers ends to choose from (a week, a month, three months, no end) and a field for any other last day. The value
of an offered end is the day itself, so that a form that is sent later means the day that it showed.
"""

import calendar
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from flask import Flask

from api.web.wording import FormError
from authz.domain import FOREVER

NO_END, OTHER_DAY = "none", "day"
"""The values of two choices: no end, and the day that is entered beside them."""


class OfferedEnd(NamedTuple):
    """An end that a form offers: the value that is sent, and the words for it; `day` is None for no end."""

    value: str
    label: str
    day: date | None


class EndChoices(NamedTuple):
    """The ends that a form offers today; `zone` is the zone in which all its days end, empty if there are several."""

    today: date
    offered: list[OfferedEnd]
    zone: str


def end_choices(now: datetime, zones: Collection[tzinfo]) -> EndChoices:
    """Return the ends that a form offers now, about patients or clinics with these zones; in UTC without a zone."""
    names = {str(zone) for zone in zones} or {"UTC"}
    day = min((now.astimezone(zone).date() for zone in zones), default=now.date())
    ends = {"A week": day + timedelta(days=7), "A month": _months_later(day, 1), "Three months": _months_later(day, 3)}
    offered = [OfferedEnd(end.isoformat(), label, end) for label, end in ends.items()]
    return EndChoices(day, [*offered, OfferedEnd(NO_END, "No end", None)], names.pop() if len(names) == 1 else "")


def _months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or the last day of that month if it is shorter."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))


def chosen_end(form: Mapping[str, str], zones: Mapping[str, tzinfo], now: datetime) -> dict[str, datetime] | None:
    """Return the end that a form chose for each key of `zones`, `FOREVER` for *No end*; None if it chose nothing.

    Raises `FormError` for two choices that differ, for a text that is no day, and for a day that is over.
    """
    offered, text = form.get("lasts", ""), form.get("until", "").strip()
    if offered == OTHER_DAY:
        offered = ""
        if not text:
            raise FormError("until", "Enter the last day of the share.")
    if offered and text and offered != text:
        raise FormError("until", "You chose an offered end and also entered another day. Keep one of the two.")
    chosen = offered or text
    if not chosen:
        return None
    if chosen == NO_END:
        return dict.fromkeys(zones, FOREVER)
    day = _parse_day(chosen)
    if any(day < now.astimezone(zone).date() for zone in zones.values()):
        raise FormError("until", f"{format_date(day)} has passed. The end date must be today or later.")
    return {key: _end_of_day(day, zone) for key, zone in zones.items()}


def _parse_day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise FormError("until", "Write the end date as 2030-01-31.") from error


def _end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the instant at which a day is over in a zone. Raises `FormError` for a day that is too late.

    `zoneinfo` reads a midnight that a clock skips as the instant of the skip, and of two midnights the first.
    """
    try:
        return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    except OverflowError as error:
        raise FormError("until", "Write the end date as 2030-01-31.") from error


def format_date(day: date) -> str:
    """Return a day: ``3 March 2026``."""
    return f"{day.day} {day:%B} {day.year}"


def format_day(instant: datetime, zone: tzinfo) -> str:
    """Return the day of an instant in a zone."""
    return format_date(instant.astimezone(zone).date())


def format_last_day(instant: datetime, zone: tzinfo) -> str:
    """Return the last day, in a zone, of a fact that ends at an instant."""
    return format_day(instant - timedelta(microseconds=1), zone)


def format_end(instant: datetime, zone: tzinfo) -> str:
    """Return when a fact ends in a zone: ``after 3 March 2026``, or ``on 3 March 2026, 14:05 CET`` within a day."""
    if instant.astimezone(zone).date() != (instant - timedelta(microseconds=1)).astimezone(zone).date():
        return f"after {format_last_day(instant, zone)}"
    return f"on {format_day(instant, zone)}, {format_time(instant, zone)}"


def format_time(instant: datetime, zone: tzinfo) -> str:
    """Return the time of day of an instant in a zone, with the zone's name for it: ``14:05 CEST``."""
    return instant.astimezone(zone).strftime("%H:%M %Z")


def install(app: Flask) -> None:
    """Add the filters that the templates use."""
    app.jinja_env.filters.update(
        day=format_day, last_day=format_last_day, end=format_end, time=format_time, date=format_date
    )
