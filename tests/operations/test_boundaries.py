"""Boundaries of operations: the app's clinic, the day of an idempotency key, a clock that was set back, round trips."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from authz.database import Database, close_all, connect
from authz.domain import FOREVER
from authz.errors import Conflict, InvalidInput, NotEligible
from authz.models import Entity, Membership
from authz.operations import (
    IdempotencyKey,
    ReplayedResponse,
    StoredResponse,
    add_patient,
    put_entity,
    share,
    share_all,
    transfer,
)
from tests.support import people
from tests.support.acting import Clinic, by, login
from tests.support.people import NOW

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def clinic(database: Database) -> Clinic:
    people.fill(database)
    return Clinic(database)


def test_share_all_finds_the_clinic_that_the_app_serves(clinic: Clinic) -> None:
    """For an app of one clinic, sharing everything between people of two clinics means the app's clinic."""
    people.add(clinic.database, Membership, practitioner="bob", subscription="city", role="member")
    with pytest.raises(InvalidInput, match="several"):
        share_all(clinic.pdp, actor=by("mia"), colleague=login("bob"))
    for later, subscription in enumerate(("north", "city"), 1):
        row = share_all(clinic.pdp, actor=by("mia", later, tenant=subscription), colleague=login("bob"))
        assert row["subscription"] == subscription


def test_share_all_does_not_reach_beyond_the_clinic_that_the_app_serves(clinic: Clinic) -> None:
    """An app cannot share everything with a practitioner of another clinic, who does not exist for it."""
    with pytest.raises(NotEligible):
        share_all(clinic.pdp, actor=by("mia", tenant="north"), colleague=login("frank"))
    assert share_all(clinic.pdp, actor=by("mia", 1), colleague=login("frank"))["subscription"] == "city"


def test_a_patient_is_added_to_the_clinic_that_the_app_serves(clinic: Clinic) -> None:
    """A practitioner of two clinics who names none adds a patient to the app's clinic."""
    with pytest.raises(InvalidInput, match="several"):
        add_patient(clinic.pdp, actor=by("mia"), name="New One")
    added = add_patient(clinic.pdp, actor=by("mia", tenant="city"), name="New One")
    assert added.subscription == "city"


@pytest.mark.parametrize(
    ("later", "is_replayed"),
    [(DAY - 0.000001, True), (DAY, True), (DAY + 0.000001, False)],
    ids=["before", "at", "after"],
)
def test_an_idempotency_key_is_kept_for_a_day(clinic: Clinic, later: float, is_replayed: bool) -> None:
    """A repeated request gets the stored response for a day; after it the request is carried out anew."""

    def request(seconds: float) -> Any:
        key = IdempotencyKey("bench", "k-1", "the request", lambda result: StoredResponse(201, result[0].patient))
        actor, colleague = by("alice", seconds), login("oscar")
        return share(clinic.pdp, actor=actor, patients=["p-1"], colleague=colleague, idempotency_key=key)

    request(0)
    with pytest.raises(ReplayedResponse if is_replayed else Conflict) as raised:
        request(later)
    if isinstance(raised.value, ReplayedResponse):
        assert raised.value.stored == StoredResponse(201, "p-1")


@pytest.mark.parametrize("later", [-1, 0, 1])
def test_a_version_of_an_entity_never_ends_before_it_starts(clinic: Clinic, later: float) -> None:
    """If a clock ahead wrote a version, the next version begins at its start or later."""
    ahead = 600

    def put(title: str, seconds: float) -> None:
        put_entity(clinic.pdp, actor=by("", seconds), kind="document", entity="d-1", properties={"title": title})

    put("First", ahead)
    put("Second", ahead + later)
    versions = Entity.select().where(Entity.id == "d-1").order_by(Entity.pk).execute(clinic.database)
    lives = [(version.properties["title"], version.started_at, version.ended_at) for version in versions]
    first, second = NOW + timedelta(seconds=ahead), NOW + timedelta(seconds=ahead + max(later, 0))
    assert lives == [("First", first, second), ("Second", second, FOREVER)]


@pytest.fixture
def postgresql_clinic(postgresql_url: str) -> Iterator[Clinic]:
    database = connect(postgresql_url)
    database.connect()
    people.fill(database)
    yield Clinic(database)
    close_all(database)


@pytest.mark.parametrize("operation", [share, transfer])
def test_a_change_waits_for_postgresql_four_times(
    postgresql_clinic: Clinic, operation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change waits for PostgreSQL four times, the last time for its commit."""
    steps: Counter[str] = Counter()
    wait = psycopg.Connection.wait

    def counting(connection: Any, generator: Any, *args: Any, **kwargs: Any) -> Any:
        steps[generator.__name__] += 1
        return wait(connection, generator, *args, **kwargs)

    actor, colleague = by("alice"), login("oscar")
    monkeypatch.setattr(psycopg.Connection, "wait", counting)
    operation(postgresql_clinic.pdp, actor=actor, patients=["p-1"], colleague=colleague)
    assert (steps["_sync_gen"], steps["_exit_gen"]) == (3, 1)
