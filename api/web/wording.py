"""The words of the pages: what a refusal, a notice and a date are called, and how a name is shown."""

import unicodedata
from datetime import UTC, datetime, time, timedelta

from flask import Flask
from markupsafe import Markup

from authz.errors import CaregrantError, Denied, InvalidInput, NotEligible, NotFound, SelfTarget

_REFUSALS: dict[type[CaregrantError], str] = {
    NotEligible: (
        "Nobody with this e-mail can receive here. Your colleague needs an active subscription at the same clinic, and "
        "the e-mail must be the one that they sign in with."
    ),
    SelfTarget: "This is your own e-mail. Enter a colleague's.",
    NotFound: "It is not there any more, or not yours to know.",
    Denied: "You may not do this to this patient.",
}
"""What a form says where the error's own words are not enough."""

_COLLEAGUE = (NotEligible, SelfTarget)

NOTICES = {
    "share:received": Markup("{actor} shared {patient} with you"),
    "share:given": Markup("{patient} has been shared with {colleague}"),
    "share:ended": Markup("The sharing of {patient} with {colleague} has ended"),
    "transfer:received": Markup("{patient} has been transferred to you by {actor}"),
    "transfer:given": Markup("{patient} has been transferred to {colleague}"),
    "standing_share:received": Markup("{colleague} shares all patients with you"),
    "standing_share:given": Markup("You share all your patients with {colleague}"),
    "standing_share:ended": Markup("The sharing of all patients with {colleague} has ended"),
    "patient:ended": Markup("{actor} ended {patient}, who was yours, in the clinic"),
}
"""What a notice tells."""


def refusal(error: CaregrantError) -> str:
    """A refusal in a sentence for who filled in the form."""
    if isinstance(error, InvalidInput):
        field, _, why = str(error).partition(": ")
        return f"{_FIELDS[field]}: {why}." if field in _FIELDS else f"{(why or field).capitalize()}."
    return _REFUSALS.get(type(error), str(error))


_AT_FAULT = ("action", "colleague", "reason", "subscription", "until")
_FIELDS = {"until": "The end date", "reason": "The reason", "subscription": "The clinic", "patients": "The patients"}


def at_fault(error: CaregrantError | None) -> str:
    """The field of a form that an error is about, or none."""
    if isinstance(error, _COLLEAGUE):
        return "colleague"
    field = str(error).partition(": ")[0]
    return field if isinstance(error, InvalidInput) and field in _AT_FAULT else ""


def end_of_day(text: str) -> datetime | None:
    """The instant at which a day (``2030-01-31``, UTC) is over; None for no day. Raises `InvalidInput`."""
    if not text.strip():
        return None
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        return datetime.combine(day, time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("until: write a day as 2030-01-31") from error


def day(instant: datetime) -> str:
    """An instant as a day: ``3 March 2026``."""
    return f"{instant.day} {instant:%B} {instant.year}"


def last_day(instant: datetime) -> str:
    """The last day of what ends at an instant."""
    return day(instant - timedelta(microseconds=1))


def initials(name: str) -> str:
    """One or two letters that stand for a name, in any script."""
    words = [word for word in name.split() if unicodedata.category(word[0])[0] in "LN"]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "·"


def hue(key: str) -> int:
    """One of six colours, the same for the same person."""
    return sum(key.encode()) % 6


def install(app: Flask) -> None:
    """Let the templates use these words."""
    app.jinja_env.filters.update(day=day, last_day=last_day, initials=initials, hue=hue)
