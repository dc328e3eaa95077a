"""The cast: one practitioner for each kind of subject in the decision table, at three clinics.

North is live, City is another live clinic, Harbour has lapsed. Every row of the table names somebody here, and the
patient, subscription and documents that they are asked about.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from authz.database import Database
from authz.domain import FOREVER
from authz.models import (
    Entity,
    EntityLink,
    Grant,
    Licence,
    Membership,
    Patient,
    Practitioner,
    StandingShare,
    Subscription,
)
from authz.texts import search_key

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1000)
LAST_YEAR = NOW - timedelta(days=365)
FAR_AHEAD = NOW + timedelta(days=50 * 365)
"""An end that is ahead also by the clock of this machine, by which the pages act."""


@dataclass(frozen=True)
class Person:
    """Somebody of one kind, and what the decision table asks about them."""

    id: str
    patient: str = "p-1"
    subscription: str = "north"


CAST = {
    "owner": Person("alice"),
    "viewer by a share": Person("bob"),
    "colleague by a standing share": Person("carol"),
    "other colleague": Person("oscar"),
    "manager": Person("dan"),
    "auditor": Person("heidi"),
    "leaver": Person("erin"),
    "member of a lapsed subscription": Person("grace", "p-harbour", "harbour"),
    "other clinic": Person("frank"),
    "sender": Person("ned", "p-sent"),
    "unknown": Person("nobody"),
}


EXTRAS = ("carl", "gus", "zoe", "xena", "mia", "olga", "pete")
"""People at the edges of the rules; what each is there for stands in `_edges`."""


def add(database: Database, model: Any, **columns: Any) -> Any:
    """Insert a row, which began long ago unless `started_at` is given; return its key."""
    if "started_at" in model._meta.fields:
        columns.setdefault("started_at", LONG_AGO)
    if "search_key" in model._meta.fields:
        others = [columns.get(column, "") for column in ("reference", "login") if column in model._meta.fields]
        columns["search_key"] = search_key(columns["name"], *others)
    return model.insert(**columns).execute(database)


def document(database: Database, name: str, *, patient: str | None = None, author: str | None = None) -> None:
    """Add a document of a patient or of its author's library; it belongs to their clinic if there is exactly one."""
    led: Any = Patient.select(Patient.subscription).where(Patient.id == patient)
    if patient is None:
        led = Membership.select(Membership.subscription).where(Membership.practitioner == author).distinct()
    clinics = [clinic for (clinic,) in led.tuples().execute(database)]
    owner = clinics[0] if len(clinics) == 1 else ""
    pk = add(database, Entity, type="document", id=name, properties={"title": name}, subscription=owner)
    for key, target in (("patient", patient), ("author", author)):
        if target is not None:
            EntityLink.insert(entity=pk, property=key, type="document", target=target).execute(database)


def fill(database: Database) -> None:
    """Add the cast to an empty database."""
    with database.atomic():
        _everybody(database)


def _everybody(database: Database) -> None:
    for clinic in ("north", "city", "harbour"):
        add(database, Subscription, id=clinic, name=f"{clinic.title()} Clinic")
        add(database, Licence, subscription=clinic, ended_at=LAST_YEAR if clinic == "harbour" else FOREVER)
    roles = {"dan": "manager", "heidi": "auditor"}
    clinics = {"grace": "harbour", "gus": "harbour", "frank": "city"}
    for name in (*(person.id for person in CAST.values() if person.id != "nobody"), *EXTRAS):
        add(database, Practitioner, id=name, login=f"{name}@clinic.example", name=name.title())
        until = LAST_YEAR if name == "erin" else FOREVER
        clinic, role = clinics.get(name, "north"), roles.get(name, "member")
        add(database, Membership, practitioner=name, subscription=clinic, role=role, ended_at=until)
    for patient, clinic, owner in (
        ("p-1", "north", "alice"),
        ("p-harbour", "harbour", "grace"),
        ("p-city", "city", "frank"),
    ):
        reference = "MRN 1" if clinic == "city" else ""
        add(database, Patient, id=patient, subscription=clinic, name=f"Patient of {owner}", reference=reference)
        add(database, Grant, patient=patient, practitioner=owner, role="owner", origin="created")
    # The leaver keeps a share, a standing share and what they wrote: none of it counts any more.
    for viewer, until in (("bob", FAR_AHEAD), ("erin", FOREVER)):
        add(database, Grant, patient="p-1", practitioner=viewer, role="viewer", origin="share", ended_at=until)
    for colleague, content in (("carol", True), ("carl", False), ("erin", True)):
        add(database, StandingShare, owner="alice", colleague=colleague, subscription="north", content=content)
    add(database, StandingShare, owner="grace", colleague="gus", subscription="harbour", content=True)
    # Ned got this patient from Zoe, and transferred the patient to Olga a minute ago.
    add(database, Patient, id="p-sent", subscription="north", name="Patient of olga")
    sent = {"patient": "p-sent", "role": "owner", "origin": "transfer", "undo_until": NOW + timedelta(minutes=9)}
    a_minute_ago = NOW - timedelta(minutes=1)
    add(database, Grant, **sent, practitioner="ned", given_by="zoe", ended_at=a_minute_ago, end_cause="transfer")
    add(database, Grant, **sent, practitioner="olga", given_by="ned", started_at=a_minute_ago)
    for person in CAST.values():
        author = person.id if person.id != "nobody" else "oscar"
        document(database, f"by-{person.id}", patient=person.patient, author=author)
        document(database, f"library-{person.id}", author=author)
    _edges(database)
    document(database, "harbour-plan", patient="p-harbour", author="gus")
    document(database, "north-plan", patient="p-1", author="oscar")


def _edges(database: Database) -> None:
    """Add facts that nearly permit something and must not."""
    # Not begun, and ended.
    add(database, Grant, patient="p-1", practitioner="zoe", role="viewer", origin="share", started_at=FAR_AHEAD)
    add(database, Grant, patient="p-1", practitioner="xena", role="viewer", origin="share", ended_at=LAST_YEAR)
    _shares(database, "alice", "ned", ended_at=LAST_YEAR)
    # Shared in another clinic, by somebody who is a viewer, by a leaver, by and to an auditor.
    add(database, Membership, practitioner="mia", subscription="city", role="member")
    _shares(database, "alice", "mia", subscription="city")
    _shares(database, "bob", "olga")
    for patient, owner in (("p-left", "erin"), ("p-oscar", "oscar"), ("p-old", "oscar")):
        until = LAST_YEAR if patient == "p-old" else FOREVER
        add(database, Patient, id=patient, subscription="north", name=f"Patient of {owner}", ended_at=until)
        giver, until = ("erin", FAR_AHEAD) if owner == "erin" else ("zoe", NOW)
        sent = {"given_by": giver, "undo_until": until}
        add(database, Grant, patient=patient, practitioner=owner, role="owner", origin="created", **sent)
    _shares(database, "erin", "pete")
    _shares(database, "heidi", "pete")
    _shares(database, "alice", "heidi")
    # Written by the owner, about somebody else's patient.
    document(database, "alice-on-oscar", patient="p-oscar", author="alice")


def _shares(database: Database, owner: str, colleague: str, subscription: str = "north", **columns: Any) -> None:
    columns = {"content": True, **columns}
    add(database, StandingShare, owner=owner, colleague=colleague, subscription=subscription, **columns)
