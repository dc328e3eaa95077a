"""The demonstration clinic: small, believable, and with an example of every rule (but R12, which lasts ten minutes).

It is written as an import file, so that the demonstration is filled as a real clinic is. Its history reaches back some
years from the given instant.
"""

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson

from authz.database import Database, database_connection
from authz.domain import format_instant
from authz.errors import Conflict
from authz.importing import ImportReport, import_facts
from authz.models import Event, Subscription
from authz.policy.compiler import Schema
from authz.record import Actor, NewEvent, append

FactLine = tuple[str, dict[str, Any]]

SUBSCRIPTIONS = {"north": "North Rehabilitation Clinic", "city": "City Physio", "harbour": "Harbour Physiotherapy"}
"""Two live clinics, and one (harbour) whose licence lapsed."""

PEOPLE = {
    "alice": ("Alice Andersson", "north", "member"),
    "bob": ("Bob Brandt", "north", "member"),
    "carol": ("Carol Castellanos", "north", "member"),
    "dan": ("Dan Dimitrov", "north", "manager"),
    "erin": ("Erin Eze", "north", "member"),
    "heidi": ("Heidi Hakala", "north", "auditor"),
    "ivan": ("Ivan Iliev", "north", "member"),
    "noa": ("נועה כהן", "north", "member"),
    "frank": ("Frank Fischer", "city", "member"),
    "amira": ("أميرة الخطيب", "city", "manager"),
    "luis": ("Luis Lobo 🌿", "city", "member"),
    "mei": ("Mei Morita", "city", "member"),
    "grace": ("Grace García", "harbour", "member"),
    "gus": ("Gus Georgiou", "harbour", "manager"),
}
"""The memberships: practitioner, clinic and role. Erin's ended last year."""

_GIVEN = ["Ada", "Ben", "Cleo", "Dov", "Elif", "Finn", "Gita", "Hugo", "Inês", "Jan"]
_FAMILY = ["Abel", "Brook", "Costa", "Dahl", "Ender", "Fox", "Grün", "Hill", "Ito", "Juhl"]
_OWNERS = {"north": ("alice", "bob", "ivan", "noa", "erin"), "city": ("frank", "luis", "mei"), "harbour": ("grace",)}


BEGAN = timedelta(days=1200)
"""The age of the clinics."""


def facts(now: datetime) -> Iterator[FactLine]:
    """Yield the lines of the import, in an order in which each refers only to earlier ones."""

    def ago(days: int) -> str:
        return format_instant(now - timedelta(days=days))

    for subscription, name in SUBSCRIPTIONS.items():
        life = {"until": ago(40)} if subscription == "harbour" else {}
        fields = {"id": subscription, "name": name, "started_at": format_instant(now - BEGAN)}
        yield "subscription", fields | life
    for practitioner, (name, clinic, role) in PEOPLE.items():
        yield "practitioner", {"id": practitioner, "login": f"{practitioner}@{clinic}.example", "name": name}
        life = {"until": ago(200)} if practitioner == "erin" else {}
        fields = {"practitioner": practitioner, "subscription": clinic, "role": role, "started_at": ago(1100)}
        yield "membership", fields | life
    yield from _patients(ago)
    yield from _shares(ago, format_instant(now + timedelta(days=90)))
    yield from _content()


def _patients(ago: Callable[[int], str]) -> Iterator[FactLine]:
    for number in range(1, 101):
        clinic = "north" if number <= 64 else "city" if number <= 92 else "harbour"
        owner = "alice" if number <= 6 else _OWNERS[clinic][number % len(_OWNERS[clinic])]
        name = f"{_GIVEN[number % 10]} {_FAMILY[number // 10 % 10]}"
        reference = {"reference": f"{clinic[0].upper()}-{20_000 + 7 * number}"} if number % 5 else {}
        yield (
            "patient",
            {
                "id": f"p-{number}",
                "subscription": clinic,
                "name": name,
                "owner": owner,
                "started_at": ago(1000 - number),
                **reference,
            },
        )


def _shares(ago: Callable[[int], str], in_three_months: str) -> Iterator[FactLine]:
    def viewer(patient: str, practitioner: str, since: int, **other: str) -> FactLine:
        grant = {"patient": patient, "practitioner": practitioner, "role": "viewer", "started_at": ago(since)}
        return "grant", grant | other

    yield viewer("p-1", "bob", 300, reason="knee group")
    yield viewer("p-2", "bob", 20, until=in_three_months, reason="holiday cover")
    yield viewer("p-3", "bob", 400, until=ago(30), reason="second opinion")
    # Bob looked after p-4 as a colleague, then as the owner; the patient came back to Alice.
    yield viewer("p-4", "bob", 700)
    for practitioner, since in (("bob", 500), ("alice", 100)):
        yield "grant", {"patient": "p-4", "practitioner": practitioner, "role": "owner", "started_at": ago(since)}
    for number, practitioner in ((7, "alice"), (8, "ivan"), (11, "alice"), (12, "noa"), (16, "alice"), (21, "carol")):
        yield viewer(f"p-{number}", practitioner, 90 + number)
    yield viewer("p-70", "mei", 60)
    yield viewer("p-93", "gus", 60)
    yield (
        "standing_share",
        {"owner": "alice", "colleague": "carol", "subscription": "north", "content": True, "started_at": ago(250)},
    )
    yield "standing_share", {"owner": "luis", "colleague": "mei", "subscription": "city", "started_at": ago(120)}
    yield (
        "standing_share",
        {"owner": "ivan", "colleague": "noa", "subscription": "north", "started_at": ago(600), "until": ago(150)},
    )


def _content() -> Iterator[FactLine]:
    plans = (("p-1", "alice", "Knee plan"), ("p-1", "bob", "Balance at home"), ("p-2", "alice", "Shoulder plan"))
    for number, (patient, author, title) in enumerate((*plans, ("p-70", "luis", "Back school")), 1):
        yield "entity", _document(f"d-{number}", patient=patient, author=author, title=title)
    for name, author, title in (("d-library", "alice", "Warm-up, 10 minutes"), ("d-bob", "bob", "Stairs")):
        yield "entity", _document(name, author=author, title=title)


def _document(name: str, **properties: str) -> dict[str, object]:
    return {"type": "document", "id": name, "properties": properties}


def fill(database: Database, types: Schema, now: datetime) -> ImportReport:
    """Fill an empty database. Raises `Conflict` if it holds a subscription already."""
    with database_connection(database):
        if Subscription.select().exists(database):
            raise Conflict("this database is not empty; the demonstration clinic needs one of its own")
        known = [(kind, body) for kind, body in facts(now) if kind != "entity" or types.named(body["type"]) is not None]
        lines = b"".join(orjson.dumps({kind: body}) + b"\n" for kind, body in known)
        with database.atomic():
            report = import_facts(database, io.BytesIO(lines), types, now=now)
            append(database, Actor("", now), [NewEvent("demo:filled", "", {})])
            return report


def is_demo(database: Database) -> bool:
    """Return whether a database holds the demonstration clinic."""
    with database_connection(database):
        filled: bool = Event.select().where(Event.kind == "demo:filled").exists(database)
        return filled
