"""Consultations of one patient of the demonstration clinic, of every kind that a letter lists."""

from datetime import datetime, timedelta

from authz.callers.clients import add_client
from authz.database import Database
from authz.policy.pdp import PDP
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support.acting import pdp_of

PURPOSES = {
    "TREAT": 4,
    "": 2,
    "PUBHLTH": 3,
    "http://terminology.hl7.org/CodeSystem/v3-ActReason#HRESCH": 1,
    "PATRQT": 1,
    "HPAYMT": 1,
}
"""The number of consultations for each purpose, by each person who may view the patient."""

PEOPLE = ("alice", "bob")


def consult(database: Database, now: datetime, patient: str = "p-1") -> None:
    """Record consultations of a patient by Alice and Bob through an app, some days apart, and denials of others."""
    pdp = pdp_of(database)
    add_client(database, name="City Records", scopes=("decide",), subscription=None, now=now - timedelta(days=400))
    at = now - timedelta(days=200)
    for who in PEOPLE:
        for purpose, times in PURPOSES.items():
            for _ in range(times):
                at += timedelta(days=6, hours=5, minutes=17)
                _ask(database, pdp, Actor(who, at, client=1, address="192.0.2.7"), patient, purpose)
    for number in (40, 41, 42, 64, 70):
        _ask(database, pdp, Actor("bob", at, address="192.0.2.7"), f"p-{number}", "")
        at += timedelta(minutes=2)


def _ask(database: Database, pdp: PDP, actor: Actor, patient: str, purpose: str) -> None:
    question = (("practitioner", actor.practitioner), "view", ("patient", patient))
    decision = pdp.evaluate(*question, now=actor.now)
    record_decisions(database, actor, [(RecordedQuestion(*question, purpose=purpose), decision)])
