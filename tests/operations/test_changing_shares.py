"""A share that is changed in place: its end and its reason, by whom, and exact at each instant (H6; R3, R6)."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from authz.database import Database
from authz.domain import FOREVER
from authz.errors import CaregrantError, Conflict, Denied, InvalidInput, NotEligible, NotFound
from authz.models import Event, Grant
from authz.operations import change_share, end_membership, end_share, transfer
from authz.record import Actor
from tests.support import people
from tests.support.acting import Clinic, by, login
from tests.support.people import FAR_AHEAD, NOW

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def clinic(database: Database) -> Clinic:
    people.fill(database)
    return Clinic(database)


def grant_row(clinic: Clinic, who: str = "bob") -> Grant:
    row: Grant
    (row,) = Grant.select().where(Grant.id == clinic.grant(who)).execute(clinic.database)
    return row


def changed(clinic: Clinic, who: str = "alice", later: float = 0, **arguments: Any) -> None:
    change_share(clinic.pdp, actor=by(who, later), **{"patient": "p-1", "grant": clinic.grant("bob"), **arguments})


@pytest.mark.parametrize("days", [1, 10, 800])
def test_another_end_is_exact(clinic: Clinic, days: int) -> None:
    """An end that comes earlier or later holds to the microsecond, for now, for later and for what has passed."""
    end = NOW + days * DAY
    changed(clinic, until=end)
    for instant, sees in ((NOW - TICK, True), (NOW, True), (end - TICK, True), (end, False), (end + TICK, False)):
        viewers = clinic.pdp.search_subjects("practitioner", "view", ("patient", "p-1"), now=instant)
        assert ("bob" in viewers) == sees, instant
        decision = clinic.pdp.evaluate(("practitioner", "bob"), "view", ("patient", "p-1"), now=instant)
        assert (decision.allowed, decision.until) == (sees, end if sees else None)


def test_the_events_hold_every_end(clinic: Clinic) -> None:
    """Each change is an event with the fact before and after, so that the end of any past day can be read."""
    ends = [NOW + DAY, NOW + 9 * DAY, FOREVER, NOW + 2 * DAY]
    for number, end in enumerate(ends):
        changed(clinic, later=number, until=end)
    rows = list(Event.select().where(Event.kind == "grant:changed").order_by(Event.id).execute(clinic.database))
    ends_in_events = [(row.body["before"]["ended_at"], row.body["after"]["ended_at"]) for row in rows]
    written = [None if end == FOREVER else end.isoformat().replace("+00:00", "Z") for end in (FAR_AHEAD, *ends)]
    assert ends_in_events == list(pairwise(written))
    assert [(row.actor, row.patient, row.body["changed"]) for row in rows] == [("alice", "p-1", ["until"])] * 4
    assert clinic.unaccounted() == []


def test_another_reason(clinic: Clinic) -> None:
    """A reason is changed with an event that holds it apart from its body; the end stays, and both are notified."""
    changed(clinic, reason="longer leave")
    row, event = grant_row(clinic), clinic.last_event()
    assert (row.reason, row.ended_at, row.end_cause) == ("longer leave", FAR_AHEAD, "")
    assert (event.kind, event.reason, event.body["changed"]) == ("grant:changed", "longer leave", ["reason"])
    assert "longer leave" not in str(event.body)
    assert clinic.notifications("bob") == [("share:changed", "p-1")]
    assert clinic.notifications("alice") == []
    assert clinic.decisions() == [("alice", "end_share", True), ("alice", "share", True)]
    changed(clinic, reason="", later=1)
    assert (grant_row(clinic).reason, clinic.last_event().body["changed"]) == ("", ["reason"])


def test_the_same_changes_nothing(clinic: Clinic) -> None:
    """The end and the reason that the share has already leave no event and no notice."""
    changed(clinic, until=FAR_AHEAD, reason="")
    assert (clinic.events(), clinic.notifications("bob")) == ([], [])


def test_t10_a_manager_brings_the_end_forward_only(clinic: Clinic) -> None:
    """T10, R6: a manager may shorten a share, not lengthen it or give another reason; the owner is notified."""
    changed(clinic, "dan", until=NOW + DAY)
    assert clinic.notifications("bob") == clinic.notifications("alice") == [("share:changed", "p-1")]
    both = {"until": NOW + DAY / 2, "reason": "x"}
    for refused in ({"until": NOW + 2 * DAY}, {"until": FOREVER}, {"reason": "x"}, both):
        with pytest.raises(Denied):
            changed(clinic, "dan", **refused)
    assert grant_row(clinic).ended_at == NOW + DAY


@pytest.mark.parametrize(
    ("who", "error"),
    [("bob", Denied), ("carol", Denied), ("oscar", NotFound), ("heidi", NotFound), ("frank", NotFound)],
)
def test_t10_nobody_else_changes_a_share(clinic: Clinic, who: str, error: type[CaregrantError]) -> None:
    """T10, R5: a viewer gives up and changes nothing; to others the patient does not exist."""
    for arguments in ({"until": NOW + DAY}, {"until": FOREVER}, {"reason": "x"}, {"until": FAR_AHEAD}):
        with pytest.raises(error):
            changed(clinic, who, **arguments)
    assert clinic.events() == []


def test_a_later_end_needs_a_viewer_who_may_receive(clinic: Clinic) -> None:
    """R7: the share of somebody who left cannot be lengthened, and can still be shortened."""
    Grant.update(ended_at=FAR_AHEAD).where(Grant.id == clinic.grant("erin")).execute(clinic.database)
    for later in (FAR_AHEAD + DAY, FOREVER):
        with pytest.raises(NotEligible):
            changed(clinic, grant=clinic.grant("erin"), until=later)
    changed(clinic, grant=clinic.grant("erin"), until=NOW + DAY)
    assert grant_row(clinic, "erin").ended_at == NOW + DAY


def test_what_is_no_live_share(clinic: Clinic) -> None:
    """A share that has ended or has not begun, the owner's grant and another patient's are not there to change."""
    for grant in (clinic.grant("xena"), clinic.grant("zoe"), clinic.grant("alice"), 10_000):
        with pytest.raises(NotFound):
            changed(clinic, grant=grant, until=NOW + 900 * DAY)
    with pytest.raises(NotFound):
        changed(clinic, patient="p-oscar", until=NOW + DAY)
    changed(clinic, until=NOW + DAY)
    with pytest.raises(NotFound):
        changed(clinic, later=DAY.total_seconds(), until=FAR_AHEAD)


@pytest.mark.parametrize(
    "wrong", [{}, {"until": NOW}, {"until": NOW - TICK}, {"reason": "a\nb"}, {"reason": "a" * 501}]
)
def test_values_that_cannot_be(clinic: Clinic, wrong: dict[str, Any]) -> None:
    """An end that has passed, a reason with a line break or too long, and no change at all are refused."""
    with pytest.raises(InvalidInput):
        changed(clinic, **wrong)
    assert clinic.events() == []


def test_a_later_end_meets_a_grant_that_begins_later(clinic: Clinic) -> None:
    """The time that is added may not reach into another grant of the viewer; the database refuses it."""
    begins = FAR_AHEAD + DAY
    people.add(
        clinic.database, Grant, patient="p-1", practitioner="bob", role="viewer", origin="share", started_at=begins
    )
    first = (
        Grant.select().where(Grant.practitioner == "bob", Grant.ended_at == FAR_AHEAD).execute(clinic.database)[0].id
    )
    with pytest.raises(Conflict):
        changed(clinic, grant=first, until=begins + TICK)
    changed(clinic, grant=first, until=begins)


def test_ends_after_a_change_are_as_before(clinic: Clinic) -> None:
    """A changed share is ended, kept by a transfer, and ended by leaving, like any other."""
    changed(clinic, until=FOREVER)
    transfer(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("oscar"))
    changed(clinic, "oscar", 2, until=NOW + DAY)
    with pytest.raises(NotFound):
        changed(clinic, "alice", 3, until=NOW + 2 * DAY)
    end_membership(clinic.pdp, actor=Actor("", NOW + timedelta(seconds=4)), subscription="north", practitioner="bob")
    assert grant_row(clinic).ended_at == NOW + timedelta(seconds=4)
    with pytest.raises(NotFound):
        end_share(clinic.pdp, actor=by("oscar", 5), patient="p-1", grant=clinic.grant("bob"))
