"""Names of time zones: those of the IANA database, in its own spelling, and nothing else."""

from datetime import UTC
from zoneinfo import ZoneInfo, available_timezones

import pytest

from authz.domain import parse_time_zone, time_zone
from authz.errors import InvalidInput


def test_every_zone_is_known() -> None:
    """Each zone of the IANA database is accepted, and is the zone of Python's own library."""
    names = available_timezones() - {"localtime", "Factory"}
    assert len(names) > 300
    for name in names:
        assert parse_time_zone(name) == name
        assert time_zone(name) == (UTC if name == "UTC" else ZoneInfo(name))


NO_ZONES = ["", " ", "Europe", "europe/berlin", "Europe/Berlin ", "Europe/Nowhere", "../etc/passwd", "/etc/localtime"]
NO_FILES_OF_ZONES = ["localtime", "posixrules", "Factory", "posix/Europe/Berlin", "right/UTC", "zone.tab", "CEST-2"]


@pytest.mark.parametrize("wrong", [*NO_ZONES, *NO_FILES_OF_ZONES, "a\0b", "A" * 5000, None, 1])
def test_what_is_no_zone(wrong: object) -> None:
    """A directory, a file, another spelling, a path and a value of another type are refused."""
    with pytest.raises(InvalidInput, match="is not the name of a time zone"):
        parse_time_zone(wrong)


def test_a_stored_zone_that_this_machine_does_not_know() -> None:
    """A name that another machine stored is read as UTC, so that a page never fails for it."""
    assert time_zone("Mars/Olympus_Mons") is UTC
