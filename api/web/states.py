"""The sentences of states: why a list is empty, why one sees a patient, and what became of what one saw before.

Each state has one sentence here, in one of the tables. A page that is not there says what has happened, if the reader
knew the thing and may still know it; to everybody else it is the same page as for what never existed (T1).
"""

from collections.abc import Collection
from contextlib import suppress

from flask import Flask, Response, request
from markupsafe import Markup

from api.auth import pdp
from api.errors import Problem
from api.v1.query import parse_row_id
from api.web import session as sessions
from api.web.days import format_day, format_time
from api.web.emergency import emergency_form
from api.web.frame import isolate, pages, patient_path
from api.web.refusals import render_refusal
from authz.domain import Row
from authz.errors import CaregrantError, NotFound
from authz.queries import ended_access
from authz.queries import practitioner as practitioner_queries
from authz.queries.ended_access import EndedAccess
from authz.queries.time_zones import zones_of_clinics

CLOSED = {
    "lapsed": Markup(
        "The subscription of {clinic} has ended. Until the clinic renews the subscription, nobody there sees a "
        "patient. No patient and no share is lost. Ask your clinic’s manager."
    ),
    "auditor": Markup(
        "You are an auditor of {clinic}. An auditor sees no patient on these pages. The audit is in notebooks and "
        "reports on your own computer; the operator of this server tells you how to open them."
    ),
    "closed": Markup("You do not see the patients of {clinic} now. Ask your clinic’s manager."),
}
"""Why the reader sees no patient of a clinic at which they have a role."""

VIEWED_THROUGH = {
    "standing_share": Markup("You see this patient because {owner} ({login}) shares all patients with you."),
    "rule": Markup("You see this patient by a rule of your clinic. The owner is {owner} ({login})."),
    "emergency": Markup(
        "You see this patient because you opened the patient in an emergency. The owner is {owner} ({login}). Give up "
        "your access when the emergency is over."
    ),
    "share": Markup(
        "You see this patient because the patient is shared with you. The owner is {owner} ({login}). You can give up "
        "your access at any time."
    ),
}
"""Through what a viewer sees a patient, by the origin of their access; a share of any other origin is a share."""

ONLY_VIEWED = Markup(" You cannot share or transfer the patient; if somebody else needs access, ask {owner}.")
"""What follows for a viewer who may neither share nor transfer the patient."""

ACCESS = {
    ("owner", "transfer"): Markup("{by} transferred this patient to {other} on {when}."),
    ("owner", "undo"): Markup("{by} undid the transfer of this patient to you on {when}."),
    ("owner", "ended"): Markup("{by} ended the care of this patient at the clinic on {when}."),
    ("viewer", "given_up"): Markup(
        "You gave up your access to this patient on {when}. Only the owner can share the patient with you again."
    ),
    ("viewer", "ended"): Markup("{by} ended the sharing of this patient with you on {when}."),
    ("emergency", "given_up"): Markup("You gave up your emergency access to this patient on {when}."),
    ("emergency", "ended"): Markup("{by} ended your emergency access to this patient on {when}."),
    ("emergency", "transfer"): Markup("Your emergency access to this patient ended with a transfer on {when}."),
    ("emergency", ""): Markup("Your emergency access to this patient ended by itself on {when}."),
    ("viewer", "transfer"): Markup("The sharing of this patient with you ended with a transfer on {when}."),
    ("viewer", ""): Markup("The sharing of this patient with you ended by its date on {when}."),
}
"""How the reader's own access to a patient ended, by role and cause."""

SELECTION = Markup("{by} transferred {which} to {other} on {when}.")
"""The sentence for selected patients who have been transferred meanwhile."""

SHARE = {
    "given_up": Markup("{who} gave up their access to this patient on {when}."),
    "ended": Markup("{by} ended the sharing of this patient with {who} on {when}."),
    "transfer": Markup("The sharing of this patient with {who} ended with a transfer on {when}."),
    "": Markup("The sharing of this patient with {who} ended by its date on {when}."),
}
"""How a colleague's share of a patient ended, by cause."""

STANDING_SHARE = {
    ("owner", "given_up"): Markup("{other} gave up the patients that you shared with them, on {when}."),
    ("owner", "ended"): Markup("{by} ended the sharing of all your patients with {other} on {when}."),
    ("owner", ""): Markup("The sharing of all your patients with {other} ended by its date on {when}."),
    ("viewer", "given_up"): Markup("You gave up the patients that {other} shared with you, on {when}."),
    ("viewer", "ended"): Markup("{by} ended the sharing of all patients of {other} with you on {when}."),
    ("viewer", ""): Markup("The sharing of all patients of {other} with you ended by its date on {when}."),
}
"""How a share of all patients ended, by the reader's side and cause."""

_ENDED = Markup("It ended on {when}.")
"""For a cause without a sentence of its own: an import says no more."""


def closed_clinics() -> list[Markup]:
    """Return a sentence for each clinic at which the reader has a role and sees no patient now."""

    def state(row: Row) -> str:
        return "lapsed" if row["lapsed"] else "auditor" if row["role"] == "auditor" else "closed"

    rows = ended_access.closed_clinics(pdp(), sessions.actor())
    return [CLOSED[state(row)].format(clinic=isolate(row["name"])) for row in rows]


def viewed_through(origin: str, owner: Row, actions: Collection[str]) -> Markup:
    """Return the sentences that tell a viewer through what they see a patient, and what they cannot do."""
    sentence = VIEWED_THROUGH.get(origin, VIEWED_THROUGH["share"])
    if not {"share", "transfer"} & set(actions):
        sentence += ONLY_VIEWED
    return sentence.format(owner=isolate(owner["name"]), login=isolate(owner["login"]))


@pages.errorhandler(NotFound)
def explain_not_found(error: NotFound) -> Response:
    """Return the page of what is not there: what has happened, if the reader knew the thing."""
    problem, explanation, notes, emergency = Problem("not-found", str(error)), None, [], ""
    with suppress(sessions.SignedOut, CaregrantError):  # nobody is signed in, or the address or the database is faulty
        explanation, notes, emergency = _explain(), closed_clinics(), _emergency()
    title, sentence, onward = explanation or ("", Markup(), "")
    return render_refusal(problem, title=title, sentence=sentence, notes=notes, onward=onward, emergency=emergency)


def _emergency() -> str:
    """Return the path of the form for emergency access from a patient's address, whether the patient exists or not."""
    patient = (request.view_args or {}).get("patient", "")
    return emergency_form(patient) if patient and request.method == "GET" else ""


def _explain() -> tuple[str, Markup, str] | None:
    """Return title and sentence of what became of the thing in the address, and a path that leads on, if any."""
    actor, arguments = sessions.actor(), request.view_args or {}
    if "share" in arguments:
        standing = ended_access.ended_standing_share(pdp(), actor, parse_row_id(arguments["share"]))
        return ("This sharing has ended already", _describe(standing, STANDING_SHARE), "/sharing") if standing else None
    if "patient" not in arguments:
        return _explain_selection()
    patient = arguments["patient"]
    grant = arguments.get("grant")
    share = None if grant is None else ended_access.ended_share(pdp(), actor, patient, parse_row_id(grant))
    if share and share.practitioner != actor.practitioner:
        return "This share has ended already", _describe(share, SHARE), patient_path(patient)
    access = share or ended_access.ended_access(pdp(), actor, patient)
    if access is None:
        return None
    if grant is not None and share is None and practitioner_queries.names(pdp(), actor, [patient]):
        return None  # the patient is there, and no such share
    title = "This share has ended already" if share else "You do not see this patient any more"
    return title, _describe(access, ACCESS), ""


def _explain_selection() -> tuple[str, Markup, str] | None:
    """Return as `_explain` what became of the selected patients: a form that was sent twice says what it has done."""
    patients = set((request.form if request.method == "POST" else request.args).getlist("patient"))
    moved = ended_access.transferred(pdp(), sessions.actor(), list(patients)) if patients else None
    if moved is None or moved[0].cause != "transfer":
        return None
    if len(patients) == 1:
        return "You do not see this patient any more", _describe(moved[0], ACCESS), ""
    which = Markup("{} of these {} patients").format(moved[1], len(patients))
    sentence = _describe(moved[0], {("owner", "transfer"): SELECTION}, which=which)
    some = "some of " if moved[1] < len(patients) else ""
    return f"You do not see {some}these patients any more", sentence, ""


def _describe(
    ended: EndedAccess, sentences: dict[tuple[str, str], Markup] | dict[str, Markup], **more: Markup
) -> Markup:
    """Return the sentence of access that has ended, with the names of the people in it."""
    reader = sessions.actor().practitioner
    people = practitioner_queries.people(pdp(), [name for name in (ended.by, ended.other, ended.practitioner) if name])

    def name(practitioner: str) -> Markup:
        return isolate(people[practitioner]["name"]) if practitioner in people else Markup("The operator")

    cause = "" if ended.cause == "expired" else ended.cause
    keys: tuple[object, ...] = ((ended.role, cause), cause)
    sentence = next((text for key, text in sentences.items() if key in keys), _ENDED)
    return sentence.format(
        by=Markup("You") if ended.by == reader else name(ended.by),
        other=name(ended.other),
        who=name(ended.practitioner),
        when=_when(ended),
        **more,
    )


def _when(ended: EndedAccess) -> str:
    """Return day and time of the end, in the zone of the clinic."""
    zone = zones_of_clinics(pdp(), [ended.subscription])[ended.subscription]
    return f"{format_day(ended.at, zone)}, {format_time(ended.at, zone)}"


def install(app: Flask) -> None:
    """Add the functions with which the templates describe states."""
    app.jinja_env.globals.update(closed_clinics=closed_clinics, viewed_through=viewed_through)
