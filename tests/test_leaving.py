"""Leaving and coming back, the last manager, and clocks: what takes access away always works."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from authz import directory
from authz.database import clock, connect, shut
from authz.errors import Conflict, Denied, ImportRefused, Unavailable
from authz.models import Event, Grant, Patient, StandingShare
from authz.operations import (
    Verdict,
    end_membership,
    end_share,
    end_standing_share,
    put_membership,
    put_subscription,
    review,
    share,
    share_all,
)
from authz.statements import is_among
from tests import people
from tests.acting import Clinic, by, login
from tests.people import NEXT_YEAR, NOW

BOB: Any = {"subscription": "north", "practitioner": "bob"}
DAN: Any = {"subscription": "north", "practitioner": "dan"}
DAY = 86_400


@pytest.fixture
def clinic(database: Any) -> Clinic:
    people.fill(database)
    return Clinic(database)


def _live(clinic: Clinic, who: str) -> tuple[int, int]:
    """How many shares and standing shares somebody holds or gives that have no end, or a later one."""
    shares = Grant.select().where(Grant.practitioner == who, Grant.role == "viewer", Grant.ended_at > NOW)
    ends = (StandingShare.owner == who) | (StandingShare.colleague == who)
    standing = StandingShare.select().where(ends, StandingShare.ended_at > NOW + timedelta(seconds=3))
    return shares.where(Grant.ended_at > NOW + timedelta(seconds=3)).count(clinic.database), standing.count(
        clinic.database
    )


def _leave(clinic: Clinic, later: float) -> None:
    end_membership(clinic.pdp, act=by("dan", later), **BOB)


def _audit_for_a_day(clinic: Clinic, later: float) -> None:
    put_membership(clinic.pdp, act=by("dan", later), role="auditor", **BOB)


def _expire(clinic: Clinic, later: float) -> None:
    until = NOW + timedelta(seconds=later)
    put_membership(clinic.pdp, act=by("dan", later - 0.5), role="member", until=until, **BOB)


@pytest.mark.parametrize("leave", [_leave, _audit_for_a_day, _expire])
def test_who_leaves_and_comes_back_has_no_share_of_before(clinic: Clinic, leave: Callable[..., None]) -> None:
    """R11: an end of practice ends what bob holds and gives in this clinic; what he owns stays his."""
    share_all(clinic.pdp, act=by("alice"), colleague=login("bob"), subscription="north")
    assert "bob" in clinic.viewers()
    leave(clinic, 2)
    assert "bob" not in clinic.viewers(later=2)
    put_membership(clinic.pdp, act=by("dan", 3), role="member", **BOB)
    assert "bob" not in clinic.viewers(later=3)
    assert _live(clinic, "bob") == (0, 0)
    assert clinic.unaccounted() == []


def test_an_end_of_practice_is_told_and_recorded(clinic: Clinic) -> None:
    """Each share that ends with a membership has its event and a notice for both sides."""
    _leave(clinic, 1)
    assert clinic.events() == [
        "membership:ended",
        "grant:ended:ended",
        "standing_share:ended:ended",
    ]
    assert ("share:ended", "p-1") in clinic.told("alice")
    assert ("share:ended", "p-1") in clinic.told("bob")
    assert ("standing_share:ended", "") in clinic.told("olga")


def test_between_member_and_manager_nothing_ends(clinic: Clinic) -> None:
    """Both practise: a change between the two is no leave."""
    for later, role in enumerate(("manager", "member")):
        put_membership(clinic.pdp, act=by("", later), role=role, **BOB)
    assert "bob" in clinic.viewers(later=2)


def test_a_lapse_resumes_whole(clinic: Clinic) -> None:
    """A lapse ends no membership, and no share."""
    before = clinic.viewers()
    for later, live in ((1, False), (2, True)):
        put_subscription(clinic.pdp, act=by("", later), subscription="north", name="North", live=live)
    assert clinic.viewers(later=2) == before


def test_owned_patients_come_back_with_their_owner(clinic: Clinic) -> None:
    """Ownership stays for the manager to hand over; nobody sees through it meanwhile."""
    alice: Any = {"subscription": "north", "practitioner": "alice"}
    end_membership(clinic.pdp, act=by("dan", 1), **alice)
    assert clinic.viewers(later=1) == ["bob"]
    put_membership(clinic.pdp, act=by("dan", 2), role="member", **alice)
    assert clinic.viewers(later=2) == ["alice", "bob"]


@pytest.mark.parametrize("who", [by("dan", 1), by("", 1, bound="north")])
@pytest.mark.parametrize(
    "change",
    [
        lambda pdp, act: end_membership(pdp, act=act, **DAN),
        lambda pdp, act: put_membership(pdp, act=act, role="member", **DAN),
        lambda pdp, act: put_membership(pdp, act=act, role="auditor", **DAN),
        lambda pdp, act: put_membership(pdp, act=act, role="manager", until=NOW + timedelta(days=1), **DAN),
    ],
)
def test_the_last_manager_stays(clinic: Clinic, change: Any, who: Any) -> None:
    """Neither a manager nor a clinic's key leaves a clinic without a manager; the operator may."""
    with pytest.raises(Conflict, match="manager"):
        change(clinic.pdp, who)
    assert clinic.events() == []
    put_membership(clinic.pdp, act=by("dan", 1), subscription="north", practitioner="oscar", role="manager")
    change(clinic.pdp, who)
    put_membership(clinic.pdp, act=by("", 1), subscription="north", practitioner="oscar", role="member")


def test_of_two_managers_who_end_each_other_one_stays(clinic: Clinic) -> None:
    """The second, whose own membership has just ended, is told that somebody was faster."""
    oscar: Any = {"subscription": "north", "practitioner": "oscar"}
    put_membership(clinic.pdp, act=by("dan"), role="manager", **oscar)
    end_membership(clinic.pdp, act=by("dan", 2), **oscar)
    with pytest.raises(Conflict):
        end_membership(clinic.pdp, act=by("oscar", 1), **DAN)


def test_what_takes_access_away_works_after_a_clock_ahead(clinic: Clinic) -> None:
    """After a write with a clock a day ahead, ends are carried out at once, also of what begins only then."""
    share(clinic.pdp, act=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    share_all(clinic.pdp, act=by("alice", DAY), colleague=login("oscar"), subscription="north")
    end_share(clinic.pdp, act=by("alice", 60), patient="p-1", grant=clinic.grant("oscar"))
    end_share(clinic.pdp, act=by("alice", 60), patient="p-1", grant=clinic.grant("bob"))
    ahead = StandingShare.select().where(StandingShare.colleague == "oscar").execute(clinic.database)[0]
    end_standing_share(clinic.pdp, act=by("alice", 60), standing_share=ahead.id)
    end_membership(clinic.pdp, act=by("dan", 60), subscription="north", practitioner="carol")
    assert clinic.viewers(later=60) == ["alice", "carl"]
    assert clinic.viewers(later=DAY + 1) == ["alice", "carl"]
    for row in (*Grant.select().execute(clinic.database), *StandingShare.select().execute(clinic.database)):
        assert row.started_at <= row.ended_at
    norths = Event.select().where(Event.subscription == "north").order_by(Event.id).execute(clinic.database)
    instants = [one.at for one in norths]
    assert instants == sorted(instants)
    assert clinic.unaccounted() == []


def test_a_bad_instant_of_one_clinic_does_not_touch_another(clinic: Clinic) -> None:
    """An event of another clinic is at its own time."""
    share(clinic.pdp, act=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    put_subscription(clinic.pdp, act=by("", 60), subscription="city", name="City", live=False)
    assert clinic.last_event().at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("seconds", [-DAY, -6, 6, DAY])
def test_a_node_with_another_clock_writes_nothing(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """On PostgreSQL a process whose clock is not the server's is refused, with both clocks and the tolerance named."""
    database = connect(postgresql_url)
    people.fill(database)
    clinic = Clinic(database)
    monkeypatch.setattr(clock, "time_ns", lambda: time.time_ns() + seconds * 1_000_000_000)
    try:
        with pytest.raises(Unavailable, match=r"clock says .* the database's .* more than 5 s"):
            share(clinic.pdp, act=by("alice"), patients=["p-1"], colleague=login("oscar"))
        assert clinic.events() == []
    finally:
        shut(database)


def test_a_leaver_with_many_shares_goes_in_bounded_statements(clinic: Clinic) -> None:
    """No statement grows with the shares that end."""
    _many(clinic, 1500)
    sizes: list[int] = []
    execute = clinic.database.execute_sql

    def watched(sql: str, params: Any = None, *rest: Any) -> Any:
        sizes.append(len(sql))
        return execute(sql, params, *rest)

    clinic.database.execute_sql = watched  # type: ignore[method-assign]
    try:
        _leave(clinic, 1)
    finally:
        del clinic.database.execute_sql
    assert max(sizes) < 20_000
    assert _live(clinic, "bob") == (0, 0)


def _many(clinic: Clinic, count: int) -> None:
    begun: datetime = NOW - timedelta(days=1)
    with clinic.database.atomic():
        for number in range(count):
            one = {"patient": f"m-{number}", "started_at": begun}
            Patient.insert(id=one["patient"], subscription="north", name="M", started_at=begun).execute(clinic.database)
            Grant.insert(practitioner="oscar", role="owner", origin="created", **one).execute(clinic.database)
            Grant.insert(practitioner="bob", role="viewer", origin="share", **one).execute(clinic.database)


def test_who_may_not_manage_learns_nothing(clinic: Clinic) -> None:
    """A colleague who is no manager is refused before anything is looked up."""
    with pytest.raises(Denied):
        end_membership(clinic.pdp, act=by("alice"), **BOB)


def test_a_review_of_more_lines_than_a_statement_takes_values(clinic: Clinic) -> None:
    """66,000 lines are one value of a statement: what is refused is the first line that is wrong, not the size."""
    for noun in ("grant", "standing_share"):
        verdicts = [
            Verdict(line, noun, 10**6 + line, f"p-none-{line}" if noun == "grant" else "", "bob", "keep")
            for line in range(66_000)
        ]
        with pytest.raises(ImportRefused, match=r"line 0: .* is no live share"):
            review(clinic.pdp, act=by("dan"), campaign="c", due=NEXT_YEAR, verdicts=verdicts)


def test_names_of_more_people_than_a_statement_takes_values(clinic: Clinic) -> None:
    """What pages read about many rows is one value too."""
    ids = [f"x-{number}" for number in range(66_000)]
    assert directory.people(clinic.pdp, [*ids, "bob"])["bob"]["name"] == "Bob"
    condition = is_among(clinic.database, Patient.id, [*ids, "p-1"])
    assert Patient.select().where(condition).count(clinic.database) == 1
