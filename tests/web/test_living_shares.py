"""Pages about a share over time: its end in the clinic's time zone, its change in place, the history of a patient."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from authz.database import Database
from authz.domain import FOREVER, parse_instant
from authz.models import Event, Grant, Membership, RecordedDecision, StandingShare, Subscription
from authz.operations import end_share, share, share_all, transfer
from authz.record import Actor
from tests.support import people
from tests.support.acting import login, pdp_of
from tests.support.http import service
from tests.support.visitor import Visitor, text_of

LOS_ANGELES = "America/Los_Angeles"


@pytest.fixture
def flask(database: Database) -> Flask:
    people.fill(database)
    Subscription.update(time_zone=LOS_ANGELES).where(Subscription.id == "north").execute(database)
    Subscription.update(time_zone="Europe/Berlin").where(Subscription.id == "city").execute(database)
    return service(database)


def grant_of(database: Database, who: str, patient: str = "p-1") -> Grant:
    grants = Grant.select().where(Grant.practitioner == who, Grant.patient == patient).order_by(Grant.id.desc())
    grant: Grant = grants.execute(database)[0]
    return grant


def change_path(database: Database, who: str = "bob") -> str:
    return f"/patients/p-1/access/{grant_of(database, who).id}/change"


def test_a_last_day_is_a_day_of_the_clinic(flask: Flask, database: Database) -> None:
    """The day that the owner enters ends at midnight in California, and every page shows that day."""
    alice = Visitor(flask, "alice")
    assert "in the time zone of the clinic (America/Los_Angeles)" in alice.get("/patients/p-1/share")
    form = {"action": "share", "colleague": login("oscar"), "until": "2065-03-03"}
    assert "until 3 March 2065" in alice.done("/patients/p-1/share", **form)
    assert grant_of(database, "oscar").ended_at == parse_instant("2065-03-04T08:00:00Z")
    assert "until 3 March 2065" in Visitor(flask, "oscar").get("/patients?role=viewer")
    assert "until 3 March 2065" in Visitor(flask, "dan").get("/clinic/north/shares")
    end = f"/patients/p-1/access/{grant_of(database, 'oscar').id}/end"
    assert "the share ends after 3 March 2065." in alice.get(end)
    assert re.search(r"\d\d:\d\d P[SD]T", Visitor(flask, "oscar").get("/notifications"))


def test_a_standing_share_ends_in_its_clinic(flask: Flask, database: Database) -> None:
    """The last day of a standing share is a day of the clinic that the form names."""
    text = Visitor(flask, "mia").client.get("/sharing").text
    assert "in the time zone of its clinic" in text
    form = {"colleague": login("frank"), "subscription": "city", "until": "2065-07-31"}
    assert "until 31 July 2065" in Visitor(flask, "mia").done("/sharing", **form)
    row = StandingShare.select().where(StandingShare.owner == "mia").execute(database)[0]
    assert row.ended_at == parse_instant("2065-07-31T22:00:00Z")


def test_two_clinics_in_one_form(flask: Flask, database: Database) -> None:
    """Patients of two clinics are shared until one day, which ends for each in their own zone."""
    Grant.update(practitioner="mia").where(Grant.patient == "p-city").execute(database)
    Grant.update(practitioner="mia").where(Grant.patient == "p-oscar").execute(database)
    people.add(database, Membership, practitioner="pete", subscription="city", role="member")
    mia = Visitor(flask, "mia")
    assert "in the time zone of its clinic" in mia.get("/selection/share?patient=p-city&patient=p-oscar")
    form = {"patient": ["p-city", "p-oscar"], "action": "share", "colleague": login("pete"), "until": "2065-01-31"}
    mia.done("/selection/share", **form)
    ends = [grant_of(database, "pete", patient).ended_at for patient in ("p-city", "p-oscar")]
    assert ends == [parse_instant("2065-01-31T23:00:00Z"), parse_instant("2065-02-01T08:00:00Z")]


def test_offered_ends(flask: Flask, database: Database) -> None:
    """The form offers days of the clinic, and the day that it showed is the day that is stored."""
    alice = Visitor(flask, "alice")
    page = alice.client.get("/patients/p-1/share").text
    values = re.findall(r'name="lasts" value="([^"]*)"', page)
    assert len(values) == 5
    assert values[3:] == ["none", "day"]
    alice.done("/patients/p-1/share", action="share", colleague=login("oscar"), lasts=values[1])
    local = datetime.fromisoformat(f"{values[1]}T00:00:00") + timedelta(days=1)
    end = grant_of(database, "oscar").ended_at.astimezone(ZoneInfo(LOS_ANGELES))
    assert end.replace(tzinfo=None) == local
    alice.done("/patients/p-1/share", action="share", colleague=login("pete"), lasts="none")
    assert grant_of(database, "pete").ended_at == FOREVER


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"lasts": "none", "until": "2065-01-31"}, "You chose an offered end and also entered another day."),
        ({"lasts": "day"}, "Enter the last day of the share."),
        ({"until": "2020-01-01"}, "1 January 2020 has passed. The end date must be today or later."),
    ],
)
def test_a_refused_end_keeps_the_form(flask: Flask, database: Database, form: dict[str, str], sentence: str) -> None:
    """A refusal of the end is a whole sentence at its field, in each form with an end, and keeps the choice."""
    whole = {"action": "share", "colleague": login("oscar"), "reason": "cover"}
    for path in ("/patients/p-1/share", "/sharing", change_path(database)):
        response = Visitor(flask, "alice").post(path, **whole, **form)
        assert response.status_code == 400
        assert sentence in text_of(response)
        assert 'id="refused-until"' in response.text
        for name, value in form.items():
            assert re.search(rf'name="{name}"[^>]*value="{value}"', response.text)
        if "lasts" in form:
            assert re.search(rf'value="{form["lasts"]}" checked', response.text)


@pytest.mark.parametrize(
    ("form", "message", "end", "reason"),
    [
        ({"until": "2065-03-03"}, "now ends after 3 March 2065", "2065-03-04T08:00:00Z", "cover"),
        ({"lasts": "none"}, "now has no end", None, "cover"),
        ({"reason": " longer leave "}, "The reason for the sharing of", "2060-01-01T12:00:00Z", "longer leave"),
        ({"until": "2059-01-31", "reason": ""}, "and its reason has been changed", "2059-02-01T08:00:00Z", ""),
    ],
)
def test_change_a_share(
    flask: Flask, database: Database, form: dict[str, str], message: str, end: str | None, reason: str
) -> None:
    """The owner changes what they choose; the pop-up says what changed; the rest stays, to the microsecond."""
    stored: dict[str, Any] = {"ended_at": parse_instant("2060-01-01T12:00:00Z"), "reason": "cover"}
    Grant.update(**stored).where(Grant.id == grant_of(database, "bob").id).execute(database)
    alice, path = Visitor(flask, "alice"), change_path(database)
    shown = alice.client.get(path).text
    assert "The share ends on 1 January 2060, 04:00 PST." in alice.get(path)
    assert 'id="reason" name="reason"' in shown
    assert 'value="cover"' in shown
    text = alice.done(path, **{"reason": "cover", **form})
    assert message in text
    assert "Patient of alice with Bob" in text
    row = grant_of(database, "bob")
    assert (row.ended_at, row.reason) == (FOREVER if end is None else parse_instant(end), reason)
    assert Event.select().where(Event.kind == "grant:changed").count(database) == 1
    sentence = "Alice changed the end or the reason of sharing Patient of alice with you"
    assert sentence in Visitor(flask, "bob").get("/notifications")


def test_nothing_to_change(flask: Flask, database: Database) -> None:
    """A form in which nothing differs says so, and nothing is recorded; so does one that showed an older reason."""
    alice, path = Visitor(flask, "alice"), change_path(database, "erin")
    for form in ({"reason": ""}, {"lasts": "none", "reason": ""}):
        response = alice.post(path, **form)
        assert response.status_code == 400
        assert "The share has this end and this reason already." in text_of(response)
    Grant.update(reason="another").where(Grant.id == grant_of(database, "erin").id).execute(database)
    alice.done(path, until="2065-01-31", reason="", shown_reason="")
    alice.done(path, until="2064-01-31")
    assert grant_of(database, "erin").reason == "another"


def test_a_viewer_who_left_gets_no_more_time(flask: Flask, database: Database) -> None:
    """A later end for somebody who cannot receive is refused by name, at the field; an earlier end is possible."""
    Grant.update(ended_at=people.FAR_AHEAD).where(Grant.id == grant_of(database, "erin").id).execute(database)
    alice, path = Visitor(flask, "alice"), change_path(database, "erin")
    later = (people.FAR_AHEAD + timedelta(days=1)).date()
    response = alice.post(path, until=later.isoformat(), reason="")
    assert response.status_code == 400
    assert "Erin cannot receive patients here now, so the share cannot last longer than it does." in text_of(response)
    today = datetime.now(UTC).date() + timedelta(days=1)
    assert "now ends after" in alice.done(path, until=today.isoformat(), reason="")


def test_a_share_that_has_ended_meanwhile(flask: Flask, database: Database) -> None:
    """The form of a share that has ended meanwhile is refused with what happened."""
    alice, path = Visitor(flask, "alice"), change_path(database)
    number = grant_of(database, "bob").id
    end_share(pdp_of(database), actor=Actor("alice", datetime.now(UTC)), patient="p-1", grant=number)
    response = alice.client.post(path, data={"csrf_token": alice.token(), "lasts": "none"})
    assert response.status_code == 409
    assert "This share has ended." in text_of(response)


def test_who_is_offered_what(flask: Flask) -> None:
    """The owner finds *Change* and the history, a manager the history alone, a viewer neither."""
    owner, manager, viewer = (Visitor(flask, who).get("/patients/p-1") for who in ("alice", "dan", "bob"))
    assert "Change the sharing with Bob" in owner
    assert "History: who had access, and when" in owner
    assert "Change" not in manager
    assert "History: who had access, and when" in manager
    assert "Change" not in viewer
    assert "History" not in viewer


def entries(page: str) -> list[str]:
    """Return the texts of the entries of a page of a history."""
    rows = re.findall(r'<li class="row tall">.*?</li>', page, re.S)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


def test_the_history(flask: Flask, database: Database) -> None:
    """The history says who had access through what, from when to when, who gave, changed and ended it, and why."""
    pdp, now = pdp_of(database), datetime.now(UTC)

    def by(who: str, seconds: int) -> Actor:
        return Actor(who, now - timedelta(seconds=60 - seconds))

    until = parse_instant("2065-03-04T08:00:00Z")
    (shared,) = share(
        pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("oscar"), until=until, reason="holiday cover"
    )
    path = f"/patients/p-1/access/{shared.grant['id']}"
    alice = Visitor(flask, "alice")
    alice.done(f"{path}/change", until="2066-03-03", reason="sick leave")
    alice.done(f"{path}/change", lasts="none", reason="sick leave")
    share_all(pdp, actor=by("alice", 2), colleague=login("pete"))
    alice.done(f"{path}/end")
    transfer(pdp, actor=Actor("dan", datetime.now(UTC)), patients=["p-1"], colleague=login("bob"))
    alice.get("/patients/p-1/history", 404)
    described = entries(Visitor(flask, "bob").client.get("/patients/p-1/history").text)
    assert len(described) == len(entries(Visitor(flask, "dan").client.get("/patients/p-1/history").text))
    assert described[0].startswith("O Olga viewer has access now Through a share of all patients From")
    owner = r"B Bob you owner has access now Through a transfer, given by Dan From \d+ \w+ \d+, \d\d:\d\d P[SD]T"
    assert re.fullmatch(owner, described[1])
    oscar = next(entry for entry in described if "Oscar" in entry)
    assert "Through a share, given by Alice" in oscar
    assert "Ended by Alice" in oscar
    assert "“sick leave”" in oscar
    assert (
        "changed the end from 4 March 2065, 00:00 PST to 4 March 2066, 00:00 PST and the reason to “sick leave”"
        in oscar
    )
    assert "changed the end from 4 March 2066, 00:00 PST to no end" in oscar
    pete = next(entry for entry in described if "Pete" in entry)
    assert "Through a share of all patients, given by Alice" in pete
    assert "Ended with the transfer by Dan" in pete
    assert any("Erin viewer sees nothing now" in entry for entry in described)
    assert any("Xena" in entry and "Ended by its end date" in entry for entry in described)
    assert not any("Zoe" in entry for entry in described)  # has not begun


def test_the_history_in_pages(flask: Flask, database: Database) -> None:
    """Pages of the history follow without a gap or a repetition, also for what began at one instant."""
    for number in range(120):
        row = {"patient": "p-1", "practitioner": "oscar", "role": "viewer", "origin": "share"}
        began = people.LONG_AGO + timedelta(minutes=number)
        people.add(database, Grant, **row, started_at=began, ended_at=began + timedelta(minutes=1), reason=f"n{number}")
    alice, seen, path = Visitor(flask, "alice"), list[str](), "/patients/p-1/history"
    while path:
        page = alice.client.get(path).text
        seen += re.findall(r"“(n\d+)”", page)
        following = re.search(r'href="(\?cursor=[^"]+)" rel="next"', page)
        path = f"/patients/p-1/history{following[1]}" if following else ""
    assert seen == [f"n{number}" for number in reversed(range(120))]
    for wrong in ("MSwyLDM", "x", "LTEsMCwxLDE" * 30):
        assert alice.client.get(f"/patients/p-1/history?cursor={wrong}").status_code in (400, 422)


def test_reading_the_history_is_recorded(flask: Flask, database: Database) -> None:
    """Each reading, and each refusal, is a decision in the record."""
    before = RecordedDecision.select().count(database)
    Visitor(flask, "dan").get("/patients/p-1/history")
    Visitor(flask, "bob").get("/patients/p-1/history", 403)
    Visitor(flask, "oscar").get("/patients/p-1/history", 404)
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    read = [(row.subject, row.action, row.allowed) for row in rows if row.action == "list_access"]
    assert read == [("dan", "list_access", True)] * 2 + [("bob", "list_access", False), ("oscar", "list_access", False)]
