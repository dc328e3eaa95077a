"""Erasing a person's addresses and reasons from the record: the text and the secret go, the commitments stay.

A person is ``practitioner:ID`` (the addresses they asked from, their reasons for sharing everything), ``patient:ID``
(the reasons given about them, their name and reference) or ``client:ID`` (the addresses of an app). No event holds a
name or a reference: these stand in the patient's row, and for a day in the answers that are kept for repeated requests.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from authz.database import Database, database_connection
from authz.database.statements import in_condition, insert_rows
from authz.errors import InvalidInput, NotFound
from authz.models import (
    ErasedField,
    Event,
    Grant,
    IdempotentResponse,
    Patient,
    PersonalSecret,
    RecordedDecision,
    StandingShare,
)
from authz.record.append_only import append_only_disabled
from authz.record.commitments import commitment, lock_person, secrets_of, whose_reason
from authz.record.events import Actor, NewEvent, append
from authz.record.sealing import seal
from authz.texts import parse_number, quote_value, search_key

ERASED_NAME = "(erased)"
"""The name of a patient whose name was erased; the id stays, so that the record says whom it is about."""


@dataclass(frozen=True)
class Erasure:
    """How many fields were erased, of events, of decisions and of the patient's own."""

    events: int
    decisions: int
    patient: int


def erase(database: Database, actor: Actor, whose: str) -> Erasure:
    """Erase a person's addresses and reasons, of a patient name and reference too, and record that it was done, by id.

    Raises `InvalidInput` for what is no person, `NotFound` if nothing of them is stored.
    """
    kind, _, name = whose.partition(":")
    if kind not in ("practitioner", "patient", "client") or not name:
        raise InvalidInput(f"{quote_value(whose)} is not practitioner:ID, patient:ID or client:ID")
    if kind == "client":
        parse_number(name)
    seal(database, actor.now)
    with database_connection(database), database.atomic():
        lock_person(database, whose)
        secret = secrets_of(database, [whose]).get(whose)
        fields = _erase_names(database, actor, name) if kind == "patient" else 0
        if secret is None and not fields:
            raise NotFound
        events = decisions = 0
        if kind != "patient":
            events += _erase(database, secret, Event, "address", _asked_by(Event, kind, name))
            decisions += _erase(database, secret, RecordedDecision, "address", _asked_by(RecordedDecision, kind, name))
        if kind == "patient":
            events += _erase(database, secret, Event, "reason", Event.patient == name)
            Grant.update(reason="").where(Grant.patient == name).execute(database)
        elif kind == "practitioner":
            events += _erase(
                database, secret, Event, "reason", in_condition(database, Event.id, _of_shares(database, name))
            )
            StandingShare.update(reason="").where(StandingShare.owner == name).execute(database)
        PersonalSecret.delete().where(PersonalSecret.whose == whose).execute(database)
        body = {"whose": whose, "events": events, "decisions": decisions, "patient": fields}
        append(database, actor, [NewEvent("record:erased", "", body)])
    return Erasure(events, decisions, fields)


def _erase_names(database: Database, actor: Actor, patient: str) -> int:
    """Erase a patient's name and reference, with an event as for any other name; return how many of both there were."""
    columns = (Patient.subscription, Patient.name, Patient.reference)
    found = Patient.select(*columns).where(Patient.id == patient, Patient.name != ERASED_NAME).tuples()
    for where, _, reference in found.execute(database):
        erased = {"name": ERASED_NAME, "reference": "", "search_key": search_key(ERASED_NAME, "")}
        Patient.update(erased).where(Patient.id == patient).execute(database)
        IdempotentResponse.delete().where(IdempotentResponse.body.contains(orjson.dumps(patient).decode())).execute(
            database
        )
        changed = ["name", "reference"] if reference else ["name"]
        append(database, actor, [NewEvent("patient:changed", where, {"changed": changed}, patient)])
        return len(changed)
    return 0


def _asked_by(model: Any, kind: str, name: str) -> Any:
    return model.actor == name if kind == "practitioner" else (model.actor == "") & (model.client == int(name))


def _of_shares(database: Database, owner: str) -> list[int]:
    """The events with a reason for sharing everything, of an owner."""
    found = Event.select(Event.id, Event.body).where(Event.patient == "", Event.reason != "").tuples().execute(database)
    return [number for number, body in found if whose_reason("", body) == f"practitioner:{owner}"]


def _erase(database: Database, secret: bytes | None, model: Any, field: str, which: Any) -> int:
    noun, column = model._meta.table_name, getattr(model, field)
    found = list(model.select(model.id, column).where(which, column != "").tuples().execute(database))
    kept = [(noun, row, field, commitment(secret, noun, row, field, text)) for row, text in found]
    insert_rows(database, ErasedField, ("noun", "row", "field", "commitment"), kept)
    with append_only_disabled(database, noun, "UPDATE"):
        model.update(**{field: ""}).where(which, column != "").execute(database)
    return len(found)
