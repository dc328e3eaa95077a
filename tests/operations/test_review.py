"""The access review: a decided sheet is carried out line by line, all of it or nothing (Q16)."""

import csv
import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from authz.audit import questions as ask
from authz.audit.reports.sheets import as_csv
from authz.audit.session import open_audit
from authz.database import Database
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.errors import ImportRefused, InvalidInput
from authz.models import Event, Grant, Patient, Practitioner, Review, StandingShare
from authz.operations import ReviewResult, ReviewVerdict, review, share
from authz.record import RecordedQuestion, record_decisions
from tests.support.acting import Clinic, by, login
from tests.support.cli import refused, run
from tests.support.people import NOW, add, fill

DUE = NOW + timedelta(days=30)


@pytest.fixture
def clinic(database: Database) -> Clinic:
    """Return the cast; Alice has shared p-1 with Oscar, too."""
    fill(database)
    made = Clinic(database)
    share(made.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"))
    return made


def line(clinic: Clinic, who: str, verdict: str, number: int = 2) -> ReviewVerdict:
    return ReviewVerdict(number, "grant", clinic.grant(who), "p-1", who, verdict)


def standing(clinic: Clinic, who: str, verdict: str, number: int = 2) -> ReviewVerdict:
    """Return a review line about the standing share that a practitioner has."""
    shares = StandingShare.select(StandingShare.id).where(StandingShare.colleague == who).tuples()
    return ReviewVerdict(number, "standing_share", next(iter(shares.execute(clinic.database)))[0], "", who, verdict)


def carry_out(clinic: Clinic, *verdicts: ReviewVerdict, by_whom: str = "dan", campaign: str = "spring") -> ReviewResult:
    actor = by(by_whom, later=60)
    return review(clinic.pdp, actor=actor, campaign=campaign, due=DUE, verdicts=verdicts)


def test_keep_and_revoke(clinic: Clinic) -> None:
    """A kept share stays, a revoked share ends, and each line is recorded with reviewer and verdict."""
    done = carry_out(clinic, line(clinic, "bob", "keep"), line(clinic, "oscar", "revoke", 3))
    assert done == ReviewResult(kept=1, revoked=1)
    later = clinic.viewers(later=61)
    assert "bob" in later
    assert "oscar" not in later
    rows = Review.select().order_by(Review.id).execute(clinic.database)
    assert [(row.grant_id, row.reviewer_id, row.verdict, row.due_at) for row in rows] == [
        (clinic.grant("bob"), "dan", "keep", DUE),
        (clinic.grant("oscar"), "dan", "revoke", DUE),
    ]
    assert clinic.events()[-3:] == ["review:given", "review:given", "grant:ended:ended"]
    assert ("share:ended", "p-1") in clinic.notifications("oscar")
    assert clinic.unaccounted() == []


def test_standing_shares_are_reviewed_with_the_others(clinic: Clinic) -> None:
    """A revoked standing share ends, both sides are notified, and the record names the reviewer."""
    assert "carl" in clinic.viewers(later=61)
    keep, revoke = standing(clinic, "carol", "keep"), standing(clinic, "carl", "revoke", 3)
    done = carry_out(clinic, keep, revoke, line(clinic, "bob", "keep", 4))
    assert done == ReviewResult(kept=2, revoked=1)
    later = clinic.viewers(later=61)
    assert "carol" in later
    assert "carl" not in later
    rows = Review.select().order_by(Review.id).execute(clinic.database)
    assert [(row.standing_share_id, row.grant_id, row.reviewer_id, row.verdict) for row in rows] == [
        (keep.number, None, "dan", "keep"),
        (revoke.number, None, "dan", "revoke"),
        (None, clinic.grant("bob"), "dan", "keep"),
    ]
    assert sorted(clinic.events()[-4:]) == ["review:given"] * 3 + ["standing_share:ended:ended"]
    assert ("standing_share:ended", "") in clinic.notifications("carl")
    assert ("standing_share:ended", "") in clinic.notifications("alice")
    with pytest.raises(ImportRefused, match=f"standing share {keep.number} was decided on in spring already"):
        carry_out(clinic, keep)
    with pytest.raises(ImportRefused, match="no live share with carl"):
        carry_out(clinic, standing(clinic, "carl", "keep"), campaign="autumn")


def test_the_sheet_shows_what_is_decided_on(sqlite_database: Database, sqlite_url: str) -> None:
    """The sheet has owner, giver, reason and uses of each share, and names only for a reason, which is recorded."""
    fill(sqlite_database)
    made = Clinic(sqlite_database)
    share(made.pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), reason="second opinion")
    for later, who, purpose in ((1, "oscar", "TREAT"), (2, "oscar", "ETREAT"), (3, "oscar", "TREAT"), (4, "carol", "")):
        question = RecordedQuestion(("practitioner", who), "view", ("patient", "p-1"), purpose=purpose)
        at = NOW + timedelta(seconds=later)
        decision = made.pdp.evaluate(question.subject, "view", question.resource, now=at)
        record_decisions(sqlite_database, by(who, later), [(question, decision)])
    audit = open_audit(sqlite_url, as_of=NOW + timedelta(minutes=1))
    sheet = ask.review_sheet(audit, subscription="north").frame
    rows = {(row.practitioner, row.patient): row for row in sheet.itertuples() if row.patient == "p-1"}
    oscar = rows["oscar", "p-1"]
    assert (oscar.owner, oscar.given_by, oscar.reason) == ("alice", "alice", "second opinion")
    assert (oscar.accesses, oscar.purposes, oscar.last_used) == (3, "ETREAT, TREAT", NOW + timedelta(seconds=3))
    assert (rows["bob", "p-1"].accesses, rows["bob", "p-1"].last_used is pd.NaT) == (0, True)
    carol = next(row for row in sheet.itertuples() if row.practitioner == "carol")
    assert (carol.owner, carol.accesses, carol.last_used) == ("alice", 1, NOW + timedelta(seconds=4))
    assert sheet.name.isna().all()
    assert sheet.patient_name.isna().all()
    with pytest.raises(InvalidInput, match="reason"):
        ask.review_sheet(audit, subscription="north", names=True)
    why = "the reviewer knows patients by name"
    named = ask.review_sheet(audit, subscription="north", names=True, reason=why).frame
    row = next(row for row in named.itertuples() if row.practitioner == "oscar")
    assert (row.name, row.patient_name) == tuple(
        model.select(model.name).where(model.id == name).tuples().execute(sqlite_database)[0][0]
        for model, name in ((Practitioner, "oscar"), (Patient, "p-1"))
    )
    last = Event.select().where(Event.kind == "audit:read").order_by(Event.id.desc()).execute(sqlite_database)[0]
    assert (last.reason, last.body["parameters"]["names"]) == (why, True)
    audit.close()


@pytest.mark.parametrize(
    ("who", "verdict", "by_whom", "why"),
    [
        ("carol", "revoke", "heidi", "but not end this share"),
        ("gus", "keep", "dan", "do not have access"),
        ("carol", "keep", "bob", "You may not audit"),
    ],
)
def test_a_standing_share_is_not_everybodys_to_review(
    clinic: Clinic, who: str, verdict: str, by_whom: str, why: str
) -> None:
    """An auditor cannot revoke a standing share, and a member or another clinic's manager cannot review it."""
    with pytest.raises(ImportRefused, match=why):
        carry_out(clinic, standing(clinic, who, verdict), by_whom=by_whom)
    assert Review.select().count(clinic.database) == 0


def test_nobody_reviews_a_standing_share_of_their_own(clinic: Clinic) -> None:
    """A manager who gave a standing share, or has one, cannot review it, nor by somebody else's number."""
    add(clinic.database, StandingShare, owner="dan", colleague="oscar", subscription="north")
    with pytest.raises(ImportRefused, match="somebody else reviews it"):
        carry_out(clinic, standing(clinic, "oscar", "keep"))
    mistaken = replace(standing(clinic, "oscar", "keep"), practitioner="bob")
    with pytest.raises(ImportRefused, match="no live share with bob"):
        carry_out(clinic, mistaken)


@pytest.mark.parametrize(
    ("who", "verdict", "by_whom", "why"),
    [
        ("bob", "perhaps", "dan", "keep or revoke, not 'perhaps'"),
        ("bob", "", "dan", "keep or revoke, not ''"),
        ("xena", "keep", "dan", "no live share"),
        ("bob", "revoke", "heidi", "but not end this share"),
        ("bob", "keep", "oscar", "You may not audit"),
        ("bob", "keep", "frank", "do not have access"),
        ("bob", "keep", "alice", "You may not audit"),
    ],
)
def test_a_line_at_fault_undoes_the_sheet(clinic: Clinic, who: str, verdict: str, by_whom: str, why: str) -> None:
    """If a line cannot be carried out, the error has its number and reason, and no line is carried out."""
    before = clinic.viewers(later=61)
    with pytest.raises(ImportRefused, match=why) as refusal:
        carry_out(clinic, line(clinic, "oscar", "keep"), line(clinic, who, verdict, 3), by_whom=by_whom)
    assert refusal.value.line == (2 if by_whom in ("oscar", "frank", "alice") else 3)
    assert clinic.viewers(later=61) == before
    assert Review.select().count(clinic.database) == 0


def test_an_auditor_may_keep(clinic: Clinic) -> None:
    """An auditor may keep a share."""
    assert carry_out(clinic, line(clinic, "bob", "keep"), by_whom="heidi") == ReviewResult(1, 0)


def test_nobody_reviews_their_own(clinic: Clinic) -> None:
    """A manager cannot review a share that the manager holds."""
    share(clinic.pdp, actor=by("alice", 1), patients=["p-1"], colleague=login("dan"))
    with pytest.raises(ImportRefused, match="somebody else reviews it"):
        carry_out(clinic, line(clinic, "dan", "keep"))


def test_a_share_is_decided_on_once_in_a_campaign(clinic: Clinic) -> None:
    """A line is refused if its campaign has it already, but not in the next campaign."""
    carry_out(clinic, line(clinic, "bob", "keep"))
    with pytest.raises(ImportRefused, match="decided on in spring already"):
        carry_out(clinic, line(clinic, "bob", "revoke"))
    assert carry_out(clinic, line(clinic, "bob", "revoke"), campaign="autumn").revoked == 1


def test_from_the_sheet_to_the_state(sqlite_database: Database, sqlite_url: str, tmp_path: Path) -> None:
    """If the command carries out a filled sheet, the next report shows the result."""
    fill(sqlite_database)
    audit = open_audit(sqlite_url)
    path = tmp_path / "sheet.csv"
    sheet = ask.review_sheet(audit, subscription="north")
    path.write_bytes(as_csv(sheet))
    command = ("audit", "review", str(path), "--reviewer", "dan", "--campaign", "spring", "--due", "2060-01-31")
    assert "line 2: the verdict is keep or revoke, not ''" in refused(*command, url=sqlite_url)
    lines = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows({**row, "verdict": "Revoke " if row["practitioner"] == "bob" else "keep"} for row in lines)
    assert run(*command, url=sqlite_url, CAREGRANT_READER="olga") == f"kept {len(lines) - 1}, revoked 1\n"
    events = Event.select(Event.body).where(Event.kind == "review:given").tuples().execute(sqlite_database)
    bodies = [body for (body,) in events]
    assert len(bodies) == len(lines)
    assert {(body["reviewer"], body["ran_by"]) for body in bodies} == {("dan", "olga")}
    assert {body["sheet"] for body in bodies} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    exported = run("audit", "export", "--format", "fhir-r4", url=sqlite_url)
    assert exported.count(bodies[0]["sheet"]) == len(bodies)
    frame = ask.access_review(open_audit(sqlite_url), subscription="north").frame
    assert set(frame.state[frame.practitioner == "bob"]) == {"revoked"}
    assert set(frame.state) == {"kept", "revoked"}
    path.write_text("patient,verdict\n")
    assert "line 1: the sheet has no column grant" in refused(*command, url=sqlite_url)
    for number in ("1,2", ",", "x,", "-1,", "1.5,", "9" * 25 + ",", ",9999999999999999999", "\u0661,"):
        path.write_text(f"grant,standing_share,patient,practitioner,verdict\n{number},p-1,bob,keep\n")
        assert "line 2: a line has the number of a grant or of a standing share" in refused(*command, url=sqlite_url)
    audit.close()


LINES = int(os.environ.get("CAREGRANT_REVIEW_LINES", "1000"))
"""The lines of a large sheet. By hand: 66,000, more than the 65,535 values that a statement of PostgreSQL takes."""


def test_a_large_sheet_is_carried_out_in_bounded_statements(clinic: Clinic) -> None:
    """A large sheet is recorded and carried out by statements that do not grow with the sheet."""
    life = (to_micros(NOW - timedelta(days=1)), FOREVER_MICROS)
    patients = [f"m-{number}" for number in range(LINES)]
    roles = (("oscar", "owner", "created"), ("bob", "viewer", "share"))
    held = [(patient, *role, *life) for patient in patients for role in roles]
    texts = ("given_by", "reason", "ended_by", "end_cause")
    with clinic.database.atomic():
        columns = ("id", "subscription", "name", "reference", "search_key", "started_at", "ended_at")
        insert_rows(
            clinic.database, Patient, columns, [(patient, "north", "M", "", "m", *life) for patient in patients]
        )
        names = ("patient", "practitioner", "role", "origin", "started_at", "ended_at", *texts)
        insert_rows(clinic.database, Grant, names, [(*row, "", "", "", "") for row in held])
    shares = Grant.select(Grant.id, Grant.patient).where(Grant.practitioner == "bob", Grant.patient.startswith("m-"))
    verdicts = [
        ReviewVerdict(line, "grant", number, patient, "bob", "keep" if line % 100 else "revoke")
        for line, (number, patient) in enumerate(shares.tuples().execute(clinic.database), 1)
    ]
    sizes: list[int] = []
    execute = clinic.database.execute_sql

    def watched(sql: str, params: Any = None, *rest: Any) -> Any:
        sizes.append(max(len(sql), 20 * len(params or ())))
        return execute(sql, params, *rest)

    clinic.database.execute_sql = watched  # type: ignore[method-assign]
    try:
        done = review(clinic.pdp, actor=by("dan"), campaign="large", due=DUE, verdicts=verdicts)
    finally:
        del clinic.database.execute_sql
    assert (done.kept, done.revoked) == (LINES - LINES // 100, LINES // 100)
    assert max(sizes) < 50_000
    assert Review.select().where(Review.campaign == "large").count(clinic.database) == LINES
    ended = Grant.select().where(Grant.practitioner == "bob", Grant.patient.startswith("m-"), Grant.ended_at == NOW)
    assert ended.count(clinic.database) == LINES // 100
    assert len(clinic.events()) == 1 + LINES + LINES // 100  # the first is Oscar's share
    assert clinic.unaccounted() == []
