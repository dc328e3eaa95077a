"""Lists of patients without a browser: what is counted and listed, in which order, and what stays selected."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest
from flask import Flask

from api.limits import MOST_SELECTED
from api.web import kept_selection
from api.web import session as sessions
from authz.database import Database, close_all, connect, database_connection
from authz.domain import FOREVER_MICROS, to_micros
from authz.errors import NotFound, Unavailable
from authz.models import Grant, KeptSelection, Patient
from authz.operations.change import Change
from authz.queries import manager as manager_queries
from authz.queries import owned_patients, patient_lists, several_patients
from authz.queries.patient_lists import SOON, PatientList, matching_patients, patient_page
from authz.queries.selections import KEPT_FOR, keep_patients, kept_patients
from authz.record import Actor
from authz.texts import search_key
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.people import LAST_YEAR, NOW
from tests.support.visitor import Visitor, hidden_fields, text_of

As = Callable[[str], Visitor]


def own(database: Database, who: str, size: int, **grant: Any) -> list[str]:
    """Give somebody patients of their own, of descending names; return the ids in the order of the names."""
    ids = [f"n-{number:04}" for number in range(size)]
    for number, patient in enumerate(ids):
        name = f"Anna {number:04}"
        people.add(database, Patient, id=patient, subscription="north", name=name, search_key=search_key(name))
        people.add(database, Grant, patient=patient, practitioner=who, role="owner", origin="created", **grant)
    return ids


def share(database: Database, patient: str, who: str, **columns: Any) -> None:
    people.add(database, Grant, patient=patient, practitioner=who, role="viewer", origin="share", **columns)


# The lists.


def test_few_and_many_are_the_same_list(flask: Flask, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each filter, order and search lists the same patients to an owner of few patients as to an owner of many."""
    pdp = flask.extensions["caregrant"]
    ids = own(database, "oscar", 9)
    for number, patient in enumerate(ids):
        Grant.update(started_at=to_micros(LAST_YEAR + timedelta(days=number % 4))).where(
            Grant.patient == patient
        ).execute(database)
    share(database, ids[2], "pete")
    share(database, ids[4], "pete", ended_at=NOW + timedelta(days=3))
    share(database, ids[4], "bob", ended_at=NOW + timedelta(days=30))
    share(database, ids[7], "bob", ended_at=NOW + timedelta(days=2))
    share(database, ids[8], "bob", ended_at=NOW - timedelta(days=2))
    actor = Actor("oscar", NOW)
    lists = [
        PatientList("owner", only, sort, q)
        for only, q in product(get_args(patient_lists.Only), ("", "anna 000", "zebra", "n-0004"))
        for sort in PatientList("owner", only).orders()
    ]
    few = [matching_patients(pdp, actor, wanted, 100) for wanted in lists]
    monkeypatch.setattr(owned_patients, "_FEW", 2)
    many = [matching_patients(pdp, actor, wanted, 100) for wanted in lists]
    for wanted, first, second in zip(lists, few, many, strict=True):
        same_order = wanted.sort != "newest"  # equal instants are in the order of names, or of the grants
        assert (first if same_order else sorted(first)) == (second if same_order else sorted(second)), wanted
    assert matching_patients(pdp, actor, PatientList(only="ending", sort="ending"), 9) == [ids[7], ids[4]]
    assert matching_patients(pdp, actor, PatientList(only="shared"), 9) == [ids[2], ids[4], ids[7]]
    assert set(matching_patients(pdp, actor, PatientList(sort="newest"), 2)) == {ids[3], ids[7]}


def test_ends_soon_at_its_boundary(flask: Flask, database: Database) -> None:
    """A share ends soon from two weeks before its end until its end, for its owner and its viewer."""
    pdp = flask.extensions["caregrant"]
    end = NOW + timedelta(days=100)
    share(database, "p-oscar", "pete", ended_at=end)
    tick = timedelta(microseconds=1)
    for who, wanted in (("oscar", PatientList(only="ending")), ("pete", PatientList("viewer", "ending"))):
        listed = {
            instant: matching_patients(pdp, Actor(who, instant), wanted, 9)
            for instant in (end - SOON - tick, end - SOON, end - tick, end)
        }
        assert list(listed.values()) == [[], ["p-oscar"], ["p-oscar"], []]


def test_a_list_counts_what_it_shows(flask: Flask, database: Database) -> None:
    """Nobody's count has a patient that the list does not show: not of a leaver, nor of a lapsed clinic."""
    pdp = flask.extensions["caregrant"]
    everybody = ("alice", "bob", "carol", "erin", "grace", "dan", "frank", "nobody")
    for who, role in product(everybody, get_args(patient_lists.Role)):
        page = patient_page(pdp, Actor(who, NOW), PatientList(role), 1, 50)
        assert page.count == len(page.rows), who
        assert {row["role"] for row in page.rows} <= {role}
    for who in ("erin", "grace"):
        assert patient_page(pdp, Actor(who, NOW), PatientList(), 1, 50).count == 0


def test_pages_beyond_the_count(flask: Flask, database: Database, as_: As, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is longer than the count says so, and its later pages still follow one another without a gap."""
    monkeypatch.setattr(patient_lists, "MOST_COUNTED", 60)
    ids = own(database, "pete", 130)
    pdp = flask.extensions["caregrant"]
    listed = [patient_page(pdp, Actor("pete", NOW), PatientList(), number, 50) for number in (1, 2, 3, 4)]
    assert [row["id"] for page in listed for row in page.rows] == ids
    assert [page.count for page in listed] == [61, 61, 61, 0]
    assert [page.has_next for page in listed] == [True, True, False, False]
    assert "More than 60 patients" in as_("pete").get("/patients")


def test_the_address_of_a_list(as_: As, database: Database) -> None:
    """An address with a wrong list is the usual list; a wrong page is refused."""
    own(database, "pete", 3)
    pete = as_("pete")
    assert "3 patients" in pete.get("/patients?role=x&only=y&sort=z")
    for page in ("0", "x", "201", "-1", "1_0", "²"):
        pete.get(f"/patients?page={page}", 400)
    assert "No more patients" in pete.get("/patients?page=200")


def test_postgresql_reads_a_long_list_in_its_order(postgresql_url: str) -> None:
    """PostgreSQL's one plan for any arguments reads a long list in the order of an index: it sorts no list."""
    database = connect(postgresql_url)
    with database_connection(database):
        people.fill(database)
        pdp = service(database).extensions["caregrant"]
        database.execute_sql("SET plan_cache_mode = force_generic_plan")
        own_many = (
            "INSERT INTO patient (started_at, ended_at, id, subscription_id, name, reference, search_key)"
            " SELECT 0, {end}, 'm-' || n, 'north', 'M', '', 'm ' || n FROM generate_series(1, 20000) AS n",
            'INSERT INTO "grant" (started_at, ended_at, patient_id, practitioner_id, role, origin, given_by, reason,'
            " ended_by, end_cause) SELECT n, {end}, 'm-' || n, 'pete', 'owner', 'created', '', '', '', ''"
            " FROM generate_series(1, 20000) AS n",
            "ANALYZE",
        )
        for sql in own_many:
            database.execute_sql(sql.format(end=FOREVER_MICROS))
        for wanted, index in ((PatientList(), "patient_by_name"), (PatientList(sort="newest"), "grant_newest")):
            query = patient_lists._query(wanted, many=True)
            planned = pdp._plans.filtered(query, "practitioner", "view", "patient", None)
            texts = ("subject", "clinic", "words", "text")
            values = {"subject": "pete", "clinic": "north", "words": "[]", "text": "", "now": 10**15, "soon": 10**15}
            values |= {"limit": 1001, "offset": 0}
            names = [name for name in values if f"%({name})s" in planned.plan.sql]
            sql = planned.plan.sql.replace("%%", "%")
            for number, name in enumerate(names, 1):
                sql = sql.replace(f"%({name})s", f"${number}")
            database.execute_sql(f"PREPARE listing AS {sql}")
            arguments = ", ".join(f"'{values[name]}'" if name in texts else str(values[name]) for name in names)
            plan = "\n".join(row[0] for row in database.execute_sql(f"EXPLAIN EXECUTE listing({arguments})").fetchall())
            database.execute_sql("DEALLOCATE listing")
            assert index in plan, plan
            assert "Sort" not in plan, plan
    close_all(database)


def test_several_patients_at_once_are_as_one_by_one(flask: Flask, database: Database) -> None:
    """Who may receive several patients and who has access to each is what questions about each patient answer."""
    pdp = flask.extensions["caregrant"]
    ids = own(database, "alice", 3)
    share(database, ids[0], "bob")
    share(database, ids[1], "carol")  # who also sees everything by a standing share
    patients, actor = [*ids, "p-1"], Actor("alice", NOW)
    for chosen in (patients, patients[:1], ["p-1", "p-city"], ["p-harbour"]):
        each = [
            set(pdp.search_subjects("practitioner", "receive", ("patient", patient), now=NOW)) for patient in chosen
        ]
        resources = [("patient", patient) for patient in chosen]
        assert pdp.search_subjects_of_all("practitioner", "receive", resources, now=NOW) == sorted(
            set.intersection(*each)
        )
    assert pdp.search_subjects_of_all("practitioner", "receive", [], now=NOW) == []
    access = several_patients.access_to_each(pdp, actor, patients)
    for patient in patients:
        rows = manager_queries.who_has_access(pdp, actor, patient)
        assert access[patient].owner == rows[0]["practitioner"] == "alice"
        assert sorted(access[patient].viewers) == sorted(
            row["practitioner"] for row in rows if row["grant"] and row["role"] == "viewer"
        )
        assert sorted(access[patient].standing) == sorted(
            row["practitioner"] for row in rows if row["origin"] == "standing_share"
        )
    with pytest.raises(NotFound):
        several_patients.access_to_each(pdp, Actor("frank", NOW), patients)


# What is selected.


def send(who: Visitor, **form: Any) -> str:
    """Send a list with these fields; return where it leads."""
    response = who.client.post("/patients", data={"csrf_token": who.token(), **form})
    assert response.status_code in (204, 303), response.text
    return response.headers.get("Location", "")


def chips(who: Visitor, path: str = "/selection/share") -> list[str]:
    return re.findall(r'name="remove" value="([^"]+)"', who.client.get(path).text)


def test_ticks_of_several_pages(as_: As, database: Database) -> None:
    """A list replaces the ticks that it showed and keeps the others; *Select none* forgets all."""
    ids = own(database, "pete", 120)
    pete = as_("pete")
    assert send(pete, listed=ids[:50], patient=ids[:3], to="/patients?page=2") == "/patients?page=2"
    assert send(pete, listed=ids[50:100], patient=ids[50:51], search="yes", q="anna 01") == "/patients?q=anna+01"
    assert chips(pete) == [*ids[:3], ids[50]]
    send(pete, listed=ids[:50], patient=ids[1:2], keep="yes")
    assert chips(pete) == [ids[1], ids[50]]
    assert "2 patients selected" in pete.get("/patients?page=3")
    here = "/patients?q=anna+01&page=2"
    assert send(pete, here=here, open="yes") == "/selection/share?back=%2Fpatients%3Fq%3Danna%2B01%26page%3D2"
    assert send(pete, here="/patients?q=anna+01", listed=ids[10:12], all="yes") == "/patients?q=anna+01"
    assert sorted(chips(pete)) == sorted({ids[1], ids[50], *ids[10:20], *ids[100:120]} | {"n-0001"})
    send(pete, none="yes")
    assert "Select a patient first." in pete.get(pete.client.get("/selection/share").headers["Location"])
    for elsewhere in ("https://other.example", "//other.example", "\\\\other"):
        assert send(pete, to=elsewhere) == "/patients"


def test_a_selection_is_bounded(as_: As, database: Database) -> None:
    """More patients than one form takes cannot be selected, and the page says so."""
    pete = as_("pete")
    ids = [f"x-{number}" for number in range(MOST_SELECTED)]
    send(pete, patient=ids, keep="yes")
    assert KeptSelection.select().execute(database)[0].patients.count("\n") == MOST_SELECTED - 1
    text = pete.get(send(pete, patient="one-more"))
    assert "1,000 patients are selected. You cannot select more at once." in text
    assert "one-more" not in KeptSelection.select().execute(database)[0].patients


def test_a_selection_is_one_persons_for_a_time(database: Database) -> None:
    """Nobody else reads a selection, even with its token; it is deleted after half a day without a change."""
    keep_patients(database, "alice", "token", ["p-1"], now=NOW)
    assert kept_patients(database, "alice", "token") == ["p-1"]
    assert kept_patients(database, "bob", "token") == []
    assert kept_patients(database, "alice", "other") == []
    keep_patients(database, "bob", "other", ["p-2"], now=NOW + KEPT_FOR)
    assert kept_patients(database, "alice", "token") == ["p-1"]
    keep_patients(database, "bob", "other", [], now=NOW + KEPT_FOR + timedelta(seconds=1))
    assert KeptSelection.select().count(database) == 0


def test_a_selection_of_what_one_does_not_know(as_: As, database: Database) -> None:
    """T1: ids of patients whom the person may not know are counted, never named, and leave the selection."""
    own(database, "pete", 2)
    pete = as_("pete")
    send(pete, patient=["n-0000", "n-0001", "p-city", "p-none"], keep="yes")
    text = pete.get("/selection/share")
    assert "2 of the patients that you selected are not there any more, or you may not know about these" in text
    assert "Patient of frank" not in text
    assert "not there any more" not in pete.get("/selection/share")


def test_a_new_sign_in_keeps_the_selection(flask: Flask, as_: As, database: Database) -> None:
    """The same person who signs in again finds form and selection; another person finds neither."""
    own(database, "pete", 2)
    for who in ("pete", "oscar"):
        late = as_("pete")
        send(late, patient=["n-0000", "n-0001"], keep="yes")
        form = hidden_fields(late.client.get("/selection/share").text)
        late.lock(minutes=31)
        sent = {**form, "action": "share", "reason": "typed before"}
        response = late.client.post("/selection/share", data=sent)
        assert response.headers["Location"] == "/?next=%2Fselection%2Fshare"
        with (
            flask.test_request_context(),
            late.client.session_transaction() as session,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sessions, "session", session)
            sessions.begin(who)
        text = late.client.get("/selection/share").text
        assert ("typed before" in text, "Anna 0001" in text) == (who == "pete", who == "pete")


def test_a_form_about_many_waits_for_its_owner(flask: Flask, as_: As, database: Database) -> None:
    """After a new sign-in one finds the form about more patients than an address can name, with what one typed."""
    ids, late = own(database, "pete", 120), as_("pete")
    token = late.token()
    late.lock(minutes=31)
    form = {"csrf_token": token, "patient": ids, "action": "share", "reason": "typed before"}
    response = late.client.post("/selection/share", data=form)
    assert response.headers["Location"] == "/?next=%2Fselection%2Fshare"
    with (
        flask.test_request_context(),
        late.client.session_transaction() as session,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sessions, "session", session)
        sessions.begin("pete")
    text = late.client.get("/selection/share").text
    assert "typed before" in text
    assert all(f'value="{patient}"' in text for patient in ids)


def test_a_list_keeps_no_form(as_: As, database: Database) -> None:
    """A tick that a locked page sends does not replace the form that waits for its owner."""
    late = as_("pete")
    token = late.token()
    late.lock(minutes=31)
    late.client.post("/sharing", data={"csrf_token": token, "reason": "typed before"})
    late.client.post("/patients", data={"csrf_token": token, "listed": "n-0", "patient": "n-0", "keep": "yes"})
    with late.client.session_transaction() as session:
        assert session["kept"]["path"] == "/sharing"


def test_a_selection_kept_twice_at_once(database_url: str, database: Database) -> None:
    """Two requests that keep a selection at the same time both succeed; the later one counts."""
    keep_patients(database, "pete", "token", ["p-1"], now=NOW)
    other = connect(database_url)
    keep_patients(other, "pete", "token", ["p-2"], now=NOW)
    keep_patients(other, "oscar", "token", ["p-3"], now=NOW)
    close_all(other)
    assert kept_patients(database, "pete", "token") == ["p-2"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: keep_patients(database, "pete", "new", [f"p-{number}"], now=NOW), range(40)))
    assert len(kept_patients(database, "pete", "new")) == 1


def test_a_list_that_waited_for_its_owner(as_: As, database: Database) -> None:
    """After a new sign-in one is on the list as it was."""
    late = as_("pete")
    token = late.token()
    late.lock(minutes=31)
    form = {"csrf_token": token, "here": "/patients?q=anna&page=2", "listed": "n-0", "patient": "n-0", "open": "yes"}
    response = late.client.post("/patients", data=form)
    assert response.headers["Location"] == "/?next=%2Fpatients%3Fq%3Danna%26page%3D2"


# The form for several patients.


def test_what_is_done_is_not_called_undone(as_: As, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the ticks cannot be changed after a form was carried out, the answer still says that it was carried out."""
    ids, pete = own(database, "pete", 2), as_("pete")
    send(pete, patient=ids, keep="yes")
    form = {**hidden_fields(pete.client.get("/selection/share").text), "action": "share", "colleague": login("oscar")}

    def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(kept_selection, "keep_patients", fail)
        done = pete.client.post("/selection/share", data=form)
    assert "2 patients have been shared with Oscar" in pete.get(done.headers["Location"])


def test_a_chip_is_removed_and_a_refused_patient_is_left_out(as_: As, database: Database) -> None:
    """A removed patient is out of form and selection; refused patients are left out of the form, and come back."""
    ids = own(database, "pete", 4)
    share(database, ids[0], "oscar")
    pete = as_("pete")
    send(pete, patient=ids, keep="yes")
    common = {"action": "share", "colleague": login("oscar"), "reason": "cover", "end_shares": "yes"}
    form = hidden_fields(pete.client.get("/selection/share").text)
    less = pete.client.post("/selection/share", data={**form, **common, "remove": ids[3]})
    assert less.status_code == 200
    assert 'value="cover"' in less.text
    assert hidden_fields(less.text)["patient"] == ids[:3]
    assert chips(pete) == ids[:3]
    refused = pete.client.post("/selection/share", data={**hidden_fields(less.text), **common})
    assert refused.status_code == 422
    assert "Anna 0000: This colleague has the patient already." in text_of(refused)
    assert "This form is now about the other 2 patients." in text_of(refused)
    assert "Continue with the other 2 patients" in text_of(refused)
    form = hidden_fields(refused.text)
    assert (form["patient"], form["refused"]) == (ids[1:3], ids[:1])
    again = pete.client.post("/selection/share", data={**form, **common, "again": "yes"})
    assert sorted(hidden_fields(again.text)["patient"]) == ids[:3]
    done = pete.client.post("/selection/share", data={**form, **common})
    assert "2 patients have been shared with Oscar" in pete.get(done.headers["Location"])
    assert chips(pete, "/selection/transfer") == []  # one patient is no list
    assert "Transfer/share Anna 0000" in pete.get("/selection/share")


def test_the_last_chip(as_: As, database: Database) -> None:
    """If no patient remains, the form leads back to its list."""
    pete = as_("pete")
    ids = own(database, "pete", 1)
    form = hidden_fields(pete.client.get(f"/selection/share?patient={ids[0]}").text)
    gone = pete.client.post("/selection/share", data={**form, "back": "/patients?q=anna", "remove": ids[0]})
    assert gone.headers["Location"] == "/patients?q=anna"


def test_every_action_comes_back_to_its_list(as_: As, database: Database) -> None:
    """A transfer leads back to the list as it was; a share and its end lead to the patient, and from there back."""
    ids, back = own(database, "pete", 3), "/patients?q=anna&page=1"
    pete, oscar = as_("pete"), as_("oscar")
    path = f"/patients/{ids[0]}"
    assert f'href="{path}?back=%2Fpatients%3Fq%3Danna"' in pete.client.get("/patients?q=anna").text
    form = hidden_fields(pete.client.get(f"{path}/share?back={back.replace('&', '%26')}").text)
    assert form["back"] == [back]
    shared = pete.client.post(f"{path}/share", data={**form, "action": "share", "colleague": login("oscar")})
    onward = shared.headers["Location"]
    assert onward == f"{path}?back=%2Fpatients%3Fq%3Danna%26page%3D1"
    page = pete.client.get(onward).text
    assert 'href="/patients?q=anna&amp;page=1"' in page
    ending = re.search(rf'href="({path}/access/\d+/end[^"]*)"', page)
    assert ending
    form = hidden_fields(pete.client.get(ending.group(1)).text)
    ended = pete.client.post(ending.group(1), data=form)
    assert ended.headers["Location"] == onward
    form = hidden_fields(pete.client.get(f"{path}/transfer?back={back.replace('&', '%26')}").text)
    moved = pete.client.post(f"{path}/transfer", data={**form, "colleague": login("oscar")})
    assert moved.headers["Location"] == back
    assert "Anna 0000" in oscar.get("/patients")


def test_a_leavers_eight_hundred_patients(as_: As, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager hands over 800 patients in one go; if it stops in the middle, nothing is done, and the page says so."""
    own(database, "erin", 799)
    dan, path = as_("dan"), "/clinic/north/handover"
    response = dan.client.post(path, data={"csrf_token": dan.token(), "here": path, "all": "yes"})
    assert "800 patients selected" in dan.get(response.headers["Location"])
    opened = dan.client.post(path, data={"csrf_token": dan.token(), "here": path, "open": "yes"}).headers["Location"]
    form = {**hidden_fields(dan.client.get(opened).text), "colleague": login("oscar")}
    assert len(form["patient"]) == 800
    ended, end_grant = [], Change.end_grant

    def stop_in_the_middle(change: Change, *arguments: Any) -> None:
        ended.append(arguments)
        if len(ended) == 400:
            change.database.execute_sql("SELECT * FROM a_table_that_is_gone")
        end_grant(change, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Change, "end_grant", stop_in_the_middle)
        stopped = dan.client.post("/selection/transfer", data=form, headers={"Accept": "text/html"})
    assert stopped.status_code == 503
    assert "Nothing was done; what you typed is kept." in text_of(stopped)
    assert "Patients: 800" in text_of(stopped)
    owned = Grant.select().where(Grant.practitioner == "oscar", Grant.role == "owner")
    before = owned.count(database)
    again = dan.client.post("/selection/transfer", data={**hidden_fields(stopped.text), "csrf_token": dan.token()})
    assert "800 patients have been transferred to Oscar" in dan.get(again.headers["Location"])
    assert owned.count(database) == before + 800
    assert "No patient to hand over" in dan.get(path)
