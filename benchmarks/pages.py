"""Each page of a practitioner with 6,000 patients and 260 colleagues beside the same page in an empty clinic.

`python -m benchmarks.pages`. The pages are made in this process, by the application that the service runs; both clinics
take turns. A line is the least processor time of a page in each clinic, so that a busy machine does not count.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from flask import Flask

from api.app import create_app
from authz.database import Database, close_all, connect, gather_statistics, migrate
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import Grant, Licence, Membership, Notification, Patient, Practitioner, Subscription
from authz.settings import Settings
from authz.texts import search_key
from benchmarks.data import GRANT
from tests.support.visitor import Visitor

MOST = 2.0
"""The most times that a page may take beside the same page in an empty clinic."""

_BEGAN = datetime.now(UTC) - timedelta(days=30)
_LIFE = (to_micros(_BEGAN), FOREVER_MICROS)
_READER = "ruth"
_FAMILIES = ("Abel", "Ivanov", "Meyer", "Okafor", "Sato", "Šimek", "Zhou")


@dataclass(frozen=True)
class Size:
    """The size of a clinic: patients of the reader, as many shared with her as `shared`, colleagues, notifications."""

    patients: int
    shared: int
    colleagues: int
    notifications: int


EMPTY = Size(patients=1, shared=1, colleagues=1, notifications=1)
REAL = Size(patients=6000, shared=600, colleagues=260, notifications=1000)

PAGES = {
    "patients": "/patients",
    "patients, the last by name": "/patients?q=zhou",
    "patients shared with me": "/patients?role=viewer",
    "a patient": "/patients/own-0",
    "share a patient": "/patients/own-0/share",
    "transfer a patient": "/patients/own-0/transfer",
    "share everything": "/sharing",
    "notifications": "/notifications",
    "the clinic": "/clinic/north",
}
"""The pages by what they show."""


def fill(database: Database, size: Size) -> None:
    """Fill a clinic of the reader, who is also its manager."""
    colleagues = [f"colleague-{number:03}" for number in range(size.colleagues)]
    people = [_READER, *colleagues]
    names = {who: f"{who.title()} {_FAMILIES[number % len(_FAMILIES)]}" for number, who in enumerate(people)}
    own = [f"own-{number}" for number in range(size.patients)]
    shared = [f"shared-{number}" for number in range(size.shared)]
    grants = [(patient, _READER, "owner", "created", _READER, "", "", "", *_LIFE) for patient in own]
    for number, patient in enumerate(shared):
        owner = colleagues[number % len(colleagues)]
        grants.append((patient, owner, "owner", "created", owner, "", "", "", *_LIFE))
        grants.append((patient, _READER, "viewer", "share", owner, "", "", "", *_LIFE))
    notices = [
        (_LIFE[0] + number, _READER, "share:received", shared[number % len(shared)], colleagues[0], colleagues[0])
        for number in range(size.notifications)
    ]
    with database.atomic():
        insert_rows(database, Subscription, ("id", "name"), [("north", "North")])
        insert_rows(database, Licence, ("subscription", "started_at", "ended_at"), [("north", *_LIFE)])
        rows = [(who, f"{who}@north.example", name, search_key(name)) for who, name in names.items()]
        insert_rows(database, Practitioner, ("id", "login", "name", "search_key"), rows)
        roles = [(who, "north", "manager" if who == _READER else "member", *_LIFE) for who in people]
        columns = ("practitioner", "subscription", "role", "started_at", "ended_at")
        insert_rows(database, Membership, columns, roles)
        insert_rows(
            database,
            Patient,
            ("id", "subscription", "name", "search_key", "started_at", "ended_at"),
            [(patient, "north", name, search_key(name), *_LIFE) for patient, name in _names([*own, *shared])],
        )
        insert_rows(database, Grant, GRANT, grants)
        insert_rows(
            database,
            Notification,
            ("at", "practitioner", "kind", "patient", "colleague", "actor", "subscription", "read_at"),
            [(*notice, "north", FOREVER_MICROS) for notice in notices],
        )
    gather_statistics(database)


def _names(patients: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, patient in enumerate(patients):
        yield patient, f"{_FAMILIES[number % len(_FAMILIES)]} {patient}"


def clinic(folder: Path, name: str, size: Size) -> tuple[Flask, Database]:
    """Return the application of the service on a filled clinic, and its database."""
    database = connect(f"sqlite:///{folder}/{name}.db")
    migrate(database)
    database.connect(reuse_if_open=True)
    fill(database, size)
    settings = Settings(database=f"sqlite:///{folder}/{name}.db", rate=0)
    return create_app(settings), database


def least(visitor: Visitor, path: str) -> float:
    """Return the processor seconds of a page. Raises `SystemExit` if it is refused."""
    began = time.process_time()
    response = visitor.client.get(path)
    took = time.process_time() - began
    if response.status_code != 200:
        raise SystemExit(f"{path}: {response.status_code}")
    return took


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True, help="Of each page in each clinic.")
def main(rounds: int) -> None:
    """Measure every page, and print the table; exit 1 if a page takes more than `MOST` times as long."""
    with tempfile.TemporaryDirectory(prefix="caregrant-bench-") as folder:
        empty, real = (clinic(Path(folder), name, size) for name, size in (("empty", EMPTY), ("real", REAL)))
        visitors = [Visitor(flask, _READER) for flask, _ in (empty, real)]
        missed = False
        click.echo(
            "| Page | Empty clinic | 6,000 patients, 260 colleagues | Ratio | Target | Met |\n|---|---|---|---|---|---|"
        )
        for what, path in PAGES.items():
            took = [
                min(times)
                for times in zip(*([least(visitor, path) for visitor in visitors] for _ in range(rounds)), strict=False)
            ]
            ratio = took[1] / took[0]
            missed |= ratio > MOST
            shown = " | ".join(f"{1000 * seconds:.1f} ms" for seconds in took)
            click.echo(f"| {what} | {shown} | {ratio:.2f} | ≤ {MOST:.0f} | {'yes' if ratio <= MOST else 'NO'} |")
        for _, database in (empty, real):
            close_all(database)
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
