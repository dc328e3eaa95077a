"""The audit of emergency access: who, why, what was read, who reviewed it, and what went wrong (Q14, Q15)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from authz.audit.notebook import ask, open_audit
from authz.audit.session import Audit
from authz.database import Database
from authz.models import Emergency, Grant, Notification
from authz.operations import break_glass, end_share, review_emergency
from authz.policy.pdp import PDP
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support import people
from tests.support.acting import by
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.people import NOW

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def audit(database: Database, database_url: str) -> Iterator[Audit]:
    """Return an audit: Oscar read `p-1` in an emergency, reviewed; Dan gave his own access up, not reviewed."""
    people.fill(database)
    pdp = PDP(database, EMERGENCY_POLICY)
    opened = break_glass(pdp, actor=by("oscar"), patient="p-1", purpose="ETREAT", reason="Collapsed")
    question = RecordedQuestion(("practitioner", "oscar"), "view", ("patient", "p-1"))
    decision = pdp.evaluate(question.subject, "view", question.resource, now=NOW + timedelta(minutes=5))
    record_decisions(database, Actor("oscar", NOW + timedelta(minutes=5)), [(question, decision)])
    own = break_glass(pdp, actor=by("dan", HOUR), patient="p-1", purpose="ETREAT", reason="Same collapse")
    end_share(pdp, actor=by("dan", HOUR + 600), patient="p-1", grant=own.grant["id"])
    review_emergency(pdp, actor=by("heidi", DAY), emergency=opened.emergency["id"], verdict="justified")
    audit = open_audit(database_url, as_of=NOW + timedelta(days=4), reader="compliance")
    yield audit
    audit.close()


def test_q14_who_why_and_what_was_read(audit: Audit) -> None:
    """Q14: one row for each access: its purpose, reason, length, reading and review, and what is wrong with it."""
    frame = ask.emergency_accesses(audit).frame
    columns = ["practitioner", "patient", "purpose", "reason", "minutes", "accesses", "times", "state", "reviewer"]
    rows = frame[columns].astype(object).where(frame[columns].notna(), None)
    assert list(rows.itertuples(index=False, name=None)) == [
        ("oscar", "p-1", "ETREAT", "Collapsed", 180, 1, 1, "justified", "heidi"),
        ("dan", "p-1", "ETREAT", "Same collapse", 10, 0, 1, "overdue", None),
    ]
    assert list(frame.why.fillna("")) == ["", "never used; not reviewed in time"]
    before = ask.emergency_accesses(audit, as_of=NOW + timedelta(hours=2)).frame
    assert list(before.state) == ["due", "due"]
    assert list(before.minutes) == [120, 10]


def test_q15_an_overdue_review_is_a_fault(audit: Audit, database: Database) -> None:
    """Q15: an access is a fault while its review is overdue, if the reviewer opened the patient too, and unstated."""

    def faults() -> list[tuple[object, object]]:
        frame = ask.separation_of_duties(audit).frame
        return [(row.why, row.practitioner) for row in frame.itertuples() if row.patient == "p-1"]

    overdue = ("opened a patient in an emergency, and the review is overdue", "dan")
    assert faults() == [overdue]
    past = {"reviewer": "oscar", "verdict": "justified", "reviewed_at": NOW + timedelta(days=1)}
    Emergency.update(past).where(Emergency.verdict == "").execute(database)
    assert faults() == [("reviewed an emergency access to a patient whom they opened too", "oscar")]
    forged = {"patient": "p-1", "practitioner": "ned", "given_by": "ned", "role": "viewer", "origin": "emergency"}
    number = people.add(database, Grant, **forged, started_at=NOW + timedelta(hours=5))
    assert ("gave it to themselves", "ned") in faults()
    assert number in set(ask.given_by_others(audit).frame.grant)
    unstated = ask.emergency_accesses(audit).frame
    assert unstated[unstated.grant == number].why.iloc[0].startswith("without a statement")


def test_it_is_no_other_finding(audit: Audit, database: Database) -> None:
    """Q1, Q5 and Q28 name the emergency; Q10, Q18 and Q19 find nothing, unless the owner was not told."""
    assert list(ask.disclosures(audit, patient="p-1").frame.purpose) == ["ETREAT"]
    assert list(ask.disclosures(audit, patient="p-1").frame.kind) == ["operations"]
    over_time = ask.access_over_time(audit, patient="p-1").frame
    assert list(over_time[over_time.practitioner == "oscar"].how) == ["emergency"]
    changed = ask.what_changed(audit, subscription="north", since=NOW - timedelta(days=1)).frame
    assert "emergency" in set(changed[changed.practitioner == "oscar"].how)
    for question in (ask.given_by_others, ask.given_to_others, ask.notices_missing):
        assert "p-1" not in set(question(audit).frame.patient), question
    Notification.delete().where(Notification.kind == "emergency:opened").execute(database)
    missing = ask.notices_missing(audit).frame
    assert set(missing[missing.patient == "p-1"].missing) == {"emergency:opened"}
    during = ask.what_could_reach(audit, practitioner="oscar", policy="today", as_of=NOW + timedelta(minutes=1)).frame
    assert list(during[during.patient == "p-1"].how) == ["emergency"]
