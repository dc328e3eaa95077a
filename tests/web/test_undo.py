"""*Undo* in the pop-up after a transfer, without a browser."""

import re
from datetime import timedelta
from html import unescape

from flask import Flask
from werkzeug.test import TestResponse

from authz import operations
from authz.database import Database
from authz.domain import format_instant
from authz.models import Grant
from tests.support.acting import by, login, pdp_of
from tests.support.people import NOW
from tests.support.visitor import Visitor, text_of


def transfer(visitor: Visitor, path: str = "/patients/p-1/transfer", **form: object) -> TestResponse:
    """Transfer by a form; return the page that follows."""
    response = visitor.post(path, **form)
    assert response.status_code == 303, response.text
    return visitor.client.get(response.headers["Location"])


def undo_form(page: TestResponse) -> dict[str, str]:
    """Return the fields of the form *Undo*; none if the page does not offer it."""
    forms = re.findall(r'<form[^>]*action="/transfers/undo".*?</form>', page.text, re.S)
    fields = re.findall(r'name="([^"]+)" value="([^"]*)"', forms[0]) if forms else []
    return {name: unescape(value) for name, value in fields}


def press(visitor: Visitor, page: TestResponse) -> str:
    """Press *Undo*; return the text of the page that follows."""
    response = visitor.client.post("/transfers/undo", data=undo_form(page))
    assert response.status_code == 303, response.text
    return text_of(visitor.client.get(response.headers["Location"]))


def test_undo_and_what_the_pages_say(flask: Flask, database: Database) -> None:
    """The pop-up offers *Undo* once; then everything is as before, and each side reads what happened."""
    alice, oscar = Visitor(flask, "alice"), Visitor(flask, "oscar")
    before = alice.get("/patients/p-1")
    page = transfer(alice, colleague=login("oscar"), end_shares="yes")
    assert "Patient of alice has been transferred to Oscar Undo" in text_of(page)
    assert undo_form(alice.client.get("/patients")) == {}
    text = press(alice, page)
    assert "The transfer of Patient of alice to Oscar has been undone." in text
    assert "did not get their share back, because they have left the clinic since the transfer: Erin" in text
    after = alice.get("/patients/p-1")
    assert "Bob viewer" in before
    assert "Bob viewer" in after
    history = alice.get("/patients/p-1/history")
    assert "Ended when Alice undid the transfer" in history
    assert "A transfer was undone" in history
    oscar.get("/patients/p-1", 404)
    assert "Alice undid the transfer of a patient to you" in oscar.get("/notifications")
    assert "You undid the transfer of Patient of alice to Oscar" in alice.get("/notifications")
    assert "has not been undone. The transfer has been undone already. Nothing has been changed." in press(alice, page)


def test_several_by_a_manager(flask: Flask, database: Database) -> None:
    """A manager undoes the transfer of several patients whole; after an act of the receiver nothing is undone."""
    dan = Visitor(flask, "dan")
    several = {"patient": ["p-1", "p-oscar"], "colleague": login("pete")}
    text = press(dan, transfer(dan, "/selection/transfer", **several))
    assert "The transfer of 2 patients to Pete has been undone" in text
    owners = Grant.select().where(Grant.origin == "undo", Grant.role == "owner").order_by(Grant.id)
    assert [row.practitioner_id for row in owners.execute(database)] == ["alice", "oscar"]
    page = transfer(dan, "/selection/transfer", **several)
    Visitor(flask, "pete").done("/patients/p-oscar/share", action="share", colleague=login("oscar"))
    assert (
        "The transfer has not been undone. The colleague who received the patient has already changed something. "
        "Nothing has been changed."
    ) in press(dan, page)
    assert len(list(owners.execute(database))) == 2


def test_too_late(flask: Flask, database: Database) -> None:
    """A pop-up that stood for longer than ten minutes says so when it is pressed."""
    operations.transfer(pdp_of(database), actor=by("alice"), patients=["p-1"], colleague=login("oscar"))
    alice = Visitor(flask, "alice")
    text = alice.done("/transfers/undo", at=format_instant(NOW))
    assert "The transfer has not been undone. More than 10 minutes have passed since the transfer." in text


def test_when_undo_is_not_offered(flask: Flask, database: Database) -> None:
    """A transfer from somebody who left cannot be undone, and the pop-up does not offer it."""
    dan = Visitor(flask, "dan")
    assert undo_form(transfer(dan, "/patients/p-left/transfer", colleague=login("pete"))) == {}


def test_what_is_sent_is_checked(flask: Flask, database: Database) -> None:
    """Somebody else's transfer, an instant without one and no instant are refused; a lost session comes back."""
    page = transfer(Visitor(flask, "alice"), colleague=login("oscar"))
    form, pete = undo_form(page), Visitor(flask, "pete")
    assert pete.post("/transfers/undo", at=form["at"]).status_code == 404
    assert pete.post("/transfers/undo", at=format_instant(NOW + timedelta(days=1))).status_code == 404
    assert pete.post("/transfers/undo", at="soon").status_code == 400
    assert pete.post("/transfers/undo").status_code == 400
    response = pete.client.post("/transfers/undo", data={"at": form["at"]})
    assert response.status_code == 400
    assert 'href="/patients"' in response.text
    token = pete.token()
    pete.lock(31)
    response = pete.client.post("/transfers/undo", data={**form, "csrf_token": token})
    assert response.headers["Location"] == "/?next=%2Fpatients"
