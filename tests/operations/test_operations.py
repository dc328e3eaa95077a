"""The operations of the help page: their changes, events, notifications and refusals."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from authz.database import Database, close_all, connect
from authz.errors import (
    BatchRefused,
    CaregrantError,
    Conflict,
    Denied,
    InvalidInput,
    NotEligible,
    NotFound,
    SelfTarget,
    Unavailable,
)
from authz.models import Grant, StandingShare, Subscription
from authz.operations import (
    add_patient,
    end_membership,
    end_share,
    end_standing_share,
    put_membership,
    put_practitioner,
    put_subscription,
    share,
    share_all,
    transfer,
    undo_transfer,
)
from authz.operations.inputs import MOST_AT_ONCE
from authz.policy.pdp import PDP
from authz.record import Actor
from tests.support import people
from tests.support.acting import Clinic, by, login, pdp_of
from tests.support.people import FAR_AHEAD, NOW


@pytest.fixture
def clinic(database: Database) -> Clinic:
    people.fill(database)
    return Clinic(database)


@pytest.mark.parametrize(
    "arguments",
    [
        {"until": NOW - timedelta(days=1)},
        {"colleague": "nobody@clinic.example"},
        {"patients": ["p-9"]},
        {"actor": by("oscar")},
    ],
)
def test_a_refusal_sees_what_others_do_meanwhile(clinic: Clinic, database_url: str, arguments: dict[str, Any]) -> None:
    """After a refusal is caught, the connection sees later changes of others, because no read stays open."""
    first: dict[str, Any] = {"actor": by("alice"), "patients": ["p-1"], "colleague": login("oscar")}
    with pytest.raises(CaregrantError) as refused:
        share(clinic.pdp, **{**first, **arguments})
    other = connect(database_url)
    Subscription.insert(id="new", name="New").execute(other)
    close_all(other)
    assert Subscription.select().where(Subscription.id == "new").exists(clinic.pdp.database)
    assert share(clinic.pdp, **{**first, "actor": by("alice", 1)})
    assert refused.value is not None


def test_an_operation_on_a_connection_that_is_lost_says_so(clinic: Clinic) -> None:
    """An operation on a lost connection fails, and the next operation has another connection."""
    clinic.pdp.database.connection().close()
    with pytest.raises(Unavailable):
        add_patient(clinic.pdp, actor=by("alice"), name="New", subscription="north")
    assert add_patient(clinic.pdp, actor=by("alice", 1), name="New", subscription="north")


def test_the_story(clinic: Clinic) -> None:
    """The help page's story holds: share, end, transfer, transfer back, share everything, add a patient."""
    pdp = clinic.pdp
    (shared,) = share(pdp, actor=by("alice", 1), patients=["p-1"], colleague="OSCAR@Clinic.Example")
    assert "oscar" in clinic.viewers(later=1)
    end_share(pdp, actor=by("alice", 2), patient="p-1", grant=shared.grant["id"])
    assert "oscar" not in clinic.viewers(later=2)
    transfer(pdp, actor=by("alice", 3), patients=["p-1"], colleague=login("oscar"))
    assert clinic.holders(later=3) == [("oscar", "owner"), ("bob", "viewer"), ("erin", "viewer")]
    transfer(pdp, actor=by("oscar", 4), patients=["p-1"], colleague=login("alice"))
    assert clinic.holders(later=4)[0] == ("alice", "owner")
    assert "oscar" not in clinic.viewers(later=4)
    share_all(pdp, actor=by("alice", 5), colleague=login("oscar"))
    assert "oscar" in clinic.viewers(later=5)
    added = add_patient(pdp, actor=by("alice", 6), name="New One", subscription="north")
    assert clinic.viewers(added.patient, later=6) == ["alice", "carl", "carol", "oscar"]
    assert clinic.unaccounted() == []


def test_share(clinic: Clinic) -> None:
    """A share is one grant with its giver, end and reason, one event without the reason, and a notice to each side."""
    until = NOW + timedelta(days=1)
    (done,) = share(
        clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), until=until, reason="cover"
    )
    (row,) = Grant.select().where(Grant.id == done.grant["id"]).execute(clinic.database)
    assert (row.role, row.origin, row.given_by, row.reason) == ("viewer", "share", "alice", "cover")
    assert (row.started_at, row.ended_at) == (NOW, until)
    assert clinic.events() == ["grant:started"]
    event = clinic.last_event()
    assert (event.actor, event.patient, event.subscription) == ("alice", "p-1", "north")
    assert "cover" not in str(event.body)
    assert clinic.notifications("oscar") == [("share:received", "p-1")]
    assert clinic.notifications("alice") == [("share:given", "p-1")]
    assert clinic.decisions() == [("alice", "share", True), ("oscar", "receive", True)]
    last = until - timedelta(microseconds=1)
    assert "oscar" in clinic.pdp.search_subjects("practitioner", "view", ("patient", "p-1"), now=last)
    assert "oscar" not in clinic.pdp.search_subjects("practitioner", "view", ("patient", "p-1"), now=until)


def test_end_share_by_owner_manager_and_viewer(clinic: Clinic) -> None:
    """Owner, manager and viewer may end a share, and the grant has the cause of its end."""
    for who, cause in (("alice", "ended"), ("dan", "ended"), ("oscar", "given_up")):
        (done,) = share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"))
        end_share(clinic.pdp, actor=by(who), patient="p-1", grant=done.grant["id"])
        (row,) = Grant.select().where(Grant.id == done.grant["id"]).execute(clinic.database)
        assert (row.ended_by, row.end_cause) == (who, cause)
    ended = ["grant:started", "grant:ended:ended"]
    assert clinic.events() == [*ended, *ended, "grant:started", "grant:ended:given_up"]
    assert clinic.notifications("oscar")[-1] == ("share:ended", "p-1")
    assert clinic.notifications("alice")[-1] == ("share:ended", "p-1")


def test_transfer_keeps_others_shares(clinic: Clinic) -> None:
    """A transfer moves ownership at one instant, keeps others' shares, and absorbs a share of the recipient."""
    (done,) = transfer(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("bob"), reason="moving")
    assert (done.owner, done.previous_owner) == ("bob", "alice")
    assert [share["practitioner"] for share in done.kept_shares] == ["erin"]
    assert clinic.holders() == [("bob", "owner"), ("erin", "viewer")]
    assert clinic.events() == ["grant:ended:transfer", "grant:ended:transfer", "grant:started"]
    assert clinic.notifications("bob") == [("transfer:received", "p-1")]
    assert clinic.notifications("alice") == [("transfer:given", "p-1")]
    assert clinic.viewers() == [
        "bob",
        "olga",
    ]  # to whom Bob shares everything


def test_transfer_may_end_the_shares(clinic: Clinic) -> None:
    """With `end_shares` only the new owner keeps access, and the former viewers are notified."""
    transfer(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), end_shares=True)
    assert clinic.holders() == [("oscar", "owner")]
    assert clinic.events() == ["grant:ended:transfer"] * 3 + ["grant:started"]
    assert clinic.notifications("bob") == [("share:ended", "p-1")]


def test_t13_transfer_back_revives_nothing(clinic: Clinic) -> None:
    """T13: shares that a transfer ended stay ended after the transfer back."""
    transfer(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("bob"), end_shares=True)
    transfer(clinic.pdp, actor=by("bob", 2), patients=["p-1"], colleague=login("alice"))
    assert clinic.holders(later=2) == [("alice", "owner")]


def test_t14_a_leavers_patients_wait_for_the_manager(clinic: Clinic) -> None:
    """T14: a leaver owns the patient without access, and a manager, who has no view either, transfers it."""
    end_membership(clinic.pdp, actor=by("", 1), subscription="north", practitioner="alice")
    assert clinic.viewers(later=1) == ["bob"]
    assert clinic.holders(later=1)[0] == ("alice", "owner")
    with pytest.raises(NotFound):
        transfer(clinic.pdp, actor=by("alice", 2), patients=["p-1"], colleague=login("oscar"))
    transfer(clinic.pdp, actor=by("dan", 2), patients=["p-1"], colleague=login("oscar"))
    assert clinic.holders(later=2)[0] == ("oscar", "owner")
    assert clinic.notifications("alice")[-1] == ("transfer:given", "p-1")


def test_share_all_and_its_end(clinic: Clinic) -> None:
    """A standing share opens the owner's patients, and content if requested, until either side ends it."""
    for who, cause in (("alice", "ended"), ("oscar", "given_up")):
        row = share_all(clinic.pdp, actor=by("alice"), colleague=login("oscar"), content=True)
        assert clinic.pdp.evaluate(("practitioner", "oscar"), "view", ("document", "library-alice")).allowed
        end_standing_share(clinic.pdp, actor=by(who), standing_share=row["id"])
        assert "oscar" not in clinic.viewers()
        (stored,) = StandingShare.select().where(StandingShare.id == row["id"]).execute(clinic.database)
        assert (stored.ended_by, stored.end_cause) == (who, cause)
    started = "standing_share:started"
    assert clinic.events() == [started, "standing_share:ended:ended", started, "standing_share:ended:given_up"]
    assert clinic.notifications("oscar") == [("standing_share:received", ""), ("standing_share:ended", "")] * 2


def test_add_patient(clinic: Clinic) -> None:
    """The practitioner who adds a patient owns the patient, and an id can be chosen once."""
    added = add_patient(clinic.pdp, actor=by("bob"), name="Pat Two", patient="mine-2")
    assert (added.subscription, clinic.holders("mine-2")) == ("north", [("bob", "owner")])
    assert clinic.events() == ["patient:added", "grant:started"]
    assert "Pat Two" not in str(clinic.last_event().body)
    with pytest.raises(Conflict):
        add_patient(clinic.pdp, actor=by("bob"), name="Pat Two", patient="mine-2")
    for who, where in (("heidi", "north"), ("frank", "north"), ("grace", "harbour"), ("nobody", "north")):
        with pytest.raises((Denied, NotFound)):
            add_patient(clinic.pdp, actor=by(who), name="X", subscription=where)


def test_memberships(clinic: Clinic) -> None:
    """People join, change role, leave and come back; a membership that exists already is not changed."""
    zed: Any = {"subscription": "north", "practitioner": "zed"}
    put_practitioner(clinic.pdp, actor=by(""), practitioner="zed", login="Zed@Clinic.Example", name="Zed")
    for role in ("member", "member", "manager"):
        put_membership(clinic.pdp, actor=by(""), role=role, **zed)
    assert clinic.pdp.evaluate(("practitioner", "zed"), "manage", ("subscription", "north")).allowed
    end_membership(clinic.pdp, actor=by("dan"), **zed)
    with pytest.raises(NotFound):
        end_membership(clinic.pdp, actor=by("dan"), **zed)
    put_membership(clinic.pdp, actor=by("dan"), role="member", **zed)
    joined, departed = "membership:started", "membership:ended"
    assert clinic.events() == ["practitioner:added", joined, departed, joined, departed, joined]
    for who, error in (("alice", Denied), ("frank", NotFound)):
        with pytest.raises(error):
            put_membership(clinic.pdp, actor=by(who), role="manager", **zed)


def test_a_subscription_lapses_and_resumes(clinic: Clinic) -> None:
    """While a subscription has lapsed every decision is a denial; when it resumes, all access is back."""
    north: Any = {"subscription": "north", "name": "North Clinic"}
    put_subscription(clinic.pdp, actor=by("", 1), live=False, **north)
    assert clinic.viewers(later=1) == []
    with pytest.raises(NotFound):
        share(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("oscar"))
    put_subscription(clinic.pdp, actor=by("", 2), **north)
    put_subscription(clinic.pdp, actor=by("", 3), **north)
    assert clinic.viewers(later=2) == ["alice", "bob", "carl", "carol"]
    assert clinic.events() == ["licence:ended", "licence:started"]


def test_t6_a_grant_is_bound_to_the_person(clinic: Clinic) -> None:
    """T6: grants stay with their person, also if the login passes to somebody else."""
    put_practitioner(clinic.pdp, actor=by(""), practitioner="bob", login="robert@clinic.example", name="Bob")
    put_practitioner(clinic.pdp, actor=by(""), practitioner="bobby", login=login("bob"), name="Bobby")
    put_membership(clinic.pdp, actor=by(""), subscription="north", practitioner="bobby", role="member")
    assert "bob" in clinic.viewers()
    assert "bobby" not in clinic.viewers()
    with pytest.raises(Conflict):
        put_practitioner(clinic.pdp, actor=by(""), practitioner="bob", login=login("bob"), name="B")


INELIGIBLE = ["none@clinic.example", login("frank"), login("erin"), login("heidi"), "not a login", ""]
"""T5: an unknown login, another clinic's, a leaver's, an auditor's, and two texts that are no login."""


@pytest.mark.parametrize("recipient", INELIGIBLE)
def test_t5_one_refusal_for_every_recipient_who_cannot(clinic: Clinic, recipient: str) -> None:
    """T5: every recipient who cannot receive gets the same refusal; no fact changes, and the attempt is recorded."""
    for operation in (share, transfer):
        with pytest.raises(NotEligible) as refused:
            operation(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=recipient)
        assert str(refused.value) == "Nobody with this login can receive here."
    with pytest.raises(NotEligible):
        share_all(clinic.pdp, actor=by("alice"), colleague=recipient)
    assert clinic.events() == []
    assert [decision[1:] for decision in clinic.decisions() if decision[1] == "receive"][:2] == [("receive", False)] * 2


def test_t8_a_lapsed_clinic_receives_nothing(clinic: Clinic) -> None:
    """T8: in a lapsed subscription a patient cannot be shared."""
    with pytest.raises(NotFound):
        share(clinic.pdp, actor=by("grace"), patients=["p-harbour"], colleague=login("gus"))


def test_t9_not_to_oneself(clinic: Clinic) -> None:
    """T9: a share or transfer to oneself is refused without a notification, also for a manager (T19)."""
    for who in ("alice", "dan"):
        with pytest.raises(SelfTarget):
            transfer(clinic.pdp, actor=by(who), patients=["p-1"], colleague=login(who))
    with pytest.raises(SelfTarget):
        share_all(clinic.pdp, actor=by("alice"), colleague=login("alice"))
    assert (clinic.events(), clinic.notifications("alice")) == ([], [])


REFUSED: list[tuple[str, str, type[CaregrantError]]] = [
    ("bob", "share", Denied),
    ("bob", "transfer", Denied),
    ("bob", "end", Denied),
    ("carol", "share", Denied),
    ("carol", "transfer", Denied),
    ("oscar", "share", NotFound),
    ("oscar", "transfer", NotFound),
    ("oscar", "end", NotFound),
    ("dan", "share", Denied),
    ("heidi", "transfer", NotFound),
    ("erin", "transfer", NotFound),
    ("frank", "share", NotFound),
    ("frank", "end", NotFound),
    ("grace", "transfer", NotFound),
    ("nobody", "share", NotFound),
]


@pytest.mark.parametrize(("who", "what", "error"), REFUSED)
def test_t1_t10_who_may_not(clinic: Clinic, who: str, what: str, error: type[CaregrantError]) -> None:
    """T1, T10: people who may know of the patient are refused, others get not found; each attempt is recorded."""
    others = clinic.grant("erin" if who == "bob" else "bob")
    works: dict[str, Callable[[], Any]] = {
        "end": lambda: end_share(clinic.pdp, actor=by(who), patient="p-1", grant=others),
        "share": lambda: share(clinic.pdp, actor=by(who), patients=["p-1"], colleague=login("pete")),
        "transfer": lambda: transfer(clinic.pdp, actor=by(who), patients=["p-1"], colleague=login("pete")),
    }
    with pytest.raises(error) as refused:
        works[what]()
    with pytest.raises(NotFound) as absent:
        share(clinic.pdp, actor=by(who), patients=["p-none"], colleague=login("pete"))
    assert (str(refused.value) == str(absent.value)) == (error is NotFound)
    assert clinic.events() == []
    assert clinic.decisions()[0][2] is False


class Named(NamedTuple):
    """The ids that a request may name."""

    patient: str
    another: str
    subscription: str
    grant: int
    standing_share: int


NORTHS, NOBODYS = Named("p-1", "p-oscar", "north", 4, 1), Named("p-none", "p-no", "none", 10**9, 10**9)
OSCAR = login("oscar")
ABOUT: dict[str, Callable[[PDP, Actor, Named], object]] = {
    "share": lambda pdp, actor, of: share(pdp, actor=actor, patients=[of.patient], colleague=OSCAR),
    "share several": lambda pdp, actor, of: share(pdp, actor=actor, patients=[of.patient, of.another], colleague=OSCAR),
    "transfer": lambda pdp, actor, of: transfer(pdp, actor=actor, patients=[of.patient], colleague=OSCAR),
    "undo a transfer": lambda pdp, actor, of: undo_transfer(pdp, actor=actor, patients=[of.patient]),
    "end a share": lambda pdp, actor, of: end_share(pdp, actor=actor, patient=of.patient, grant=of.grant),
    "add a patient": lambda pdp, actor, of: add_patient(pdp, actor=actor, name="New", subscription=of.subscription),
    "share everything": lambda pdp, actor, of: share_all(
        pdp, actor=actor, subscription=of.subscription, colleague=OSCAR
    ),
    "end all shared": lambda pdp, actor, of: end_standing_share(pdp, actor=actor, standing_share=of.standing_share),
    "give a role": lambda pdp, actor, of: put_membership(
        pdp, actor=actor, subscription=of.subscription, practitioner="bob", role="manager"
    ),
    "end a role": lambda pdp, actor, of: end_membership(
        pdp, actor=actor, subscription=of.subscription, practitioner="bob"
    ),
}


@pytest.mark.parametrize("what", ABOUT)
def test_t1_the_time_tells_nothing(sqlite_database: Database, what: str) -> None:
    """T1: requests about things of another clinic and about things that do not exist run the same statements."""
    people.fill(sqlite_database)
    pdp = pdp_of(sqlite_database)

    def statements(actor: Actor, named: Named) -> list[str]:
        taken: list[str] = []
        sqlite_database.connection().set_trace_callback(taken.append)
        with pytest.raises((NotFound, BatchRefused)):
            ABOUT[what](pdp, actor, named)
        sqlite_database.connection().set_trace_callback(None)
        return [re.sub(r"'[^']*'|\b\d+\b", "?", statement) for statement in taken]

    statements(by("frank"), NOBODYS)  # the first of a process opens the spool of its answers
    alike = statements(by("frank"), NOBODYS)
    assert len(alike) > 6
    for actor in (by("frank"), by("frank", tenant="city"), by("alice", tenant="city")):
        assert statements(actor, NORTHS) == statements(actor, NOBODYS) == alike


def test_t2_a_share_of_another_patient(clinic: Clinic) -> None:
    """T2: a share can be ended only under its own patient, and an owner's grant is not a share."""
    add_patient(clinic.pdp, actor=by("alice"), name="Other", patient="p-other")
    for patient, grant in (("p-other", clinic.grant("bob")), ("p-1", clinic.grant("alice")), ("p-1", 10**9)):
        with pytest.raises(NotFound):
            end_share(clinic.pdp, actor=by("alice"), patient=patient, grant=grant)
    ended = clinic.grant("bob")
    end_share(clinic.pdp, actor=by("alice"), patient="p-1", grant=ended)
    with pytest.raises(NotFound):
        end_share(clinic.pdp, actor=by("alice"), patient="p-1", grant=ended)


def test_t3_an_apps_bound_goes_first(clinic: Clinic) -> None:
    """T3: by a key of another clinic even the owner's patient does not exist."""
    tenant = by("alice", client=None, tenant="city")
    for operation in (share, transfer):
        with pytest.raises(NotFound):
            operation(clinic.pdp, actor=tenant, patients=["p-1"], colleague=login("oscar"))
    with pytest.raises(NotFound):
        end_share(clinic.pdp, actor=tenant, patient="p-1", grant=clinic.grant("bob"))
    with pytest.raises((NotFound, NotEligible)):
        share_all(clinic.pdp, actor=tenant, colleague=login("oscar"))
    with pytest.raises(NotFound):
        end_membership(clinic.pdp, actor=by("", tenant="city"), subscription="north", practitioner="bob")


def test_conflicts(clinic: Clinic) -> None:
    """A share, ownership or standing share that exists already is a conflict."""
    with pytest.raises(Conflict):
        share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("bob"))
    with pytest.raises(Conflict):
        share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("alice").replace("alice", "bob"))
    with pytest.raises(Conflict):
        transfer(clinic.pdp, actor=by("dan"), patients=["p-1"], colleague=login("alice"))
    with pytest.raises(Conflict):
        share_all(clinic.pdp, actor=by("alice"), colleague=login("carol"))
    assert clinic.events() == []


def test_t17_several_at_once_all_or_none(clinic: Clinic) -> None:
    """T17: if one patient of several is refused, none is changed, and each refused patient has its reason."""
    own = [add_patient(clinic.pdp, actor=by("alice"), name="X", patient=f"m-{n}").patient for n in range(3)]
    patients = [*own, "p-city", "p-none", "p-1"]
    with pytest.raises(BatchRefused) as refused:
        share(clinic.pdp, actor=by("alice"), patients=patients, colleague=login("bob"))
    reasons = [(at, str(error)) for at, error in refused.value.refusals]
    assert [at for at, _ in reasons] == [3, 4, 5]
    assert reasons[0][1] == reasons[1][1]
    assert clinic.events() == ["patient:added", "grant:started"] * 3
    assert len(transfer(clinic.pdp, actor=by("alice"), patients=own, colleague=login("bob"))) == 3
    for wrong in ([], ["m-0", "m-0"], [f"n-{n}" for n in range(MOST_AT_ONCE + 1)]):
        with pytest.raises(InvalidInput):
            share(clinic.pdp, actor=by("alice"), patients=wrong, colleague=login("oscar"))


def test_t28_bad_times_and_reasons(clinic: Clinic) -> None:
    """T28, T22: an end that is not in the future and a bad reason are refused before the policy is asked."""
    wrong: dict[str, Any]
    for wrong in ({"until": NOW}, {"reason": "x" * 501}, {"reason": "a\x00b"}):
        with pytest.raises(InvalidInput):
            share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), **wrong)
    assert clinic.decisions() == []
    share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), until=FAR_AHEAD)


def test_a_change_is_never_before_the_one_it_waited_for(clinic: Clinic) -> None:
    """A request older than the last change is carried out at the last change's instant, or is a conflict."""
    share(clinic.pdp, actor=by("alice", 10), patients=["p-1"], colleague=login("oscar"))
    (done,) = transfer(clinic.pdp, actor=by("alice", 5), patients=["p-1"], colleague=login("oscar"))
    assert done.owner == "oscar"
    rows = Grant.select().where(Grant.patient == "p-1", Grant.practitioner == "oscar").order_by(Grant.id)
    lives = [(row.started_at, row.ended_at) for row in rows.execute(clinic.database)]
    assert lives[0][1] == lives[1][0] == NOW + timedelta(seconds=10)
    with pytest.raises(Conflict):
        transfer(clinic.pdp, actor=by("alice", 5), patients=["p-1"], colleague=login("pete"))


def test_t21_what_cannot_be_recorded_is_not_done(clinic: Clinic) -> None:
    """T21: if the decision cannot be recorded, no fact is changed and nobody is notified."""
    before = clinic.holders()
    clinic.database.execute_sql("ALTER TABLE decision RENAME TO decision_gone")
    with pytest.raises(Unavailable):
        share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"))
    assert (clinic.holders(), clinic.events(), clinic.notifications("oscar")) == (before, [], [])
