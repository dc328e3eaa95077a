"""A patient's name changes, and a patient leaves the clinic (R10)."""

from datetime import timedelta
from typing import Any

import pytest

from authz.errors import Conflict, Denied, InvalidInput, NotFound
from authz.models import Event, Patient
from authz.operations import add_patient, edit_patient, end_patient
from tests.support import people
from tests.support.acting import Clinic, by
from tests.support.people import NOW


@pytest.fixture
def clinic(database: Any) -> Clinic:
    people.fill(database)
    return Clinic(database)


def test_a_new_name_is_an_event_without_the_name(clinic: Clinic) -> None:
    """The owner and a manager may rename a patient; the event has no name, and the same name again changes nothing."""
    for who in ("alice", "dan"):
        assert edit_patient(clinic.pdp, actor=by(who), patient="p-1", name="New Name")["name"] == "New Name"
    assert clinic.events() == ["patient:changed"]
    body = clinic.last_event().body
    assert body["changed"] == ["name"]
    assert set(body["after"]) == {"patient", "subscription", "started_at", "ended_at", "digest"}
    (row,) = Patient.select().where(Patient.id == "p-1").execute(clinic.database)
    assert row.name == "New Name"


@pytest.mark.parametrize(("who", "error"), [("bob", Denied), ("oscar", NotFound), ("frank", NotFound)])
def test_nobody_else_may(clinic: Clinic, who: str, error: type[Exception]) -> None:
    """A viewer is refused, and for everybody else the patient does not exist."""
    with pytest.raises(error):
        edit_patient(clinic.pdp, actor=by(who), patient="p-1", name="X")
    with pytest.raises(error):
        end_patient(clinic.pdp, actor=by(who), patient="p-1")
    assert clinic.events() == []


@pytest.mark.parametrize("name", [None, "", "\n"])
def test_a_bad_name_is_refused(clinic: Clinic, name: str | None) -> None:
    """A change without a name, an empty name and a control character are refused."""
    with pytest.raises(InvalidInput):
        edit_patient(clinic.pdp, actor=by("alice"), patient="p-1", name=name)


def test_an_ended_patient_is_nobodys_and_stays_in_the_past(clinic: Clinic) -> None:
    """From its end on nobody may use a patient; answers about earlier instants and the taken id stay."""
    before = clinic.viewers()
    end_patient(clinic.pdp, actor=by("dan", 10), patient="p-1", reason="moved away")
    assert clinic.viewers(later=10) == []
    assert clinic.viewers(later=9) == before
    for action in ("view", "list_access", "receive", "end", "edit"):
        subjects = clinic.pdp.search_subjects(
            "practitioner", action, ("patient", "p-1"), now=NOW + timedelta(seconds=10)
        )
        assert subjects == [], action
    document = ("document", "by-alice")
    assert not clinic.pdp.evaluate(("practitioner", "alice"), "view", document, now=NOW + timedelta(seconds=10)).allowed
    assert clinic.holders(later=10) == []
    assert clinic.events()[-1] == "patient:ended"
    assert ("share:ended", "p-1") in clinic.notifications("bob")
    assert ("patient:ended", "p-1") in clinic.notifications("alice")
    assert clinic.unaccounted() == []
    with pytest.raises(NotFound):
        end_patient(clinic.pdp, actor=by("alice", 11), patient="p-1")
    with pytest.raises(Conflict):
        add_patient(clinic.pdp, actor=by("alice", 11), name="Again", patient="p-1", subscription="north")
    reasons = Event.select().where(Event.kind == "patient:ended").execute(clinic.database)
    assert [event.reason for event in reasons] == ["moved away"]
