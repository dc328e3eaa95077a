"""Leaving and coming back, the last manager, and clocks: an operation that takes access away always works."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import orjson
import pytest

from authz import operations
from authz.callers.clients import add_client, find_client, list_clients, revoke_client, revoke_clients, rotate_client
from authz.database import clock, close_all, connect
from authz.database.statements import in_condition
from authz.domain import format_instant
from authz.errors import Conflict, Denied, ImportRefused, Unavailable
from authz.importing import import_facts
from authz.models import Event, Grant, Patient, StandingShare
from authz.operations import (
    ReviewVerdict,
    end_entity,
    end_membership,
    end_patient,
    end_share,
    end_standing_share,
    put_entity,
    put_membership,
    put_subscription,
    review,
    share,
    share_all,
    transfer,
)
from authz.queries import practitioner as practitioner_queries
from authz.record.events import KINDS
from authz.record.facts import NOUNS
from tests.support import people
from tests.support.acting import POLICY, Clinic, by, login
from tests.support.people import FAR_AHEAD, NOW

BOB: Any = {"subscription": "north", "practitioner": "bob"}
DAN: Any = {"subscription": "north", "practitioner": "dan"}
DAY = 86_400


@pytest.fixture
def clinic(database: Any) -> Clinic:
    people.fill(database)
    return Clinic(database)


def _live(clinic: Clinic, practitioner: str) -> tuple[int, int]:
    """Count the shares and standing shares that a practitioner holds or gives and that are not ended."""
    shares = Grant.select().where(Grant.practitioner == practitioner, Grant.role == "viewer", Grant.ended_at > NOW)
    ends = (StandingShare.owner == practitioner) | (StandingShare.colleague == practitioner)
    standing = StandingShare.select().where(ends, StandingShare.ended_at > NOW + timedelta(seconds=3))
    return shares.where(Grant.ended_at > NOW + timedelta(seconds=3)).count(clinic.database), standing.count(
        clinic.database
    )


def _leave(clinic: Clinic, later: float) -> None:
    end_membership(clinic.pdp, actor=by("dan", later), **BOB)


def _audit_for_a_day(clinic: Clinic, later: float) -> None:
    put_membership(clinic.pdp, actor=by("dan", later), role="auditor", **BOB)


def _expire(clinic: Clinic, later: float) -> None:
    until = NOW + timedelta(seconds=later)
    put_membership(clinic.pdp, actor=by("dan", later - 0.5), role="member", until=until, **BOB)


@pytest.mark.parametrize("leave", [_leave, _audit_for_a_day, _expire])
def test_who_leaves_and_comes_back_has_no_share_of_before(clinic: Clinic, leave: Callable[..., None]) -> None:
    """R11: an end of practice ends the shares that bob holds and gives in the clinic; he still owns his patients."""
    share_all(clinic.pdp, actor=by("alice"), colleague=login("bob"), subscription="north")
    assert "bob" in clinic.viewers()
    leave(clinic, 2)
    assert "bob" not in clinic.viewers(later=2)
    put_membership(clinic.pdp, actor=by("dan", 3), role="member", **BOB)
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
    assert ("share:ended", "p-1") in clinic.notifications("alice")
    assert ("share:ended", "p-1") in clinic.notifications("bob")
    assert ("standing_share:ended", "") in clinic.notifications("olga")


def test_between_member_and_manager_nothing_ends(clinic: Clinic) -> None:
    """A change between member and manager ends no share, because both practise."""
    for later, role in enumerate(("manager", "member")):
        put_membership(clinic.pdp, actor=by("", later), role=role, **BOB)
    assert "bob" in clinic.viewers(later=2)


def test_a_lapse_resumes_whole(clinic: Clinic) -> None:
    """A lapse ends no membership, and no share."""
    before = clinic.viewers()
    for later, live in ((1, False), (2, True)):
        put_subscription(clinic.pdp, actor=by("", later), subscription="north", name="North", live=live)
    assert clinic.viewers(later=2) == before


def test_owned_patients_come_back_with_their_owner(clinic: Clinic) -> None:
    """A leaver stays the owner without access, and has access again after coming back."""
    alice: Any = {"subscription": "north", "practitioner": "alice"}
    end_membership(clinic.pdp, actor=by("dan", 1), **alice)
    assert clinic.viewers(later=1) == ["bob"]
    put_membership(clinic.pdp, actor=by("dan", 2), role="member", **alice)
    assert clinic.viewers(later=2) == ["alice", "bob"]


@pytest.mark.parametrize("actor", [by("dan", 1), by("", 1, tenant="north")])
@pytest.mark.parametrize(
    "change",
    [
        lambda pdp, actor: end_membership(pdp, actor=actor, **DAN),
        lambda pdp, actor: put_membership(pdp, actor=actor, role="member", **DAN),
        lambda pdp, actor: put_membership(pdp, actor=actor, role="auditor", **DAN),
        lambda pdp, actor: put_membership(pdp, actor=actor, role="manager", until=NOW + timedelta(days=1), **DAN),
    ],
)
def test_the_last_manager_stays(clinic: Clinic, change: Any, actor: Any) -> None:
    """A manager or a clinic's key cannot remove the last manager of a clinic, but the operator can."""
    with pytest.raises(Conflict, match="manager"):
        change(clinic.pdp, actor)
    assert clinic.events() == []
    put_membership(clinic.pdp, actor=by("dan", 1), subscription="north", practitioner="oscar", role="manager")
    change(clinic.pdp, actor)
    put_membership(clinic.pdp, actor=by("", 1), subscription="north", practitioner="oscar", role="member")


def test_of_two_managers_who_end_each_other_one_stays(clinic: Clinic) -> None:
    """If two managers end each other, the second is refused with a conflict."""
    oscar: Any = {"subscription": "north", "practitioner": "oscar"}
    put_membership(clinic.pdp, actor=by("dan"), role="manager", **oscar)
    end_membership(clinic.pdp, actor=by("dan", 2), **oscar)
    with pytest.raises(Conflict):
        end_membership(clinic.pdp, actor=by("oscar", 1), **DAN)


def test_what_takes_access_away_works_after_a_clock_ahead(clinic: Clinic) -> None:
    """After writes with a clock a day ahead, shares and memberships end at once, also shares that begin only then."""
    share(clinic.pdp, actor=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    share_all(clinic.pdp, actor=by("alice", DAY), colleague=login("oscar"), subscription="north")
    end_share(clinic.pdp, actor=by("alice", 60), patient="p-1", grant=clinic.grant("oscar"))
    end_share(clinic.pdp, actor=by("alice", 60), patient="p-1", grant=clinic.grant("bob"))
    ahead = StandingShare.select().where(StandingShare.colleague == "oscar").execute(clinic.database)[0]
    end_standing_share(clinic.pdp, actor=by("alice", 60), standing_share=ahead.id)
    end_membership(clinic.pdp, actor=by("dan", 60), subscription="north", practitioner="carol")
    assert clinic.viewers(later=60) == ["alice", "carl"]
    assert clinic.viewers(later=DAY + 1) == ["alice", "carl"]
    for row in (*Grant.select().execute(clinic.database), *StandingShare.select().execute(clinic.database)):
        assert row.started_at <= row.ended_at
    norths = Event.select().where(Event.subscription == "north").order_by(Event.id).execute(clinic.database)
    instants = [event.at for event in norths]
    assert instants == sorted(instants)
    assert clinic.unaccounted() == []


def _verdict(clinic: Clinic, noun: str) -> ReviewVerdict:
    share = StandingShare.select().where(StandingShare.colleague == "carol").execute(clinic.database)[0]
    number = clinic.grant("bob") if noun == "grant" else share.id
    patient, practitioner = ("p-1", "bob") if noun == "grant" else ("", "carol")
    return ReviewVerdict(2, noun, number, patient, practitioner, "revoke")


def _reviews(clinic: Clinic, noun: str) -> None:
    review(clinic.pdp, actor=by("dan", 60), campaign="c", due=FAR_AHEAD, verdicts=[_verdict(clinic, noun)])


def _imports(clinic: Clinic, kind: str, **fact: str) -> None:
    """Import a line that ends a fact now, or gives another role."""
    import_facts(clinic.database, BytesIO(orjson.dumps({kind: fact})), POLICY.types, now=NOW + timedelta(seconds=60))


def _standing_of(clinic: Clinic, colleague: str) -> int:
    shares = StandingShare.select().where(StandingShare.colleague == colleague).execute(clinic.database)
    return int(shares[0].id)


ENDED = format_instant(NOW + timedelta(seconds=30))
_MEMBERSHIP = {"practitioner": "bob", "subscription": "north"}
_P1 = {"id": "p-1", "subscription": "north", "name": "Patient of alice", "owner": "alice"}
TAKES_AWAY: dict[str, tuple[str, Callable[[Clinic], object]]] = {
    "a share ends": (
        "bob",
        lambda c: end_share(c.pdp, actor=by("alice", 60), patient="p-1", grant=c.grant("bob")),
    ),
    "a share is given up": (
        "bob",
        lambda c: end_share(c.pdp, actor=by("bob", 60), patient="p-1", grant=c.grant("bob")),
    ),
    "a manager ends a share": (
        "bob",
        lambda c: end_share(c.pdp, actor=by("dan", 60), patient="p-1", grant=c.grant("bob")),
    ),
    "a standing share ends": (
        "carol",
        lambda c: end_standing_share(c.pdp, actor=by("alice", 60), standing_share=_standing_of(c, "carol")),
    ),
    "a standing share is given up": (
        "carol",
        lambda c: end_standing_share(c.pdp, actor=by("carol", 60), standing_share=_standing_of(c, "carol")),
    ),
    "a membership ends": ("bob", lambda c: end_membership(c.pdp, actor=by("dan", 60), **BOB)),
    "a member becomes an auditor": ("bob", lambda c: put_membership(c.pdp, actor=by("dan", 60), role="auditor", **BOB)),
    "a membership gets an end": (
        "bob",
        lambda c: put_membership(
            c.pdp, actor=by("dan", 60), role="member", until=NOW + timedelta(seconds=60, microseconds=1), **BOB
        ),
    ),
    "the clinic lapses": (
        "alice",
        lambda c: put_subscription(c.pdp, actor=by("", 60), subscription="north", name="North", live=False),
    ),
    "the patient leaves": ("alice", lambda c: end_patient(c.pdp, actor=by("dan", 60), patient="p-1")),
    "the patient is transferred": (
        "alice",
        lambda c: transfer(c.pdp, actor=by("dan", 60), patients=["p-1"], colleague=login("pete")),
    ),
    "the shares end with a transfer": (
        "bob",
        lambda c: transfer(c.pdp, actor=by("dan", 60), patients=["p-1"], colleague=login("pete"), end_shares=True),
    ),
    "a review revokes a share": ("bob", lambda c: _reviews(c, "grant")),
    "a review revokes a standing share": ("carol", lambda c: _reviews(c, "standing_share")),
    "an import ends a share": (
        "bob",
        lambda c: _imports(c, "grant", patient="p-1", practitioner="bob", role="viewer", until=ENDED),
    ),
    "an import ends a standing share": (
        "carol",
        lambda c: _imports(c, "standing_share", owner="alice", colleague="carol", subscription="north", until=ENDED),
    ),
    "an import ends a membership": (
        "bob",
        lambda c: _imports(c, "membership", role="member", until=ENDED, **_MEMBERSHIP),
    ),
    "an import makes an auditor": ("bob", lambda c: _imports(c, "membership", role="auditor", **_MEMBERSHIP)),
    "an import ends the patient": ("alice", lambda c: _imports(c, "patient", until=ENDED, **_P1)),
    "an import ends the licence": (
        "alice",
        lambda c: _imports(c, "subscription", id="north", name="North", until=ENDED),
    ),
}


@pytest.mark.parametrize("name", list(TAKES_AWAY))
def test_every_end_works_after_a_clock_ahead(clinic: Clinic, name: str) -> None:
    """Every operation that takes access away is carried out at once, though the clinic's last event is a day ahead."""
    practitioner, take = TAKES_AWAY[name]
    share(clinic.pdp, actor=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    assert clinic.last_event().at == NOW + timedelta(days=1)
    assert practitioner in clinic.viewers(later=59)
    take(clinic)
    assert practitioner not in clinic.viewers(later=61)
    assert practitioner not in clinic.viewers(later=DAY + 1)
    assert clinic.unaccounted() == []


def test_an_entity_ends_after_a_clock_ahead(clinic: Clinic) -> None:
    """A version of an entity ends at once, whether a clock ahead began it or not."""
    put_entity(clinic.pdp, actor=by("", DAY), kind="document", entity="plan", properties={"author": "alice"})
    for entity in ("plan", "by-alice"):
        end_entity(clinic.pdp, actor=by("", 60), kind="document", entity=entity)
        for later in (61, DAY + 1):
            question = (("practitioner", "alice"), "view", ("document", entity))
            assert not clinic.pdp.evaluate(*question, now=NOW + timedelta(seconds=later)).allowed


@pytest.mark.parametrize("subscription", [None, "north"])
def test_a_key_ends_after_a_clock_ahead(clinic: Clinic, subscription: str | None) -> None:
    """A revoked key ends at once, though a node with a clock ahead made the key or the clinic's last event."""
    database = clinic.database
    share(clinic.pdp, actor=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    for end in (
        lambda number: revoke_client(database, client=number, now=NOW + timedelta(seconds=60)),
        lambda number: rotate_client(database, client=number, now=NOW + timedelta(seconds=60)),
        lambda number: revoke_clients(database, name=f"app {number}", now=NOW + timedelta(seconds=60)),
    ):
        number = len(list_clients(database)) + 1
        key = add_client(
            database,
            name=f"app {number}",
            scopes=("decide",),
            subscription=subscription,
            now=NOW + timedelta(seconds=DAY),
        )
        assert find_client(database, key, now=NOW + timedelta(seconds=59)) is not None
        end(number)
        for later in (61, DAY + 1):
            assert find_client(database, key, now=NOW + timedelta(seconds=later)) is None


def test_no_end_is_left_out() -> None:
    """No operation and no kind of event that ends something is missing from the lists that the tests above try."""
    ends = {name for name in operations.__all__ if name.startswith(("end_", "transfer", "review", "put_"))}
    assert ends - {"review_emergency"} == {  # the access that it judges has ended before
        "end_entity",
        "end_membership",
        "end_patient",
        "end_share",
        "end_standing_share",
        "put_entity",
        "put_membership",
        "put_practitioner",
        "put_subscription",
        "review",
        "transfer",
    }
    kinds = {kind for kind in KINDS if kind.endswith((":ended", ":revoked", ":rotated"))}
    assert kinds == {f"{noun}:ended" for noun in (*NOUNS, "patient", "entity")} | {"client:revoked", "client:rotated"}


def test_a_bad_instant_of_one_clinic_does_not_touch_another(clinic: Clinic) -> None:
    """An event of a clinic with a bad instant does not delay an event of another clinic."""
    share(clinic.pdp, actor=by("alice", DAY), patients=["p-1"], colleague=login("oscar"))
    put_subscription(clinic.pdp, actor=by("", 60), subscription="city", name="City", live=False)
    assert clinic.last_event().at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("seconds", [-DAY, -6, 6, DAY])
def test_a_node_with_another_clock_writes_nothing(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """On PostgreSQL a process with another clock than the server's is refused; the error names clocks and tolerance."""
    database = connect(postgresql_url)
    people.fill(database)
    clinic = Clinic(database)
    monkeypatch.setattr(clock, "time_ns", lambda: time.time_ns() + seconds * 1_000_000_000)
    try:
        with pytest.raises(Unavailable, match=r"clock of this machine says .* the database .* more than 5 s"):
            share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"))
        assert clinic.events() == []
    finally:
        close_all(database)


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
            patient = f"m-{number}"
            grant = {"patient": patient, "started_at": begun}
            Patient.insert(id=patient, subscription="north", name="M", started_at=begun).execute(clinic.database)
            Grant.insert(practitioner="oscar", role="owner", origin="created", **grant).execute(clinic.database)
            Grant.insert(practitioner="bob", role="viewer", origin="share", **grant).execute(clinic.database)


def test_who_may_not_manage_learns_nothing(clinic: Clinic) -> None:
    """A colleague who is not a manager may not end a membership."""
    with pytest.raises(Denied):
        end_membership(clinic.pdp, actor=by("alice"), **BOB)


def test_a_review_of_more_lines_than_a_statement_takes_values(clinic: Clinic) -> None:
    """A review of 66,000 lines is one value of a statement, so that a wrong line is refused and not the size."""
    for noun in ("grant", "standing_share"):
        verdicts = [
            ReviewVerdict(line, noun, 10**6 + line, f"p-none-{line}" if noun == "grant" else "", "bob", "keep")
            for line in range(66_000)
        ]
        with pytest.raises(ImportRefused, match=r"line 0: .* is no live share"):
            review(clinic.pdp, actor=by("dan"), campaign="c", due=FAR_AHEAD, verdicts=verdicts)


def test_names_of_more_people_than_a_statement_takes_values(clinic: Clinic) -> None:
    """The names of many people are read with one value of a statement."""
    ids = [f"x-{number}" for number in range(66_000)]
    assert practitioner_queries.people(clinic.pdp, [*ids, "bob"])["bob"]["name"] == "Bob"
    condition = in_condition(clinic.database, Patient.id, [*ids, "p-1"])
    assert Patient.select().where(condition).count(clinic.database) == 1
