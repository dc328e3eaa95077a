"""Erase a person's addresses and reasons from the record: text and secret are deleted, the commitments stay.

A person is ``practitioner:ID`` (the addresses of their requests, and their reasons for sharing everything),
``patient:ID`` (the reasons given about them, their name and reference) or ``client:ID`` (the addresses of an app). No
event contains a name or a reference; these are in the patient's row and, for a day, in the stored responses to requests
with an idempotency key.
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
from authz.record.commitments import commitment, lock_person, read_secrets, reason_owner
from authz.record.events import Actor, NewEvent, append
from authz.record.sealing import seal
from authz.texts import parse_number, quote_value, search_key

ERASED_NAME = "(erased)"
"""The name of a patient whose name was erased; the id stays, so that the record still identifies the patient."""


@dataclass(frozen=True)
class Erasure:
    """The numbers of fields that were erased in events, in decisions and in the patient's row."""

    events: int
    decisions: int
    patient: int


def erase(database: Database, actor: Actor, person: str) -> Erasure:
    """Erase a person's addresses and reasons, for a patient also name and reference; record an event with the id.

    Raises `InvalidInput` for a malformed person, and `NotFound` if nothing of the person is stored.
    """
    kind, _, name = person.partition(":")
    if kind not in ("practitioner", "patient", "client") or not name:
        raise InvalidInput(f"{quote_value(person)} is not practitioner:ID, patient:ID or client:ID")
    if kind == "client":
        parse_number(name)
    seal(database, actor.now)
    with database_connection(database), database.atomic():
        lock_person(database, person)
        secret = read_secrets(database, [person]).get(person)
        fields = _erase_names(database, actor, name) if kind == "patient" else 0
        if secret is None and not fields:
            raise NotFound
        events = decisions = 0
        if kind != "patient":
            events += _erase_field(database, secret, Event, "address", _is_from(Event, kind, name))
            from_person = _is_from(RecordedDecision, kind, name)
            decisions += _erase_field(database, secret, RecordedDecision, "address", from_person)
        if kind == "patient":
            events += _erase_field(database, secret, Event, "reason", Event.patient == name)
            Grant.update(reason="").where(Grant.patient == name).execute(database)
        elif kind == "practitioner":
            of_shares = in_condition(database, Event.id, _share_events(database, name))
            events += _erase_field(database, secret, Event, "reason", of_shares)
            StandingShare.update(reason="").where(StandingShare.owner == name).execute(database)
        PersonalSecret.delete().where(PersonalSecret.whose == person).execute(database)
        body = {"whose": person, "events": events, "decisions": decisions, "patient": fields}
        append(database, actor, [NewEvent("record:erased", "", body)])
    return Erasure(events, decisions, fields)


def _erase_names(database: Database, actor: Actor, patient: str) -> int:
    """Erase a patient's name and reference and append the usual event; return how many of the two there were."""
    query = Patient.select(Patient.subscription, Patient.reference)
    query = query.where(Patient.id == patient, Patient.name != ERASED_NAME)
    for subscription, reference in query.tuples().execute(database):
        erased = {"name": ERASED_NAME, "reference": "", "search_key": search_key(ERASED_NAME, "")}
        Patient.update(erased).where(Patient.id == patient).execute(database)
        has_patient = IdempotentResponse.body.contains(orjson.dumps(patient).decode())
        IdempotentResponse.delete().where(has_patient).execute(database)
        fields = ["name", "reference"] if reference else ["name"]
        append(database, actor, [NewEvent("patient:changed", subscription, {"changed": fields}, patient)])
        return len(fields)
    return 0


def _is_from(model: Any, kind: str, name: str) -> object:
    """Return the condition that a row of the record comes from this practitioner or app."""
    return model.actor == name if kind == "practitioner" else (model.actor == "") & (model.client == int(name))


def _share_events(database: Database, owner: str) -> list[int]:
    """Return the ids of the events with this owner's reasons for sharing everything."""
    query = Event.select(Event.id, Event.body).where(Event.patient == "", Event.reason != "")
    events = query.tuples().execute(database)
    return [event for event, body in events if reason_owner("", body) == f"practitioner:{owner}"]


def _erase_field(database: Database, secret: bytes | None, model: Any, field: str, condition: object) -> int:
    """Replace a field of the rows that meet the condition by its commitment; return how many rows had a text."""
    noun, column = model._meta.table_name, getattr(model, field)
    rows = list(model.select(model.id, column).where(condition, column != "").tuples().execute(database))
    commitments = [(noun, row, field, commitment(secret, noun, row, field, text)) for row, text in rows]
    insert_rows(database, ErasedField, ("noun", "row", "field", "commitment"), commitments)
    with append_only_disabled(database, noun, "UPDATE"):
        model.update(**{field: ""}).where(condition, column != "").execute(database)
    return len(rows)
