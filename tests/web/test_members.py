"""The manager's way from the members of a clinic to their patients, active or left, and a transfer of all of them."""

import re
from collections.abc import Callable

import pytest

from api.limits import MOST_SELECTED
from authz.database import Database
from authz.domain import FOREVER
from authz.models import Grant, Membership, Patient, RecordedDecision
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.people import LAST_YEAR
from tests.support.visitor import Visitor

As = Callable[[str], Visitor]
ALICE, ERIN, PETE = (f"/clinic/north/members/{who}" for who in ("alice", "erin", "pete"))


@pytest.fixture
def as_(database: Database) -> As:
    """Return a function that signs in somebody of the cast."""
    people.fill(database)
    flask = service(database)
    return lambda who: Visitor(flask, who)


def own(database: Database, who: str, number: int, clinic: str = "north") -> None:
    """Give somebody so many patients."""
    with database.atomic():
        for each in range(number):
            people.add(database, Patient, id=f"{who}-{each:03}", subscription=clinic, name=f"Number {each:03}")
            people.add(database, Grant, patient=f"{who}-{each:03}", practitioner=who, role="owner", origin="created")


def owned(database: Database, who: str) -> int:
    live = (Grant.practitioner == who, Grant.role == "owner", Grant.ended_at == FOREVER)
    return Grant.select().where(*live).count(database)


def test_a_members_patients(as_: As, database: Database) -> None:
    """R6: a manager reaches the patients of somebody who works here, ticks one, and comes back after its transfer."""
    dan = as_("dan")
    assert f'href="{ALICE}"' in dan.client.get("/clinic/north").text
    text = dan.get(ALICE)
    assert "Alice works here and owns 1 patient." in text
    assert "Patient of alice" in text
    assert "being a manager does not let you view them" in text
    done = dan.done("/selection/transfer", patient=["p-1"], colleague=login("oscar"), back=ALICE)
    assert "Patient of alice has been transferred to Oscar" in done
    assert "Alice owns no patient at this clinic." in done


def test_nothing_ticked_is_no_other_selection(as_: As) -> None:
    """The button of this page without a tick opens no form about the patients that are ticked in other lists."""
    dan = as_("dan")
    dan.client.post("/patients", data={"csrf_token": dan.token(), "listed": "p-1", "patient": "p-1", "keep": "yes"})
    assert "Patient of alice" in dan.get("/selection/transfer")
    response = dan.client.get("/selection/transfer", query_string={"named": "yes", "back": ALICE})
    assert (response.status_code, response.headers["Location"]) == (303, ALICE)


def test_a_leavers_patients_by_the_leaver(as_: As) -> None:
    """T14: a manager finds who has left, and the patients whom this person still owns."""
    dan = as_("dan")
    former = dan.get("/clinic/north/left")
    assert "Erin erin@clinic.example" in former
    assert "Alice" not in former
    text = dan.get(ERIN)
    assert "Erin does not work here any more, and still owns 1 patient." in text
    assert "Patient of erin" in text
    assert "Transfer all 1" in text


def test_a_hundred_patients_in_one_form(as_: As, database: Database) -> None:
    """*Transfer all* opens one form about all patients of a member, which transfers them and returns to the member."""
    own(database, "pete", MOST_SELECTED)
    before = owned(database, "oscar")
    dan = as_("dan")
    assert f"Transfer all {MOST_SELECTED}" in dan.get(PETE)
    form = dan.client.get(f"{PETE}/transfer?back={PETE}").text
    assert 'action="/selection/transfer"' in form
    patients = re.findall(r'<input type="hidden" name="patient" value="([^"]+)"', form)
    assert len(set(patients)) == MOST_SELECTED
    shown = re.search(r'name="shown" value="([^"]+)"', form)
    assert shown
    data = {"csrf_token": dan.token(), "patient": patients, "shown": shown[1], "colleague": login("oscar")}
    response = dan.client.post("/selection/transfer", data={**data, "back": PETE})
    assert response.headers["Location"] == PETE
    assert f"{MOST_SELECTED} patients have been transferred to Oscar" in dan.get(PETE)
    assert (owned(database, "pete"), owned(database, "oscar")) == (0, before + MOST_SELECTED)


def test_more_patients_than_one_form_takes(as_: As, database: Database) -> None:
    """If a member owns more patients than a form takes, the page says how many it takes, and takes the first ones."""
    own(database, "pete", MOST_SELECTED + 1)
    dan = as_("dan")
    text = dan.get(PETE)
    assert f"Transfer the first {MOST_SELECTED}" in text
    assert f"One transfer takes at most {MOST_SELECTED} patients, in the order of this list." in text
    assert f"Transfer {MOST_SELECTED} patients" in dan.get(f"{PETE}/transfer")


def test_a_search_and_pages(as_: As, database: Database) -> None:
    """A member's patients are searched and cut into pages; *Transfer all that match* takes what the search finds."""
    own(database, "pete", 60)
    dan = as_("dan")
    first = dan.client.get(PETE).text
    assert first.count('name="patient"') == 50
    following = re.search(r'href="(\?[^"]+)" rel="next"', first)
    assert following
    assert dan.client.get(PETE + following[1].replace("&amp;", "&")).text.count('name="patient"') == 10
    assert "Transfer all that match" in dan.get(f"{PETE}?q=number 01")
    assert f'href="{PETE}/transfer?match=number+01&amp;back=' in dan.client.get(f"{PETE}?q=number 01").text
    assert "Transfer 11 patients" in dan.get(f"{PETE}/transfer?match=number 01")
    assert "Nobody found" in dan.get(f"{PETE}?q=zebra")


def test_another_clinics_patients_are_not_listed(as_: As, database: Database) -> None:
    """T1, T23: a manager sees a member's patients of their own clinic only, and nobody who never worked there."""
    people.add(database, Membership, practitioner="pete", subscription="city", role="member", started_at=LAST_YEAR)
    own(database, "pete", 3, "city")
    dan = as_("dan")
    assert "Pete owns no patient at this clinic." in dan.get(PETE)
    dan.get("/clinic/north/members/frank", 404)
    dan.get("/clinic/north/members/nobody-at-all", 404)
    dan.get("/clinic/city/members/frank", 404)
    as_("alice").get(ALICE, 403)


def test_the_reading_is_recorded(as_: As, database: Database) -> None:
    """A manager's reading of a member's patients leaves its questions in the record."""
    before = RecordedDecision.select().count(database)
    as_("dan").get(ALICE)
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    assert {(row.subject, row.action) for row in rows} == {("dan", "manage"), ("dan", "transfer")}


def test_the_list_of_shares_stays_where_it_was(as_: As) -> None:
    """After a manager ends a share, the list of shares is back as it was, on the same page."""
    dan = as_("dan")
    shares = dan.client.get("/clinic/north/shares").text
    ending = re.search(r'href="(/patients/p-1/access/\d+/end)\?back=([^"]+)"', shares)
    assert ending
    assert 'name="back" value="/clinic/north/shares"' in dan.client.get(f"{ending[1]}?back={ending[2]}").text
    response = dan.post(ending[1], back="/clinic/north/shares")
    assert response.headers["Location"] == "/clinic/north/shares"
    assert "has ended" in dan.get("/clinic/north/shares")
    ending = re.search(r'href="(/patients/p-1/access/\d+/end)\?', dan.client.get("/clinic/north/shares").text)
    assert ending
    assert dan.post(ending[1], back="//elsewhere.example").headers["Location"] == "/patients/p-1"
