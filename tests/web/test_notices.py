"""Notices that are worth reading: one for a batch, the right direction, reason and end, and read by following."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask

from api.web.days import format_day
from api.web.notices import _FOR_READER
from authz.database import Database
from authz.models import Grant, Notification, Patient, StandingShare
from authz.operations import end_membership, share, transfer
from authz.operations.notices import NOTICES
from authz.operations.notices_of_ends import notify_ends
from authz.policy.pdp import PDP
from authz.record import Actor
from tests.support import people
from tests.support.acting import POLICY, login
from tests.support.http import service
from tests.support.visitor import Visitor

As = Callable[[str], Visitor]
MANY = [f"m-{number:02}" for number in range(53)]
TARGET = (
    r'<form method="post" action="(/notifications/\d+/read)">.*?name="back" value="([^"]*)".*?<button class="name">'
)


@pytest.fixture
def flask(database: Database) -> Flask:
    people.fill(database)
    for number, patient in enumerate(MANY):
        row = {"id": patient, "subscription": "north", "name": f"Case {number:02}"}
        people.add(database, Patient, **row)
        people.add(database, Grant, patient=patient, practitioner="alice", role="owner", origin="created")
    return service(database)


@pytest.fixture
def as_(flask: Flask) -> As:
    return lambda who: Visitor(flask, who)


def now(who: str, **more: Any) -> Actor:
    return Actor(who, datetime.now(UTC), **more)


def pdp(database: Database) -> PDP:
    return PDP(database, POLICY)


def listed(visitor: Visitor) -> list[str]:
    """Return the sentence of each notice in the list, with its second line."""
    rows = re.findall(r'<li class="row tall.*?<div class="grow">(.*?)</div>', _page(visitor), re.S)
    texts = [re.sub(r'<span class="hidden">.*?</span>|<[^>]+>', "", row) for row in rows]
    return [" ".join(unescape(text).split()) for text in texts]


def _page(visitor: Visitor) -> str:
    return visitor.client.get("/notifications").text


def follow(visitor: Visitor, sentence: str) -> str:
    """Press the newest unread notice as a browser does; return the place that it leads to."""
    row = next(
        row for row in re.findall(r"<li.*?</li>", _page(visitor), re.S) if sentence in re.sub(r"<[^>]+>", "", row)
    )
    path, back = re.findall(TARGET, row, re.S)[0]
    response = visitor.client.post(path, data={"csrf_token": visitor.token(), "back": unescape(back)})
    assert response.status_code == 303
    return response.headers["Location"]


def test_a_batch_is_one_notice(as_: As, database: Database) -> None:
    """53 patients that are shared at once are one unread notice, which leads to a list of them, page by page."""
    until = datetime(2065, 2, 1, tzinfo=UTC)
    actor = now("alice", batch="b")
    share(pdp(database), actor=actor, patients=MANY, colleague=login("oscar"), reason="cover", until=until)
    oscar = as_("oscar")
    (text,) = listed(oscar)
    assert text.startswith("Alice shared 53 patients with you ")
    assert text.endswith("· ends after 31 January 2065 · “cover”")
    assert "Notifications 1 unread" in oscar.get("/patients")
    opened = datetime.now(UTC)
    place = follow(oscar, "Alice shared 53 patients")
    assert "unread" not in oscar.get("/patients")
    first = oscar.get(place)
    assert "Alice shared 53 patients with you" in first
    assert "Case 49" in first
    assert "Case 50" not in first
    following = re.search(r'href="(\?cursor=[^"]+)" rel="next"', oscar.client.get(place).text)
    assert following
    assert re.findall(r"Case \d\d", oscar.get(place + following.group(1))) == ["Case 50", "Case 51", "Case 52"]
    rows = list(Notification.select().where(Notification.practitioner == "oscar").execute(database))
    assert len(rows) == len(MANY)
    assert all(opened <= row.read_at <= datetime.now(UTC) for row in rows)
    as_("bob").get(place, 404)


def test_a_batch_names_nobody_whom_its_reader_may_not_know(as_: As, database: Database) -> None:
    """T30: the list of a batch leaves out the patients of the batch that the reader may not know any more."""
    share(pdp(database), actor=now("alice"), patients=MANY[:3], colleague=login("oscar"), reason="secret")
    grants = Grant.select().where(Grant.practitioner == "oscar", Grant.patient.in_(MANY[1:3])).execute(database)
    alice, oscar = as_("alice"), as_("oscar")
    for grant in list(grants):
        alice.done(f"/patients/{grant.patient_id}/access/{grant.id}/end")
    place = follow(oscar, "Alice shared 3 patients")
    assert re.findall(r"Case \d\d", oscar.get(place)) == ["Case 00"]
    assert "2 patients are not shown here, because you do not have access now." in oscar.get(place)
    assert "secret" not in oscar.get(place)
    assert "Alice ended the sharing of a patient with you" in " ".join(listed(oscar))


def test_own_changes_are_listed_and_read(as_: As, database: Database) -> None:
    """What one did oneself is in the list, and never unread; the other side's notice is."""
    share(pdp(database), actor=now("alice"), patients=MANY, colleague=login("oscar"))
    transfer(pdp(database), actor=now("alice"), patients=MANY[:2], colleague=login("bob"))
    alice = as_("alice")
    assert [re.split(r" \d+ \w+ 20", text)[0] for text in listed(alice)] == [
        "You transferred 2 patients to Bob",
        "You shared 53 patients with Oscar",
    ]
    assert "unread" not in alice.get("/patients")
    assert "Notifications 1 unread" in as_("bob").get("/patients")


@pytest.mark.parametrize(
    ("who", "viewer", "owner"),
    [
        ("alice", "Alice ended the sharing of a patient with you", "You ended the sharing of Case 00 with Oscar"),
        ("oscar", "You ended Alice’s sharing of a patient with you", "Oscar gave up access to Case 00"),
        ("dan", "Dan ended the sharing of a patient with you", "Dan ended the sharing of Case 00 with Oscar"),
    ],
)
def test_an_end_reads_in_its_direction(as_: As, database: Database, who: str, viewer: str, owner: str) -> None:
    """Owner and viewer read who ended the sharing of which patient with whom, each from their side."""
    share(pdp(database), actor=now("alice"), patients=MANY[:1], colleague=login("oscar"))
    grant = Grant.select().where(Grant.practitioner == "oscar", Grant.patient == "m-00").execute(database)[0]
    as_(who).done(f"/patients/m-00/access/{grant.id}/end")
    assert listed(as_("oscar"))[0].startswith(viewer)
    assert listed(as_("alice"))[0].startswith(owner)
    assert ("1 unread" in as_("alice").get("/patients")) == (who != "alice")


def test_a_share_of_everything_reads_in_its_direction(as_: As, database: Database) -> None:
    """Both sides of a standing share read its beginning and its end from their side."""
    oscar, pete = as_("oscar"), as_("pete")
    oscar.done("/sharing", colleague=login("pete"), subscription="north", until="2065-01-31")
    assert listed(pete)[0].startswith("Oscar shares all patients with you ")
    assert listed(pete)[0].endswith("· ends after 31 January 2065")
    assert follow(pete, "Oscar shares all patients") == "/sharing"
    (share,) = StandingShare.select().where(StandingShare.owner == "oscar").execute(database)
    pete.done(f"/sharing/{share.id}/end")
    assert listed(oscar)[0].startswith("Pete gave up access to all your patients")
    assert listed(pete)[0].startswith("You ended Oscar’s sharing of all patients with you")


def test_a_notice_of_a_leaver_names_the_operator(as_: As, database: Database) -> None:
    """Shares that end because a membership ends have been ended by who ended the membership."""
    operator = Actor("", datetime.now(UTC))
    end_membership(pdp(database), actor=operator, practitioner="bob", subscription="north")
    assert listed(as_("alice"))[0].startswith("The operator ended the sharing of Patient of alice with Bob")


def test_the_end_of_a_share_reads_in_its_direction(as_: As, database: Database) -> None:
    """Before and after the end by its date, both sides read whose share of which patient ends, and when."""
    moment = datetime.now(UTC)
    notify_ends(database, moment)
    noon = (moment + timedelta(days=2)).replace(hour=12, minute=30, second=0, microsecond=0)
    share(pdp(database), actor=now("alice"), patients=MANY[:1], colleague=login("oscar"), until=noon)
    assert notify_ends(database, moment) == 1
    when = f"on {format_day(noon, UTC)}, 12:30 UTC"
    assert listed(as_("oscar"))[0].startswith(f"Alice’s sharing of Case 00 with you ends {when}")
    assert listed(as_("alice"))[0].startswith(f"Your sharing of Case 00 with Oscar ends {when}")
    assert "1 unread" in as_("alice").get("/patients")
    assert notify_ends(database, moment + timedelta(days=3)) == 1
    assert listed(as_("oscar"))[0].startswith(f"Alice’s sharing of Case 00 with you ended {when}, as planned")
    assert listed(as_("alice"))[0].startswith(f"Your sharing of Case 00 with Oscar ended {when}, as planned")


def test_following_a_notice_reads_it(as_: As, database: Database) -> None:
    """A press on the notice leads to its patient and marks it as read; opening the page by its address does not."""
    share(pdp(database), actor=now("alice"), patients=MANY[:1], colleague=login("oscar"), reason="cover for May")
    oscar = as_("oscar")
    assert listed(oscar)[0].endswith("“cover for May”")
    number = Notification.select().where(Notification.practitioner == "oscar").execute(database)[0].id
    oscar.get("/patients/m-00")
    oscar.get(f"/notifications/{number}")
    assert "1 unread" in oscar.get("/patients")
    assert follow(oscar, "Alice shared Case 00 with you") == "/patients/m-00"
    assert "unread" not in oscar.get("/patients")
    assert 'class="name" href="/patients/m-00"' in oscar.client.get("/notifications").text


def test_a_notice_leads_to_these_pages_only(as_: As, database: Database) -> None:
    """T43: the place to go on to is one of these pages, whatever a forged form says."""
    share(pdp(database), actor=now("alice"), patients=MANY[:1], colleague=login("oscar"))
    number, oscar = (
        Notification.select().where(Notification.practitioner == "oscar").execute(database)[0].id,
        as_("oscar"),
    )
    sent = {"csrf_token": oscar.token(), "back": "//evil.example/"}
    response = oscar.client.post(f"/notifications/{number}/read", data=sent)
    assert response.headers["Location"] == "/notifications"


def test_every_sentence_is_of_a_kind() -> None:
    """Each sentence for a reader is of a kind of notice, and names nothing but people, patients and the end."""
    sides = ("", "viewer", "owner")
    keys = {" ".join(filter(None, (side, by))) for side in sides for by in ("", "by me", "by colleague", "by other")}
    for key, sentence in _FOR_READER.items():
        kind, _, reader = key.partition(" ")
        assert kind in NOTICES
        assert reader in keys - {""}
        assert "{" not in sentence.format(actor="Ann", colleague="Bob", patient="Carl", end="on 3 May")
