"""Days of the pages: a last day is an instant of the clinic's time zone, and an instant is a day of it, in any zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as some

from api.web.days import chosen_end, end_choices, format_day, format_end, format_last_day, format_time
from api.web.wording import FormError
from authz.domain import FOREVER, parse_instant

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})


def end_in(zone: str, day: str, now: datetime = NOW) -> datetime:
    ends = chosen_end({"until": day}, {"p": ZoneInfo(zone)}, now)
    assert ends is not None
    return ends["p"]


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", "2030-01-31", "2030-02-01T00:00:00Z"),
        ("America/Los_Angeles", "2027-03-03", "2027-03-04T08:00:00Z"),
        ("Asia/Kolkata", "2027-03-03", "2027-03-03T18:30:00Z"),
        ("Pacific/Kiritimati", "2027-03-03", "2027-03-03T10:00:00Z"),
        # The days on which a clock moves, and the day before.
        ("Europe/Berlin", "2027-03-27", "2027-03-27T23:00:00Z"),
        ("Europe/Berlin", "2027-03-28", "2027-03-28T22:00:00Z"),
        ("Europe/Berlin", "2027-10-30", "2027-10-30T22:00:00Z"),
        ("Europe/Berlin", "2027-10-31", "2027-10-31T23:00:00Z"),
        # The clock skips midnight of the next day, which begins at one.
        ("Africa/Cairo", "2027-04-29", "2027-04-29T22:00:00Z"),
    ],
)
def test_the_end_of_a_day(zone: str, day: str, end: str) -> None:
    """The end of a day is the next midnight of the zone, also on days of 23 and 25 hours."""
    assert end_in(zone, day) == parse_instant(end)


@given(zone=some.sampled_from(ZONES), day=some.dates(date(2026, 6, 3), date(2090, 1, 1)))
def test_a_last_day_is_shown_as_it_was_entered(zone: str, day: date) -> None:
    """In every zone the page shows the day that was entered, and the instant is the first of the next day."""
    end, there = end_in(zone, day.isoformat()), ZoneInfo(zone)
    assert format_last_day(end, there) == f"{day.day} {day:%B} {day.year}"
    assert end.astimezone(there).date() == day + timedelta(days=1)
    assert (end - timedelta(microseconds=1)).astimezone(there).date() == day


@pytest.mark.parametrize(
    ("now", "day", "passed"),
    [
        ("2026-06-02T06:59:59Z", "2026-06-01", False),
        ("2026-06-02T07:00:00Z", "2026-06-01", True),
        ("2026-06-02T07:00:00Z", "2026-06-02", False),
    ],
)
def test_today_is_a_day_of_the_clinic(now: str, day: str, passed: bool) -> None:
    """A day may be chosen until it is over in the zone of the clinic; then a sentence says which day has passed."""
    if not passed:
        assert end_in("America/Los_Angeles", day, parse_instant(now)) > parse_instant(now)
        return
    with pytest.raises(FormError, match=r"^1 June 2026 has passed\. The end date must be today or later\.$"):
        end_in("America/Los_Angeles", day, parse_instant(now))


def test_one_day_in_two_zones() -> None:
    """The same day ends for each patient in the zone of their clinic."""
    zones = {"p-1": ZoneInfo("Europe/Berlin"), "p-2": ZoneInfo("America/Los_Angeles")}
    ends = chosen_end({"until": "2027-01-31"}, zones, NOW)
    assert ends == {"p-1": parse_instant("2027-01-31T23:00:00Z"), "p-2": parse_instant("2027-02-01T08:00:00Z")}
    choices = end_choices(parse_instant("2026-06-02T03:00:00Z"), list(zones.values()))
    assert (choices.today, choices.zone) == (date(2026, 6, 1), "")


@pytest.mark.parametrize(
    ("today", "days"),
    [
        ("2026-06-01", ["2026-06-08", "2026-07-01", "2026-09-01"]),
        ("2026-11-30", ["2026-12-07", "2026-12-30", "2027-02-28"]),
        ("2027-01-31", ["2027-02-07", "2027-02-28", "2027-04-30"]),
        ("2027-12-01", ["2027-12-08", "2028-01-01", "2028-03-01"]),
    ],
)
def test_offered_ends(today: str, days: list[str]) -> None:
    """A week, a month and three months from today, the last day of a shorter month, and no end."""
    choices = end_choices(parse_instant(f"{today}T12:00:00Z"), [ZoneInfo("Europe/Berlin")])
    assert [end.value for end in choices.offered] == [*days, "none"]
    assert [end.label for end in choices.offered] == ["A week", "A month", "Three months", "No end"]
    assert choices.zone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("form", "day"),
    [
        ({}, None),
        ({"lasts": "", "until": " "}, None),
        ({"lasts": "none"}, FOREVER),
        ({"lasts": "none", "until": ""}, FOREVER),
        ({"lasts": "2027-01-31"}, "2027-02-01T00:00:00Z"),
        ({"lasts": "2027-01-31", "until": "2027-01-31"}, "2027-02-01T00:00:00Z"),
        ({"lasts": "day", "until": "2027-01-31"}, "2027-02-01T00:00:00Z"),
        ({"until": "2027-01-31"}, "2027-02-01T00:00:00Z"),
    ],
)
def test_what_a_form_chooses(form: dict[str, str], day: str | datetime | None) -> None:
    """An offered end, a day that is entered, no end, or nothing."""
    end = parse_instant(day) if isinstance(day, str) else day
    assert chosen_end(form, {"p": UTC}, NOW) == (None if end is None else {"p": end})


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"lasts": "none", "until": "2027-01-31"}, "Keep one of the two."),
        ({"lasts": "2027-01-31", "until": "2027-02-01"}, "Keep one of the two."),
        ({"lasts": "day"}, "Enter the last day of the share."),
        ({"lasts": "2026-05-01"}, "1 May 2026 has passed."),
        ({"lasts": "forever"}, "Write the end date as 2030-01-31."),
        ({"until": "31.1.2030"}, "Write the end date as 2030-01-31."),
        ({"until": "9999-12-31"}, "Write the end date as 2030-01-31."),
    ],
)
def test_what_no_form_may_choose(form: dict[str, str], sentence: str) -> None:
    """Two different ends, no day, a day that has passed and a text that is no day are refused with a sentence."""
    with pytest.raises(FormError, match=sentence):
        chosen_end(form, {"p": ZoneInfo("Europe/Berlin")}, NOW)


def test_an_end_is_shown_as_it_is() -> None:
    """An end at midnight is after the last day, whatever the clock does; an end within a day has its time."""
    cairo = ZoneInfo("Africa/Cairo")
    assert format_end(end_in("Africa/Cairo", "2027-04-29"), cairo) == "after 29 April 2027"
    assert format_end(parse_instant("2027-03-03T08:00:00Z"), ZoneInfo("America/Los_Angeles")) == "after 2 March 2027"
    assert format_end(parse_instant("2027-03-03T08:00:00Z"), UTC) == "on 3 March 2027, 08:00 UTC"


def test_instants_are_shown_in_the_zone() -> None:
    """A day and a time of day are those of the zone, with its name for the time."""
    instant = parse_instant("2027-07-01T22:30:00Z")
    berlin = ZoneInfo("Europe/Berlin")
    assert (format_day(instant, berlin), format_time(instant, berlin)) == ("2 July 2027", "00:30 CEST")
    assert (format_day(instant, UTC), format_time(instant, UTC)) == ("1 July 2027", "22:30 UTC")
