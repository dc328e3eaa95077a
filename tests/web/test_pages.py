"""The pages without a browser: the help page's story, every route by everybody, refusals, forms, headers."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from api.limits import MOST_SELECTED
from api.web import session as sessions
from authz.database import Database, gather_statistics
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, format_instant, to_micros
from authz.models import Grant, Notification, Patient, Practitioner, RecordedDecision
from authz.texts import search_key
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.people import CAST, NOW
from tests.support.visitor import Visitor, hidden_fields, text_of

As = Callable[[str], Visitor]


def test_the_story(as_: As, database: Database) -> None:
    """H2, H3, H6: a patient is shared, seen, no longer shared, transferred after a preview, and transferred back."""
    alice, oscar = as_("alice"), as_("oscar")
    text = alice.done("/patients/p-1/share", action="share", colleague=" Oscar@Clinic.example", reason="cover")
    assert "Patient of alice has been shared with Oscar" in text
    assert "Oscar viewer Through a share · since" in text
    assert "“cover”" in text
    assert "Patient of alice Owner: Alice" in oscar.get("/patients?role=viewer")
    held = Grant.select().where(Grant.practitioner == "oscar", Grant.patient == "p-1").execute(database)[0].id
    assert "loses this access immediately" in alice.get(f"/patients/p-1/access/{held}/end")
    assert "The sharing of Patient of alice with Oscar has ended" in alice.done(f"/patients/p-1/access/{held}/end")
    oscar.get("/patients/p-1", 404)
    happens = alice.get("/patients/p-1/transfer")
    assert "You lose access to Patient of alice." in happens
    assert "Bob and Erin keep access through a share, unless you end these shares here." in happens
    assert "Carl and Carol see the patient because you share all your patients; this access ends with" in happens
    assert "you still see" not in happens
    text = alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    assert "Patient of alice has been transferred to Oscar" in text
    alice.get("/patients/p-1", 404)
    assert "Patient of alice has been transferred to Alice" in oscar.done(
        "/patients/p-1/share", action="transfer", colleague=login("alice"), end_shares="yes"
    )
    assert "Bob viewer" not in alice.get("/patients/p-1")


def test_what_a_page_offers(as_: As) -> None:
    """A patient's page offers the actions that the policy permits to its reader, and no other."""
    owner, viewer, standing, manager = (as_(who).get("/patients/p-1") for who in ("alice", "bob", "carol", "dan"))
    assert "Transfer/share patient" in owner
    assert "End sharing with Bob" in owner
    assert "sees nothing now" in owner  # the leaver's share stands still
    assert "Your access" in viewer
    assert "Give up access" in viewer
    assert "Transfer" not in viewer
    assert "Through a share of all patients" in standing
    assert "Give up access" not in standing
    assert "Being a manager does not let you view the patient." in manager
    assert "End sharing with Bob" in manager


def test_what_a_transfer_leaves(as_: As) -> None:
    """The transfer page names who will see the patient through the new owner's standing share."""
    oscar, pete = as_("oscar"), as_("pete")
    oscar.done("/sharing", colleague=login("pete"))
    oscar.done("/patients/p-oscar/transfer", colleague=login("pete"))
    sentence = "If the new owner is Oscar, you still see the patient"
    assert sentence in pete.get("/patients/p-oscar/transfer")
    pete.done("/patients/p-oscar/transfer", colleague=login("oscar"))
    assert "Patient of Oscar" in pete.get("/patients/p-oscar")


def test_giving_up(as_: As, database: Database) -> None:
    """R5: a viewer gives up their own share, and nobody else's."""
    bob = as_("bob")
    mine, other = (
        Grant.select().where(Grant.practitioner == who, Grant.patient == "p-1").execute(database)[0].id
        for who in ("bob", "erin")
    )
    assert "Only the owner can share the patient with you again" in bob.get(f"/patients/p-1/access/{mine}/end")
    bob.get(f"/patients/p-1/access/{other}/end", 404)
    assert "You have given up your access to Patient of alice" in bob.done(f"/patients/p-1/access/{mine}/end")
    assert "Nothing is shared with you" in bob.get("/patients?role=viewer")


@pytest.mark.parametrize(
    ("form", "status", "sentence"),
    [
        ({"colleague": login("frank")}, 422, "needs an active subscription at the same clinic"),
        ({"colleague": login("erin")}, 422, "needs an active subscription at the same clinic"),
        ({"colleague": "nobody at all"}, 422, "the e-mail must be the one that they sign in with"),
        ({"colleague": login("alice")}, 422, "This is your own e-mail"),
        ({"colleague": login("bob")}, 409, "This colleague has the patient already."),
        ({"colleague": ""}, 400, "Enter your colleague's e-mail."),
        ({"colleague": login("oscar"), "action": ""}, 400, "Choose what you want to do."),
        ({"colleague": login("oscar"), "until": "2020-01-01"}, 400, "The end date must be today or later."),
        ({"colleague": login("oscar"), "until": "soon"}, 400, "Write the end date as 2030-01-31."),
        ({"colleague": login("oscar"), "reason": "x" * 501}, 400, "The reason may have at most 500 characters"),
    ],
)
def test_h4_a_refused_form_keeps_what_was_typed(as_: As, form: dict[str, str], status: int, sentence: str) -> None:
    """H4: a refused form says what is needed, keeps every field, and changes nothing."""
    sent = {"action": "share", "reason": "holiday cover", "until": "2060-01-31", **form}
    alice = as_("alice")
    response = alice.post("/patients/p-1/share", **sent)
    assert response.status_code == status
    assert sentence in text_of(response)
    assert "Nothing has been changed." in text_of(response)
    for field in ("colleague", "reason", "until"):
        assert f'value="{sent[field]}"' in response.text
    assert "Oscar" not in alice.get("/patients/p-1")


def test_several_patients(as_: As) -> None:
    """H7: several patients are changed together or not at all; patients that may not be changed are named."""
    alice, oscar, bob = as_("alice"), as_("oscar"), as_("bob")
    assert "Select a patient first." in alice.done("/selection/share")
    hidden = alice.post("/selection/transfer", patient=["p-1", "p-city"], colleague=login("bob"))
    assert hidden.status_code == 404
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    both = {"patient": ["p-1", "p-oscar"]}
    preview = oscar.get("/selection/transfer?patient=p-1&patient=p-oscar")
    assert "Transfer 2 patients" in preview
    assert "Patient of alice: owner Oscar; shared with Bob, Erin" in preview
    assert "Patient of oscar: owner Oscar" in preview
    refused = oscar.post("/selection/share", action="share", colleague=login("bob"), **both)
    assert refused.status_code == 422
    assert "Patient of alice: This colleague has the patient already." in text_of(refused)
    bob.get("/patients/p-oscar", 404)
    assert "2 patients have been shared with Pete" in oscar.done(
        "/selection/share", action="share", colleague=login("pete"), **both
    )
    assert "2 patients have been transferred to Bob" in oscar.done(
        "/selection/transfer", colleague=login("bob"), end_shares="yes", **both
    )
    assert "3 patients" in as_("dan").get("/selection/transfer?patient=p-1&patient=p-oscar&patient=p-left")


def test_a_selection_has_a_limit(as_: As) -> None:
    """The largest selection opens the form; one patient more is refused before anything is evaluated."""
    alice = as_("alice")
    for size, status in ((MOST_SELECTED, 409), (MOST_SELECTED + 1, 400)):
        form = {"csrf_token": alice.token(), "patient": ["p-1"] * size, "action": "share", "colleague": login("oscar")}
        assert alice.client.post("/selection/share", data=form).status_code == status


def test_share_everything(as_: As, database: Database) -> None:
    """H7: somebody shares all their patients, with or without content, and stops."""
    oscar, pete = as_("oscar"), as_("pete")
    text = oscar.done("/sharing", colleague=login("pete"), content="yes", until="2060-01-31")
    assert "All your patients have been shared with Pete" in text
    assert "Pete with content since" in text
    assert "until 31 January 2060" in text
    assert "Patient of oscar Owner: Oscar" in pete.get("/patients?role=viewer")
    again = oscar.post("/sharing", colleague=login("pete"))
    assert again.status_code == 409
    assert "Everything is shared with this colleague already." in text_of(again)
    assert oscar.post("/sharing", colleague=login("frank")).status_code == 422
    number = re.search(r"/sharing/(\d+)/end", oscar.client.get("/sharing").text)
    assert number
    assert "does not see your patients any more" in oscar.get(number.group())
    as_("alice").get(number.group(), 404)
    assert "The sharing of all patients with Pete has ended" in oscar.done(number.group())
    assert "Nothing is shared with you" in pete.get("/patients?role=viewer")


def test_notifications(as_: As, database: Database) -> None:
    """The bell counts unread notices; reading one or all lowers the count; names show only to who may see them."""
    alice, oscar = as_("alice"), as_("oscar")
    alice.done("/patients/p-1/share", action="share", colleague=login("oscar"))
    alice.done("/patients/p-1/transfer", colleague=login("oscar"))
    assert "Notifications 2 unread" in oscar.get("/patients")
    text = oscar.get("/notifications")
    assert "Patient of alice has been transferred to you by Alice" in text
    assert "Alice shared Patient of alice with you" in text
    assert "You transferred a patient to Oscar" in alice.get("/notifications")
    assert "Patient of alice" not in alice.get("/notifications")
    first = Notification.select().where(Notification.practitioner == "oscar").execute(database)[0].id
    assert "Mark read" in oscar.done(f"/notifications/{first}/read")
    assert "Mark all" not in oscar.done("/notifications/read", newest=first + 1000)
    assert alice.post(f"/notifications/{first}/read").status_code == 404


def test_the_managers_pages(as_: As) -> None:
    """R6, T14: a manager sees members, hands over a leaver's patients and ends shares; nobody else can."""
    dan = as_("dan")
    assert "Oscar member oscar@clinic.example" in dan.get("/clinic/north")
    waiting = dan.get("/clinic/north/handover")
    assert "Patient of erin Owner: Erin, who has left" in waiting
    assert "Patient of alice" not in waiting
    back = "/clinic/north/handover"
    text = dan.done("/selection/transfer", patient=["p-left"], colleague=login("oscar"), back=back)
    assert "Patient of erin has been transferred to Oscar" in text
    assert "No patient to hand over" in text
    shares = dan.client.get("/clinic/north/shares").text
    ending = re.search(r"/patients/p-1/access/\d+/end", shares)
    assert ending
    assert "The sharing of Patient of alice with Bob has ended" in dan.done(ending.group())
    assert as_("bob").get("/patients/p-1", 404)
    as_("dan").get("/clinic/city", 404)


def test_pages_of_fifty(as_: As, database: Database) -> None:
    """Pages follow one another without a gap on both lists, with a search and without."""
    for number in range(120):
        people.add(database, Patient, id=f"n-{number:03}", subscription="north", name=f"Anna Å {number}")
        people.add(database, Grant, patient=f"n-{number:03}", practitioner="alice", role="owner", origin="created")
    assert pages_of(as_("alice"), "/patients") == [50, 50, 21]
    assert pages_of(as_("carol"), "/patients?role=viewer") == [50, 50, 21]
    assert pages_of(as_("carol"), "/patients?role=viewer&q=11 å") == [11]


def pages_of(who: Visitor, path: str) -> list[int]:
    """Return the number of patients on each page, to the last page."""
    names = []
    while path:
        text = who.client.get(path).text
        names.append(len(re.findall(r'class="name" href="/patients/', text)))
        following = re.search(r'value="([^"]+)">Next<', text)
        path = following.group(1).replace("&amp;", "&") if following else ""
    return names


def test_a_hundred_thousand_patients(sqlite_database: Database) -> None:
    """A list of somebody with 100,000 patients takes at most twice the time of somebody's with 100."""
    people.fill(sqlite_database)
    began, life = to_micros(people.LONG_AGO), ("started_at", "ended_at")
    sizes = {"oscar": 100_000, "pete": 100}
    names = [(who, f"{who}-{number:06}") for who, size in sizes.items() for number in range(size)]
    shared = [
        (other, f"{who}-{number:06}") for who, other in (("oscar", "pete"), ("pete", "oscar")) for number in range(60)
    ]
    patients = [
        (began, FOREVER_MICROS, patient, "north", f"Patient {patient}", search_key(f"Patient {patient}"))
        for _, patient in names
    ]
    roles = [(who, patient, "owner") for who, patient in names] + [(who, patient, "viewer") for who, patient in shared]
    grants = [(began, FOREVER_MICROS, patient, who, role, "created", "", "", "", "") for who, patient, role in roles]
    columns = (*life, "patient", "practitioner", "role", "origin", "given_by", "reason", "ended_by", "end_cause")
    with sqlite_database.atomic():
        insert_rows(sqlite_database, Patient, (*life, "id", "subscription", "name", "search_key"), patients)
        insert_rows(sqlite_database, Grant, columns, grants)
    gather_statistics(sqlite_database)
    flask = service(sqlite_database)

    def least(who: str, path: str) -> float:
        """Return the processor time of a page in seconds: the least of several, without other work."""
        visitor, spent = Visitor(flask, who), []
        for _ in range(30):
            start = time.process_time()
            assert visitor.client.get(path).text.count('class="row"') == 50
            spent.append(time.process_time() - start)
        return min(spent)

    for query in ("", "?sort=newest", "?only=shared", "?only=shared&sort=newest", "?role=viewer", "?page=2"):
        path = f"/patients{query}"
        assert least("oscar", path) <= 2 * least("pete", path), path


# Refusals.


def test_another_clinics_patient_is_the_same_404(as_: As) -> None:
    """T1: another clinic's patient and a patient that does not exist give the same page, byte for byte."""
    alice = as_("alice")
    for path in ("", "/transfer", "/share", "/access/1/end"):
        theirs, nothing = (alice.client.get(f"/patients/{patient}{path}") for patient in ("p-city", "p-none"))
        assert (theirs.status_code, theirs.text) == (nothing.status_code, nothing.text)
        assert theirs.status_code == 404
        assert "There is nothing here" in text_of(theirs)


def test_a_form_without_its_token_is_refused(as_: As) -> None:
    """A form without the token of its session changes nothing, and a page says so."""
    alice, bob = as_("alice"), as_("bob")
    for token in ("", bob.token(), "x"):
        response = alice.client.post(
            "/patients/p-1/transfer", data={"csrf_token": token, "colleague": login("oscar")}, headers={"Accept": "*/*"}
        )
        assert response.status_code == 400
        assert "Nothing was done" in text_of(response)
    assert "Your patient" in alice.get("/patients/p-1")


def test_a_name_that_is_a_script_stays_text(as_: As, database: Database) -> None:
    """A name that is a script is shown as text on every page that shows the name."""
    evil = "<script>alert(1)</script>"
    Patient.update(name=evil).where(Patient.id == "p-1").execute(database)
    alice = as_("alice")
    paths = ("/patients", "/patients/p-1", "/patients/p-1/transfer", "/patients/p-1/share")
    for path in (*paths, "/selection/share?patient=p-1"):
        text = alice.client.get(path).text
        assert evil not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    response = alice.post("/patients/p-1/share", action="share", colleague=login("oscar"))
    text = alice.client.get(response.headers["Location"]).text
    assert evil not in text
    assert "<bdi>&lt;script&gt;" in text


def test_the_headers_of_every_page(as_: As) -> None:
    """Every answer forbids inline and foreign content, framing and caching; errors and assets too."""
    alice = as_("alice")
    for path in ("/", "/patients", "/patients/p-none", "/nowhere", "/static/caregrant.css"):
        with alice.client.get(path, headers={"Accept": "text/html"}) as response:
            headers = response.headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")
    for path in ("/patients", "/patients/p-1", "/patients/p-1/share", "/sharing"):
        text = alice.client.get(path).text
        assert not re.search(r'<script(?! src="/static/)|<style|style="|\son\w+="|javascript:|https?://', text)


def test_a_locked_session_keeps_the_form(flask: Flask, as_: As) -> None:
    """After half an hour one signs in again and finds the form; another person does not find it."""
    form = {"action": "share", "colleague": login("oscar"), "reason": "seen by nobody else"}
    for who in ("alice", "bob"):
        late = as_("alice")
        token = late.token()
        late.lock(minutes=31)
        response = late.client.post("/patients/p-1/share", data={"csrf_token": token, **form})
        assert response.headers["Location"] == "/?next=%2Fpatients%2Fp-1%2Fshare"
        assert "Your session has expired." in late.get(response.headers["Location"])
        with flask.test_request_context(), late.client.session_transaction() as session:
            sessions_of(session, who)
        text = late.client.get("/patients/p-1/share").text
        assert ("seen by nobody else" in text) == (who == "alice")
        assert "Oscar" not in as_("alice").get("/patients/p-1")


def test_a_form_in_another_tab_outlives_a_new_sign_in(flask: Flask, as_: As) -> None:
    """After a locked session, a form that was open meanwhile is carried out for the same person, not for another."""
    for who, status in (("alice", 303), ("bob", 400)):
        late = as_("alice")
        form = {**hidden_fields(late.client.get("/patients/p-1/share").text), "csrf_token": late.token()}
        late.lock(minutes=31)
        with flask.test_request_context(), late.client.session_transaction() as session:
            sessions_of(session, who)
        form |= {"action": "share", "colleague": login("oscar")}
        response = late.client.post("/patients/p-1/share", data=form)
        assert response.status_code == status


def test_a_kept_form_fits_into_a_cookie(flask: Flask, as_: As) -> None:
    """The longest form of the widest characters is kept by a locked session, and the cookie is not too long."""
    late = as_("alice")
    reason = "".join(chr(0x4E00 + 7 * number) for number in range(500))
    form = {"csrf_token": late.token(), "action": "share", "colleague": login("oscar"), "reason": reason}
    late.lock(minutes=31)
    response = late.client.post("/patients/p-1/share", data={**form, "until": "2060-01-31"})
    assert 500 < len(response.headers["Set-Cookie"]) < 4093
    with flask.test_request_context(), late.client.session_transaction() as session:
        sessions_of(session, "alice")
    assert reason in late.client.get("/patients/p-1/share").text


def test_another_process_takes_a_form(database: Database) -> None:
    """A form that one process showed is carried out by another one with the same key: a restart loses nothing."""
    people.fill(database)
    key = "the same session key of both processes"
    before, after = (Visitor(service(database, session_key=key), "alice") for _ in range(2))
    form = {**hidden_fields(before.client.get("/patients/p-1/share").text), "csrf_token": before.token()}
    cookie = before.client.get_cookie("caregrant")
    assert cookie
    after.client.set_cookie("caregrant", cookie.value)
    form |= {"action": "share", "colleague": login("oscar")}
    assert after.client.post("/patients/p-1/share", data=form).status_code == 303


def test_a_locked_session_keeps_a_selection(as_: As) -> None:
    """A form about several patients comes back with all of them; *Mark as read* comes back to the list."""
    late = as_("alice")
    token = late.token()
    late.lock(minutes=31)
    form = {"csrf_token": token, "patient": ["p-1"], "action": "share", "colleague": login("oscar")}
    response = late.client.post("/selection/share", data=form)
    assert response.headers["Location"] == "/?next=%2Fselection%2Fshare%3Fpatient%3Dp-1"
    response = late.client.post("/notifications/read", data={"csrf_token": token})
    assert response.headers["Location"] == "/?next=%2Fnotifications"


def sessions_of(session: Any, who: str) -> None:
    """Sign somebody in, in this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "session", session)
        sessions.begin(who)


def test_a_session_ends(as_: As) -> None:
    """A session ends after half an hour without a request, after twelve hours, and by signing out."""
    alice = as_("alice")
    alice.lock(minutes=29)
    alice.get("/patients")
    alice.lock(minutes=31)
    alice.get("/patients", 303)
    busy = as_("alice")
    with busy.client.session_transaction() as session:
        session["since"] -= 12 * 3600 + 1
    busy.get("/patients", 303)
    gone = as_("alice")
    assert "You are signed out." in gone.done("/sign-out")
    gone.get("/patients", 303)


# Every route by everybody. A route without a line here fails; `*` stands for those who are not named.

WORKING = {"alice": 303, "bob": 303, "carol": 303, "oscar": 303, "dan": 303, "ned": 303}
KNOWING = {"alice": 200, "bob": 403, "carol": 403, "*": 404}
MANAGING = {"dan": 200, **dict.fromkeys(("alice", "bob", "carol", "oscar", "ned", "heidi"), 403), "*": 404}
EVERYBODY: dict[str, dict[str, int]] = {
    "GET /": {"*": 303},
    "GET /sign-in": {"*": 404},
    "GET /sign-in/callback": {"*": 404},
    "POST /sign-in": {"*": 404},  # there is no demonstration here
    "POST /sign-out": {"*": 303},
    "GET /sign-out/callback": {"*": 303},
    "GET /patients": {"*": 200},
    "POST /patients": {"*": 303},
    "GET /patients/p-1": {"alice": 200, "bob": 200, "carol": 200, "dan": 200, "*": 404},
    "GET /patients/p-1/transfer": {**KNOWING, "dan": 200},
    "POST /patients/p-1/transfer": {**KNOWING, "alice": 303, "dan": 303},
    "GET /patients/p-1/share": {**KNOWING, "dan": 200},
    "POST /patients/p-1/share": {**KNOWING, "alice": 303, "dan": 400},
    "GET /patients/p-1/access/{erin}/end": {"alice": 200, "dan": 200, "*": 404},
    "POST /patients/p-1/access/{erin}/end": {"alice": 303, "dan": 303, "*": 404},
    "GET /patients/p-1/access/{erin}/change": {**KNOWING, "dan": 403},
    "POST /patients/p-1/access/{erin}/change": {**KNOWING, "alice": 303, "dan": 403},
    "GET /patients/p-1/history": {**KNOWING, "dan": 200},
    "GET /selection/transfer": {**KNOWING, "dan": 200},
    "POST /selection/transfer": {**KNOWING, "alice": 303, "dan": 303},
    "GET /selection/share": {**KNOWING, "dan": 200},
    "POST /selection/share": {**KNOWING, "alice": 303, "dan": 400},
    "POST /transfers/undo": {"ned": 303, "*": 404},  # too late: a pop-up says so
    "GET /sharing": {"*": 200},
    "POST /sharing": {**WORKING, "heidi": 400, "grace": 400, "*": 422},
    "GET /sharing/{carol}/end": {"alice": 200, "carol": 200, "*": 404},
    "POST /sharing/{carol}/end": {"alice": 303, "carol": 303, "*": 404},
    "GET /notifications": {"*": 200},
    "GET /notifications/1": {"*": 404},
    "POST /notifications/1/read": {"*": 404},
    "POST /notifications/read": {"*": 303},
    "POST /notifications/e-mail": {"*": 404},
    "GET /clinic": {"dan": 303, "*": 404},
    "GET /clinic/north": MANAGING,
    "GET /clinic/north/left": MANAGING,
    "GET /clinic/north/members/erin": MANAGING,
    "GET /clinic/north/members/erin/transfer": MANAGING,
    "GET /clinic/north/handover": MANAGING,
    "POST /clinic/north/handover": {"*": 303},
    "GET /clinic/north/shares": MANAGING,
    "GET /clinic/north/emergencies": {**MANAGING, "heidi": 200},
    "POST /clinic/north/emergencies": {"*": 404},
    "GET /emergency": {"*": 404},  # the shipped policy has no emergency access
    "POST /emergency": {"*": 404},
    "GET /static/caregrant.css": {"*": 200},
}
FORMS: dict[str, dict[str, Any]] = {
    "/patients/p-1/transfer": {"colleague": login("pete")},
    "/patients/p-1/share": {"action": "share", "colleague": login("pete")},
    "/patients/p-1/access/{erin}/change": {"until": "2065-01-31"},
    "/selection/transfer": {"patient": "p-1", "colleague": login("pete")},
    "/selection/share": {"patient": "p-1", "action": "share", "colleague": login("pete")},
    "/transfers/undo": {"at": format_instant(NOW - timedelta(minutes=1))},
    "/sharing": {"colleague": login("pete")},
    "/clinic/north/emergencies": {"emergency": "1", "verdict": "justified"},
    "/notifications/read": {"newest": 1},
}
OPEN = (
    "GET /",
    "GET /sign-in",
    "GET /sign-in/callback",
    "POST /sign-in",
    "POST /sign-out",
    "GET /sign-out/callback",
    "GET /static/caregrant.css",
)


def routes(flask: Flask) -> Iterator[str]:
    for rule in flask.url_map.iter_rules():
        if rule.endpoint.startswith("pages."):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield f"{method} {re.sub(r'<[a-z:]+>', '*', rule.rule)}"


def test_no_route_is_left_out(sqlite_database: Database) -> None:
    """The table of routes below has every route of the pages in Flask's own list."""
    tried = set()
    names = set(routes(service(sqlite_database)))
    for line in EVERYBODY:
        for pattern in names:
            if re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]+"), line):
                tried.add(pattern)
    assert tried == names


@pytest.mark.parametrize("who", [person.id for person in CAST.values()] + [""])
def test_every_route_by_everybody(sqlite_database: Database, who: str) -> None:
    """Each member of the cast gets the expected status on every route; others are sent to sign in."""
    people.fill(sqlite_database)
    people.add(sqlite_database, Practitioner, id="nobody", login=login("nobody"), name="Nobody")
    flask = service(sqlite_database)
    erin = Grant.select().where(Grant.practitioner == "erin", Grant.patient == "p-1").execute(sqlite_database)[0].id
    for line, expected in EVERYBODY.items():
        method, path = line.split()
        form = FORMS.get(path, {})
        path = path.replace("{erin}", str(erin)).replace("{carol}", "1")
        with sqlite_database.atomic() as transaction:
            visitor = Visitor(flask, who)
            response = visitor.post(path, **form) if method == "POST" else visitor.client.get(path, query_string=form)
            text = response.text
            response.close()
            transaction.rollback()
        status = expected.get(who, expected["*"])
        if not who:
            status = {"GET /": 200, "POST /sign-in": 400}.get(line, status) if line in OPEN else 303
        assert response.status_code == status, f"{line}: {text}"
        assert response.mimetype == ("text/css" if path.endswith("css") else "text/html")


def test_what_is_read_is_recorded(as_: As, database: Database) -> None:
    """Opening a patient's page, its list of access and a refusal each leave a row in the record."""
    before = RecordedDecision.select().count(database)
    as_("alice").get("/patients/p-1")
    as_("frank").get("/patients/p-1", 404)
    rows = RecordedDecision.select().order_by(RecordedDecision.id).offset(before).execute(database)
    assert [(row.subject, row.action, row.resource, row.allowed) for row in rows] == [
        ("alice", "view", "p-1", True),
        ("alice", "list_access", "p-1", True),
        ("frank", "view", "p-1", False),
        ("frank", "list_access", "p-1", False),
    ]
