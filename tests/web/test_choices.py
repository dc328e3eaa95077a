"""The server does only what the form showed: a form whose choice or facts are out of date is refused (T43).

`tests/web/test_browser_choices.py` tries the same with every control of the pages, in a browser.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from authz import operations
from authz.database import Database
from authz.domain import FOREVER
from authz.errors import BatchRefused, Conflict
from authz.models import Grant, Notification, Patient, Practitioner, StandingShare
from authz.record import Actor
from tests.support import people
from tests.support.acting import login
from tests.support.people import NOW
from tests.support.visitor import Visitor, hidden_fields, text_of

As = Callable[[str], Visitor]


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """One kind of database: the pages read through the same functions on both."""
    return sqlite_database


def send(who: Visitor, form: dict[str, list[str]], path: str, **choices: Any) -> TestResponse:
    """Send the fields of a form that was shown before, with these choices."""
    return who.client.post(path.partition("?")[0], data={**form, **choices}, headers={"Accept": "text/html"})


def owner(database: Database, patient: str = "p-1") -> str:
    live = (Grant.patient == patient, Grant.role == "owner", Grant.ended_at == FOREVER)
    return str(Grant.select().where(*live).execute(database)[0].practitioner_id)


def share(database: Database, who: str, patient: str = "p-1") -> None:
    people.add(database, Grant, patient=patient, practitioner=who, role="viewer", origin="share")


def rename(database: Database, model: Any, key: str, **columns: str) -> None:
    model.update(**columns).where(model.id == key).execute(database)


TRANSFER, TRANSFERS = "/patients/p-1/transfer", "/selection/transfer?patient=p-1&patient=p-left"
CHANGES: dict[str, tuple[Callable[[Database], object], str]] = {
    "a share begins": (lambda db: share(db, "pete"), "\u2068Pete\u2069 has a share now."),
    "a share ends": (
        lambda db: Grant.update(ended_at=people.LAST_YEAR).where(Grant.practitioner == "bob").execute(db),
        "\u2068Bob\u2069 has no share any more.",
    ),
    "everything is shared": (
        lambda db: people.add(db, StandingShare, owner="alice", colleague="pete", subscription="north", content=False),
        "The owner shares all patients with \u2068Pete\u2069 now.",
    ),
    "everything is shared with the sender": (
        lambda db: people.add(db, StandingShare, owner="pete", colleague="dan", subscription="north", content=False),
        "\u2068Pete\u2069 shares all patients with you now.",
    ),
    "the patient is called otherwise": (
        lambda db: rename(db, Patient, "p-1", name="Somebody Else"),
        "\u2068Patient of alice\u2069 is called \u2068Somebody Else\u2069 now.",
    ),
    "the owner is called otherwise": (
        lambda db: rename(db, Practitioner, "alice", name="Alison"),
        "\u2068Alice\u2069 is called \u2068Alison\u2069 now.",
    ),
    "the colleague is called otherwise": (
        lambda db: rename(db, Practitioner, "oscar", name="Oskar"),
        "\u2068Oskar\u2069 was not shown with this e-mail.",
    ),
}


@pytest.mark.parametrize("path", [TRANSFER, TRANSFERS], ids=["one", "several"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_a_form_that_showed_something_else_is_refused(as_: As, database: Database, path: str, change: str) -> None:
    """T43: a form whose facts changed is refused with a sentence, keeps its ticks, and then goes through."""
    dan = as_("dan")
    happens, sentence = CHANGES[change]
    form = hidden_fields(dan.client.get(path).text)
    happens(database)
    refused = send(dan, form, path, colleague=login("oscar"), end_shares="yes")
    assert refused.status_code == 409
    assert sentence in text_of(refused)
    assert "Nothing has been changed." in text_of(refused)
    assert re.search(rf'value="{login("oscar")}" required checked', refused.text)
    assert 'name="end_shares" value="yes" checked' in refused.text or "a share ends" in change
    assert owner(database) == "alice"
    assert send(dan, hidden_fields(refused.text), path, colleague=login("oscar")).status_code == 303
    assert owner(database) == "oscar"


def test_the_owner_is_another(as_: As, database: Database) -> None:
    """T43: a manager's form about Alice's patient is refused after the patient became Oscar's."""
    dan = as_("dan")
    form = hidden_fields(dan.client.get(TRANSFER).text)
    as_("alice").done(TRANSFER, colleague=login("oscar"))
    refused = send(dan, form, TRANSFER, colleague=login("pete"))
    assert refused.status_code == 409
    assert "\u2068Oscar\u2069 is an owner now. \u2068Alice\u2069 is not the owner any more." in text_of(refused)
    assert owner(database) == "oscar"


def test_an_e_mail_that_is_another_colleagues_by_now(as_: As, database: Database) -> None:
    """T6, T43: a clicked row means a person: if their e-mail is now another's, the form is refused."""
    alice = as_("alice")
    form = hidden_fields(alice.client.get(TRANSFER).text)
    for who, mail in (("oscar", "gone@clinic.example"), ("pete", login("oscar"))):
        rename(database, Practitioner, who, login=mail)
    refused = send(alice, form, TRANSFER, colleague=login("oscar"))
    assert refused.status_code == 409
    assert "\u2068Pete\u2069 was not shown with this e-mail. Choose again." in text_of(refused)
    assert owner(database) == "alice"


def test_a_share_of_one_of_several_patients(as_: As, database: Database) -> None:
    """T43: a new share of one of several selected patients is a change of what the form showed."""
    dan = as_("dan")
    form = hidden_fields(dan.client.get(TRANSFERS).text)
    share(database, "bob", "p-left")
    refused = send(dan, form, TRANSFERS, colleague=login("oscar"), end_shares="yes")
    assert refused.status_code == 409
    assert "The people with access to \u2068Patient of erin\u2069 have changed." in text_of(refused)


def test_a_choice_that_a_search_hides_is_not_carried_out(as_: As, database: Database) -> None:
    """T43: a form that is narrowed to Pete and still chooses Bob is refused."""
    alice = as_("alice")
    form = hidden_fields(alice.client.get(TRANSFER).text)
    refused = send(alice, form, TRANSFER, colleague=login("bob"), q="pete", end_shares="yes")
    assert refused.status_code == 409
    assert "The colleague that you clicked is not in this list. Choose again." in text_of(refused)
    assert 'type="radio" name="colleague" value="pete@clinic.example"' in refused.text
    assert 'value="bob@clinic.example"' not in refused.text
    assert 'name="end_shares" value="yes" checked' in refused.text
    assert owner(database) == "alice"
    assert (
        send(alice, hidden_fields(refused.text), TRANSFER, colleague=login("pete"), q="PETE clinic").status_code == 303
    )


def test_a_search_keeps_what_is_in_sight(as_: As, database: Database) -> None:
    """T43: without script, a search keeps the ticks that the page still shows, and changes nothing."""
    alice = as_("alice")
    form = hidden_fields(alice.client.get(TRANSFER).text)
    response = send(alice, form, TRANSFER, search="yes", q="clinic bob", colleague=login("bob"), end_shares="yes")
    assert response.status_code == 200
    assert 'value="bob@clinic.example" required checked' in response.text
    assert 'name="end_shares" value="yes" checked' in response.text
    assert 'id="unchosen" hidden' in response.text
    response = send(alice, form, TRANSFER, search="yes", q="pete", colleague=login("bob"), end_shares="yes")
    assert "is not chosen any more" in text_of(response)
    assert 'id="unchosen" hidden' not in response.text
    assert not re.search(r'type="radio"[^>]* checked', response.text)
    assert 'name="end_shares" value="yes" checked' in response.text
    response = send(alice, form, TRANSFER, search="yes", q="zebra", end_shares="yes")
    assert "Nobody found" in text_of(response)
    assert 'name="end_shares" value="yes" checked' in response.text
    assert owner(database) == "alice"


def test_a_form_acts_on_the_patients_that_it_showed(as_: As, database: Database) -> None:
    """T43: a form changes only the patients that it showed; a patient that is added to it refuses the form."""
    alice, dan = as_("alice"), as_("dan")
    share(database, "alice", "p-oscar")
    both = "/selection/transfer?patient=p-1&patient=p-oscar"
    page = alice.client.get(both)
    assert "are left out" in text_of(page)
    form = hidden_fields(page.text)
    assert form["patient"] == ["p-1"]
    as_("oscar").done("/patients/p-oscar/transfer", colleague=login("alice"))
    alice.client.post(both, data={**form, "colleague": login("pete")})
    assert (owner(database), owner(database, "p-oscar")) == ("pete", "alice")
    # one of two that does not allow it any more
    form = hidden_fields(dan.client.get("/selection/share?patient=p-left&patient=p-oscar").text)
    more = {**form, "patient": ["p-left", "p-oscar", "p-1"]}
    refused = send(dan, more, "/selection/share", action="transfer", colleague=login("bob"))
    assert refused.status_code == 409
    assert "This form did not show \u2068Patient of alice\u2069." in text_of(refused)
    assert owner(database, "p-left") == "erin"


@pytest.mark.parametrize("form", [{"colleague": login("pete")}, {"action": "share", "colleague": login("pete")}])
def test_nothing_of_a_selection_is_skipped(as_: As, database: Database, form: dict[str, str]) -> None:
    """T43, T17: if one of the patients can no longer be changed, no patient is changed."""
    alice = as_("alice")
    share(database, "alice", "p-oscar")
    path = "/selection/share" if "action" in form else "/selection/transfer"
    refused = alice.post(path, patient=["p-1", "p-oscar"], **form)
    assert refused.status_code == 409
    assert "You may not do this to \u2068Patient of oscar\u2069 any more." in text_of(refused)
    assert owner(database) == "alice"
    assert "Pete" not in alice.get("/patients/p-1")


def test_the_e_mail_form_names_what_it_showed(as_: As, database: Database) -> None:
    """T43: a transfer by e-mail compares whom it affects; a share compares the patient alone."""
    alice = as_("alice")
    path = "/patients/p-1/share"
    form = hidden_fields(alice.client.get(path).text)
    share(database, "pete")
    refused = send(alice, form, path, action="transfer", colleague=login("oscar"), reason="moving")
    assert refused.status_code == 409
    assert "\u2068Pete\u2069 has a share now." in text_of(refused)
    assert 'value="moving"' in refused.text
    assert send(alice, form, path, action="share", colleague=login("oscar")).status_code == 303
    rename(database, Patient, "p-1", name="Renamed")
    refused = send(alice, form, path, action="share", colleague=login("pete"))
    assert refused.status_code == 409
    assert "is called \u2068Renamed\u2069 now" in text_of(refused)


@pytest.mark.parametrize("shown", ["", "x", "e30.e30"])
def test_a_form_of_another_make_is_refused(as_: As, database: Database, shown: str) -> None:
    """T43: a form whose signed content is forged, or another person's, is refused as out of date."""
    alice, dan = as_("alice"), as_("dan")
    for text in (shown, hidden_fields(dan.client.get(TRANSFER).text)["shown"][0]):
        refused = alice.post(TRANSFER, colleague=login("oscar"), shown=text)
        assert refused.status_code == 409
        assert "This form is out of date." in text_of(refused)
    assert owner(database) == "alice"


BARE: dict[str, dict[str, Any]] = {
    TRANSFER: {"colleague": login("pete")},
    "/selection/transfer": {"patient": ["p-1"], "colleague": login("pete")},
    "/patients/p-1/share": {"action": "share", "colleague": login("pete")},
    "/selection/share": {"patient": ["p-1"], "action": "transfer", "colleague": login("pete")},
    "/sharing": {"colleague": login("pete")},
    "/notifications/read": {},
}
UNSEEN = {"/sharing": (400, "choose the clinic"), "/notifications/read": (404, "not")}


@pytest.mark.parametrize("path", list(BARE))
def test_a_form_that_was_not_shown_does_nothing(as_: As, database: Database, path: str) -> None:
    """T43: a form without the field of what it showed is refused, and nothing changes."""
    alice = as_("alice")
    as_("dan").done("/patients/p-left/transfer", colleague=login("alice"))
    before = [model.select().count(database) for model in (Grant, StandingShare)]
    refused = send(alice, {"csrf_token": [alice.token()]}, path, **BARE[path])
    status, sentence = UNSEEN.get(path, (409, "This form is out of date."))
    assert refused.status_code == status
    assert sentence.lower() in text_of(refused).lower()
    assert [model.select().count(database) for model in (Grant, StandingShare)] == before
    assert "Notifications 1 unread" in alice.get("/patients")


def test_every_form_that_acts_on_patients_says_what_it_showed(as_: As) -> None:
    """T43: every page with such a form renders the field; other forms name one thing in their path."""
    alice = as_("alice")
    for path in (
        TRANSFER,
        "/patients/p-1/share",
        "/selection/transfer?patient=p-1",
        "/selection/share?patient=p-1",
    ):
        assert hidden_fields(alice.client.get(path).text)["shown"][0]


def test_what_holds_is_compared_under_the_lock(flask: Flask, database: Database) -> None:
    """T11, T15, T43: a share or a login that changes just before the transfer refuses the transfer."""
    pdp = flask.extensions["caregrant"]
    actor = Actor("alice", NOW)
    seen = {"p-1": ["alice", "bob", "erin"]}
    common: dict[str, Any] = {"actor": actor, "patients": ["p-1"], "colleague": login("oscar")}
    with pytest.raises(Conflict, match="another colleague's now"):
        operations.transfer(pdp, **common, receiver="pete")
    with pytest.raises(Conflict, match="Who has access has changed"):
        operations.transfer(pdp, **common, holders={"p-1": ["alice", "bob"]})
    with pytest.raises(BatchRefused):
        operations.transfer(
            pdp,
            actor=Actor("dan", NOW),
            patients=["p-1", "p-left"],
            colleague=login("oscar"),
            holders={**seen, "p-left": ["erin", "bob"]},
        )
    operations.transfer(pdp, **common, receiver="oscar", holders=seen)
    assert owner(database) == "oscar"


def test_an_address_chooses_nothing(as_: As) -> None:
    """T43: a link ticks no colleague, no box and no action."""
    alice = as_("alice")
    choices = f"colleague={login('bob')}&end_shares=yes&action=transfer&content=yes&until=2060-01-31&reason=x"
    for path in (TRANSFER, "/patients/p-1/share", "/sharing"):
        text = alice.client.get(f"{path}?{choices}").text
        assert " checked" not in text
        assert 'value="2060-01-31"' not in text
        assert f'name="colleague" type="text" value="{login("bob")}"' not in text


def test_what_waited_is_shown_beside_the_same_patients(as_: As) -> None:
    """T43: the fields of a form that waited for a sign-in are not shown for another selection."""
    dan = as_("dan")
    form = hidden_fields(dan.client.get(TRANSFERS).text)
    for path, kept in (("/selection/transfer?patient=p-oscar&patient=p-left", False), (TRANSFERS, True)):
        dan = as_("dan")
        token = dan.token()
        dan.lock(minutes=31)
        late = {**form, "csrf_token": token, "colleague": login("pete"), "end_shares": "yes"}
        assert dan.client.post("/selection/transfer", data=late).status_code == 303
        with dan.client.session_transaction() as session:
            session["seen"] += 31 * 60
        assert (f'value="{login("pete")}" required checked' in dan.client.get(path).text) == kept


def test_notices_that_were_not_seen_stay_unread(as_: As, database: Database) -> None:
    """T43: *Mark all as read* marks the shown notices and older ones, and none that arrived since."""
    alice, oscar = as_("alice"), as_("oscar")
    alice.done("/patients/p-1/share", action="share", colleague=login("oscar"))
    text = oscar.client.get("/notifications").text
    newest = re.search(r'name="newest" value="(\d+)"', text)
    assert newest
    alice.done(TRANSFER, colleague=login("oscar"))
    oscar.done("/notifications/read", newest=newest.group(1))
    assert "Notifications 1 unread" in oscar.get("/patients")
    assert oscar.post("/notifications/read", newest="x").status_code == 404
    assert Notification.select().where(Notification.practitioner == "oscar").count(database) == 2


def test_the_clinic_of_a_standing_share_is_chosen(as_: As, database: Database) -> None:
    """T43: among several clinics none is chosen beforehand; with only one clinic the form names it."""
    assert hidden_fields(as_("alice").client.get("/sharing").text)["subscription"] == ["north"]
    text = as_("mia").client.get("/sharing").text
    assert '<option value="">Choose the clinic</option>' in text
    assert " selected" not in text
    refused = as_("alice").post("/sharing", colleague=login("oscar"), subscription="city")
    assert refused.status_code == 404
