"""An answer to record, and the requests whose answers are recorded."""

from datetime import datetime

from authz.database import Database
from authz.domain import to_micros
from authz.models import Decision
from authz.policy.decision import Decision as Decided
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support.people import NOW

ASKED = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"))


GIVEN = Decided(False, "denied", "f" * 64, to_micros(NOW))


def answer(database: Database, request: str, now: datetime = NOW) -> None:
    record_decisions(database, Actor("", now, request_id=request), [(ASKED, GIVEN)])


def requests(database: Database) -> list[str]:
    return [one for (one,) in Decision.select(Decision.request_id).order_by(Decision.id).tuples().execute(database)]
