"""A decision to record, and the requests whose decisions are recorded."""

from datetime import datetime

from authz.database import Database
from authz.domain import to_micros
from authz.models import RecordedDecision
from authz.policy.decision import Decision
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support.people import NOW

QUESTION = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"))
DENIAL = Decision(False, "denied", "f" * 64, to_micros(NOW))


def record_denial(database: Database, request: str, now: datetime = NOW) -> None:
    """Record the denial as the answer to a request."""
    record_decisions(database, Actor("", now, request_id=request), [(QUESTION, DENIAL)])


def recorded_requests(database: Database) -> list[str]:
    """Return the requests of the recorded decisions, in their order."""
    rows = RecordedDecision.select(RecordedDecision.request_id).order_by(RecordedDecision.id)
    return [request for (request,) in rows.tuples().execute(database)]
