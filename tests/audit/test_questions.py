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
from authz.audit.catalog.question import Answer, AuditQuestion
from authz.audit.export.parquet import export_parquet
from authz.audit.questions.disclosures import disclosure_kind
from authz.audit.session import Audit, open_audit
from authz.database import Database, close_all, connect, migrate
from authz.errors import InvalidInput, Unavailable
from authz.models import Event, Grant, Patient, Practitioner, RecordedDecision, Review
from authz.policy.plan import PagePosition
from authz.queries import practitioner as practitioner_queries
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision
from tests.support.acting import by, pdp_of
from tests.support.audit_arguments import required_arguments
from tests.support.history import BEGIN, END, STRICT, History, Ledger, Span, week_of
from tests.support.people import NOW, add, fill

YEARS: dict[str, Any] = {"since": BEGIN, "until": END}


@dataclass
class Known:
    """The audit of a history, and the history's ledger."""

    audit: Audit
    history: History

    @property
    def ledger(self) -> Ledger:
        return self.history.ledger


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Yield the three years, lived once on each database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('history')}/history.db"
        migrate(connect(url))
    else:
        url = request.getfixturevalue("new_postgresql_url")()
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
    """Return some columns of an answer as tuples, with None for a missing value."""
    frame = answer.frame[list(columns)].astype(object)
    return [tuple(_plain(value) for value in row) for row in frame.to_numpy()]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def until(at: datetime) -> datetime | None:
    return None if at.year == 9999 else at


def test_q1_who_could(known: Known) -> None:
    """Q1: at instants over three years the answer is exactly whom the policy in force lets see the patient."""
    patients = list(known.ledger.clinic)
    for week in range(3, 156, 9):
        at = BEGIN + timedelta(weeks=week, hours=2)
        for patient in patients[week % 5 :: 6]:
            answer = ask.who_could(known.audit, patient=patient, as_of=at)
            could = known.ledger.could(patient, at, strict=week_of(at) in STRICT)
            assert dict(rows(answer, "practitioner", "how")) == could
    assert answer.checked == Practitioner.select().count(known.history.database) > 10


def test_q1_equals_what_was_decided(known: Known) -> None:
    """Q1: at the instant of a recorded decision the answer is that decision."""
    honest = [view for view in known.ledger.decisions if not view.forged and not view.strict]
    sample = [*honest[::16], *[view for view in honest if not view.allowed][::4]]
    assert {view.allowed for view in sample} == {True, False}
    for view in sample:
        answer = ask.who_could(known.audit, patient=view.patient, as_of=view.at)
        assert (view.who in set(answer.frame.practitioner)) is view.allowed


def test_q2_who_did(known: Known) -> None:
    """Q2: the answer is every decision about a patient in a period, with purpose and app, and no other."""
    since, to = END - timedelta(days=400), END - timedelta(days=10)
    seen = 0
    for patient in list(known.ledger.clinic)[::5]:
        answer = ask.who_did(known.audit, patient=patient, since=since, until=to)
        views = answer.frame[answer.frame.action == "view"]
        actual = rows(
            Answer(**{**vars(answer), "frame": views}), "at", "practitioner", "allowed", "purpose", "request_id"
        )
        assert actual == [
            (view.at, view.who, view.allowed, view.purpose, view.request_id)
            for view in known.ledger.decisions
            if view.patient == patient and since <= view.at < to
        ]
        assert set(answer.frame.client) <= {1}
        decisions = RecordedDecision.select().where(RecordedDecision.resource == patient)
        assert decisions.count(known.history.database) == answer.checked
        seen += len(actual)
    assert seen > 50


def test_q3_what_could_reach(known: Known) -> None:
    """Q3: the answer is every patient whom a practitioner could see at an instant, and how."""
    for at in (BEGIN + timedelta(weeks=50), BEGIN + timedelta(weeks=82), END):
        for who in ("alice", "bob", "carol", "erin", "dan", "frank", "mia", "grace", "mallory"):
            answer = ask.what_could_reach(known.audit, practitioner=who, as_of=at)
            strict = week_of(at) in STRICT
            could = {
                patient: known.ledger.could(patient, at, strict=strict).get(who) for patient in known.ledger.clinic
            }
            assert dict(rows(answer, "patient", "how")) == {patient: how for patient, how in could.items() if how}
            assert all(
                known.ledger.clinic[patient] == where for patient, where in rows(answer, "patient", "subscription")
            )


def test_q4_ownership(known: Known) -> None:
    """Q4: the answer is each owner of a patient with begin and end, who transferred, and the previous owner."""
    for patient, spans in known.ledger.owners.items():
        owners = [span.who for span in spans]
        actual = rows(ask.ownership(known.audit, patient=patient), "owner", "since", "until", "given_by", "returned")
        assert actual == [
            (span.who, span.began, until(span.ended), span.by, span.who in owners[:at]) for at, span in enumerate(spans)
        ]


def test_q4_transfer_chains(known: Known) -> None:
    """Q4: the answer is the patients that were transferred at least twice, how often, and how often back."""
    answer = rows(ask.transfer_chains(known.audit, **YEARS), "patient", "hops", "owners", "returns")
    expected = {}
    for patient, spans in known.ledger.owners.items():
        owners = [span.who for span in spans]
        if len(spans) > 2:
            expected[patient] = (len(spans) - 1, len(set(owners)), len(owners) - len(set(owners)))
    assert {patient: tuple(rest) for patient, *rest in answer} == expected
    assert any(returns for *_, returns in answer)


def test_q5_disclosures(known: Known) -> None:
    """Q5: disclosures are counted by recipient and purpose; those beyond treatment and operations are accountable."""
    accountable = 0
    for patient in list(known.ledger.clinic)[::4]:
        answer = ask.disclosures(known.audit, patient=patient)
        views = [view for view in known.ledger.decisions if view.patient == patient and view.allowed]
        counted = Counter((view.who, view.purpose) for view in views)
        actual = {
            (who, purpose or ""): number for who, purpose, number in rows(answer, "practitioner", "purpose", "accesses")
        }
        assert actual == dict(counted)
        marked = {(who, purpose) for who, purpose, yes in rows(answer, "practitioner", "purpose", "accountable") if yes}
        assert marked == {key for key in counted if key[1] == "PUBHLTH"}
        accountable += len(marked)
    assert accountable


def test_q5_accounting(known: Known) -> None:
    """Q5: the statutory table holds only disclosures beyond treatment and operations, with numbers for recipients."""
    patient = next(view.patient for view in known.ledger.decisions if view.purpose == "PUBHLTH" and view.allowed)
    views = [view for view in known.ledger.decisions if view.patient == patient and view.allowed]
    expected = Counter(view.who for view in views if view.purpose == "PUBHLTH")
    answer = ask.accounting(known.audit, patient=patient)
    assert answer.checked == len(views)
    assert set(answer.frame.purpose) == {"PUBHLTH"}
    assert answer.frame.name.isna().all()
    assert answer.frame.recipient.str.fullmatch(r"recipient \d+").all()
    assert set(answer.frame.description) == {f"works at {known.ledger.clinic[patient].title()}, with the app records"}
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
    """Q5: the purpose alone decides whether a disclosure is accountable; without a purpose it is doubtful."""
    assert disclosure_kind(subject_type, purpose) == kind


def test_q25_who_is(known: Known) -> None:
    """Q25: a name is read only with a reason, and the reading is recorded with it."""
    answer = ask.who_is(known.audit, practitioner="bob", reason="the court asks for it")
    assert rows(answer, "practitioner", "name", "subscription", "clinic") == [("bob", "Bob", "north", "North")]
    assert rows(ask.who_is(known.audit, patient="p-1", reason="the court asks for it"), "name") == [("Pat p-1",)]
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(known.history.database)[0]
    assert (last.reason, last.patient) == ("the court asks for it", "p-1")
    for wrong in ({"patient": "p-1"}, {"patient": "p-1", "reason": "because"}, {"reason": "the court asks for it"}):
        with pytest.raises(InvalidInput, match=r"reason|name a patient"):
            ask.who_is(known.audit, **wrong)


def test_q26_what_did(known: Known) -> None:
    """Q26: the answer is a person's views and the events that they caused, in order, and nobody else's."""
    since, to = END - timedelta(days=400), END - timedelta(days=10)
    answer = ask.what_did(known.audit, practitioner="bob", since=since, until=to)
    assert answer.frame["at"].is_monotonic_increasing
    views = answer.frame[answer.frame.action == "view"]
    assert list(zip(views["at"], views.resource, views.allowed, views.purpose.fillna(""), strict=True)) == [
        (view.at, view.patient, view.allowed, view.purpose)
        for view in known.ledger.decisions
        if view.who == "bob" and since <= view.at < to
    ]
    changed = answer.frame[answer.frame.did == "changed"]
    span = (Event.actor == "bob", Event.at >= since, Event.at < to)
    events = Event.select().where(*span).order_by(Event.at, Event.id).execute(known.history.database)
    assert list(zip(changed.event, changed.action, strict=True)) == [(event.id, event.kind) for event in events]
    shares = [
        span
        for spans in known.ledger.shares.values()
        for span in spans
        if span.by == "bob" and since <= span.began < to and span.has_event
    ]
    assert (changed.action == "grant:started").sum() >= len(shares) > 0


def test_q27_denied_patients(known: Known) -> None:
    """Q27: the answer is the patients whom mallory was denied, how often, and whether ever permitted."""
    answer = ask.denied_patients(known.audit, practitioner="mallory", **YEARS)
    views = [view for view in known.ledger.decisions if view.who == "mallory"]
    denied = Counter(view.patient for view in views if not view.allowed)
    permitted = Counter(view.patient for view in views if view.allowed)
    actual = {
        patient: tuple(rest) for patient, *rest in rows(answer, "patient", "denials", "permitted", "subscription")
    }
    assert actual == {patient: (times, permitted[patient], "north") for patient, times in denied.items()}
    assert len(actual) >= 24
    assert rows(answer, "action") == [("view",)] * len(actual)
    assert len(ask.denied_patients(known.audit, practitioner="mallory", since=BEGIN, until=BEGIN)) == 0


def test_q28_what_changed(known: Known) -> None:
    """Q28: the answer is exactly the access gained and lost between two dates, by ownership, shares and work."""
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
    answer = ask.what_changed(known.audit, subscription="north", since=since, until=to)
    assert Counter(rows(answer, "change", "how", "practitioner", "patient")) == expected
    assert {"gained", "lost", "gained and lost"} == set(answer.frame.change)
    lost = answer.frame[answer.frame.change == "lost"]
    assert set(lost.end_cause.dropna()) <= {"ended", "transfer", "expired"}
    (ended,) = rows(
        Answer(**{**vars(answer), "frame": answer.frame[answer.frame.how == "standing share"]}), "owner", "ended_by"
    )
    assert ended == ("ivan", "ivan")


def test_q28_between_two_reviews(known: Known) -> None:
    """Q28: a review counts as the instant of its last verdict, and the answer gives the instants."""
    answer = ask.what_changed(known.audit, subscription="north", since_review="north-2026", until=END)
    at = max(
        review.at for review in Review.select().where(Review.campaign == "north-2026").execute(known.history.database)
    )
    assert answer.parameters["since"] == known.audit.format_local(at)
    assert answer.frame["at"].min() >= at
    with pytest.raises(InvalidInput, match="the review north-2026 decided on nothing of city"):
        ask.what_changed(known.audit, subscription="city", since_review="north-2026")


def test_q29_names_shown(sqlite_database: Database, sqlite_url: str) -> None:
    """Q29: the answer is the patients and colleagues that a list showed; a page is marked as incomplete."""
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
    answer = ask.names_shown(audit, practitioner="alice")
    audit.close()
    actual: dict[int, list[Any]] = {}
    for number, *shown in rows(answer, "decision", "patient", "colleague", "certain"):
        actual.setdefault(number, []).append(tuple(shown))
    every = sorted(actual)
    assert {name for name, _, _ in actual[every[0]]} == {row["id"] for row in mine}
    assert {name for _, name, _ in actual[every[1]]} == {row["id"] for row in people}
    assert {name for _, name, _ in actual[every[2]]} == {row["id"] for row in anybody}
    assert all(certain for number in every[:3] for *_, certain in actual[number])
    assert {certain for *_, certain in actual[every[3]]} == {False}
    assert {name for _, name, _ in actual[every[4]]} == set(
        pdp.search_subjects("practitioner", "view", ("patient", "p-1"), now=NOW)
    )
    assert len(every) == 5 == answer.checked


def searched(database: Database, actor: Actor) -> None:
    """Record a search by an app for Alice, who may view p-1."""
    search = RecordedQuestion(("practitioner", ""), "view", ("patient", "p-1"), size=2)
    record_decisions(database, actor, [(search, search_decision(actor, "f" * 64))])


def test_q6_subject_access(known: Known) -> None:
    """Q6: the answer has dates, purposes and roles with pseudonyms; names only with a recorded reason."""
    patient = known.ledger.decisions[5].patient
    views = [view for view in known.ledger.decisions if view.patient == patient and view.allowed]
    answer = ask.subject_access(known.audit, patient=patient)
    assert [at for (at,) in rows(answer, "at")] == [view.at for view in views]
    assert set(answer.frame.role) == {"member"}
    assert answer.frame.name.isna().all()
    who = dict(zip((view.who for view in views), answer.frame.who, strict=True))
    assert [who[view.who] for view in views] == list(answer.frame.who)
    with pytest.raises(InvalidInput, match="reason"):
        ask.subject_access(known.audit, patient=patient, names=True)
    named = ask.subject_access(known.audit, patient=patient, names=True, reason="case 7 before the court")
    assert list(named.frame.name) == [view.who.title() for view in views]
    last = Event.select().order_by(Event.id.desc()).limit(1).execute(known.history.database)[0]
    assert last.reason == "case 7 before the court"


def test_q7_stale_shares(known: Known) -> None:
    """Q7: the answer is the shares open for more than a year or unused for half a year, and no other."""
    answer = ask.stale_shares(known.audit, open_days=365, unused_days=180)
    expected = set()
    live = list(known.ledger.live_shares(END))
    for patient, span in live:
        uses = [
            view.at
            for view in known.ledger.decisions
            if view.patient == patient and view.who == span.who and view.allowed
        ]
        used = max([at for at in uses if at >= span.began], default=span.began)
        if END - span.began > timedelta(days=365) or END - used > timedelta(days=180):
            expected.add(span.number)
    assert set(answer.frame.grant) == expected
    assert 0 < len(expected) < answer.checked == len(live)


def test_q8_allowed_after_leaving(known: Known) -> None:
    """Q8: the only permit after a membership or licence ended is the planted one."""
    answer = ask.allowed_after_leaving(known.audit, **YEARS)
    (row,) = rows(answer, "decision", "practitioner", "why", "ended", "lag")
    left_at = known.ledger.members["erin", "north"][0].ended
    (forged,) = (view for view in known.ledger.decisions if view.forged and view.who == "erin")
    seconds = (forged.at - left_at) // timedelta(seconds=1)
    assert row == (known.ledger.planted["a leaver sees"], "erin", "no membership", left_at, seconds)
    assert answer.checked > 1000


def test_q9_former_owner_access(known: Known) -> None:
    """Q9: the only former owner who saw a patient without a new grant is the planted one."""
    answer = ask.former_owner_access(known.audit, **YEARS)
    assert rows(answer, "decision") == [(known.ledger.planted["a former owner sees"],)]


def test_q10_given_by_others(known: Known) -> None:
    """Q10: the only grant given by neither the owner nor a manager is the planted one."""
    answer = ask.given_by_others(known.audit, **YEARS)
    assert rows(answer, "grant", "given_by") == [(known.ledger.planted["carol shares bob's"], "carol")]


def test_q11_given_to_others(known: Known) -> None:
    """Q11: the only grant to somebody who did not work there is the planted one."""
    answer = ask.given_to_others(known.audit, **YEARS)
    assert rows(answer, "grant", "practitioner", "why") == [
        (known.ledger.planted["to a leaver"], "erin", "not a member then")
    ]


def test_q12_orphans(known: Known) -> None:
    """Q12: the answer is the orphaned patients at two instants; before anybody left there are none."""
    for at in (END, BEGIN + timedelta(weeks=94)):
        answer = ask.orphans(known.audit, as_of=at)
        born = [patient for patient, added in known.ledger.added.items() if added <= at]
        owners = {patient: known.ledger.owner(patient, at) for patient in born}
        orphaned = [
            (patient, who)
            for patient, who in owners.items()
            if not any(span.live(at) for span in known.ledger.members.get((who, known.ledger.clinic[patient]), ()))
        ]
        assert sorted(rows(answer, "patient", "owner")) == sorted(orphaned)
        assert answer.checked == len(born)
    assert rows(ask.orphans(known.audit, as_of=BEGIN + timedelta(weeks=80)), "patient") == []


def test_q13_volume(known: Known) -> None:
    """Q13: the answer is the leaver's burst of shares and of denied views, and no ordinary day."""
    answer = ask.volume(known.audit, since=BEGIN, until=END)
    unusual = answer.frame[answer.frame.unusual]
    assert sorted(zip(unusual.practitioner, unusual.what, unusual.volume, strict=True)) == [
        ("mallory", "denial", 24),
        ("mallory", "share", len([1 for _, span in burst(known.ledger)])),
    ]
    assert set(unusual.leaves_in) <= set(range(1, 8))
    assert int(answer.frame.volume.sum()) == counted(known.ledger)


def burst(ledger: Ledger) -> list[tuple[str, Span]]:
    return [
        (patient, span)
        for patient, spans in ledger.shares.items()
        for span in spans
        if span.by == "mallory" and span.began > END - timedelta(days=10)
    ]


def counted(ledger: Ledger) -> int:
    """Count views and denials, shares, transfers and standing shares."""
    shares = sum(map(len, ledger.shares.values()))
    return (
        len(ledger.decisions) + shares + sum(len(spans) - 1 for spans in ledger.owners.values()) + len(ledger.standing)
    )


def test_q13_days_are_those_of_the_time_zone(known: Known) -> None:
    """Q13: a day begins at midnight of the given time zone, before and after a clock change."""
    zone = known.audit.at(tz="Europe/Helsinki").tz
    answer = ask.volume(known.audit, since=BEGIN, until=END, tz="Europe/Helsinki")
    days = Counter((view.who, view.at.astimezone(zone).date()) for view in known.ledger.decisions if view.allowed)
    views = answer.frame[answer.frame.what == "view"]
    assert {
        (who, day.date()): n for who, day, n in zip(views.practitioner, views.day, views.volume, strict=True)
    } == days


def test_q15_separation_of_duties(known: Known) -> None:
    """Q15: the answer is the grant to oneself and the auditor who is a member; no review of one's own share."""
    answer = rows(ask.separation_of_duties(known.audit), "why", "practitioner", "grant")
    assert sorted(answer, key=str) == [
        ("audits and practises", "heidi", None),
        ("gave it to themselves", "carol", known.ledger.planted["carol shares bob's"]),
    ]


def test_q16_access_review(known: Known) -> None:
    """Q16: the answer is each share's review: kept, revoked, never reviewed, and the planted verdict."""
    answer = ask.access_review(known.audit, subscription="north")
    every = rows(answer, "standing_share", "grant", "state")
    actual = {number: state for share, number, state in every if share is None}
    assert {(share, state) for share, _, state in every if share} == {
        (share, "kept") for share in known.ledger.kept_standing
    }
    planted = known.ledger.planted["revoke not carried out"]
    assert actual.pop(planted) == "revoke not carried out"
    live = {span.number for patient, span in known.ledger.live_shares(END) if known.ledger.clinic[patient] == "north"}
    values = {"keep": "kept", "revoke": "revoked"}
    expected = {number: values[verdict] for number, verdict in known.ledger.reviewed.items()}
    expected |= dict.fromkeys(live - set(expected), "never reviewed")
    del expected[planted]
    assert actual == expected
    assert set(actual.values()) == {"kept", "revoked", "never reviewed"}
    later = ask.access_review(known.audit, subscription="north", as_of=END + timedelta(days=400))
    assert set(later.frame.state) == {"overdue", "revoked", "never reviewed", "revoke not carried out"}
    sheet = ask.review_sheet(known.audit, subscription="north")
    assert set(sheet.frame.grant.dropna()) == live
    standing = {span.number for clinic, span in known.ledger.standing if clinic == "north" and span.live(END)}
    assert set(sheet.frame.standing_share.dropna()) == standing != set()
    assert sheet.frame.verdict.isna().all()


def test_q17_denied_attempts(known: Known) -> None:
    """Q17: the answer is mallory's attempts by patients and recipients; people with few denials are left out."""
    answer = ask.denied_attempts(known.audit, **YEARS)
    actual = {
        who: (patients, colleagues, yes)
        for who, patients, colleagues, yes in rows(
            answer, "resource", "patients_a_day", "colleagues_a_day", "enumeration"
        )
    }
    assert [who for who, (*_, yes) in actual.items() if yes] == ["mallory"]
    assert actual["mallory"][:2] == (24, 21)
    views = Counter(view.who for view in known.ledger.decisions if not view.allowed)
    assert views.keys() <= actual.keys()
    quiet = ask.denied_attempts(known.audit, since=BEGIN, until=END - timedelta(days=11))
    assert not quiet.frame.enumeration.any()
    assert rows(ask.denied_attempts(known.audit, by="reason", **YEARS), "resource") == [("denied",)]
    with pytest.raises(InvalidInput, match="by: one of"):
        ask.denied_attempts(known.audit, by="mood")


def test_q18_sharing_patterns(known: Known) -> None:
    """Q18: the answer is who share with each other, circles of three, and with whom many share."""
    edges = {(known.ledger.owner(patient, END), span.who) for patient, span in known.ledger.live_shares(END)} | {
        (span.who, span.to) for _, span in known.ledger.standing if span.live(END)
    }
    people = {who for edge in edges for who in edge}
    answer = ask.sharing_patterns(known.audit, hub=3)
    actual = rows(answer, "pattern", "practitioner", "colleague")
    assert {row[1:] for row in actual if row[0] == "reciprocal"} == {
        (a, b) for a, b in edges if (b, a) in edges and a < b
    }
    circles = [(a, b) for a, b, c in permutations(people, 3) if a < min(b, c) and {(a, b), (b, c), (c, a)} <= edges]
    assert sorted(row[1:] for row in actual if row[0] == "circular") == sorted(circles)
    givers = Counter(taker for _, taker in edges)
    assert {row[1] for row in actual if row[0] == "hub"} == {who for who, many in givers.items() if many >= 3}
    assert {"reciprocal", "hub"} <= {row[0] for row in actual}
    assert answer.checked == len(edges)


def test_q19_notices_missing(known: Known) -> None:
    """Q19: the only missing notices are those of rows that no operation wrote."""
    answer = ask.notices_missing(known.audit, **YEARS)
    behind = {known.ledger.planted[name] for name in ("carol shares bob's", "to a leaver")}
    assert {(number, kind) for number, kind in rows(answer, "grant", "missing")} == {
        (number, "share:received") for number in behind
    }
    assert answer.checked > 100


def test_q20_policies_in_force(known: Known) -> None:
    """Q20: two policies decided, and the strict one only in its weeks."""
    answer = rows(ask.policies_in_force(known.audit, **YEARS), "policy_version", "first", "last")
    strict = [view.at for view in known.ledger.decisions if view.strict]
    assert [row[1:] for row in answer if row[0] == known.history.strict.version] == [(min(strict), max(strict))]
    assert {row[0] for row in answer} == {known.history.pdp.version, known.history.strict.version}


def test_q20_policy_changes(known: Known, tmp_path: Path) -> None:
    """Q20: the strict policy of some weeks takes exactly the permits that the policies in force do not share."""
    strict, usual = known.history.strict, known.history.pdp
    lost = rows(ask.policy_changes(known.audit, candidate=strict.version), "change", "practitioner", "resource")
    views = [{entry[:2] for entry in pdp.matrix("practitioner", "view", "patient", now=END)} for pdp in (strict, usual)]
    assert {row[1:] for row in lost if row[0] == "lost"} >= views[1] - views[0] != set()
    back = ask.policy_changes(known.audit, policy=strict.version)
    assert sorted(row[1:] for row in lost if row[0] == "lost") == sorted(
        row[1:] for row in rows(back, "change", "practitioner", "resource") if row[0] == "gained"
    )
    assert ask.policy_changes(known.audit, candidate="today").frame.empty
    (tmp_path / "p.polar").write_text('allow(_: Practitioner, "view", _: Patient) if x')
    with pytest.raises(InvalidInput, match="candidate: "):
        ask.policy_changes(known.audit, candidate=str(tmp_path))


def test_q20_replayed_decisions(known: Known) -> None:
    """Q20: a replay by the policy of the time differs only on forged decisions; today's policy on more."""
    forged = {known.ledger.planted[name] for name in ("a leaver sees", "a former owner sees")}
    own = ask.replayed_decisions(known.audit, **YEARS)
    assert dict(rows(own, "decision", "why")) == dict.fromkeys(forged, "the policy answers differently")
    answer = ask.replayed_decisions(known.audit, **YEARS, policy="today")
    expected = {
        view.request_id: (view.allowed, not view.allowed)
        for view in known.ledger.decisions
        if view.forged or (view.strict and view.allowed != (view.who in known.ledger.could(view.patient, view.at)))
    }
    actual = {}
    for number, allowed, now_allowed in rows(answer, "decision", "allowed", "replayed_allowed"):
        row = RecordedDecision.select().where(RecordedDecision.id == number).execute(known.history.database)[0]
        actual[row.request_id] = (allowed, now_allowed)
    assert actual == expected
    assert any(now for _, now in actual.values())
    assert answer.checked > 2000


def test_q21_record_whole(known: Known) -> None:
    """Q21: the event whose clock was set back is found and named."""
    answer = {
        check: (ok, problem) for check, ok, problem in rows(ask.record_whole(known.audit), "check", "ok", "problem")
    }
    number = known.ledger.planted["clock set back"]
    assert answer["the clock of the events"] == (False, f"row {number} is 18000 seconds earlier than one before it")
    assert answer["the clock of the decisions"] == (True, None)
    whole, problem = answer["the tree and its checkpoint"]
    assert not whole
    assert str(number) in problem


def test_q22_reconciliation(known: Known) -> None:
    """Q22: the answer is exactly the facts that were written without an event."""
    answer = ask.reconciliation(known.audit)
    assert sorted(rows(answer, "noun", "side", "practitioner")) == [
        ("grant", "stored", "carol"),
        ("grant", "stored", "erin"),
        ("membership", "stored", "heidi"),
        ("review", "stored", None),
    ]


def test_q23_standing_shares(known: Known) -> None:
    """Q23: the answer is what each standing share opens, with content or not, and how often it was used."""
    answer = ask.standing_shares(known.audit)
    expected = []
    for clinic, span in known.ledger.standing:
        if span.live(END):
            owned = [patient for patient, where in known.ledger.clinic.items() if where == clinic]
            owned = [patient for patient in owned if known.ledger.owner(patient, END) == span.who]
            uses = [
                view
                for view in known.ledger.decisions
                if view.who == span.to
                and view.allowed
                and not view.forged
                and span.live(view.at)
                and known.ledger.could(view.patient, view.at)[view.who] == "standing share"
                and known.ledger.owner(view.patient, view.at) == span.who
            ]
            expected.append((span.number, span.who, span.to, len(owned), len(uses)))
    actual = rows(answer, "standing_share", "owner", "colleague", "patients", "accesses")
    assert actual == expected
    assert dict(rows(answer, "owner", "content")) == {"alice": True, "frank": False}


def test_q24_reading_is_recorded(known: Known) -> None:
    """Q24: each question is recorded with its reader, its parameters and its number of rows."""
    now = datetime.now(UTC) + timedelta(minutes=1)
    earlier = ask.who_could(known.audit, patient="p-1", as_of=BEGIN + timedelta(weeks=30))
    answer = ask.audit_reads(known.audit, since=now - timedelta(hours=1), until=now)
    reader, question, parameters, read = rows(answer, "reader", "question", "parameters", "rows")[0]
    assert (reader, question, parameters, read) == ("compliance", "who_could", '{"patient":"p-1"}', len(earlier))


def documented_columns(question: AuditQuestion) -> list[str]:
    """Return the columns that docs/reference/questions.md lists for a question."""
    text = (Path(__file__).parents[2] / "docs/reference/questions.md").read_text()
    listed = re.search(rf"^- `{question.name}`: (.*)$", text, re.M)
    assert listed, question.name
    return re.findall(r"`(\w+)`", listed[1])


def test_every_answer_has_its_columns_and_types(known: Known) -> None:
    """An empty answer has the documented columns, the types of a full one, and the rows checked."""
    for question in ask.QUESTIONS:
        wanted = required_arguments(question)
        wanted |= (
            {"policy": "today"} if "policy" in question.parameters else {}
        )  # none was in force before the beginning
        empty = question(known.audit, as_of=BEGIN - timedelta(days=1), tz="Asia/Kathmandu", **wanted)
        assert list(empty.frame.columns) == documented_columns(question)
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
        full = question(known.audit, tz="Asia/Kathmandu", **wanted)
        assert list(full.frame.dtypes) == list(empty.frame.dtypes), question.name
        assert " checked" in empty.summary
        assert len(empty) or empty.summary.startswith("none found; ")


def test_the_parquet_export_answers_alike(known: Known, tmp_path: Path) -> None:
    """Questions about decisions have the same answers on exported months as in the database."""
    exported = list(export_parquet(known.history.database, tmp_path / "decisions", END))
    assert sum(month.decisions for month in exported) == RecordedDecision.select().count(known.history.database)
    there = open_audit(known.audit.url, as_of=END, reader="compliance", parquet=tmp_path / "decisions")
    patient = known.ledger.decisions[5].patient
    questions = [
        ask.who_did,
        ask.disclosures,
        ask.accounting,
        ask.subject_access,
        ask.stale_shares,
        ask.allowed_after_leaving,
    ]
    questions += [ask.former_owner_access, ask.volume, ask.access_review, ask.review_sheet, ask.denied_attempts]
    questions += [ask.policies_in_force, ask.replayed_decisions, ask.standing_shares, ask.what_did, ask.denied_patients]
    for question in questions:
        parameters = required_arguments(question, patient)
        here, export = question(known.audit, **parameters), question(there, **parameters)
        pd.testing.assert_frame_equal(here.frame, export.frame)
        assert here.checked == export.checked > 0, question.name
    there.close()
    with pytest.raises(InvalidInput, match=r"no \.parquet file"):
        open_audit(known.audit.url, parquet=tmp_path / "nothing")


def test_the_reading_connection_cannot_write(known: Known) -> None:
    """The connection of the questions refuses every change."""
    with pytest.raises(Unavailable), known.audit.snapshot():
        known.audit.rows("UPDATE practitioner SET name = 'x'")


def test_unrecorded_is_unanswered(sqlite_url: str) -> None:
    """If the reading cannot be recorded, the question is not answered."""
    audit = open_audit(sqlite_url)
    database = connect(sqlite_url)
    database.execute_sql("DROP TABLE event")
    close_all(database)
    with pytest.raises(Unavailable):
        ask.orphans(audit)
    audit.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [("2026-02-30", "not a day"), ("yesterday", "not an RFC 3339 time"), ("2026-01-01T10:00:00", "RFC")],
)
def test_a_bad_instant_is_refused(sqlite_url: str, text: str, why: str) -> None:
    """A text that is no instant is refused before anything is read."""
    audit = open_audit(sqlite_url)
    with pytest.raises(InvalidInput, match=why):
        ask.who_could(audit, patient="p-1", as_of=text)
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
    "candidate": ("nowhere", "candidate: today, or a version that served here, not 'nowhere'"),
    "policy": ("tody", "policy: today, or a version that served here, not 'tody'"),
    "by": ("pateint", "by: one of practitioner, patient, client, reason, not 'pateint'"),
}
"""A typing error in each parameter of a question, and what is said of it."""


def test_a_typing_error_in_any_parameter_is_refused(known: Known) -> None:
    """Every parameter of every question refuses bad values, and names the most similar id."""
    tried = set()
    for question in ask.QUESTIONS:
        wanted = required_arguments(question)
        for name in question.parameters:
            typo, why = TYPOS[name]
            mistyped: dict[str, Any] = {**wanted, name: typo}
            with pytest.raises(InvalidInput, match=re.escape(why)):
                question(known.audit, **mistyped)
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
    """Other case, a login or a slip gets the id that was meant; a text like no id gets none."""
    with pytest.raises(InvalidInput, match=f"did you mean {meant}" if meant else "no practitioner zzzzzzzzzzz$"):
        ask.what_could_reach(known.audit, practitioner=practitioner)


def test_an_empty_answer_says_what_was_checked(known: Known) -> None:
    """An empty answer says how many rows were checked; if none, how large the record is."""
    early = BEGIN - timedelta(days=1)
    assert re.fullmatch(
        r"none found; 0 patients checked, in a record of [\d,]+ events and decisions",
        ask.orphans(known.audit, as_of=early).summary,
    )
    assert re.fullmatch(
        r"none found; \d+ patients checked", ask.orphans(known.audit, as_of=BEGIN + timedelta(weeks=80)).summary
    )


def test_the_weeks_of_the_other_policy_are_in_the_history(known: Known) -> None:
    """The history has both policies, permits and denials, and every kind of access."""
    assert {week_of(view.at) in range(80, 86) for view in known.ledger.decisions} == {True, False}
    assert {how for patient in known.ledger.clinic for how in known.ledger.could(patient, END).values()} == {
        "owner",
        "share",
        "standing share",
    }
