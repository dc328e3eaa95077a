"""Seeded facts at any size, and questions about them: a stand-in for a platform of many clinics.

For each ten patients there is a practitioner, for each twenty practitioners a subscription, and half as many shares as
patients. Some shares have ended, some people have left, some subscriptions have lapsed.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from authz.database import Database, gather_statistics
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import Grant, Licence, Membership, Patient, Practitioner, StandingShare, Subscription

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_LONG_AGO, _YESTERDAY, _NEXT_YEAR = (to_micros(NOW + timedelta(days=days)) for days in (-900, -1, 365))
_SPAN = ("started_at", "ended_at")
GRANT = ("patient", "practitioner", "role", "origin", "given_by", "reason", "ended_by", "end_cause", *_SPAN)
_SHARE = ("owner", "colleague", "subscription", "content", "given_by", "reason", "ended_by", "end_cause", *_SPAN)


@dataclass(frozen=True)
class World:
    """The facts that questions are made from: colleagues of each clinic, owners, viewers, standing shares."""

    practitioners: list[str]
    colleagues: list[list[str]]
    owners: list[str]
    viewers: list[tuple[str, str]]
    shares: list[tuple[str, str]]


def fill(database: Database, patients: int, seed: int) -> World:
    """Fill an empty, migrated database."""
    dice = random.Random(seed)
    people = max(patients // 10, 20)
    clinics = people // 20
    names = [f"practitioner-{number}" for number in range(people)]
    colleagues = [names[clinic::clinics] for clinic in range(clinics)]
    lapsed = {clinic for clinic in range(clinics) if clinics > 5 and dice.random() < 0.02}
    subscriptions = [f"clinic-{clinic}" for clinic in range(clinics)]
    owners: list[str] = []
    viewers: list[tuple[str, str]] = []
    grants: list[tuple[object, ...]] = []
    for number in range(patients):
        here = colleagues[number % clinics]
        owner, viewer = dice.sample(here, 2)
        owners.append(owner)
        grants.append((f"p-{number}", owner, "owner", "created", owner, "", "", "", _LONG_AGO, FOREVER_MICROS))
        if number % 2:
            until = dice.choices((FOREVER_MICROS, _NEXT_YEAR, _YESTERDAY), (5, 2, 3))[0]
            viewers.append((viewer, f"p-{number}"))
            grants.append((f"p-{number}", viewer, "viewer", "share", owner, "", "", "", _LONG_AGO, until))
    shares = [_two(dice, dice.choice(colleagues)) for _ in range(people // 20)]
    with database.atomic():
        insert_rows(database, Subscription, ("id", "name"), [(name, name.title()) for name in subscriptions])
        ends = [
            (subscription, _LONG_AGO, _YESTERDAY if clinic in lapsed else FOREVER_MICROS)
            for clinic, subscription in enumerate(subscriptions)
        ]
        insert_rows(database, Licence, ("subscription", *_SPAN), list(ends))
        insert_rows(database, Practitioner, ("id", "login", "name"), [(n, f"{n}@clinic.example", n) for n in names])
        insert_rows(
            database,
            Membership,
            ("practitioner", "subscription", "role", *_SPAN),
            [
                (
                    name,
                    subscriptions[number % clinics],
                    "manager" if number // clinics == 0 else "member",
                    _LONG_AGO,
                    _YESTERDAY if dice.random() < 0.05 else FOREVER_MICROS,
                )
                for number, name in enumerate(names)
            ],
        )
        insert_rows(
            database,
            Patient,
            ("id", "subscription", "name", *_SPAN),
            [
                (f"p-{number}", subscriptions[number % clinics], f"Patient {number}", _LONG_AGO, FOREVER_MICROS)
                for number in range(patients)
            ],
        )
        insert_rows(database, Grant, GRANT, grants)
        where = {name: subscriptions[number % clinics] for number, name in enumerate(names)}
        insert_rows(
            database,
            StandingShare,
            _SHARE,
            [
                (owner, colleague, where[owner], False, owner, "", "", "", _LONG_AGO, FOREVER_MICROS)
                for owner, colleague in sorted(set(shares))
            ],
        )
    gather_statistics(database)
    return World(names, colleagues, owners, viewers, shares)


def _two(dice: random.Random, here: list[str]) -> tuple[str, str]:
    owner, colleague = dice.sample(here, 2)
    return owner, colleague


def questions(world: World, count: int, seed: int) -> list[tuple[str, str]]:
    """Return pairs of practitioner and patient: owners, viewers, receivers of standing shares, colleagues, anybody."""
    dice = random.Random(seed)
    patients, clinics = len(world.owners), len(world.colleagues)
    owned: dict[str, list[int]] = {}
    for number, owner in enumerate(world.owners):
        owned.setdefault(owner, []).append(number)
    pairs = []
    for at in range(count):
        number = dice.randrange(patients)
        if at % 5 == 0:
            pairs.append((world.owners[number], f"p-{number}"))
        elif at % 5 == 1:
            pairs.append(dice.choice(world.viewers))
        elif at % 5 == 2 and world.shares:
            owner, colleague = dice.choice(world.shares)
            pairs.append((colleague, f"p-{dice.choice(owned.get(owner, [number]))}"))
        elif at % 5 == 3:
            pairs.append((dice.choice(world.colleagues[number % clinics]), f"p-{number}"))
        else:
            pairs.append((dice.choice(world.practitioners), f"p-{number}"))
    return pairs
