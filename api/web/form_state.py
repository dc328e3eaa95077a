"""What a form showed, which the form sends along signed: the server refuses it if something else holds by then.

A form shows facts beside its choices: patients by name, who owns them, who keeps a share, which colleague a row stands
for. `seal` writes these facts into a hidden field; `require_as_shown` compares them with the facts of now, and a
transfer compares the holders once more under its lock. A form without the field is refused like one of another make
(docs/decisions/0070-a-choice-is-in-sight.md, 0073-nothing-is-sent-unseen.md).
"""

from typing import Any

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeSerializer

from api.web import session as sessions
from api.web.chosen import Chosen, Touched
from authz.domain import Row
from authz.errors import Conflict

Facts = dict[str, dict[str, Any]]

_STALE = "This form is out of date. Look at it again before you send it."
MOST_LISTED = 200
"""The most colleagues of one list; a search leads to the others."""

_SENTENCES = {
    "patients": ("You did not see {} in this form.", "You may not do this to {} any more."),
    "owners": ("{} is an owner now.", "{} is not the owner any more."),
    "viewers": ("{} has a share now.", "{} has no share any more."),
    "standing": ("The owner shares all patients with {} now.", "The owner does not share all patients with {} now."),
    "sharing": ("{} shares all patients with you now.", "{} does not share all patients with you any more."),
}
"""How each kind of fact is told when it begins and when it ends."""


def seal(those: Chosen, touched: Touched, colleagues: list[Row] | None = None) -> str:
    """Return what a form shows about these patients and colleagues, for the hidden field `shown`."""
    listed = {one["login"]: [one["id"], one["name"]] for one in colleagues or ()}
    return _serializer().dumps({"by": sessions.actor().practitioner, "colleagues": listed, **_facts(those, touched)})


def require_whole(those: Chosen) -> None:
    """Raise `Conflict` if one of the patients that a form names does not allow the action any more."""
    if those.left_out:
        raise Conflict(" ".join(_SENTENCES["patients"][1].format(_isolate(name)) for name in those.left_out))


def require_as_shown(those: Chosen, touched: Touched, *, touches: bool = True) -> dict[str, list[str]]:
    """Raise `Conflict`, with what has changed, unless the facts are those of the field `shown`; return its colleagues.

    `touches` says whether the action touches others than the colleague who receives; if not, only the patients count.
    The colleagues are the id and the name that the form showed for each login.
    """
    try:
        then = _serializer().loads(request.form.get("shown", ""))
    except BadSignature:
        raise Conflict(_STALE) from None
    if then["by"] != sessions.actor().practitioner:
        raise Conflict(_STALE)
    now = _facts(those, touched)
    kinds = tuple(_SENTENCES) if touches else ("patients",)
    changes = [sentence for kind in kinds for sentence in _describe_changes(kind, then[kind], now[kind])]
    if touches and not changes:  # a share of one of several patients that somebody else's share hides
        changes = [
            f"Who has access to {_isolate(those.names[patient])} has changed."
            for patient, holders in touched.holders.items()
            if then["holders"].get(patient) != holders
        ]
    if changes:
        raise Conflict(f"Since this form was shown: {' '.join(changes)}")
    colleagues: dict[str, list[str]] = then["colleagues"]
    return colleagues


def require_listed(then: dict[str, list[str]], colleague: str, listed: list[Row]) -> Row:
    """Return the row of the colleague with this login, which the form showed and the list still shows.

    Raises `Conflict` for a colleague that the list does not show, or that the form showed under another name.
    """
    row = next((one for one in listed if one["login"] == colleague), None)
    if row is None:
        raise Conflict("The colleague that you clicked is not in this list. Choose again.")
    if then.get(colleague) != [row["id"], row["name"]]:
        raise Conflict(f"{_isolate(row['name'])} was not shown with this e-mail. Choose again.")
    return row


def _facts(those: Chosen, touched: Touched) -> Facts:
    return {
        "patients": those.names,
        "owners": touched.owners,
        "viewers": touched.viewers,
        "standing": touched.standing,
        "sharing": touched.sharing,
        "holders": touched.holders,
    }


def _describe_changes(kind: str, then: dict[str, str], now: dict[str, str]) -> list[str]:
    """One sentence for each fact of a kind that has begun, has ended or has another name."""
    begun, ended = _SENTENCES[kind]
    return [
        *(begun.format(_isolate(name)) for key, name in now.items() if key not in then),
        *(ended.format(_isolate(name)) for key, name in then.items() if key not in now),
        *(
            f"{_isolate(name)} is called {_isolate(now[key])} now."
            for key, name in then.items()
            if now.get(key, name) != name
        ),
    ]


def _isolate(name: str) -> str:
    """A name in a plain sentence, with a direction of writing of its own (Unicode's first strong isolate)."""
    return f"\u2068{name}\u2069"


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="caregrant-shown-1")
