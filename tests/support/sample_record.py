"""A small clinic with a record: the demonstration's events, and decisions of two months in three trees."""

from datetime import datetime, timedelta
from typing import Any

from authz.database import Database
from authz.domain import to_micros
from authz.importing.demo import fill
from authz.operations import end_share, share
from authz.policy.decision import Decision, Ref
from authz.record import Actor, RecordedQuestion, record_decisions, seal
from tests.support.acting import POLICY, pdp_of
from tests.support.people import NOW

VIEWS = 60
ANSWERS = VIEWS + 3  # and what was asked about sharing and ending it


def record(database: Database, now: datetime = NOW) -> None:
    """Fill an empty database with events and decisions, and seal them."""
    fill(database, POLICY.types, now)
    answer(database, now - timedelta(days=40), range(VIEWS // 2))
    pdp = pdp_of(database)
    actor = Actor("alice", now, address="192.0.2.7", request_id="r-1")
    (shared,) = share(pdp, actor=actor, patients=["p-5"], colleague="bob@north.example", reason="on leave")
    end_share(pdp, actor=actor, patient="p-5", grant=shared.grant["id"])
    answer(database, now, range(VIEWS // 2, VIEWS))
    seal(database, now)


def answer(database: Database, now: datetime, numbers: range) -> None:
    """Record decisions at an instant, some to Bob's app and some to Bob."""
    for number in numbers:
        by: dict[str, Any] = {"address": f"198.51.100.{number}", "request_id": f"r-{number}"}
        question = RecordedQuestion(("practitioner", "bob"), "view", _resource(number), purpose="TREAT")
        decision = Decision(number % 2 == 0, "permitted" if number % 2 == 0 else "denied", "f" * 64, to_micros(now))
        record_decisions(database, Actor("bob" if number % 3 else "", now, **by), [(question, decision)])


def _resource(number: int) -> Ref:
    return ("patient", ("p-1", "p-70", "none")[number % 3])
