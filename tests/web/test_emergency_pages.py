"""The pages of emergency access: a deliberate path from "there is nothing here", its end, and its review."""

from collections.abc import Callable

import pytest
from flask import Flask

from api.app import create_app
from authz.database import Database
from authz.errors import InvalidInput
from authz.models import Emergency, Grant, Patient
from authz.policy.pdp import PDP
from authz.settings import Settings
from tests.support import people
from tests.support.acting import POLICY
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.people import NOW
from tests.support.visitor import Visitor, text_of

As = Callable[[str], Visitor]
FORM = {"purpose": "ETREAT", "reason": "Collapsed", "known": "yes"}


@pytest.fixture
def flask(database: Database) -> Flask:
    """Return the service under a policy with emergency access."""
    people.fill(database)
    Patient.update(reference="MRN 7").where(Patient.id == "p-1").execute(database)
    return create_app(Settings(emergency_minutes=90), PDP(database, EMERGENCY_POLICY, clock=lambda: NOW))


def open_(visitor: Visitor, **form: str) -> str:
    """Open `p-1` by its number; return the text of the next page."""
    return visitor.done("/emergency", **FORM, reference="MRN 7", **form)


def end_by_itself(database: Database) -> None:
    """Let the emergency accesses of the test end two hours ago, as if they had begun before."""
    for row in Grant.select().where(Grant.origin == "emergency").execute(database):
        earlier = row.started_at.replace(year=row.started_at.year - 1)
        Grant.update(started_at=earlier, ended_at=row.started_at).where(Grant.id == row.id).execute(database)


def test_t20_the_path_shows_nothing(as_: As) -> None:
    """T20: the page of a patient without access leads to the form, the same for a patient who does not exist."""
    oscar, frank = as_("oscar"), as_("frank")
    pages = [
        visitor.client.get(f"/patients/{patient}", headers={"Accept": "text/html"}).text.replace(patient, "X")
        for visitor, patient in ((oscar, "p-1"), (oscar, "p-none"), (frank, "p-1"), (frank, "p-none"))
    ]
    assert len(set(pages)) == 1
    assert 'href="/emergency?patient=X"' in pages[0]
    forms = [frank.get(f"/emergency?patient={patient}") for patient in ("p-1", "p-none")]
    assert len(set(forms)) == 1
    refused = [
        text_of(visitor.post("/emergency", **FORM, **named))
        for visitor in (oscar, frank)
        for named in ({"reference": "MRN 8"}, {"patient": "p-none"}, {"patient": "p-harbour"})
    ]
    refused += [text_of(frank.post("/emergency", **FORM, reference="MRN 7"))]
    for text in refused:
        assert "There is no patient with this number at your clinics, or you may not open this patient." in text
        assert "Nothing has been changed." in text
    assert frank.post("/emergency", **FORM, patient="p-1").status_code == 404


def test_the_form_wants_everything(as_: As, database: Database) -> None:
    """Without a purpose, a reason, a number or the tick nothing is opened; the form keeps what was entered."""
    oscar = as_("oscar")
    for left_out, sentence in (
        ("purpose", "Choose the purpose."),
        ("reason", "Say why you need this patient now."),
        ("known", "Tick that you know"),
        ("reference", "Enter the number"),
    ):
        sent = {name: value for name, value in {**FORM, "reference": "MRN 7"}.items() if name != left_out}
        response = oscar.post("/emergency", **sent)
        assert response.status_code == 400
        assert sentence in text_of(response)
        assert left_out == "reason" or 'value="Collapsed"' in response.text
    assert Emergency.select().count(database) == 0


def test_from_the_form_to_the_end(as_: As, database: Database) -> None:
    """The patient opens until a time; the owner reads who and why, and ends it; nobody can open it again."""
    oscar, alice = as_("oscar"), as_("alice")
    assert "1 hour" not in oscar.get("/emergency")
    assert "90 minutes" in oscar.get("/emergency")
    text = open_(oscar)
    assert "You see Patient of alice (MRN 7) until your emergency access ends on" in text
    assert "because you opened the patient in an emergency" in text
    assert "Transfer/share patient" not in text
    assert "You have access to this patient already." in text_of(oscar.post("/emergency", **FORM, patient="p-1"))
    assert "Oscar opened Patient of alice (MRN 7) in an emergency" in alice.get("/notifications")
    assert "“Collapsed”" in alice.get("/notifications")
    page = alice.get("/patients/p-1")
    assert "In an emergency · since" in page
    assert "End access of Oscar" in page
    (grant,) = Grant.select().where(Grant.origin == "emergency").execute(database)
    path = f"/patients/p-1/access/{grant.id}"
    assert "End the emergency access of Oscar to Patient of alice" in alice.get(f"{path}/end")
    assert "The emergency access to Patient of alice (MRN 7) of Oscar has ended" in alice.done(f"{path}/end")
    assert "Alice ended your emergency access to this patient" in oscar.get("/patients/p-1", 404)
    response = oscar.post("/emergency", **{**FORM, "reason": "Again"}, patient="p-1")
    assert (response.status_code, "Your emergency access to this patient was ended." in text_of(response)) == (
        409,
        True,
    )
    assert "Alice ended your emergency access to Patient" not in oscar.get(
        "/notifications"
    )  # the name is not theirs now
    assert "In an emergency" in alice.get("/patients/p-1/history")
    assert "Emergency treatment · Not reviewed yet" in alice.get("/patients/p-1/history")


def test_somebody_else_reviews(as_: As, database: Database) -> None:
    """Managers and auditors see each access until its review; the one who opened the patient cannot review it."""
    open_(as_("oscar"))
    open_(as_("dan"))
    dan, heidi = as_("dan"), as_("heidi")
    assert "2 emergency accesses wait for a review" in dan.get("/clinic/north")
    assert "after the access has ended" in heidi.get("/clinic/north/emergencies")
    end_by_itself(database)
    Emergency.update(due_at=NOW, started_at=NOW.replace(year=2025)).execute(database)
    text = dan.get("/clinic/north")
    assert ", 2 of them overdue" in text
    text = dan.get("/clinic/north/emergencies")
    assert text.count("by somebody who has not opened this patient") == 2
    assert "review overdue" in text
    heidi.get("/clinic", 303)
    text = heidi.get("/clinic/north/emergencies")
    assert "Members" not in text
    assert "Oscar opened the patient p-1" in text
    for row in Emergency.select().order_by(Emergency.id).execute(database):
        text = heidi.done("/clinic/north/emergencies", emergency=row.id, verdict="justified", note="On call")
        assert "The review has been recorded: justified" in text
    assert "Nothing to review" in text
    assert "wait for a review" not in dan.get("/clinic/north")
    assert "Justified, reviewed by Heidi" in dan.get("/clinic/north/emergencies?all=yes")
    assert "Emergency treatment · Justified, reviewed by Heidi" in dan.get("/patients/p-1/history")
    assert "Heidi reviewed your emergency access to" in as_("oscar").get("/notifications")
    assert heidi.post("/clinic/north/emergencies", emergency="1", verdict="").status_code == 400
    assert dan.post("/clinic/north/emergencies", emergency="x", verdict="justified").status_code == 404


def test_reviews_outlive_the_rule(as_: As, database: Database, flask: Flask) -> None:
    """A review that is due is shown after the policy has ceased to permit emergency access."""
    open_(as_("oscar"))
    off = create_app(Settings(), PDP(database, POLICY, clock=lambda: NOW))
    dan = Visitor(off, "dan")
    assert "1 emergency access waits for a review" in dan.get("/clinic/north")
    dan.get("/clinic/north/emergencies")
    assert "Emergency" not in Visitor(off, "frank").get("/patients/p-none", 404)


@pytest.mark.parametrize("minutes", [-1, 0, 4, 1441])
def test_the_time_has_bounds(minutes: int) -> None:
    """An emergency access lasts from five minutes to a day; another setting does not start the service."""
    assert [Settings(emergency_minutes=most).emergency_minutes for most in (5, 1440)] == [5, 1440]
    with pytest.raises(InvalidInput, match="CAREGRANT_EMERGENCY_MINUTES"):
        Settings(emergency_minutes=minutes)
