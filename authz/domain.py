"""The values of the domain, each defined once: roles, origins, logins, instants and time zones.

This module knows no database, no policy and no HTTP. An instant is UTC with microseconds. The life of a fact is
half-open, ``[started_at, ended_at)``; "no end" is the fixed instant `FOREVER`, never null.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from idna.idnadata import codepoint_classes
from idna.intranges import intranges_contain

from authz.errors import InvalidInput
from authz.texts import quote_value

Row = dict[str, Any]
"""The values of a row of the database, by the names of its columns."""
Values = tuple[Any, ...]
"""The values of a row of the database, in the order of its columns."""

MEMBERSHIP_ROLES = ("member", "manager", "auditor")
GRANT_ROLES = ("owner", "viewer")
GRANT_ORIGINS = ("created", "transfer", "share", "emergency", "imported", "undo")
END_CAUSES = ("ended", "given_up", "transfer", "expired", "imported")
GRANT_END_CAUSES = (*END_CAUSES, "undo")
VERDICTS = ("keep", "revoke")
EMERGENCY_VERDICTS = ("justified", "unjustified")
EMERGENCY_PURPOSES = {
    "ETREAT": "emergency treatment: the patient's life or health is in danger now",
    "TREAT": "treatment that cannot wait until the owner or a manager gives access",
    "BTG": "another emergency, which the reason describes",
}
"""The purposes of an emergency access: codes of HL7's purpose of use, each with its sentence."""

FOREVER = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
"""The end of a fact that has no end."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The instant that is stored as zero."""
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_ZONE_NAME = re.compile(
    r"(?!posix/|right/|localtime$|posixrules$|Factory$)[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII
)
LONGEST_LOGIN = 254
_LONGEST_REASON = 120
SPECIAL_USE_DOMAIN_NAMES.clear()  # a clinic's own network may be called .local; nobody sends mail to a login here
_VALID = codepoint_classes["PVALID"]
"""The characters beyond ASCII that RFC 5892 permits: visible letters, marks and digits that no folding changes."""


def to_micros(instant: datetime) -> int:
    """Return an aware instant as whole microseconds since 1970-01-01T00:00:00Z, the form in which it is stored.

    Raises `InvalidInput` for a naive datetime: a time without its zone is not an instant.
    """
    if instant.tzinfo is None:
        raise InvalidInput(f"the time {instant.isoformat()} has no zone")
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the instant, in UTC, for the microseconds of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)


FOREVER_MICROS = to_micros(FOREVER)


def finite_number(value: object) -> float | None:
    """Return a number that a database compares: a whole one of 64 bits, or a finite double; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def parse_instant(text: object) -> datetime:
    """Parse a date-time by RFC 3339, section 5.6, into UTC; digits below a microsecond are cut off.

    Raises `InvalidInput` for anything else, also for a time without an offset.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInput(f"{quote_value(text)} is not an RFC 3339 time such as 2030-01-01T00:00:00Z")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    zone = "+00:00" if offset in "Zz" else offset
    micro = (fraction or "").ljust(6, "0")[:6]
    try:
        local = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micro}{zone}")
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{quote_value(text)} is not a time that exists") from error


def format_instant(instant: datetime) -> str:
    """Return an instant by RFC 3339 in UTC: ``2030-01-01T00:00:00Z``, with microseconds if it has any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=1000)
def format_micros(micros: int) -> str:
    """Return a stored instant as `format_instant` does; cached, because a batch or an import repeats the same one."""
    return format_instant(from_micros(micros))


def parse_time_zone(value: object) -> str:
    """Return the name of a time zone of the IANA database that this machine knows, such as ``Europe/Berlin``.

    Raises `InvalidInput` for anything else, also for another spelling and for a file that is no zone.
    """
    if isinstance(value, str) and _ZONE_NAME.fullmatch(value) and _find_zone(value) is not None:
        return value
    raise InvalidInput(f"{quote_value(value)} is not the name of a time zone such as Europe/Berlin")


def time_zone(name: str) -> tzinfo:
    """Return a stored time zone; UTC for a name that this machine does not know, as another machine may have stored."""
    return _find_zone(name) or UTC


@lru_cache(maxsize=1000)
def _find_zone(name: str) -> tzinfo | None:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def normalise_login(value: object) -> str:
    """Return a login e-mail in its normal form, in which logins are stored and compared; no other function does this.

    The form is lower case, NFC, with the domain in the Unicode form of IDNA 2008 (`müller.example` for
    `xn--mller-kva.example`). A login is refused if NFKC or case folding would change it beyond plain lower case, or if
    it has invisible characters, because it may be another person's mailbox (T6). Raises `InvalidInput` with the reason.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"a login is a string, not {quote_value(value)}")
    if len(value) > LONGEST_LOGIN:
        raise InvalidInput(f"a login has at most {LONGEST_LOGIN} characters, this one has {len(value)}")
    return _normal_login(value)


@lru_cache(maxsize=4096)
def _normal_login(login: str) -> str:
    """Normalise a login of bounded length; cached, because every token contains one."""
    text = login.lower() if login.isascii() else _lower_case(login)
    try:
        address = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise _invalid_login(login, str(error)) from error
    labels, unicode, ascii_ = (
        domain.split(".") for domain in (text.rpartition("@")[2], address.domain, address.ascii_domain)
    )
    spellings = list(zip(unicode, ascii_, strict=True))
    if len(labels) != len(spellings) or any(label not in both for label, both in zip(labels, spellings, strict=True)):
        raise _invalid_login(login, "its domain is another spelling of a domain")
    if any(unicodedata.category(character) == "Cf" for character in address.normalized):
        raise _invalid_login(login, "it contains an invisible character")
    return address.normalized


def _lower_case(login: str) -> str:
    """Return a login in lower case. Raises `InvalidInput` if another folding could change a character."""
    for character in login:
        if len(character.lower()) != 1 or unicodedata.normalize("NFKC", character) != character:
            raise _invalid_login(login, f"{character!r} is another spelling of other characters")
    text = unicodedata.normalize("NFC", "".join(character.lower() for character in login))
    for character in text.rpartition("@")[0]:
        if character.isascii():
            continue
        if character.casefold() != character or not intranges_contain(ord(character), _VALID):
            raise _invalid_login(login, f"{character!r} cannot be part of a login")
    return text


def _invalid_login(login: str, why: str) -> InvalidInput:
    return InvalidInput(f"{quote_value(login)} is not an e-mail address that can be a login: {why[:_LONGEST_REASON]}")


REASONS = {
    "permitted": "all conditions of a rule are met; `rule` and the witness identify which",
    "denied": "no rule has all its conditions met",
    "unknown_type": "the policy has no such type of subject or resource",
    "unknown_action": "no rule of the policy names this action on this type of resource",
    "searched": "a search; its answer is everything that is permitted",
    "malformed": "an item of a batch lacks a part of its question, or a part has the wrong form",
    "wrong_type": "a value in the request has another type than the policy compares it with",
}
"""The reasons of decisions; every decision has one of these."""
