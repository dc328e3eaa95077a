"""A member opens a patient in an emergency for three hours; owner and managers know at once; somebody reviews it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from authz.database import Database
from authz.domain import FOREVER
from authz.errors import CaregrantError, Conflict, Denied, InvalidInput, NotEligible, NotFound, TooMany
from authz.models import Emergency, Event, Grant, Notification
from authz.operations import (
    EMERGENCY_TIME,
    EmergencyAccess,
    break_glass,
    change_share,
    end_membership,
    end_patient,
    end_share,
    put_membership,
    review_emergency,
    share,
    transfer,
    undo_transfer,
)
from authz.operations.emergency import MOST_A_DAY, REVIEW_TIME
from authz.operations.notices_of_ends import notify_ends
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.acting import Clinic, by, login
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.people import NOW

HOURS = 3600.0
END = EMERGENCY_TIME.total_seconds()


@pytest.fixture
def clinic(database: Database) -> Clinic:
    """Return the cast, under a policy with emergency access."""
    people.fill(database)
    clinic = Clinic(database)
    clinic.pdp = PDP(database, EMERGENCY_POLICY, clock=lambda: NOW)
    return clinic


def open_(
    clinic: Clinic, who: str = "oscar", later: float = 0, reason: str = "Collapsed", **more: Any
) -> EmergencyAccess:
    """Open `p-1` in an emergency."""
    named = {"patient": "p-1", "purpose": "ETREAT", "reason": reason, **more}
    return break_glass(clinic.pdp, actor=by(who, later), **named)


def refused(clinic: Clinic, kind: type[CaregrantError], who: str = "oscar", later: float = 0, **more: Any) -> str:
    """Return the sentence of the refusal; nothing has changed."""
    before = Event.select().count(clinic.database), Notification.select().count(clinic.database)
    with pytest.raises(kind) as error:
        open_(clinic, who, later, **more)
    assert (Event.select().count(clinic.database), Notification.select().count(clinic.database)) == before
    return str(error.value)


def test_three_instants_around_the_end(clinic: Clinic) -> None:
    """The access is a viewer's, views only, and ends by itself: the last microsecond permits, the end does not."""
    opened = open_(clinic)
    assert (opened.grant["role"], opened.grant["origin"], opened.grant["ended_at"]) == (
        "viewer",
        "emergency",
        NOW + EMERGENCY_TIME,
    )
    question = (("practitioner", "oscar"), "view", ("patient", "p-1"))
    instants = [NOW + EMERGENCY_TIME + timedelta(microseconds=step) for step in (-1, 0, 1)]
    assert [clinic.pdp.evaluate(*question, now=at).allowed for at in instants] == [True, False, False]
    actions = clinic.pdp.search_actions(("practitioner", "oscar"), ("patient", "p-1"), now=NOW)
    assert sorted(actions) == ["break_glass", "give_up", "receive", "view"]
    with pytest.raises(Denied):
        share(clinic.pdp, actor=by("oscar", 1), patients=["p-1"], colleague=login("pete"))
    assert clinic.unaccounted() == []


def test_owner_and_managers_know_at_once(clinic: Clinic) -> None:
    """The grant, its purpose and the review are recorded in one change; owner and managers get a notice."""
    put_membership(clinic.pdp, actor=by(""), subscription="north", practitioner="bob", role="manager")
    opened = open_(clinic, later=1)
    assert clinic.events()[-2:] == ["grant:started", "emergency:started"]
    event = clinic.last_event()
    assert (event.actor, event.subscription, event.patient) == ("oscar", "north", "p-1")
    assert event.body["after"] == {
        "emergency": str(opened.emergency["id"]),
        "grant": opened.grant["id"],
        "subscription": "north",
        "purpose": "ETREAT",
        "started_at": "2026-06-01T12:00:01Z",
        "ends_at": "2026-06-01T15:00:01Z",
        "due_at": "2026-06-04T12:00:01Z",
        "reviewer": None,
        "reviewed_at": None,
        "verdict": "",
    }
    kind = ("emergency:opened", "p-1")
    readers = [who for who in ("alice", "bob", "dan", "carol", "oscar") if kind in clinic.notifications(who)]
    assert readers == ["alice", "bob", "dan"]
    assert ("oscar", "break_glass", True) in clinic.decisions()


REFUSED: dict[str, tuple[type[CaregrantError], str, dict[str, Any]]] = {
    "another clinic": (NotFound, "frank", {}),
    "an auditor": (NotFound, "heidi", {}),
    "a leaver": (NotFound, "erin", {}),
    "a lapsed clinic": (NotFound, "gus", {"patient": "p-harbour"}),
    "nobody's id": (NotFound, "oscar", {"patient": "p-none"}),
    "a patient who is gone": (NotFound, "oscar", {"patient": "p-old"}),
    "another clinic's number": (NotFound, "oscar", {"patient": None, "reference": "MRN 1"}),
    "the owner": (Conflict, "alice", {}),
    "a viewer": (Conflict, "bob", {}),
    "a colleague with everything": (Conflict, "carol", {}),
    "no reason": (InvalidInput, "oscar", {"reason": " . "}),
    "another purpose": (InvalidInput, "oscar", {"purpose": "HMARKT"}),
    "no patient": (InvalidInput, "oscar", {"patient": None}),
    "two patients": (InvalidInput, "oscar", {"reference": "7"}),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_t20_who_may_not(clinic: Clinic, case: str) -> None:
    """T20: only a live member of the patient's clinic opens the patient; to all others the patient does not exist."""
    kind, who, more = REFUSED[case]
    refused(clinic, kind, who, **more)


def test_the_shipped_policy_has_no_emergency_access(clinic: Clinic) -> None:
    """Without the optional rule nobody opens a patient, and a member gets the answer for what does not exist."""
    clinic.pdp = Clinic(clinic.database).pdp
    for who in ("oscar", "frank"):
        refused(clinic, NotFound, who)
    refused(clinic, Denied, "dan")


def test_by_the_number_of_the_clinic(clinic: Clinic) -> None:
    """The clinic's own number names the patient, among the clinics where the practitioner works."""
    put_membership(clinic.pdp, actor=by(""), subscription="city", practitioner="oscar", role="member")
    opened = open_(clinic, later=1, patient=None, reference=" MRN 1 ")
    assert (opened.grant["patient"], opened.emergency["subscription"]) == ("p-city", "city")
    refused(clinic, NotFound, later=2, patient=None, reference="MRN 1", subscription="north", reason="Again")


def test_a_repeat_needs_its_end_and_a_new_reason(clinic: Clinic) -> None:
    """No access is made longer: not while it lasts, not by a change, and afterwards only with a new reason."""
    grant = open_(clinic).grant["id"]
    assert "already" in refused(clinic, Conflict, later=1, reason="Again")
    pdp = clinic.pdp
    for change in ({"until": NOW + timedelta(hours=5)}, {"until": FOREVER}, {"reason": "Better"}):
        with pytest.raises(Conflict):
            change_share(pdp, actor=by("alice", 1), patient="p-1", grant=grant, **change)
    assert "before" in refused(clinic, InvalidInput, later=END, reason=" COLLAPSED ")
    open_(clinic, later=END, reason="Bleeding")
    assert "before" in refused(clinic, InvalidInput, later=2 * END, reason="Collapsed")


def test_who_took_it_away_is_not_overruled(clinic: Clinic) -> None:
    """The owner and a manager end it at once; until its own end nobody begins it again, unless they gave it up."""
    for ender, later in (("alice", 1.0), ("dan", END + 1)):
        grant = open_(clinic, later=later - 1, reason=f"Seizure {ender}").grant["id"]
        end_share(clinic.pdp, actor=by(ender, later), patient="p-1", grant=grant)
        assert "oscar" not in clinic.viewers(later=later)
        assert ("emergency:ended", "p-1") in clinic.notifications("oscar")
        assert "was ended" in refused(clinic, Conflict, later=later + 1, reason="Fall")
    grant = open_(clinic, later=2 * END, reason="Burn").grant["id"]
    end_share(clinic.pdp, actor=by("oscar", 2 * END + 1), patient="p-1", grant=grant)
    open_(clinic, later=2 * END + 2, reason="Worse burn")


def test_an_end_that_is_brought_forward_is_not_overruled(clinic: Clinic) -> None:
    """An access whose end was brought forward was taken away: it does not begin again before its planned end."""
    grant = open_(clinic).grant["id"]
    change_share(clinic.pdp, actor=by("alice", 1), patient="p-1", grant=grant, until=NOW + timedelta(seconds=2))
    assert "oscar" not in clinic.viewers(later=3)
    assert "was ended" in refused(clinic, Conflict, later=3, reason="Another fall")
    open_(clinic, later=END, reason="Another fall")


def test_no_more_than_ten_a_day(clinic: Clinic) -> None:
    """The eleventh access of a day is refused with the time to wait, whichever the patient."""
    for number in range(MOST_A_DAY):
        grant = open_(clinic, later=number, reason=f"Reason {number}").grant["id"]
        end_share(clinic.pdp, actor=by("oscar", number + 0.5), patient="p-1", grant=grant)
    with pytest.raises(TooMany) as error:
        open_(clinic, later=60, patient="p-left")
    assert error.value.seconds == 24 * 3600 - 60
    with pytest.raises(TooMany):  # the refusal tells nothing of any patient
        open_(clinic, later=60, patient="nobody")
    open_(clinic, later=24 * HOURS, patient="p-left")


def test_r11_it_ends_with_the_membership(clinic: Clinic) -> None:
    """R11: who leaves loses it, and who comes back has none; the end of the patient ends it too."""
    open_(clinic)
    end_membership(clinic.pdp, actor=by("dan", 1), subscription="north", practitioner="oscar")
    put_membership(clinic.pdp, actor=by("dan", 2), subscription="north", practitioner="oscar", role="member")
    assert "oscar" not in clinic.viewers(later=3)
    open_(clinic, "zoe", later=3)
    end_patient(clinic.pdp, actor=by("alice", 4), patient="p-1")
    assert ("emergency:ended", "p-1") in clinic.notifications("zoe")
    assert clinic.unaccounted() == []


def test_r12_no_undo_gives_it_back(clinic: Clinic) -> None:
    """R12: an undo gives shares back and no emergency access; a transfer without an end of shares keeps it."""
    open_(clinic, "zoe")
    transfer(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("pete"))
    assert "zoe" in clinic.viewers(later=1)
    transfer(clinic.pdp, actor=by("pete", 2), patients=["p-1"], colleague=login("oscar"), end_shares=True)
    assert ("emergency:ended", "p-1") in clinic.notifications("zoe")
    (undone,) = undo_transfer(clinic.pdp, actor=by("pete", 3), patients=["p-1"])
    assert [row["practitioner"] for row in undone.returned_shares] == ["bob", "erin"][:1]
    assert "zoe" not in clinic.viewers(later=3)


def test_a_transfer_to_the_holder(clinic: Clinic) -> None:
    """A transfer to whoever holds an emergency access ends the access; the owner holds one grant only."""
    open_(clinic)
    transfer(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("oscar"))
    assert ("oscar", "owner") in clinic.holders(later=1)
    assert ("oscar", "viewer") not in clinic.holders(later=1)


def test_nobody_is_warned_of_the_planned_end(clinic: Clinic) -> None:
    """The notice at the beginning has the end: no other notice follows before or after it."""
    notify_ends(clinic.database, NOW)
    open_(clinic)
    for hours in (1, 4, 5):
        notify_ends(clinic.database, NOW + timedelta(hours=hours))
    assert {kind for kind, _ in clinic.notifications("alice") + clinic.notifications("oscar")} == {"emergency:opened"}


def review(clinic: Clinic, number: int, who: str = "dan", later: float = END, verdict: str = "justified") -> None:
    review_emergency(clinic.pdp, actor=by(who, later), emergency=number, verdict=verdict, note="Rota says so")


def test_somebody_else_reviews_it_once(clinic: Clinic) -> None:
    """A manager or an auditor reviews an access after its end, once, and never one of a patient they opened too."""
    number = open_(clinic).emergency["id"]
    other = open_(clinic, "dan", reason="Same collapse").emergency["id"]
    assert timedelta(days=3) == REVIEW_TIME
    errors: list[tuple[type[CaregrantError], Callable[[], None]]] = [
        (Conflict, lambda: review(clinic, number, "heidi", END - 1)),
        (NotFound, lambda: review(clinic, number, "oscar")),
        (NotFound, lambda: review(clinic, number, "alice")),
        (NotFound, lambda: review(clinic, number, "frank")),
        (NotFound, lambda: review(clinic, number + 99, "heidi")),
        (Denied, lambda: review(clinic, number, "dan")),
        (InvalidInput, lambda: review(clinic, number, "heidi", verdict="keep")),
    ]
    for kind, attempt in errors:
        with pytest.raises(kind):
            attempt()
    review(clinic, number, "heidi")
    review(clinic, other, "heidi", verdict="unjustified")
    with pytest.raises(Conflict):
        review(clinic, number, "heidi", END + 1)
    rows = Emergency.select(Emergency.reviewer, Emergency.verdict).order_by(Emergency.id).tuples()
    assert list(rows.execute(clinic.database)) == [("heidi", "justified"), ("heidi", "unjustified")]
    event = clinic.last_event()
    assert (event.kind, event.reason, event.body["after"]["verdict"]) == (
        "emergency:reviewed",
        "Rota says so",
        "unjustified",
    )
    for who in ("oscar", "alice", "dan"):
        assert ("emergency:reviewed", "p-1") in clinic.notifications(who)
    assert clinic.unaccounted() == []


def test_a_review_stays(clinic: Clinic) -> None:
    """The database refuses to change a review, and to delete an access."""
    number = open_(clinic).emergency["id"]
    review(clinic, number)
    for change in (Emergency.update(verdict="unjustified"), Emergency.delete()):
        with pytest.raises(Exception, match="never"), clinic.database.atomic():
            change.where(Emergency.id == number).execute(clinic.database)


def test_a_share_waits_for_its_end(clinic: Clinic) -> None:
    """The owner cannot share with the holder of an emergency access until it has ended, and then can."""
    grant = open_(clinic).grant["id"]
    with pytest.raises(Conflict):
        share(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("oscar"))
    change_share(clinic.pdp, actor=by("dan", 1), patient="p-1", grant=grant, until=NOW + timedelta(seconds=2))
    share(clinic.pdp, actor=by("alice", 2), patients=["p-1"], colleague=login("oscar"))
    with pytest.raises(NotEligible):
        share(clinic.pdp, actor=by("alice", 3), patients=["p-1"], colleague=login("frank"))
    grants = Grant.select().where(Grant.patient == "p-1", Grant.practitioner == "oscar")
    assert grants.count(clinic.database) == 2
