"""An undone transfer is no finding of the audit, and one that was made behind the service's back is."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from authz.audit.notebook import ask, open_audit
from authz.audit.session import Audit
from authz.database import Database
from authz.models import Grant, Notification
from authz.operations import transfer, undo_transfer
from tests.support import people
from tests.support.acting import by, login, pdp_of
from tests.support.people import NOW


@pytest.fixture(params=["alice", "dan"])
def audit(request: pytest.FixtureRequest, database: Database, database_url: str) -> Iterator[Audit]:
    """Return an audit after the owner or a manager has transferred a patient, with the shares ended, and undone it."""
    people.fill(database)
    who, pdp = request.param, pdp_of(database)
    transfer(pdp, actor=by(who, 1), patients=["p-1"], colleague=login("oscar"), end_shares=True)
    undo_transfer(pdp, actor=by(who, 2), patients=["p-1"])
    opened = open_audit(database_url, as_of=NOW + timedelta(hours=1), reader="compliance")
    yield opened
    opened.close()


def test_it_is_no_finding(audit: Audit) -> None:
    """Q9, Q10, Q11, Q12, Q15 and Q19 have nothing to say about the patient; Q4 shows the chain."""
    for question in (
        ask.former_owner_access,
        ask.given_by_others,
        ask.given_to_others,
        ask.orphans,
        ask.separation_of_duties,
        ask.notices_missing,
    ):
        assert "p-1" not in set(question(audit).frame.patient), question
    chain = ask.ownership(audit, patient="p-1").frame
    assert list(chain.owner) == ["alice", "oscar", "alice"]
    assert list(chain.origin) == ["created", "transfer", "undo"]
    assert list(chain.end_cause)[:2] == ["transfer", "undo"]


def test_what_is_missing_is_found(audit: Audit, database: Database) -> None:
    """Without its notices an undo is found (Q19), and so is a grant that says `undo` without one (Q10)."""
    Notification.delete().where(Notification.at == NOW + timedelta(seconds=2)).execute(database)
    missing = ask.notices_missing(audit).frame
    of_patient = missing[missing.patient == "p-1"]
    assert sorted(zip(of_patient.practitioner, of_patient.missing, strict=True)) == [
        ("alice", "transfer:returned"),
        ("bob", "share:received"),
        ("oscar", "transfer:undone"),
    ]
    forged = {"patient": "p-oscar", "practitioner": "pete", "role": "viewer", "origin": "undo", "given_by": "bob"}
    number = people.add(database, Grant, **forged, started_at=NOW + timedelta(seconds=3))
    assert number in set(ask.given_by_others(audit).frame.grant)
