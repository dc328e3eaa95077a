"""The time zone of a clinic in the record: events tell it, a forged one is found, and older events stay true."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from playhouse.migrations import Runner

from authz.database import MIGRATIONS, Database, close_all, connect, migrate
from authz.errors import InvalidInput
from authz.models import Event, Subscription
from authz.operations import put_subscription
from authz.record import replay_facts
from tests.support import people
from tests.support.acting import Clinic, by


def put(clinic: Clinic, later: float, **more: Any) -> str:
    row = put_subscription(
        clinic.pdp, actor=by("", later), **{"subscription": "rome", "name": "Clinic of Rome", **more}
    )
    return str(row["time_zone"])


@pytest.fixture
def clinic(database: Database) -> Clinic:
    people.fill(database)
    return Clinic(database)


def differences(clinic: Clinic) -> list[str]:
    return [each.row for each in replay_facts(clinic.database)[1] if '"subscription":"rome"' in each.row]


def test_a_zone_is_told_by_events(clinic: Clinic) -> None:
    """A zone begins as UTC, is changed by an event of its own, stays if it is left out, and is told by the events."""
    assert put(clinic, 1) == "UTC"
    assert put(clinic, 2, time_zone="Europe/Rome") == "Europe/Rome"
    assert put(clinic, 3, name="Rome") == "Europe/Rome"
    assert put(clinic, 4, name="Rome", time_zone="Europe/Rome") == "Europe/Rome"
    assert clinic.events() == ["subscription:added", "licence:started", "subscription:changed", "subscription:renamed"]
    bodies = [row.body["after"] for row in Event.select().where(Event.subscription == "rome").execute(clinic.database)]
    assert [body.get("time_zone") for body in bodies if "digest" in body] == [None, "Europe/Rome", "Europe/Rome"]
    assert not [row for row in differences(clinic) if "digest" in row]
    assert put(clinic, 5, name="Rome", time_zone="UTC") == "UTC"
    assert not [row for row in differences(clinic) if "digest" in row]


def test_a_forged_zone_is_found(clinic: Clinic) -> None:
    """A zone that was changed in the database alone differs from what the events tell, also if it became UTC."""
    put(clinic, 1, time_zone="Europe/Rome")
    for forged in ("UTC", "Asia/Tokyo"):
        Subscription.update(time_zone=forged).where(Subscription.id == "rome").execute(clinic.database)
        assert len([row for row in differences(clinic) if "digest" in row]) == 2


@pytest.mark.parametrize("wrong", ["", "Rome", "europe/rome", "Europe/Rome\0", "../UTC"])
def test_what_is_no_zone_is_refused(clinic: Clinic, wrong: str) -> None:
    """A name that is none of the IANA database changes nothing."""
    with pytest.raises(InvalidInput, match="is not the name of a time zone"):
        put(clinic, 1, time_zone=wrong)
    assert clinic.events() == []


def test_the_upgrade_of_a_database_with_events(tmp_path: Path) -> None:
    """A database of the release before gets the column, in which every clinic is in UTC, and its events stay true."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for script in MIGRATIONS.glob("00*.py"):
        if script.name < "0018":
            shutil.copy(script, folder)
    database = connect(f"sqlite:///{tmp_path}/clinic.db")
    try:
        with database.connection_context():
            Runner(database, str(folder)).up()
            database.execute_sql("ALTER TABLE subscription DROP COLUMN time_zone")  # 0015 adds it now
            database.execute_sql("INSERT INTO subscription (id, name) VALUES ('rome', 'Clinic of Rome')")
        migrate(database)
        with database.connection_context():
            assert [row.time_zone for row in Subscription.select().execute(database)] == ["UTC"]
    finally:
        close_all(database)
