"""An undo gives the patient back with what the transfer ended, for ten minutes and only before the new owner acts."""

import io
from collections.abc import Callable
from datetime import timedelta

import orjson
import pytest

from authz.database import Database
from authz.errors import BatchRefused, CaregrantError, Conflict, InvalidInput, NotFound
from authz.importing import import_facts
from authz.models import Event, Grant
from authz.operations import (
    UNDO_TIME,
    IdempotencyKey,
    ReplayedResponse,
    StoredResponse,
    UndoneTransfer,
    add_patient,
    change_share,
    edit_patient,
    end_membership,
    end_patient,
    end_share,
    put_membership,
    share,
    share_all,
    transfer,
    undo_transfer,
)
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.acting import POLICY, Clinic, by, login
from tests.support.people import FAR_AHEAD, NOW

SECONDS = UNDO_TIME.total_seconds()


@pytest.fixture
def clinic(database: Database) -> Clinic:
    """Return the cast, after Alice has shared `p-1` with Pete until tomorrow."""
    people.fill(database)
    clinic = Clinic(database)
    end_share(clinic.pdp, actor=by("alice"), patient="p-1", grant=clinic.grant("erin"))
    tomorrow = NOW + timedelta(days=1)
    share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("pete"), until=tomorrow, reason="cover")
    return clinic


def send(clinic: Clinic, who: str = "alice", to: str = "bob", later: float = 1, *, end_shares: bool = True) -> None:
    """Transfer `p-1`."""
    transfer(clinic.pdp, actor=by(who, later), patients=["p-1"], colleague=login(to), end_shares=end_shares)


def undo(clinic: Clinic, who: str = "alice", later: float = 2) -> UndoneTransfer:
    (undone,) = undo_transfer(clinic.pdp, actor=by(who, later), patients=["p-1"])
    return undone


def refusal(clinic: Clinic, who: str = "alice", later: float = 3) -> str:
    """Return the sentence of the conflict by which an undo is refused; nothing has changed."""
    before = clinic.holders(later=later), Event.select().count(clinic.database)
    with pytest.raises(Conflict) as refused:
        undo(clinic, who, later)
    assert (clinic.holders(later=later), Event.select().count(clinic.database)) == before
    return str(refused.value)


def test_everything_is_as_before(clinic: Clinic) -> None:
    """The sender owns the patient again, and each share that the transfer ended begins again as it was."""
    before = clinic.holders()
    send(clinic)
    undone = undo(clinic)
    assert (undone.owner, undone.receiver, undone.lost_shares) == ("alice", "bob", ())
    assert [row["practitioner"] for row in undone.returned_shares] == ["bob", "pete"]
    assert clinic.holders(later=2) == before == [("alice", "owner"), ("bob", "viewer"), ("pete", "viewer")]
    live = Grant.select().where(Grant.patient == "p-1", Grant.started_at == NOW + timedelta(seconds=2))
    rows = live.order_by(Grant.id).tuples()
    columns = (Grant.practitioner, Grant.origin, Grant.given_by, Grant.reason)
    assert list(rows.select(*columns).execute(clinic.database)) == [
        ("alice", "undo", "alice", ""),
        ("bob", "undo", "", ""),
        ("pete", "undo", "alice", "cover"),
    ]
    ends = [row.ended_at for row in live.order_by(Grant.id).execute(clinic.database)]
    assert ends[1:] == [FAR_AHEAD, NOW + timedelta(days=1)]
    assert clinic.unaccounted() == []


def test_it_is_recorded_and_both_are_told(clinic: Clinic) -> None:
    """An undo has an event of its own, decisions by their rules, and a notice to each side."""
    send(clinic)
    received, events, decisions = clinic.grant("bob"), len(clinic.events()), len(clinic.decisions())
    undo(clinic)
    kinds = ["grant:ended:undo", "grant:started", "transfer:undone", "grant:started", "grant:started"]
    assert clinic.events()[events:] == kinds
    (event,) = Event.select().where(Event.kind == "transfer:undone").execute(clinic.database)
    assert (event.actor, event.patient, event.subscription, event.body) == (
        "alice",
        "p-1",
        "north",
        {"grant": str(received)},
    )
    expected = [("alice", "undo_transfer"), ("alice", "receive"), ("bob", "receive"), ("pete", "receive")]
    assert clinic.decisions()[decisions:] == [(*pair, True) for pair in expected]
    assert ("transfer:undone", "p-1") in clinic.notifications("bob")
    assert ("transfer:returned", "p-1") in clinic.notifications("alice")
    assert clinic.notifications("pete")[-1] == ("share:received", "p-1")


def test_t39_who_left_and_came_back_has_no_share(clinic: Clinic) -> None:
    """T39: a share that the transfer ended does not come back to somebody who has left since, and works here again."""
    send(clinic)
    end_membership(clinic.pdp, actor=by("", 2), subscription="north", practitioner="pete")
    put_membership(clinic.pdp, actor=by("", 3), subscription="north", practitioner="pete", role="member")
    undone = undo(clinic, later=4)
    assert [row["practitioner"] for row in undone.returned_shares] == ["bob"]
    assert [row["practitioner"] for row in undone.lost_shares] == ["pete"]
    assert clinic.holders(later=4) == [("alice", "owner"), ("bob", "viewer")]


def test_shares_that_the_transfer_kept_stay(clinic: Clinic) -> None:
    """A share that the transfer kept is the same grant after the undo."""
    before = clinic.grant("pete")
    send(clinic, to="oscar", end_shares=False)
    assert undo(clinic).returned_shares == ()
    assert clinic.holders(later=2) == [("alice", "owner"), ("bob", "viewer"), ("pete", "viewer")]
    assert clinic.grant("pete") == before


def test_three_instants_around_the_end(clinic: Clinic) -> None:
    """The last microsecond of ten minutes permits, the end and everything after it does not; the past is answered."""
    send(clinic, later=0)
    question = (("practitioner", "alice"), "undo_transfer", ("patient", "p-1"))
    allowed = [
        clinic.pdp.evaluate(*question, now=NOW + UNDO_TIME + timedelta(microseconds=step)).allowed
        for step in (-1, 0, 1)
    ]
    assert allowed == [True, False, False]
    assert refusal(clinic, later=SECONDS) == "More than 10 minutes have passed since the transfer."
    undo(clinic, later=SECONDS - 1)
    assert not clinic.pdp.evaluate(*question, now=NOW + timedelta(seconds=SECONDS - 1)).allowed
    assert clinic.pdp.evaluate(*question, now=NOW + timedelta(seconds=SECONDS - 2)).allowed


CHANGES: dict[str, Callable[[Clinic], object]] = {
    "share": lambda clinic: share(clinic.pdp, actor=by("bob", 2), patients=["p-1"], colleague=login("oscar")),
    "change_share": lambda clinic: change_share(
        clinic.pdp, actor=by("bob", 2), patient="p-1", grant=clinic.grant("pete"), reason="Cover"
    ),
    "end_share": lambda clinic: end_share(clinic.pdp, actor=by("bob", 2), patient="p-1", grant=clinic.grant("pete")),
    "name": lambda clinic: edit_patient(clinic.pdp, actor=by("bob", 2), patient="p-1", name="Other"),
    "reference": lambda clinic: edit_patient(clinic.pdp, actor=by("bob", 2), patient="p-1", reference="7"),
}


@pytest.mark.parametrize("case", list(CHANGES))
def test_not_after_the_new_owner_has_acted(clinic: Clinic, case: str) -> None:
    """Each change by the new owner ends the time of the undo at its instant, and the record has it."""
    send(clinic, end_shares=False)
    CHANGES[case](clinic)
    assert refusal(clinic) == "The colleague who received the patient has already changed something."
    assert "grant:changed" in clinic.events()
    assert clinic.unaccounted() == []
    question = (("practitioner", "alice"), "undo_transfer", ("patient", "p-1"))
    allowed = [clinic.pdp.evaluate(*question, now=NOW + timedelta(seconds=later)).allowed for later in (1, 1.9, 2)]
    assert allowed == [True, True, False]


def test_not_after_the_patient_went_on(clinic: Clinic) -> None:
    """After a further transfer, an undo and the patient's end, the sender learns what there is to know."""
    send(clinic)
    undo(clinic)
    assert refusal(clinic) == "The transfer has been undone already."
    send(clinic, later=4)
    transfer(clinic.pdp, actor=by("bob", 5), patients=["p-1"], colleague=login("oscar"))
    assert refusal(clinic, later=6) == "The patient has been transferred again since."
    end_patient(clinic.pdp, actor=by("oscar", 7), patient="p-1")
    with pytest.raises(NotFound):
        undo(clinic, later=8)


OTHERS: dict[str, tuple[Callable[[Clinic], object], set[str]]] = {
    "the viewer gives up": (
        lambda clinic: end_share(clinic.pdp, actor=by("pete", 2), patient="p-1", grant=clinic.grant("pete")),
        {"bob"},
    ),
    "a manager ends a share": (
        lambda clinic: end_share(clinic.pdp, actor=by("dan", 2), patient="p-1", grant=clinic.grant("pete")),
        {"bob"},
    ),
    "a manager renames": (
        lambda clinic: edit_patient(clinic.pdp, actor=by("dan", 2), patient="p-1", name="Other"),
        {"bob", "pete"},
    ),
    "everything is shared": (
        lambda clinic: share_all(clinic.pdp, actor=by("bob", 2), colleague=login("zoe")),
        {"bob", "pete"},
    ),
    "the receiver leaves": (
        lambda clinic: end_membership(clinic.pdp, actor=by("dan", 2), subscription="north", practitioner="bob"),
        {"pete"},
    ),
}


@pytest.mark.parametrize("case", list(OTHERS))
def test_what_others_do_does_not_prevent_it(clinic: Clinic, case: str) -> None:
    """Only changes by the new owner on the patient prevent the undo; what somebody else ended stays ended."""
    change, viewers = OTHERS[case]
    send(clinic, end_shares=False)
    change(clinic)
    undo(clinic, later=3)
    assert {who for who, role in clinic.holders(later=3) if role == "viewer"} == viewers


def test_who_may_not(clinic: Clinic) -> None:
    """Nobody but the sender undoes: for the others the refusal is that of any action, also for a leaver."""
    send(clinic)
    for who in ("bob", "pete", "oscar", "dan", "heidi", "erin", "frank", "nobody"):
        with pytest.raises(CaregrantError) as refused:
            undo(clinic, who)
        assert not isinstance(refused.value, Conflict), who
    assert [(who, allowed) for who, action, allowed in clinic.decisions() if action == "undo_transfer"] == [
        (who, False) for who in ("bob", "pete", "oscar", "dan", "heidi", "erin", "frank", "nobody")
    ]
    end_membership(clinic.pdp, actor=by("dan", 2), subscription="north", practitioner="alice")
    with pytest.raises(NotFound):
        undo(clinic, later=3)
    with pytest.raises(NotFound):
        undo_transfer(clinic.pdp, actor=by("dan", 3), patients=["p-none"])
    with pytest.raises(InvalidInput):
        undo_transfer(clinic.pdp, actor=by("dan", 3), patients=[])


def test_a_manager_undoes_what_they_did(clinic: Clinic) -> None:
    """A manager who transferred may undo; both practitioners are told."""
    send(clinic, who="dan")
    with pytest.raises(NotFound):
        undo(clinic, "alice")
    assert undo(clinic, "dan").owner == "alice"
    assert clinic.notifications("alice")[-3:] == [("transfer:returned", "p-1")] + 2 * [("share:given", "p-1")]
    assert clinic.notifications("dan") == []


def test_the_previous_owner_has_left(clinic: Clinic) -> None:
    """The patient of a leaver does not go back to the leaver."""
    end_membership(clinic.pdp, actor=by("dan", 0), subscription="north", practitioner="alice")
    send(clinic, who="dan", to="oscar")
    assert refusal(clinic, "dan") == "The previous owner does not work at this clinic any more."


def test_a_share_does_not_come_back_to_a_leaver_nor_after_its_end(clinic: Clinic) -> None:
    """The share of a colleague who left in the meantime is lost, and a share whose date has come is over."""
    soon = NOW + timedelta(seconds=3)
    share(clinic.pdp, actor=by("alice"), patients=["p-1"], colleague=login("zoe"), until=soon)
    send(clinic, to="oscar")
    end_membership(clinic.pdp, actor=by("dan", 2), subscription="north", practitioner="pete")
    undone = undo(clinic, later=3)
    assert [row["practitioner"] for row in undone.lost_shares] == ["pete"]
    assert clinic.holders(later=3) == [("alice", "owner"), ("bob", "viewer")]


def test_several_whole_or_not_at_all(clinic: Clinic) -> None:
    """The transfers of several patients are undone together, or none is if one of them cannot be."""
    add_patient(clinic.pdp, actor=by("alice"), patient="p-2", name="Pat")
    both = ["p-1", "p-2"]
    for later in (1, 5):
        transfer(clinic.pdp, actor=by("alice", later), patients=both, colleague=login("oscar"))
        if later == 1:
            undo_transfer(clinic.pdp, actor=by("alice", 2), patients=both)
            assert [clinic.holders(patient, 3)[0] for patient in both] == 2 * [("alice", "owner")]
    edit_patient(clinic.pdp, actor=by("oscar", 6), patient="p-2", name="Other")
    with pytest.raises(BatchRefused) as refused:
        undo_transfer(clinic.pdp, actor=by("alice", 7), patients=both)
    assert [place for place, _ in refused.value.refusals] == [1]
    assert [clinic.holders(patient, 7)[0] for patient in both] == 2 * [("oscar", "owner")]


def test_two_transfers_at_one_instant(clinic: Clinic) -> None:
    """Two transfers at one instant cannot be told apart by what they ended: the second cannot be undone."""
    send(clinic)
    transfer(clinic.pdp, actor=by("bob", 1), patients=["p-1"], colleague=login("oscar"))
    assert refusal(clinic, "bob", 1) == "This transfer cannot be undone."


def test_an_import_keeps_the_time_of_the_undo(clinic: Clinic) -> None:
    """An import that ends the new owner's grant records the whole row; a share that it gave stays as it is."""
    send(clinic)
    viewer = {"patient": "p-1", "practitioner": "pete", "role": "viewer", "origin": "imported"}
    imported = people.add(clinic.database, Grant, **viewer, started_at=NOW + timedelta(seconds=2))
    assert undo(clinic, later=3).lost_shares == ()
    assert clinic.grant("pete") == imported
    send(clinic, later=4)
    owner = {"grant": {"patient": "p-1", "practitioner": "oscar", "role": "owner"}}
    import_facts(clinic.database, io.BytesIO(orjson.dumps(owner)), POLICY.types, now=NOW + timedelta(seconds=5))
    assert refusal(clinic, later=6) == "The patient has been transferred again since."
    assert clinic.unaccounted() == []


def test_a_key_answers_once(clinic: Clinic) -> None:
    """The same request with the same key gets the stored answer, although the transfer cannot be undone again."""
    send(clinic)
    key = IdempotencyKey("alice", "key", "the same", lambda done: StoredResponse(200, done[0].owner))
    undo_transfer(clinic.pdp, actor=by("alice", 2), patients=["p-1"], idempotency_key=key)
    with pytest.raises(ReplayedResponse) as replayed:
        undo_transfer(clinic.pdp, actor=by("alice", 3), patients=["p-1"], idempotency_key=key)
    assert replayed.value.stored.body == "alice"


def test_a_key_of_another_clinic_finds_nothing(clinic: Clinic) -> None:
    """For an app of another clinic the sender has nothing to undo, and nobody returns who left and came back."""
    send(clinic)
    with pytest.raises(NotFound):
        undo_transfer(clinic.pdp, actor=by("alice", 2, tenant="city"), patients=["p-1"])
    put_membership(clinic.pdp, actor=by("dan", 2), subscription="north", practitioner="alice", role="auditor")
    with pytest.raises(NotFound):
        undo(clinic, later=3)


def test_a_policy_that_permits_without_a_transfer(clinic: Clinic) -> None:
    """If a policy permits an undo to everybody, a patient who was not transferred, or twice at once, stays."""
    pdp = PDP(clinic.database, compile_texts({"p.polar": "allow(_: Practitioner, _, _: Patient);"}), clock=lambda: NOW)
    with pytest.raises(Conflict, match="cannot be undone"):
        undo_transfer(pdp, actor=by("zoe", 1), patients=["p-1"])
    send(clinic)
    transfer(clinic.pdp, actor=by("bob", 1), patients=["p-1"], colleague=login("oscar"))
    with pytest.raises(Conflict, match="cannot be undone"):
        undo_transfer(pdp, actor=by("zoe", 2), patients=["p-1"])
    assert clinic.holders(later=2) == [("oscar", "owner")]
