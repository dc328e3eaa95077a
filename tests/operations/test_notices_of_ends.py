"""Notices of shares that end by their date: before and after, to both sides, once, and of what is true then."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from api import sealer
from authz.database import Database, close_all, connect
from authz.errors import CaregrantError
from authz.models import Grant, Notification, Patient
from authz.operations import end_patient, end_share, share, share_all, transfer
from authz.operations import notices_of_ends as ends
from authz.operations.notices import insert_notices
from tests.support import people
from tests.support.acting import Clinic, by, login
from tests.support.people import FAR_AHEAD, NOW

DAY = timedelta(days=1)
WEEK = NOW + 7 * DAY


@pytest.fixture
def clinic(database: Database) -> Clinic:
    people.fill(database)
    ends.notify_ends(database, NOW)
    return Clinic(database)


def give(clinic: Clinic, until: datetime = WEEK, patient: str = "p-1", to: str = "oscar") -> int:
    share(clinic.pdp, actor=by("alice"), patients=[patient], colleague=login(to), until=until)
    return clinic.grant(to, patient)


def notified(clinic: Clinic, who: str) -> list[tuple[str, str, str]]:
    """Return the kind, colleague and patient of somebody's notices of ends."""
    rows = Notification.select().where(Notification.practitioner == who, Notification.actor == "")
    return [(row.kind, row.colleague, row.patient) for row in rows.order_by(Notification.id).execute(clinic.database)]


@pytest.mark.parametrize("begin", [NOW, NOW + DAY])
def test_both_sides_are_told_before_and_after(clinic: Clinic, begin: datetime) -> None:
    """Three days before the end and after it, not a moment sooner, both sides get an unread notice, each once."""
    number = give(clinic)
    moments = [begin, WEEK - 3 * DAY - timedelta(microseconds=1), WEEK - 3 * DAY, WEEK, WEEK + timedelta(minutes=1)]
    for moment, count in zip(moments, (0, 0, 1, 0, 1), strict=True):
        for again in (0, 1):
            assert ends.notify_ends(clinic.database, moment) == (0 if again else count)
    for who, other in (("alice", "oscar"), ("oscar", "alice")):
        assert notified(clinic, who) == [("share:ending", other, "p-1"), ("share:expired", other, "p-1")]
    rows = Notification.select().where(Notification.actor == "").execute(clinic.database)
    assert {(row.grant, row.until, row.subscription) for row in rows} == {(number, WEEK, "north")}
    assert clinic.events() == ["grant:started"]


def test_a_clock_that_was_ahead(clinic: Clinic) -> None:
    """After a turn of a process whose clock was a year ahead, both sides are told of the next ends again."""
    ends.notify_ends(clinic.database, NOW + 365 * DAY)
    ends.notify_ends(clinic.database, NOW)
    give(clinic)
    assert ends.notify_ends(clinic.database, WEEK - DAY) == 1
    assert ends.notify_ends(clinic.database, WEEK + DAY) == 1
    assert notified(clinic, "oscar") == [("share:ending", "alice", "p-1"), ("share:expired", "alice", "p-1")]


def test_a_share_of_everything(clinic: Clinic) -> None:
    """A standing share that ends by its date is told of like a share."""
    share_all(clinic.pdp, actor=by("oscar"), colleague=login("pete"), until=WEEK)
    assert ends.notify_ends(clinic.database, WEEK - 2 * DAY) == 1
    assert ends.notify_ends(clinic.database, WEEK + DAY) == 1
    kinds = [("standing_share:ending", "oscar", ""), ("standing_share:expired", "oscar", "")]
    assert notified(clinic, "pete") == kinds


def test_a_short_share_is_told_of_when_it_has_ended(clinic: Clinic) -> None:
    """A share that began with less than three days has no second notice before its end."""
    ends.notify_ends(clinic.database, NOW + timedelta(hours=2))
    give(clinic, NOW + DAY)
    assert ends.notify_ends(clinic.database, NOW + timedelta(hours=3)) == 0
    assert ends.notify_ends(clinic.database, NOW + 2 * DAY) == 1
    assert notified(clinic, "oscar") == [("share:expired", "alice", "p-1")]


@pytest.mark.parametrize("change", ["end", "give_up", "transfer", "patient"])
def test_nothing_is_told_of_a_share_that_ended_otherwise(clinic: Clinic, change: str) -> None:
    """A share that somebody ended, with or without its notice before, has no notice of its date."""
    number = give(clinic)
    later = 5 * DAY.total_seconds()
    if change == "patient":
        end_patient(clinic.pdp, actor=by("alice", later), patient="p-1")
    elif change == "transfer":
        transfer(clinic.pdp, actor=by("alice", later), patients=["p-1"], colleague=login("oscar"))
    else:
        actor = by("alice" if change == "end" else "oscar", later)
        end_share(clinic.pdp, actor=actor, patient="p-1", grant=number)
    assert ends.notify_ends(clinic.database, WEEK - DAY) == 0
    assert ends.notify_ends(clinic.database, WEEK + DAY) == 0


def test_the_owner_of_that_day_is_told(clinic: Clinic) -> None:
    """After a transfer that kept the share, the new owner is told of its end, and the previous owner is not."""
    give(clinic)
    transfer(clinic.pdp, actor=by("alice", 60), patients=["p-1"], colleague=login("pete"))
    ends.notify_ends(clinic.database, WEEK - DAY)
    assert notified(clinic, "pete") == [("share:ending", "oscar", "p-1")]
    assert notified(clinic, "alice") == []


def test_another_end_is_told_of_as_it_is_then(clinic: Clinic) -> None:
    """A share whose end moved away and comes near again has a notice for the new end."""
    number = give(clinic)
    ends.notify_ends(clinic.database, WEEK - DAY)
    Grant.update(ended_at=WEEK + 30 * DAY).where(Grant.id == number).execute(clinic.database)
    assert ends.notify_ends(clinic.database, WEEK + DAY) == 0
    assert ends.notify_ends(clinic.database, WEEK + 28 * DAY) == 1
    assert [kind for kind, *_ in notified(clinic, "oscar")] == ["share:ending", "share:ending"]


def test_after_a_pause_the_service_tells_of_what_has_ended(clinic: Clinic) -> None:
    """A service that did not run for a month tells of the ends of that month, and says of none that it is near."""
    give(clinic)
    assert ends.notify_ends(clinic.database, WEEK + 30 * DAY) == 1
    assert notified(clinic, "alice") == [("share:expired", "oscar", "p-1")]
    assert ends.notify_ends(clinic.database, WEEK + 60 * DAY) == 0


def test_history_is_told_to_nobody(database: Database) -> None:
    """The first call, and an import of shares that ended long ago, tell nobody."""
    people.fill(database)
    past = {"ended_at": NOW - DAY, "role": "viewer", "origin": "imported", "patient": "p-1"}
    people.add(database, Grant, practitioner="oscar", **past)
    assert ends.notify_ends(database, NOW) == 0
    assert ends.notify_ends(database, NOW + 2 * DAY) == 0
    people.add(database, Grant, practitioner="pete", **{**past, "ended_at": NOW})
    assert ends.notify_ends(database, NOW + 3 * DAY) == 0


def test_a_turn_is_bounded(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn tells of a bounded number of shares, and the next goes on; those that end at one instant, too."""
    monkeypatch.setattr(ends, "_AT_ONCE", 2)
    for who in ("oscar", "pete", "olga", "ned", "mia"):
        row = {"patient": "p-1", "practitioner": who, "role": "viewer", "origin": "share"}
        people.add(clinic.database, Grant, ended_at=WEEK, **row)
    assert [ends.notify_ends(clinic.database, WEEK - DAY) for _ in range(4)] == [2, 2, 1, 0]
    assert len(notified(clinic, "alice")) == len(set(notified(clinic, "alice"))) == 5


def test_a_batch_that_ends_is_one_notice(clinic: Clinic) -> None:
    """Several patients whose shares end at once are one batch for each side."""
    people.add(clinic.database, Patient, id="p-2", subscription="north", name="Second")
    owned = {"patient": "p-2", "practitioner": "alice", "role": "owner", "origin": "created"}
    people.add(clinic.database, Grant, **owned)
    share(clinic.pdp, actor=by("alice"), patients=["p-1", "p-2"], colleague=login("oscar"), until=WEEK)
    assert ends.notify_ends(clinic.database, WEEK - DAY) == 2
    rows = Notification.select().where(Notification.kind == "share:ending").order_by(Notification.id)
    sizes = [(row.practitioner_id, row.size) for row in rows.execute(clinic.database)]
    assert sizes == [("oscar", 0), ("alice", 0), ("oscar", 2), ("alice", 2)]


def test_services_at_once_tell_once(clinic: Clinic, database_url: str) -> None:
    """Eight services that run the same turn at once write each notice once."""
    give(clinic)

    def turn(_: int) -> int:
        database = connect(database_url)
        try:
            return ends.notify_ends(database, WEEK - DAY)
        except CaregrantError:
            return 0
        finally:
            close_all(database)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(turn, range(8))) <= 1
    assert ends.notify_ends(clinic.database, WEEK - DAY) <= 1
    assert notified(clinic, "oscar") == [("share:ending", "alice", "p-1")]


def _turn_and_die(url: str) -> None:
    """Run a turn in which the process is killed after the notices are written."""
    with patch.object(ends, "insert_notices", _write_and_die):
        ends.notify_ends(connect(url), WEEK - DAY)


def _write_and_die(*arguments: Any, **named: Any) -> None:
    insert_notices(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_service_tells_nothing_twice(clinic: Clinic, database_url: str) -> None:
    """A process that is killed after it wrote the notices, and before it commits, has told nothing; the next tells."""
    give(clinic)
    process = multiprocessing.get_context("spawn").Process(target=_turn_and_die, args=(database_url,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert notified(clinic, "oscar") == []
    assert ends.notify_ends(clinic.database, WEEK - DAY) == 1
    assert notified(clinic, "oscar") == [("share:ending", "alice", "p-1")]


def test_a_share_that_changes_meanwhile_waits_for_the_next_turn(postgresql_url: str) -> None:
    """On PostgreSQL a share that a transaction changes just now is left out, and told of as it is after the commit."""
    database, other = connect(postgresql_url), connect(postgresql_url)
    people.fill(database)
    ends.notify_ends(database, NOW)
    clinic = Clinic(database)
    number = give(clinic)
    with other.connection_context(), other.atomic():
        Grant.update(ended_at=WEEK + DAY).where(Grant.id == number).execute(other)
        assert ends.notify_ends(database, WEEK - DAY) == 0
    assert ends.notify_ends(database, WEEK - DAY) == 1
    (row,) = (
        Notification.select().where(Notification.practitioner == "oscar", Notification.actor == "").execute(database)
    )
    assert row.until == WEEK + DAY
    for each in (database, other):
        close_all(each)


@pytest.mark.parametrize("noun", ["grant", "standing_share"])
def test_the_ends_are_read_by_an_index(sqlite_database: Database, noun: str) -> None:
    """A turn reads the ends that come next, and no other share, however many a clinic has."""
    sql = "EXPLAIN QUERY PLAN " + ends._ENDS[noun].format("?", "?", "?", "?")
    plan = [row[3] for row in sqlite_database.execute_sql(sql, (0, 0, 1, 1)).fetchall()]
    assert f"SEARCH s USING INDEX {noun}_ends (ended_at>? AND ended_at<?)" in plan


def test_a_service_tells_by_itself(
    clinic: Clinic, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sealer of a service writes the notices, at the instants of the clock."""
    monkeypatch.setattr(sealer, "SECONDS", 0.05)
    number = give(clinic, FAR_AHEAD)
    stop = sealer.start(database_url, tmp_path / "sealing")
    try:
        Grant.update(ended_at=datetime.now(UTC) + 2 * DAY).where(Grant.id == number).execute(clinic.database)
        for _ in range(400):
            if notified(clinic, "oscar"):
                break
            threading.Event().wait(0.05)
    finally:
        stop()
    assert notified(clinic, "oscar") == [("share:ending", "alice", "p-1")]
