"""Searches in the audit: a search is neither a permit nor a disclosure."""

from datetime import timedelta

from authz.audit.notebook import ask, open_audit
from authz.database import Database
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision
from tests.support.people import NOW, fill


def test_a_search_is_neither_a_disclosure_nor_a_permit(database: Database, database_url: str) -> None:
    """Recorded searches appear in the answer to Q2 alone, not among disclosures or permits."""
    fill(database)
    actor = Actor("", NOW - timedelta(hours=1))
    for who, action in (("", "view"), ("nobody", "")):
        recorded = RecordedQuestion(("practitioner", who), action, ("patient", "p-1"), size=3)
        record_decisions(database, actor, [(recorded, search_decision(actor, "f" * 64))])
    audit = open_audit(database_url, as_of=NOW, reader="compliance")
    try:
        assert list(ask.who_did(audit, patient="p-1").frame.reason) == ["searched"] * 2
        for question in (ask.disclosures, ask.subject_access):
            assert question(audit, patient="p-1").frame.empty
        assert ask.allowed_after_leaving(audit).frame.empty
        assert list(ask.volume(audit).frame.practitioner) == ["ned"], "the transfer of the cast"
    finally:
        audit.close()
