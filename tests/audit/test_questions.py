"""The questions of the audit, by their numbers, against three years in which every answer is known beforehand."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from authz.audit import questions as ask
from authz.audit.catalog.columns import COLUMNS
from authz.audit.catalog.parameters import PARAMETERS
from authz.audit.catalog.question import Answer
from authz.audit.export.parquet import export_parquet
from authz.audit.questions.disclosures import disclosure_kind
from authz.audit.session import Audit, open_audit
from authz.database import Database, close_all, connect, migrate
from authz.errors import InvalidInput, Unavailable
from authz.models import Event, Grant, Patient, RecordedDecision, Review
from authz.policy.plan import PagePosition
from authz.queries import practitioner as practitioner_queries
from authz.record import Actor, RecordedQuestion, record_decisions
from authz.record import searched as a_search
from tests.support.acting import by, pdp_of
from tests.support.asked import needed
from tests.support.history import BEGIN, END, STRICT, History, Ledger, Span, week_of
from tests.support.people import NOW, add, fill

YEARS: dict[str, Any] = {"since": BEGIN, "until": END}


@dataclass
class Known:
    """The audit of a history, and what is known of it beforehand."""

    audit: Audit
    history: History

    @property
    def ledger(self) -> Ledger:
        return self.history.ledger


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """The three years, lived once on each database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('history')}/history.db"
        migrate(connect(url))
    else:
        url = request.getfixturevalue("postgresql_module_url")
    database = connect(url)
    database.connect()
    if request.param == "sqlite":
        database.execute_sql("PRAGMA synchronous = 0")
    history = History(database)
    audit = open_audit(url, as_of=END, reader="compliance")
    yield Known(audit, history)
    audit.close()
    close_all(database)


def rows(answer: Answer, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of an answer as tuples; an instant to the microsecond in UTC, what is missing as None."""
    frame = answer.frame[list(columns)].astype(object)
    return [tuple(_plain(one) for one in row) for row in frame.to_numpy()]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def until(at: datetime) -> datetime | None:
    return None if at.year == 9999 else at


def test_q1_who_could(known: Known) -> None:
    """Q1: at instants all over the three years, exactly those whom the policy then in force lets see the patient."""
    patients = list(known.ledger.clinic)
    for week in range(3, 156, 9):
        at = BEGIN + timedelta(weeks=week, hours=2)
        for patient in patients[week % 5 :: 6]:
            found = ask.who_could(known.audit, patient=patient, as_of=at)
            could = known.ledger.could(patient, at, strict=week_of(at) in STRICT)
            assert dict(rows(found, "practitioner", "how")) == could
    assert "of 14 practitioners checked" in found.said or found.checked > 10


def test_q1_equals_what_was_decided(known: Known) -> None:
    """Q1: as of the instant of a decision that was really given, the answer is that decision."""
    honest = [one for one in known.ledger.given if not one.forged and not one.strict]
    asked = [*honest[::16], *[one for one in honest if not one.allowed][::4]]
    assert {one.allowed for one in asked} == {True, False}
    for one in asked:
        found = ask.who_could(known.audit, patient=one.patient, as_of=one.at)
        assert (one.who in set(found.frame.practitioner)) is one.allowed


def test_q2_who_did(known: Known) -> None:
    """Q2: every decision about a patient within the days asked for, with its purpose and the app, and no other."""
    since, to = END - timedelta(days=400), END - timedelta(days=10)
    seen = 0
    for patient in list(known.ledger.clinic)[::5]:
        found = ask.who_did(known.audit, patient=patient, since=since, until=to)
        views = found.frame[found.frame.action == "view"]
        told = rows(Answer(**{**vars(found), "frame": views}), "at", "practitioner", "allowed", "purpose", "request_id")
        assert told == [
            (one.at, one.who, one.allowed, one.purpose, one.request_id)
            for one in known.ledger.given
            if one.patient == patient and since <= one.at < to
        ]
        assert set(found.frame.client) <= {1}
        assert (
            RecordedDecision.select().where(RecordedDecision.resource == patient).count(known.history.database)
            == found.checked
        )
        seen += len(told)
    assert seen > 50


def test_q3_what_could_reach(known: Known) -> None:
    """Q3: the whole reach of each practitioner at an instant, and how."""
    for at in (BEGIN + timedelta(weeks=50), BEGIN + timedelta(weeks=82), END):
        for who in ("alice", "bob", "carol", "erin", "dan", "frank", "mia", "grace", "mallory"):
            found = ask.what_could_reach(known.audit, practitioner=who, as_of=at)
            strict = week_of(at) in STRICT
            could = {one: known.ledger.could(one, at, strict=strict).get(who) for one in known.ledger.clinic}
            assert dict(rows(found, "patient", "how")) == {one: how for one, how in could.items() if how}
            assert all(known.ledger.clinic[one] == where for one, where in rows(found, "patient", "subscription"))


def test_q4_ownership(known: Known) -> None:
    """Q4: each patient's owners with their stretches, who moved the patient, and who had owned them before."""
    for patient, spans in known.ledger.owners.items():
        owners = [span.who for span in spans]
        told = rows(ask.ownership(known.audit, patient=patient), "owner", "since", "until", "given_by", "returned")
        assert told == [
            (span.who, span.began, until(span.ended), span.by, span.who in owners[:at]) for at, span in enumerate(spans)
        ]


def test_q4_transfer_chains(known: Known) -> None:
    """Q4: which patients were handed on at least twice, how often, and how often back."""
    found = rows(ask.transfer_chains(known.audit, **YEARS), "patient", "hops", "owners", "returns")
    expected = {}
    for patient, spans in known.ledger.owners.items():
        owners = [span.who for span in spans]
        if len(spans) > 2:
            expected[patient] = (len(spans) - 1, len(set(owners)), len(owners) - len(set(owners)))
    assert {patient: tuple(rest) for patient, *rest in found} == expected
    assert any(returns for *_, returns in found)


def test_q5_disclosures(known: Known) -> None:
    """Q5: disclosures summed up by recipient and purpose; accountable are those beyond treatment and operations."""
    accountable = 0
    for patient in list(known.ledger.clinic)[::4]:
        found = ask.disclosures(known.audit, patient=patient)
        views = [one for one in known.ledger.given if one.patient == patient and one.allowed]
        counted = Counter((one.who, one.purpose) for one in views)
        told = {
            (who, purpose or ""): number for who, purpose, number in rows(found, "practitioner", "purpose", "accesses")
        }
        assert told == dict(counted)
        marked = {(who, purpose) for who, purpose, yes in rows(found, "practitioner", "purpose", "accountable") if yes}
        assert marked == {key for key in counted if key[1] == "PUBHLTH"}
        accountable += len(marked)
    assert accountable


def test_q5_accounting(known: Known) -> None:
    """Q5: the statutory table has what is beyond treatment and operations alone; recipients are numbered, or named."""
    patient = next(one.patient for one in known.ledger.given if one.purpose == "PUBHLTH" and one.allowed)
    views = [one for one in known.ledger.given if one.patient == patient and one.allowed]
    expected = Counter(one.who for one in views if one.purpose == "PUBHLTH")
    found = ask.accounting(known.audit, patient=patient)
    assert found.checked == len(views)
    assert set(found.frame.purpose) == {"PUBHLTH"}
    assert found.frame.name.isna().all()
    assert found.frame.recipient.str.fullmatch(r"recipient \d+").all()
    assert set(found.frame.description) == {f"works at {known.ledger.clinic[patient].title()}, with the app records"}
    named = ask.accounting(known.audit, patient=patient, names=True, reason="case 7 before the court")
    assert dict(rows(named, "name", "accesses")) == {who.title(): times for who, times in expected.items()}
    rest = ask.accounting(known.audit, patient=patient, kind="operations")
    assert int(rest.frame.accesses.sum()) == len(views) - expected.total()
    with pytest.raises(InvalidInput, match="reason"):
        ask.accounting(known.audit, patient=patient, names=True)


@pytest.mark.parametrize(
    ("subject_type", "purpose", "kind"),
    [
        ("practitioner", "TREAT", "operations"),
        ("practitioner", "http://terminology.hl7.org/CodeSystem/v3-ActReason#hpaymt", "operations"),
        ("practitioner", "HRESCH", "accountable"),
        ("practitioner", "anything", "accountable"),
        ("practitioner", "", "cannot tell"),
        ("practitioner", "PATRQT", "to the patient"),
        ("patient", "", "to the patient"),
    ],
)
def test_q5_kinds_of_disclosures(subject_type: str, purpose: str, kind: str) -> None:
    """Q5: by its purpose alone a disclosure is in the accounting or left out; without one nobody can tell."""
    assert disclosure_kind(subject_type, purpose) == kind


def test_q25_who_is(known: Known) -> None:
    """Q25: a name is read with a reason alone, and the reading is recorded with it."""
    found = ask.who_is(known.audit, practitioner="bob", reason="the court asks for it")
    assert rows(found, "practitioner", "name", "subscription", "clinic") == [("bob", "Bob", "north", "North")]
    assert rows(ask.who_is(known.audit, patient="p-1", reason="the court asks for it"), "name") == [("Pat p-1",)]
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(known.history.database)[0]
    assert (last.reason, last.patient) == ("the court asks for it", "p-1")
    for wrong in ({"patient": "p-1"}, {"patient": "p-1", "reason": "because"}, {"reason": "the court asks for it"}):
        with pytest.raises(InvalidInput, match=r"reason|name a patient"):
            ask.who_is(known.audit, **wrong)


def test_q26_what_did(known: Known) -> None:
    """Q26: every view of theirs, permitted or denied, and every event that they caused, in order; of nobody else."""
    since, to = END - timedelta(days=400), END - timedelta(days=10)
    found = ask.what_did(known.audit, practitioner="bob", since=since, until=to)
    assert found.frame["at"].is_monotonic_increasing
    views = found.frame[found.frame.action == "view"]
    assert list(zip(views["at"], views.resource, views.allowed, views.purpose.fillna(""), strict=True)) == [
        (one.at, one.patient, one.allowed, one.purpose)
        for one in known.ledger.given
        if one.who == "bob" and since <= one.at < to
    ]
    changed = found.frame[found.frame.did == "changed"]
    span = (Event.actor == "bob", Event.at >= since, Event.at < to)
    events = Event.select().where(*span).order_by(Event.at, Event.id).execute(known.history.database)
    assert list(zip(changed.event, changed.action, strict=True)) == [(one.id, one.kind) for one in events]
    given = [
        s for spans in known.ledger.shares.values() for s in spans if s.by == "bob" and since <= s.began < to and s.told
    ]
    assert len(given) <= len(changed) != 0


def test_q27_denied_patients(known: Known) -> None:
    """Q27: the patients whom mallory tried, each with how often; and of whom the same was ever permitted."""
    found = ask.denied_patients(known.audit, practitioner="mallory", **YEARS)
    views = [one for one in known.ledger.given if one.who == "mallory"]
    denied = Counter(one.patient for one in views if not one.allowed)
    permitted = Counter(one.patient for one in views if one.allowed)
    told = {one: tuple(rest) for one, *rest in rows(found, "patient", "denials", "permitted", "subscription")}
    assert told == {one: (times, permitted[one], "north") for one, times in denied.items()}
    assert len(told) >= 24
    assert rows(found, "action") == [("view",)] * len(told)
    assert len(ask.denied_patients(known.audit, practitioner="mallory", since=BEGIN, until=BEGIN)) == 0


def test_q28_what_changed(known: Known) -> None:
    """Q28: exactly what was gained and lost between two dates: owners, shares, standing shares, who works there."""
    since, to = BEGIN + timedelta(weeks=60), BEGIN + timedelta(weeks=120)
    ledger, expected = known.ledger, Counter[tuple[Any, ...]]()

    def count(how: str, who: str, patient: str | None, span: Span) -> None:
        gained, lost = since <= span.began < to, since <= span.ended < to
        if gained or lost:
            change = "gained and lost" if gained and lost else "gained" if gained else "lost"
            expected[change, how, who, patient] += 1

    for how, held in (("owner", ledger.owners), ("share", ledger.shares)):
        for patient, spans in held.items():
            for span in spans if ledger.clinic[patient] == "north" else ():
                count(how, span.who, patient, span)
    for clinic, span in ledger.standing:
        if clinic == "north":
            count("standing share", span.to, None, span)
    for (who, clinic), spans in ledger.members.items():
        for span in spans if clinic == "north" else ():
            count("manager" if who == "dan" else "member", who, None, span)
    found = ask.what_changed(known.audit, subscription="north", since=since, until=to)
    assert Counter(rows(found, "change", "how", "practitioner", "patient")) == expected
    assert {"gained", "lost", "gained and lost"} == set(found.frame.change)
    lost = found.frame[found.frame.change == "lost"]
    assert set(lost.end_cause.dropna()) <= {"ended", "transfer", "expired"}
    (ended,) = rows(
        Answer(**{**vars(found), "frame": found.frame[found.frame.how == "standing share"]}), "owner", "ended_by"
    )
    assert ended == ("ivan", "ivan")


def test_q28_between_two_reviews(known: Known) -> None:
    """Q28: a review stands for the instant of its last verdict; the answer says which instants they were."""
    found = ask.what_changed(known.audit, subscription="north", since_review="north-2026", until=END)
    at = max(one.at for one in Review.select().where(Review.campaign == "north-2026").execute(known.history.database))
    assert found.parameters["since"] == known.audit.local(at)
    assert found.frame["at"].min() >= at
    with pytest.raises(InvalidInput, match="the review north-2026 decided on nothing of city"):
        ask.what_changed(known.audit, subscription="city", since_review="north-2026")


def test_q29_names_shown(sqlite_database: Database, sqlite_url: str) -> None:
    """Q29: whom a list of patients and a list of colleagues showed, at their instants; a page is said to be some."""
    fill(sqlite_database)
    add(sqlite_database, Patient, id="p-2", subscription="north", name="Another patient")
    add(sqlite_database, Grant, patient="p-2", practitioner="alice", role="owner", origin="created")
    pdp, actor = pdp_of(sqlite_database), by("alice")
    mine, _ = practitioner_queries.patients(pdp, actor, PagePosition(limit=100))
    people = practitioner_queries.colleagues(pdp, by("alice", 1), name="p-1")
    anybody = practitioner_queries.colleagues(pdp, by("alice", 2))
    practitioner_queries.patients(pdp, by("bob", 3), PagePosition(limit=100))
    practitioner_queries.patients(pdp, by("alice", 4), PagePosition(limit=1), q="patient")
    searched(sqlite_database, by("alice", 5))
    audit = open_audit(sqlite_url, as_of=NOW + timedelta(hours=1), reader="compliance")
    found = ask.names_shown(audit, practitioner="alice")
    audit.close()
    told: dict[int, list[Any]] = {}
    for number, *shown in rows(found, "decision", "patient", "colleague", "certain"):
        told.setdefault(number, []).append(tuple(shown))
    every = sorted(told)
    assert {one for one, _, _ in told[every[0]]} == {row["id"] for row in mine}
    assert {one for _, one, _ in told[every[1]]} == {row["id"] for row in people}
    assert {one for _, one, _ in told[every[2]]} == {row["id"] for row in anybody}
    assert all(certain for number in every[:3] for *_, certain in told[number])
    assert {certain for *_, certain in told[every[3]]} == {False}
    assert {one for _, one, _ in told[every[4]]} == set(
        pdp.search_subjects("practitioner", "view", ("patient", "p-1"), now=NOW)
    )
    assert len(every) == 5 == found.checked


def searched(database: Database, actor: Actor) -> None:
    """An app searches for Alice who may view p-1."""
    asked = RecordedQuestion(("practitioner", ""), "view", ("patient", "p-1"), size=2)
    record_decisions(database, actor, [(asked, a_search(actor, "f" * 64))])


def test_q6_subject_access(known: Known) -> None:
    """Q6: dates, purposes and roles, people as pseudonyms; names only with a reason, which is recorded."""
    patient = known.ledger.given[5].patient
    views = [one for one in known.ledger.given if one.patient == patient and one.allowed]
    found = ask.subject_access(known.audit, patient=patient)
    assert [at for (at,) in rows(found, "at")] == [one.at for one in views]
    assert set(found.frame.role) == {"member"}
    assert found.frame.name.isna().all()
    who = dict(zip((one.who for one in views), found.frame.who, strict=True))
    assert [who[one.who] for one in views] == list(found.frame.who)
    with pytest.raises(InvalidInput, match="reason"):
        ask.subject_access(known.audit, patient=patient, names=True)
    named = ask.subject_access(known.audit, patient=patient, names=True, reason="case 7 before the court")
    assert list(named.frame.name) == [one.who.title() for one in views]
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(known.history.database)[0]
    assert last.reason == "case 7 before the court"


def test_q7_stale_shares(known: Known) -> None:
    """Q7: shares open for more than a year or unused for half a year, and no other."""
    found = ask.stale_shares(known.audit, open_days=365, unused_days=180)
    expected = set()
    live = list(known.ledger.live_shares(END))
    for patient, span in live:
        uses = [one.at for one in known.ledger.given if one.patient == patient and one.who == span.who and one.allowed]
        used = max([at for at in uses if at >= span.began], default=span.began)
        if END - span.began > timedelta(days=365) or END - used > timedelta(days=180):
            expected.add(span.number)
    assert set(found.frame.grant) == expected
    assert 0 < len(expected) < found.checked == len(live)


def test_q8_allowed_after_leaving(known: Known) -> None:
    """Q8: nothing was permitted after a membership or licence ended, but for what was planted behind the service."""
    found = ask.allowed_after_leaving(known.audit, **YEARS)
    (row,) = rows(found, "decision", "practitioner", "why", "ended", "lag")
    left = known.ledger.members["erin", "north"][0].ended
    (forged,) = (one for one in known.ledger.given if one.forged and one.who == "erin")
    seconds = (forged.at - left) // timedelta(seconds=1)
    assert row == (known.ledger.planted["a leaver sees"], "erin", "no membership", left, seconds)
    assert found.checked > 1000


def test_q9_former_owner_access(known: Known) -> None:
    """Q9: no former owner saw a patient without a new grant, but for what was planted."""
    found = ask.former_owner_access(known.audit, **YEARS)
    assert rows(found, "decision") == [(known.ledger.planted["a former owner sees"],)]


def test_q10_given_by_others(known: Known) -> None:
    """Q10: every grant was given by the owner then or a manager, but for the planted one."""
    found = ask.given_by_others(known.audit, **YEARS)
    assert rows(found, "grant", "given_by") == [(known.ledger.planted["carol shares bob's"], "carol")]


def test_q11_given_to_others(known: Known) -> None:
    """Q11: every grant went to a working colleague, but for the planted one to a leaver."""
    found = ask.given_to_others(known.audit, **YEARS)
    assert rows(found, "grant", "practitioner", "why") == [
        (known.ledger.planted["to a leaver"], "erin", "not a member then")
    ]


def test_q12_orphans(known: Known) -> None:
    """Q12: the patients of those who left and that nobody has taken over, at two instants; before, none."""
    for at in (END, BEGIN + timedelta(weeks=94)):
        found = ask.orphans(known.audit, as_of=at)
        born = [one for one, added in known.ledger.added.items() if added <= at]
        owners = {one: known.ledger.owner(one, at) for one in born}
        left = [
            (one, who)
            for one, who in owners.items()
            if not any(span.live(at) for span in known.ledger.members.get((who, known.ledger.clinic[one]), ()))
        ]
        assert sorted(rows(found, "patient", "owner")) == sorted(left)
        assert found.checked == len(born)
    assert rows(ask.orphans(known.audit, as_of=BEGIN + timedelta(weeks=80)), "patient") == []


def test_q13_volume(known: Known) -> None:
    """Q13: the leaver's burst of shares and of denied views, and nothing of three years' ordinary days."""
    found = ask.volume(known.audit, since=BEGIN, until=END)
    unusual = found.frame[found.frame.unusual]
    assert sorted(zip(unusual.practitioner, unusual.what, unusual.volume, strict=True)) == [
        ("mallory", "denial", 24),
        ("mallory", "share", len([1 for _, span in burst(known.ledger)])),
    ]
    assert set(unusual.leaves_in) <= set(range(1, 8))
    assert int(found.frame.volume.sum()) == counted(known.ledger)


def burst(ledger: Ledger) -> list[tuple[str, Span]]:
    return [
        (one, span)
        for one, spans in ledger.shares.items()
        for span in spans
        if span.by == "mallory" and span.began > END - timedelta(days=10)
    ]


def counted(ledger: Ledger) -> int:
    """Views and denials, shares, transfers and standing shares."""
    shares = sum(map(len, ledger.shares.values()))
    return len(ledger.given) + shares + sum(len(one) - 1 for one in ledger.owners.values()) + len(ledger.standing)


def test_q13_days_are_those_of_the_time_zone(known: Known) -> None:
    """Q13: a day begins at midnight of the time zone asked for, on both sides of a clock change."""
    zone = known.audit.at(tz="Europe/Helsinki").tz
    found = ask.volume(known.audit, since=BEGIN, until=END, tz="Europe/Helsinki")
    days = Counter((one.who, one.at.astimezone(zone).date()) for one in known.ledger.given if one.allowed)
    views = found.frame[found.frame.what == "view"]
    assert {
        (who, day.date()): n for who, day, n in zip(views.practitioner, views.day, views.volume, strict=True)
    } == days


def test_q15_separation_of_duties(known: Known) -> None:
    """Q15: the grant to oneself, the auditor who practises; no review of one's own share went through."""
    found = rows(ask.separation_of_duties(known.audit), "why", "practitioner", "grant")
    assert sorted(found, key=str) == [
        ("audits and practises", "heidi", None),
        ("gave it to themselves", "carol", known.ledger.planted["carol shares bob's"]),
    ]


def test_q16_access_review(known: Known) -> None:
    """Q16: the state of each share of the clinic: kept, revoked, never reviewed, and the revoke that was planted."""
    found = ask.access_review(known.audit, subscription="north")
    every = rows(found, "standing_share", "grant", "state")
    told = {number: state for share, number, state in every if share is None}
    assert {(share, state) for share, _, state in every if share} == {
        (one, "kept") for one in known.ledger.kept_standing
    }
    planted = known.ledger.planted["revoke not carried out"]
    assert told.pop(planted) == "revoke not carried out"
    live = {span.number for one, span in known.ledger.live_shares(END) if known.ledger.clinic[one] == "north"}
    words = {"keep": "kept", "revoke": "revoked"}
    expected = {number: words[verdict] for number, verdict in known.ledger.reviewed.items()}
    expected |= dict.fromkeys(live - set(expected), "never reviewed")
    del expected[planted]
    assert told == expected
    assert set(told.values()) == {"kept", "revoked", "never reviewed"}
    later = ask.access_review(known.audit, subscription="north", as_of=END + timedelta(days=400))
    assert set(later.frame.state) == {"overdue", "revoked", "never reviewed", "revoke not carried out"}
    sheet = ask.review_sheet(known.audit, subscription="north")
    assert set(sheet.frame.grant.dropna()) == live
    standing = {span.number for clinic, span in known.ledger.standing if clinic == "north" and span.live(END)}
    assert set(sheet.frame.standing_share.dropna()) == standing != set()
    assert sheet.frame.verdict.isna().all()


def test_q17_denied_attempts(known: Known) -> None:
    """Q17: mallory's tries stand out, by patients and by recipients; whoever was denied now and then does not."""
    found = ask.denied_attempts(known.audit, **YEARS)
    told = {
        who: (patients, colleagues, yes)
        for who, patients, colleagues, yes in rows(
            found, "resource", "patients_a_day", "colleagues_a_day", "enumeration"
        )
    }
    assert [who for who, (*_, yes) in told.items() if yes] == ["mallory"]
    assert told["mallory"][:2] == (24, 21)
    views = Counter(one.who for one in known.ledger.given if not one.allowed)
    assert views.keys() <= told.keys()
    quiet = ask.denied_attempts(known.audit, since=BEGIN, until=END - timedelta(days=11))
    assert not quiet.frame.enumeration.any()
    assert rows(ask.denied_attempts(known.audit, by="reason", **YEARS), "resource") == [("denied",)]
    with pytest.raises(InvalidInput, match="by: one of"):
        ask.denied_attempts(known.audit, by="mood")


def test_q18_sharing_patterns(known: Known) -> None:
    """Q18: who shares both ways, who in a circle of three, and with whom many share."""
    edges = {(known.ledger.owner(one, END), span.who) for one, span in known.ledger.live_shares(END)} | {
        (span.who, span.to) for _, span in known.ledger.standing if span.live(END)
    }
    people = {who for edge in edges for who in edge}
    found = ask.sharing_patterns(known.audit, hub=3)
    told = rows(found, "pattern", "practitioner", "colleague")
    assert {one[1:] for one in told if one[0] == "reciprocal"} == {
        (a, b) for a, b in edges if (b, a) in edges and a < b
    }
    circles = [(a, b) for a, b, c in permutations(people, 3) if a < min(b, c) and {(a, b), (b, c), (c, a)} <= edges]
    assert sorted(one[1:] for one in told if one[0] == "circular") == sorted(circles)
    givers = Counter(taker for _, taker in edges)
    assert {one[1] for one in told if one[0] == "hub"} == {who for who, many in givers.items() if many >= 3}
    assert {"reciprocal", "hub"} <= {one[0] for one in told}
    assert found.checked == len(edges)


def test_q19_notices_missing(known: Known) -> None:
    """Q19: everybody was told of what they received or lost, but for the rows that no operation wrote."""
    found = ask.notices_missing(known.audit, **YEARS)
    behind = {known.ledger.planted[name] for name in ("carol shares bob's", "to a leaver")}
    assert {(number, kind) for number, kind in rows(found, "grant", "missing")} == {
        (number, "share:received") for number in behind
    }
    assert found.checked > 100


def test_q20_policies_in_force(known: Known) -> None:
    """Q20: two policies decided, the other one only in its weeks."""
    found = rows(ask.policies_in_force(known.audit, **YEARS), "policy_version", "first", "last")
    strict = [one.at for one in known.ledger.given if one.strict]
    assert [one[1:] for one in found if one[0] == known.history.strict.version] == [(min(strict), max(strict))]
    assert {one[0] for one in found} == {known.history.pdp.version, known.history.strict.version}


def test_q20_replayed_decisions(known: Known) -> None:
    """Q20: asked again, its own policy differs on what was forged alone; today's on what the other denied, too."""
    forged = {known.ledger.planted[name] for name in ("a leaver sees", "a former owner sees")}
    own = ask.replayed_decisions(known.audit, **YEARS)
    assert dict(rows(own, "decision", "why")) == dict.fromkeys(forged, "the policy answers differently")
    found = ask.replayed_decisions(known.audit, **YEARS, policy="today")
    expected = {
        one.request_id: (one.allowed, not one.allowed)
        for one in known.ledger.given
        if one.forged or (one.strict and one.allowed != (one.who in known.ledger.could(one.patient, one.at)))
    }
    told = {}
    for number, allowed, now_allowed in rows(found, "decision", "allowed", "replayed_allowed"):
        row = RecordedDecision.select().where(RecordedDecision.id == number).execute(known.history.database)[0]
        told[row.request_id] = (allowed, now_allowed)
    assert told == expected
    assert any(now for _, now in told.values())
    assert found.checked > 2000


def test_q21_record_whole(known: Known) -> None:
    """Q21: the event with the clock set back is found and named."""
    found = {
        check: (ok, problem) for check, ok, problem in rows(ask.record_whole(known.audit), "check", "ok", "problem")
    }
    number = known.ledger.planted["clock set back"]
    assert found["the clock of the events"] == (False, f"row {number} is 18000 seconds earlier than one before it")
    assert found["the clock of the decisions"] == (True, None)
    whole, problem = found["the tree and its checkpoint"]
    assert not whole
    assert str(number) in problem


def test_q22_reconciliation(known: Known) -> None:
    """Q22: exactly the facts that were written without an event."""
    found = ask.reconciliation(known.audit)
    assert sorted(rows(found, "noun", "side", "practitioner")) == [
        ("grant", "stored", "carol"),
        ("grant", "stored", "erin"),
        ("membership", "stored", "heidi"),
        ("review", "stored", None),
    ]


def test_q23_standing_shares(known: Known) -> None:
    """Q23: what each standing share opens, with content or not, and how often it was used."""
    found = ask.standing_shares(known.audit)
    expected = []
    for clinic, span in known.ledger.standing:
        if span.live(END):
            owned = [one for one, where in known.ledger.clinic.items() if where == clinic]
            owned = [one for one in owned if known.ledger.owner(one, END) == span.who]
            uses = [
                one
                for one in known.ledger.given
                if one.who == span.to
                and one.allowed
                and not one.forged
                and span.live(one.at)
                and known.ledger.could(one.patient, one.at)[one.who] == "standing share"
                and known.ledger.owner(one.patient, one.at) == span.who
            ]
            expected.append((span.number, span.who, span.to, len(owned), len(uses)))
    told = rows(found, "standing_share", "owner", "colleague", "patients", "accesses")
    assert told == expected
    assert dict(rows(found, "owner", "content")) == {"alice": True, "frank": False}


def test_q24_reading_is_recorded(known: Known) -> None:
    """Q24: each question asked is in the record with its reader, its parameters and how many rows it gave."""
    now = datetime.now(UTC) + timedelta(minutes=1)
    asked = ask.who_could(known.audit, patient="p-1", as_of=BEGIN + timedelta(weeks=30))
    found = ask.audit_reads(known.audit, since=now - timedelta(hours=1), until=now)
    reader, question, parameters, read = rows(found, "reader", "question", "parameters", "rows")[0]
    assert (reader, question, parameters, read) == ("compliance", "who_could", '{"patient":"p-1"}', len(asked))


def test_every_answer_has_its_columns_and_types(known: Known) -> None:
    """An empty answer has the columns and types of a full one, and says 0 of how many; instants bear the time zone."""
    for one in ask.QUESTIONS:
        wanted = needed(one)
        wanted |= {"policy": "today"} if "policy" in one.parameters else {}  # none was in force before the beginning
        empty = one(known.audit, as_of=BEGIN - timedelta(days=1), tz="Asia/Kathmandu", **wanted)
        assert list(empty.frame.columns) == list(one.columns)
        for name, dtype in empty.frame.dtypes.items():
            kind = COLUMNS[str(name)][0]
            assert (
                str(dtype)
                == {
                    "instant": "datetime64[us, Asia/Kathmandu]",
                    "day": "datetime64[us]",
                    "text": "str",
                    "number": "Int64",
                    "amount": "Float64",
                    "truth": "boolean",
                }[kind]
            )
        full = one(known.audit, tz="Asia/Kathmandu", **wanted)
        assert list(full.frame.dtypes) == list(empty.frame.dtypes), one.name
        assert " checked" in empty.said
        assert len(empty) or empty.said.startswith("none found; ")


def test_the_parquet_export_answers_alike(known: Known, tmp_path: Path) -> None:
    """Every question about decisions finds on the exported months what it finds in the database, to the last value."""
    exported = list(export_parquet(known.history.database, tmp_path / "decisions", END))
    assert sum(one.decisions for one in exported) == RecordedDecision.select().count(known.history.database)
    there = open_audit(known.audit.url, as_of=END, reader="compliance", parquet=tmp_path / "decisions")
    patient = known.ledger.given[5].patient
    asked = [
        ask.who_did,
        ask.disclosures,
        ask.accounting,
        ask.subject_access,
        ask.stale_shares,
        ask.allowed_after_leaving,
    ]
    asked += [ask.former_owner_access, ask.volume, ask.access_review, ask.review_sheet, ask.denied_attempts]
    asked += [ask.policies_in_force, ask.replayed_decisions, ask.standing_shares, ask.what_did, ask.denied_patients]
    for one in asked:
        given = needed(one, patient)
        here, export = one(known.audit, **given), one(there, **given)
        pd.testing.assert_frame_equal(here.frame, export.frame)
        assert here.checked == export.checked > 0, one.name
    there.close()
    with pytest.raises(InvalidInput, match=r"no \.parquet file"):
        open_audit(known.audit.url, parquet=tmp_path / "nothing")


def test_the_reading_connection_cannot_write(known: Known) -> None:
    """The connection of the questions refuses every change; what cannot be recorded is not answered."""
    with pytest.raises(Unavailable), known.audit.snapshot():
        known.audit.rows("UPDATE practitioner SET name = 'x'")


def test_unrecorded_is_unanswered(sqlite_url: str) -> None:
    """When the reading cannot be recorded, the question is not answered."""
    audit = open_audit(sqlite_url)
    database = connect(sqlite_url)
    database.execute_sql("DROP TABLE event")
    close_all(database)
    with pytest.raises(Unavailable):
        ask.orphans(audit)
    audit.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [("2026-02-30", "not a day"), ("yesterday", "not an RFC 3339 time"), ("2026-01-01T10:00:00", "RFC")],
)
def test_a_bad_instant_is_refused(sqlite_url: str, said: str, why: str) -> None:
    """What is no instant is said to be none, before anything is asked."""
    audit = open_audit(sqlite_url)
    with pytest.raises(InvalidInput, match=why):
        ask.who_could(audit, patient="p-1", as_of=said)
    with pytest.raises(InvalidInput, match="time zone"):
        ask.who_could(audit, patient="p-1", tz="Mars/Olympus")
    with pytest.raises(InvalidInput, match="since"):
        ask.volume(audit, since="2026-01-02", until="2026-01-01")
    audit.close()


TYPOS: dict[str, tuple[object, str]] = {
    "patient": ("P1", "no patient P1; did you mean p-1?"),
    "practitioner": ("ailce", "no practitioner ailce; did you mean alice?"),
    "subscription": ("nroth", "no subscription nroth; did you mean north?"),
    "since_review": ("nroth-2026", "no campaign nroth-2026; did you mean north-2026?"),
    "until_review": ("behnd", "no campaign behnd; did you mean behind?"),
    "since": ("2026-13-01", "since: '2026-13-01' is not a day that exists"),
    "until": ("tomorow", "until: 'tomorow' is not an RFC 3339 time"),
    "open_days": ("36S", "open_days: a whole number from 0 to 36,500, not '36S'"),
    "unused_days": (-1, "unused_days: a whole number from 0 to 36,500, not -1"),
    "every_days": (36.5, "every_days: a whole number"),
    "least": (0, "least: a whole number from 1 to 1,000,000, not 0"),
    "many": ("2O", "many: a whole number"),
    "hub": (True, "hub: a whole number"),
    "hops": (None, "hops: a whole number"),
    "most": (10**9, "most: a whole number"),
    "tolerance": (-5, "tolerance: a whole number from 0 to 86,400"),
    "times": ("3,0", "times: a number from 1 to 1,000, not '3,0'"),
    "names": ("Flase", "names: True or False, not 'Flase'"),
    "reason": ("x" * 501, "reason: a text of at most 500 characters"),
    "kind": ("acountable", "kind: one of accountable, to the patient, operations, cannot tell, not 'acountable'"),
    "policy": ("tody", "policy: today, or a version that served here, not 'tody'"),
    "by": ("pateint", "by: one of practitioner, patient, client, reason, not 'pateint'"),
}
"""A typing error in each parameter of a question, and what is said of it."""


def test_a_typing_error_in_any_parameter_is_refused(known: Known) -> None:
    """Every parameter of every question refuses what it cannot be, and names the id that is most like it."""
    tried = set()
    for one in ask.QUESTIONS:
        wanted = needed(one)
        for name in one.parameters:
            typo, why = TYPOS[name]
            mistyped: dict[str, Any] = {**wanted, name: typo}
            with pytest.raises(InvalidInput, match=re.escape(why)):
                one(known.audit, **mistyped)
            tried.add(name)
    assert tried == set(PARAMETERS)
    with pytest.raises(InvalidInput, match="who_did has no parameter 'patent'; it has patient, since, until"):
        ask.who_did(known.audit, patent="p-1")
    with pytest.raises(InvalidInput, match="who_did needs patient"):
        ask.who_did(known.audit)


@pytest.mark.parametrize(
    ("practitioner", "meant"),
    [
        ("Alice", "alice"),
        ("alice@clinic.example", "alice"),
        ("a lice", "alice"),
        ("zzzzzzzzzzz", ""),
        ("=ali'ce", "alice"),
    ],
)
def test_the_most_similar_id_is_named(known: Known, practitioner: str, meant: str) -> None:
    """Another case, a login for an id, a slip: the id that was meant is named; of nothing like it nothing is said."""
    with pytest.raises(InvalidInput, match=f"did you mean {meant}" if meant else "no practitioner zzzzzzzzzzz$"):
        ask.what_could_reach(known.audit, practitioner=practitioner)


def test_an_empty_answer_says_what_was_checked(known: Known) -> None:
    """What was counted, and where nothing was there to count, how large the record is that it was looked for in."""
    early = BEGIN - timedelta(days=1)
    assert re.fullmatch(
        r"none found; 0 patients checked, in a record of [\d,]+ events and decisions",
        ask.orphans(known.audit, as_of=early).said,
    )
    assert re.fullmatch(
        r"none found; \d+ patients checked", ask.orphans(known.audit, as_of=BEGIN + timedelta(weeks=80)).said
    )


def test_the_weeks_of_the_other_policy_are_in_the_history(known: Known) -> None:
    """The history holds what it promises: both policies, permits and denials, every kind of reach."""
    assert {week_of(one.at) in range(80, 86) for one in known.ledger.given} == {True, False}
    assert {how for one in known.ledger.clinic for how in known.ledger.could(one, END).values()} == {
        "owner",
        "share",
        "standing share",
    }
