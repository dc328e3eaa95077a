"""Transfers in a story: the grants that the operation leaves, which no line of an import describes.

    {transfer: {patient: p-1, to: olga, by: ned, at: 2026-06-01T11:59:00Z}}

The owner's grant ends at the instant, and the grant of the new owner begins. `by` may undo the transfer until
`undo_until`, by default for as long as after a transfer in the service.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz.database import Database
from authz.domain import FOREVER, parse_instant
from authz.errors import InvalidInput
from authz.models import Grant
from authz.operations.transfer import UNDO_TIME
from authz.policy_tests.yaml_values import Value
from authz.texts import parse_stored_id

TRANSFER = "transfer"
_FIELDS: dict[str, Callable[[object], Any]] = {
    "patient": parse_stored_id,
    "to": parse_stored_id,
    "by": parse_stored_id,
    "at": parse_instant,
    "undo_until": parse_instant,
}


@dataclass(frozen=True)
class Transfer:
    """A transfer of a patient, and the place of its text."""

    place: Value
    patient: str
    to: str
    by: str
    at: datetime
    undo_until: datetime


def parse_transfer(place: Value, body: object) -> Transfer:
    """Read the fields of a transfer; refuse what is unknown, missing or malformed."""
    if not isinstance(body, dict):
        place.refuse("a transfer has fields")
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if name not in _FIELDS:
            place.refuse(f"a transfer has no field {name!r}; known are {', '.join(_FIELDS)}")
        try:
            fields[name] = _FIELDS[name](value)
        except InvalidInput as error:
            place.refuse(f"transfer.{name}: {error}")
    for name in ("patient", "to", "by", "at"):
        if name not in fields:
            place.refuse(f"a transfer lacks {name}")
    fields.setdefault("undo_until", fields["at"] + UNDO_TIME)
    return Transfer(place, **fields)


def apply_transfer(database: Database, transfer: Transfer) -> None:
    """Write the grants of a transfer; refuse a patient that has no owner at the instant."""
    live: Any = (Grant.patient == transfer.patient) & (Grant.role == "owner") & (Grant.ended_at == FOREVER)
    owned: Any = Grant.started_at < transfer.at
    ended = Grant.update(ended_at=transfer.at, end_cause="transfer").where(live & owned).execute(database)
    if ended != 1:
        transfer.place.refuse(f"no fact says who owns the patient {transfer.patient!r} before this transfer")
    Grant.insert(
        patient=transfer.patient,
        practitioner=transfer.to,
        role="owner",
        origin="transfer",
        given_by=transfer.by,
        started_at=transfer.at,
        undo_until=transfer.undo_until,
    ).execute(database)
