"""The sentences of the pages: refusals, notifications, and how a name is shown.

Every sentence is written out here or at the error that it describes; none is built from the name of an action, a field
or an error.
"""

import unicodedata

from flask import Flask
from markupsafe import Markup

from api.limits import MOST_SELECTED
from authz.errors import CaregrantError, InvalidInput, NotEligible, NotFound, SelfTarget
from authz.operations.inputs import LONGEST_REASON

_REFUSALS: dict[type[CaregrantError], str] = {
    NotEligible: (
        "Nobody with this e-mail can receive here. Your colleague needs an active subscription at the same clinic, and "
        "the e-mail must be the one that they sign in with."
    ),
    SelfTarget: "This is your own e-mail. Enter a colleague's e-mail.",
    NotFound: "This patient is not there any more, or you may not know about this patient.",
}
"""The sentences of errors whose own text does not tell a person at a form what to do."""

_INVALID_FIELDS = {
    "action": "Choose what you want to do.",
    "colleague": "Enter your colleague's e-mail.",
    "patients": f"Select between one and {MOST_SELECTED} patients, each only once.",
    "reason": f"The reason may have at most {LONGEST_REASON} characters, and no line breaks.",
    "subscription": "You and your colleague work together at several clinics. Choose the clinic.",
    "until": "The end date must be today or later.",
}
"""The sentence of each field of a form with an invalid value."""

_INVALID_FORM = "A value in this form is not valid. Look at the form again before you send it."
_FIELDS_WITH_MESSAGE = ("action", "colleague", "reason", "subscription", "until")
_COLLEAGUE_ERRORS = (NotEligible, SelfTarget)

NOTIFICATIONS = {
    "share:received": Markup("{actor} shared {patient} with you"),
    "share:given": Markup("{actor} shared {patient} with {colleague}"),
    "share:changed": Markup("{actor} changed the end or the reason of a share of {patient}"),
    "share:ended": Markup("{actor} ended the sharing of {patient} between you and {colleague}"),
    "share:ending": Markup("The sharing of {patient} between you and {colleague} ends {end}"),
    "share:expired": Markup("The sharing of {patient} between you and {colleague} ended {end}, as planned"),
    "transfer:received": Markup("{patient} has been transferred to you by {actor}"),
    "transfer:given": Markup("{actor} transferred {patient} from you to {colleague}"),
    "transfer:undone": Markup("{actor} undid the transfer of {patient} to you"),
    "transfer:returned": Markup("{actor} undid your transfer of {patient} to {colleague}"),
    "standing_share:received": Markup("{colleague} shares all patients with you"),
    "standing_share:given": Markup("You share all your patients with {colleague}"),
    "standing_share:ended": Markup("{actor} ended the sharing of all patients between you and {colleague}"),
    "standing_share:ending": Markup("The sharing of all patients between you and {colleague} ends {end}"),
    "standing_share:expired": Markup("The sharing of all patients between you and {colleague} ended {end}, as planned"),
    "emergency:opened": Markup("{actor} opened {patient} in an emergency"),
    "emergency:ended": Markup("{actor} ended the emergency access to {patient}"),
    "emergency:reviewed": Markup("{actor} reviewed the emergency access to {patient}"),
    "patient:ended": Markup("{actor} ended the care of {patient} at the clinic"),
}
"""The sentence of each kind of notification, for a reader of whom no more is known (`api.web.notices`)."""


class FormError(InvalidInput):
    """An invalid value in a field of a form, with a sentence for the person who filled in the form."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def describe_refusal(error: CaregrantError) -> str:
    """Return the sentence that tells a person at a form why the form was refused."""
    if isinstance(error, InvalidInput) and not isinstance(error, FormError):
        return _INVALID_FIELDS.get(_field_of(error), _INVALID_FORM)
    return _REFUSALS.get(type(error), str(error))


def field_at_fault(error: CaregrantError | None) -> str:
    """Return the field of a form beside which the error is shown; empty for an error that is shown above the form."""
    if isinstance(error, _COLLEAGUE_ERRORS):
        return "colleague"
    field = _field_of(error) if isinstance(error, InvalidInput) else ""
    return field if field in _FIELDS_WITH_MESSAGE else ""


def _field_of(error: InvalidInput) -> str:
    """Return the field that an error is about: an operation writes the field's name before a colon."""
    return error.field if isinstance(error, FormError) else str(error).partition(": ")[0]


def initials(name: str) -> str:
    """Return one or two letters that stand for a name, in any script."""
    words = [word for word in name.split() if unicodedata.category(word[0])[0] in "LN"]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "·"


def hue(key: str) -> int:
    """Return one of six colours, always the same for the same key."""
    return sum(key.encode()) % 6


def install(app: Flask) -> None:
    """Add the filters that the templates use."""
    app.jinja_env.filters.update(initials=initials, hue=hue)
