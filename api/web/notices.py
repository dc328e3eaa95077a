"""The sentences of notifications, each from the side of its reader.

`NOTIFICATIONS` (`api.web.wording`) has the sentence of each kind for a reader of whom no more is known. Here are the
sentences for a reader who did it themselves, who is the viewer or the owner, or whose colleague did it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

from markupsafe import Markup

from api.web.days import format_end
from api.web.frame import isolate, patient_path
from api.web.wording import NOTIFICATIONS
from authz.domain import FOREVER, Row

_FOR_READER = {
    "share:given by me": "You shared {patient} with {colleague}",
    "share:ended viewer by me": "You ended {colleague}’s sharing of {patient} with you",
    "share:ended viewer": "{actor} ended the sharing of {patient} with you",
    "share:ended owner by me": "You ended the sharing of {patient} with {colleague}",
    "share:ended owner by colleague": "{actor} gave up access to {patient}",
    "share:ended owner": "{actor} ended the sharing of {patient} with {colleague}",
    "share:ending viewer": "{colleague}’s sharing of {patient} with you ends {end}",
    "share:ending owner": "Your sharing of {patient} with {colleague} ends {end}",
    "share:expired viewer": "{colleague}’s sharing of {patient} with you ended {end}, as planned",
    "share:expired owner": "Your sharing of {patient} with {colleague} ended {end}, as planned",
    "share:changed viewer by colleague": "{actor} changed the end or the reason of sharing {patient} with you",
    "share:changed viewer": "{actor} changed the end or the reason of {colleague}’s sharing of {patient} with you",
    "share:changed owner": "{actor} changed the end or the reason of your sharing of {patient} with {colleague}",
    "emergency:ended viewer by me": "You gave up your emergency access to {patient}",
    "emergency:ended viewer": "{actor} ended your emergency access to {patient}",
    "emergency:ended owner by me": "You ended {colleague}’s emergency access to {patient}",
    "emergency:ended owner by colleague": "{actor} gave up the emergency access to {patient}",
    "emergency:ended owner": "{actor} ended {colleague}’s emergency access to {patient}",
    "emergency:reviewed viewer": "{actor} reviewed your emergency access to {patient}",
    "emergency:reviewed owner": "{actor} reviewed {colleague}’s emergency access to {patient}",
    "transfer:given by me": "You transferred {patient} to {colleague}",
    "transfer:returned by me": "You undid the transfer of {patient} to {colleague}",
    "transfer:received by other": "{actor} transferred {patient} from {colleague} to you",
    "standing_share:ended viewer by me": "You ended {colleague}’s sharing of all patients with you",
    "standing_share:ended viewer": "{actor} ended {colleague}’s sharing of all patients with you",
    "standing_share:ended viewer by colleague": "{actor} ended the sharing of all patients with you",
    "standing_share:ended owner by me": "You ended the sharing of all your patients with {colleague}",
    "standing_share:ended owner by colleague": "{actor} gave up access to all your patients",
    "standing_share:ended owner": "{actor} ended the sharing of all your patients with {colleague}",
    "standing_share:ending viewer": "{colleague}’s sharing of all patients with you ends {end}",
    "standing_share:ending owner": "Your sharing of all your patients with {colleague} ends {end}",
    "standing_share:expired viewer": "{colleague}’s sharing of all patients with you ended {end}, as planned",
    "standing_share:expired owner": "Your sharing of all your patients with {colleague} ended {end}, as planned",
    "patient:ended by me": "You ended the care of {patient} at the clinic",
}


@dataclass(frozen=True)
class NoticeFacts:
    """The facts that sentences name: the reader's id, people by id, and patients that the reader may know, by id.

    `zones` are the time zones of the clinics, by id. `grants` and `standing_shares` are what the notifications are
    about, by number.
    """

    reader: str
    people: Mapping[str, Row]
    patients: Mapping[str, str]
    zones: Mapping[str, tzinfo]
    grants: Mapping[int, Row]
    standing_shares: Mapping[int, Row]


def describe_notice(row: Row, facts: NoticeFacts) -> Row:
    """Return a notification as a page shows it: its sentence, the place it leads to, the reason and the end."""
    grant = facts.grants.get(row["grant"])
    is_known = row["patient"] in facts.patients
    has_end = row["until"] != FOREVER and row["kind"].endswith((":received", ":given", ":changed", ":opened"))
    return {
        **row,
        "zone": _zone(row, facts),
        "unread": row["read_at"] == FOREVER,
        "icon": row["kind"].partition(":")[0],
        "sentence": _sentence(row, facts),
        "target": _target(row, is_known),
        "reason": grant["reason"] if grant is not None and is_known else "",
        "end": format_end(row["until"], _zone(row, facts)) if has_end else "",
    }


def _sentence(row: Row, facts: NoticeFacts) -> Markup:
    """Return the sentence of a notification; a patient whom the reader may not know is "a patient"."""
    kind, reader = row["kind"], facts.reader
    author = {reader: " by me", row["colleague"]: " by colleague"}.get(row["actor"], " by other")
    side = _side(row, facts)
    texts = (_FOR_READER.get(kind + key) for key in (side + author, author, side))
    text = Markup(next(filter(None, texts), NOTIFICATIONS[kind]))  # noqa: S704
    sentence = text.format(
        actor=_person(row["actor"], facts),
        colleague=_person(row["colleague"], facts),
        patient=_patients(row, facts),
        end="" if row["until"] == FOREVER else format_end(row["until"], _zone(row, facts)),
    )
    return sentence[:1].upper() + sentence[1:]


def _side(row: Row, facts: NoticeFacts) -> str:
    """Return the side of a share that the reader is on; empty if the notification is of no share, or an old one."""
    grant, standing_share = facts.grants.get(row["grant"]), facts.standing_shares.get(row["standing_share"])
    share = grant or standing_share
    if share is None:
        return ""
    return " viewer" if facts.reader == share["practitioner" if grant else "colleague"] else " owner"


def _person(practitioner: str, facts: NoticeFacts) -> Markup:
    if practitioner not in facts.people:
        return Markup("the operator")
    return isolate(facts.people[practitioner]["name"])


def _zone(row: Row, facts: NoticeFacts) -> tzinfo:
    return facts.zones.get(row["subscription"], UTC)


def _patients(row: Row, facts: NoticeFacts) -> Markup:
    if row["size"] > 1:
        return Markup("{} patients").format(row["size"])
    name = facts.patients.get(row["patient"])
    return Markup("a patient") if name is None else isolate(name)


def _target(row: Row, is_known: bool) -> str:
    """Return the path of what a notification is about, empty if the reader may not know it any more."""
    if row["size"] > 1:
        return f"/notifications/{row['id']}"
    if row["kind"].startswith("standing_share:"):
        return "/sharing"
    return patient_path(row["patient"]) if is_known else ""
