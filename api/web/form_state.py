"""The facts that a form showed: the form sends them back signed, and the server refuses the form if they have changed.

A form shows facts beside its choices: patients by name, their owners, who keeps a share, which colleague a row stands
for. `seal` signs these facts for the hidden field `shown`; `require_as_shown` compares them with the present facts, and
a transfer compares the holders once more under its lock. A form without the field, or with a field that this server did
not sign, is refused as out of date (docs/decisions/0070-a-choice-is-in-sight.md, 0073-nothing-is-sent-unseen.md).
"""

from typing import Any

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeSerializer

from api.web import session as sessions
from api.web.selection import Selection, TransferImpact
from authz.domain import Row
from authz.errors import Conflict

_OUT_OF_DATE = "This form is out of date. Look at it again before you send it."
MOST_LISTED = 200
"""The most colleagues of one list; a search finds the others."""

_SENTENCES = {
    "patients": ("This form did not show {}.", "You may not do this to {} any more."),
    "owners": ("{} is an owner now.", "{} is not the owner any more."),
    "viewers": ("{} has a share now.", "{} has no share any more."),
    "standing": ("The owner shares all patients with {} now.", "The owner does not share all patients with {} now."),
    "sharing": ("{} shares all patients with you now.", "{} does not share all patients with you any more."),
}
"""For each kind of fact, the sentences that tell that a fact has begun and that a fact has ended."""


def seal(selection: Selection, impact: TransferImpact, receivers: list[Row] | None = None) -> str:
    """Return the signed facts that a form shows, for its hidden field `shown`."""
    colleagues = {row["login"]: [row["id"], row["name"]] for row in receivers or ()}
    facts = _facts(selection, impact)
    by = sessions.actor().practitioner
    return _serializer().dumps({"by": by, "colleagues": colleagues, "holders": impact.holders, **facts})


def require_whole(selection: Selection) -> None:
    """Raise `Conflict` if a patient that the form names does not allow the action any more."""
    if selection.left_out:
        ended = _SENTENCES["patients"][1]
        raise Conflict(" ".join(ended.format(_isolate(name)) for name in selection.left_out))


def require_as_shown(
    selection: Selection, impact: TransferImpact, *, affects_others: bool = True
) -> dict[str, list[str]]:
    """Raise `Conflict`, with what has changed, unless the present facts are the facts that the form showed.

    `affects_others` is false for an action that affects only the colleague who receives: then only the patients are
    compared. Returns the colleagues that the form showed: id and name by login.
    """
    try:
        shown: dict[str, Any] = _serializer().loads(request.form.get("shown", ""))
    except BadSignature:
        raise Conflict(_OUT_OF_DATE) from None
    if shown["by"] != sessions.actor().practitioner:
        raise Conflict(_OUT_OF_DATE)
    present = _facts(selection, impact)
    kinds = tuple(_SENTENCES) if affects_others else ("patients",)
    changes = [sentence for kind in kinds for sentence in _describe_changes(kind, shown[kind], present[kind])]
    if affects_others and not changes:  # of several patients, one share may hide behind another patient's share
        changes = [
            f"The people with access to {_isolate(selection.names[patient])} have changed."
            for patient, holders in impact.holders.items()
            if shown["holders"].get(patient) != holders
        ]
    if changes:
        raise Conflict(f"Since this form was shown: {' '.join(changes)}")
    colleagues: dict[str, list[str]] = shown["colleagues"]
    return colleagues


def require_listed(shown: dict[str, list[str]], login: str, receivers: list[Row]) -> Row:
    """Return the receiver with this login, whom the form showed and the list still shows.

    Raises `Conflict` for a colleague who is not in the list, or whom the form showed under another name.
    """
    row = next((row for row in receivers if row["login"] == login), None)
    if row is None:
        raise Conflict("The colleague that you clicked is not in this list. Choose again.")
    if shown.get(login) != [row["id"], row["name"]]:
        raise Conflict(f"{_isolate(row['name'])} was not shown with this e-mail. Choose again.")
    return row


def _facts(selection: Selection, impact: TransferImpact) -> dict[str, dict[str, str]]:
    """Return each kind of fact as id and name."""
    return {
        "patients": selection.names,
        "owners": impact.owners,
        "viewers": impact.viewers,
        "standing": impact.standing,
        "sharing": impact.sharing,
    }


def _describe_changes(kind: str, shown: dict[str, str], present: dict[str, str]) -> list[str]:
    """Return a sentence for each fact of a kind that has begun, has ended or has another name now."""
    begun, ended = _SENTENCES[kind]
    return [
        *(begun.format(_isolate(name)) for key, name in present.items() if key not in shown),
        *(ended.format(_isolate(name)) for key, name in shown.items() if key not in present),
        *(
            f"{_isolate(name)} is called {_isolate(present[key])} now."
            for key, name in shown.items()
            if present.get(key, name) != name
        ),
    ]


def _isolate(name: str) -> str:
    """Return a name for a plain sentence, with its own direction of writing (Unicode's first strong isolate)."""
    return f"\u2068{name}\u2069"


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="caregrant-shown-1")
