"""Every state has a true sentence: lapsed, auditor, ended, transferred; and nobody learns of what they did not know."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Flask

from api.web import states
from authz import operations
from authz.database import Database
from authz.domain import END_CAUSES
from authz.models import Grant, RecordedDecision, StandingShare
from authz.record import Actor
from tests.support.acting import login, pdp_of
from tests.support.people import LAST_YEAR
from tests.support.visitor import Visitor, hidden_fields, text_of

As = Callable[[str], Visitor]


def grant_of(database: Database, who: str, patient: str = "p-1") -> int:
    return int(Grant.select().where(Grant.practitioner == who, Grant.patient == patient).execute(database)[0].id)


LAPSED = "The subscription of Harbour Clinic has ended. Until the clinic renews the subscription, nobody there sees"
AUDITOR = "You are an auditor of North Clinic. An auditor sees no patient on these pages."


@pytest.mark.parametrize("path", ["/patients", "/patients?role=viewer", "/sharing", "/notifications", "/patients/p-no"])
def test_why_no_patient_is_shown(as_: As, path: str) -> None:
    """A member of a lapsed clinic and an auditor read why they see no patient, and never "No patients yet"."""
    status = 404 if path == "/patients/p-no" else 200
    for who, sentence in (("grace", LAPSED), ("heidi", AUDITOR)):
        text = as_(who).get(path, status)
        assert sentence in text
        assert "No patients yet" not in text
        assert "Nothing is shared with you" not in text
        assert "No notifications" not in text
        assert "Share with a colleague" not in text
    assert "The audit is in notebooks and reports on your own computer" in as_("heidi").get("/patients")
    nobody_there = as_("oscar").get(path, status)
    assert "has ended." not in nobody_there
    assert "auditor" not in nobody_there


def test_nobody_without_a_clinic_is_offered_a_share(as_: As) -> None:
    """Somebody who works nowhere reads so, and is offered no form that would be refused."""
    text = as_("erin").get("/sharing")
    assert "you do not work under an active subscription now" in text
    assert "Share with a colleague" not in text


@pytest.mark.parametrize(("who", "clinic", "status"), [("heidi", "north", 403), ("grace", "harbour", 404)])
def test_a_form_that_was_not_offered_is_refused(as_: As, who: str, clinic: str, status: int) -> None:
    """An auditor and a member of a lapsed clinic share nothing, even with a form of their own."""
    reader = as_(who)
    form = {"csrf_token": reader.token(), "colleague": login("pete"), "subscription": clinic}
    assert reader.client.post("/sharing", data=form).status_code == status


def test_what_a_viewer_reads(as_: As) -> None:
    """A viewer's page says through what they see the patient, and whom they can ask."""
    only = "You cannot share or transfer the patient; if somebody else needs access, ask Alice."
    text = as_("bob").get("/patients/p-1")
    assert "The owner is Alice (alice@clinic.example). You can give up your access at any time. " + only in text
    text = as_("carol").get("/patients/p-1")
    assert f"because Alice (alice@clinic.example) shares all patients with you. {only}" in text
    assert "You see this patient" not in as_("alice").get("/patients/p-1")


def test_a_patient_that_was_transferred(as_: As, flask: Flask) -> None:
    """The former owner reads to whom and when they transferred the patient, on each page of the patient."""
    alice = as_("alice")
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    for path in ("", "/transfer", "/share", "/access/1/end"):
        text = alice.get(f"/patients/p-1{path}", 404)
        assert "You do not see this patient any more" in text
        assert "You transferred this patient to Oscar on " in text
        assert "Patient of alice" not in text


def test_a_patient_whom_a_manager_transferred(as_: As) -> None:
    """T14: the former owner reads who transferred the patient; the former viewer only that the share ended."""
    as_("dan").done("/patients/p-1/transfer", colleague=login("oscar"), end_shares="yes")
    assert "Dan transferred this patient to Oscar on " in as_("alice").get("/patients/p-1", 404)
    text = as_("bob").get("/patients/p-1", 404)
    assert "The sharing of this patient with you ended with a transfer on " in text
    assert "Oscar" not in text


def test_a_share_that_ended(as_: As, database: Database) -> None:
    """Both sides of a share that ended read who ended it, also on the page that would end it once more."""
    alice, bob, number = as_("alice"), as_("bob"), grant_of(database, "bob")
    alice.done(f"/patients/p-1/access/{number}/end")
    sentence = "ended the sharing of this patient with Bob on "
    for response in (
        alice.client.get(f"/patients/p-1/access/{number}/end"),
        alice.post(f"/patients/p-1/access/{number}/end"),
    ):
        assert response.status_code == 404
        assert "This share has ended already" in text_of(response)
        assert f"You {sentence}" in text_of(response)
        assert 'href="/patients/p-1"' in response.text
    assert f"Alice {sentence}" in as_("dan").get(f"/patients/p-1/access/{number}/end", 404)
    assert "Alice ended the sharing of this patient with you on " in bob.get("/patients/p-1", 404)


def test_a_share_that_was_given_up_or_expired(as_: As, database: Database) -> None:
    """A share that its holder gave up, and one that ended by its date, are told apart."""
    alice, bob, number = as_("alice"), as_("bob"), grant_of(database, "bob")
    bob.done(f"/patients/p-1/access/{number}/end")
    assert "You gave up your access to this patient on " in bob.get("/patients/p-1", 404)
    assert "Bob gave up their access to this patient on " in alice.get(f"/patients/p-1/access/{number}/end", 404)
    assert "The sharing of this patient with you ended by its date on" in as_("xena").get("/patients/p-1", 404)
    assert "The sharing of this patient with Xena ended by its date on" in alice.get(
        f"/patients/p-1/access/{grant_of(database, 'xena')}/end", 404
    )


def test_a_patient_who_has_left_the_clinic(as_: As, database: Database) -> None:
    """R10: after the end of a patient, owner and viewer read who ended it."""
    operations.end_patient(pdp_of(database), actor=Actor("dan", datetime.now(UTC)), patient="p-1")
    assert "Dan ended the care of this patient at the clinic on " in as_("alice").get("/patients/p-1", 404)
    assert "Dan ended the sharing of this patient with you on " in as_("bob").get("/patients/p-1", 404)


def test_a_sharing_of_everything_that_ended(as_: As, database: Database) -> None:
    """Both sides of a share of all patients read who ended it; nobody else does."""
    query = StandingShare.select().where(StandingShare.owner == "alice", StandingShare.colleague == "carol")
    path = f"/sharing/{query.execute(database)[0].id}/end"
    as_("alice").done(path)
    assert "You ended the sharing of all your patients with Carol on " in as_("alice").get(path, 404)
    assert "Alice ended the sharing of all patients of Alice with you on " in as_("carol").get(path, 404)
    assert "There is nothing here" in as_("oscar").get(path, 404)
    assert "There is nothing here" in as_("alice").get("/sharing/not-a-number/end", 404)


def test_a_selection_that_was_transferred(as_: As) -> None:
    """A form about several patients that is sent twice says what it has done, and does nothing again."""
    alice = as_("alice")
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    oscar = as_("oscar")
    both = {"patient": ["p-1", "p-oscar"], "colleague": login("pete")}
    form = {**hidden_fields(oscar.client.get("/selection/transfer", query_string=both).text), **both}
    form["csrf_token"] = oscar.token()
    assert oscar.client.post("/selection/transfer", data=form).status_code == 303
    again = oscar.client.post("/selection/transfer", data=form)
    assert again.status_code == 404
    assert "You transferred 2 of these 2 patients to Pete on " in text_of(again)
    assert "Colleague: pete@clinic.example" in text_of(again)


def test_one_or_some_of_the_selected_patients(as_: As) -> None:
    """The explanation names one patient as one, and does not say of all what has become of some."""
    oscar = as_("oscar")
    token = oscar.token()
    oscar.done("/patients/p-oscar/transfer", colleague=login("pete"))
    single = oscar.client.post("/selection/transfer", data={"csrf_token": token, "patient": "p-oscar"})
    assert "You do not see this patient any more" in text_of(single)
    assert "You transferred this patient to Pete on " in text_of(single)
    some = oscar.client.post("/selection/transfer", data={"csrf_token": token, "patient": ["p-oscar", "p-old"]})
    assert "You do not see some of these patients any more" in text_of(some)


def test_who_still_sees_a_patient_is_not_told_otherwise(as_: As, database: Database) -> None:
    """A wrong address below a patient whom one sees says only that there is nothing."""
    operations.share_all(pdp_of(database), actor=Actor("alice", datetime.now(UTC)), colleague=login("bob"))
    as_("alice").done(f"/patients/p-1/access/{grant_of(database, 'bob')}/end")
    assert "There is nothing here" in as_("bob").get("/patients/p-1/access/9999/end", 404)


def test_nobody_learns_of_what_they_did_not_know(as_: As, database: Database) -> None:
    """T1: others read the same page, byte for byte, about a transferred patient, another clinic's and none."""
    as_("alice").done("/patients/p-1/transfer", colleague=login("oscar"), end_shares="yes")
    for who in ("pete", "frank", "erin", "grace", "heidi"):
        reader = as_(who)
        number = grant_of(database, "bob")
        for path in ("", f"/access/{number}/end", "/share"):
            others = ["p-1", "p-none", "p-old", "p-oscar" if who == "frank" else "p-city"]
            assert len({reader.client.get(f"/patients/{patient}{path}").data for patient in others}) == 1
        selected = {reader.client.get(f"/selection/share?patient={patient}").data for patient in others}
        assert len(selected) == 1


def test_leaving_ends_the_knowledge(as_: As, database: Database) -> None:
    """T1: somebody who left the clinic reads nothing about what they had there."""
    alice = as_("alice")
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    operations.end_membership(
        pdp_of(database), actor=Actor("dan", datetime.now(UTC)), subscription="north", practitioner="alice"
    )
    text = alice.get("/patients/p-1", 404)
    assert "There is nothing here" in text
    assert "Oscar" not in text


def test_the_reading_is_recorded(as_: As, database: Database) -> None:
    """The page of a patient that somebody transferred leaves its questions in the record."""
    alice = as_("alice")
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    before = RecordedDecision.select().count(database)
    alice.get("/patients/p-1", 404)
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    assert [(row.action, row.resource, row.allowed) for row in rows] == [
        ("view", "p-1", False),
        ("list_access", "p-1", False),
        ("receive", "north", True),
    ]


def test_what_was_entered_is_shown_with_every_refusal(as_: As) -> None:
    """A form about a patient who is gone, and a form that is out of date, show what was entered into them."""
    alice = as_("alice")
    token = alice.token()
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    form = {"action": "share", "colleague": login("pete"), "reason": "typed with care", "until": "2060-01-31"}
    for sent, status in (({**form, "csrf_token": token}, 404), (form, 400)):
        response = alice.client.post("/patients/p-1/share", data=sent)
        assert response.status_code == status
        assert "What you entered" in text_of(response)
        for value in form.values():
            assert value in text_of(response)
        assert 'type="hidden"' not in response.text


def test_every_cause_has_a_sentence() -> None:
    """Each cause for which a grant or a standing share ends has a sentence, unless an import says no more."""
    causes = {"", *END_CAUSES} - {"expired", "imported"}
    assert set(states.SHARE) == causes
    assert {cause for role, cause in states.ACCESS if role == "viewer"} == causes
    assert {cause for role, cause in states.ACCESS if role == "owner"} == {"transfer", "ended", "undo"}
    for role in ("owner", "viewer"):
        assert {cause for side, cause in states.STANDING_SHARE if side == role} == causes - {"transfer"}


def test_an_imported_end(as_: As, database: Database) -> None:
    """A cause without a sentence of its own still tells when the access ended."""
    held = (Grant.practitioner == "bob", Grant.patient == "p-1")
    Grant.update(ended_at=LAST_YEAR, end_cause="imported").where(*held).execute(database)
    assert "It ended on 1 June 2025, 12:00 UTC." in as_("bob").get("/patients/p-1", 404)
