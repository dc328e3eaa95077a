"""One row for every answer given, written before the answer leaves."""

from dataclasses import dataclass
from datetime import datetime

from authz.database import Database, answering, insert_rows
from authz.models import Decision as Row
from authz.pdp import Decision, Ref
from authz.terms import to_micros

_FIELDS = (
    "at",
    "asked_at",
    "client",
    "request_id",
    "subject_type",
    "subject",
    "action",
    "resource_type",
    "resource",
    "allowed",
    "reason",
    "rule",
    "grant",
    "policy_version",
)
_LONGEST = 128


@dataclass(frozen=True)
class Asked:
    """A question: may this subject do this to this resource?"""

    subject: Ref
    action: str
    resource: Ref


def record_decision(
    database: Database, *, client: int | None, request_id: str, asked: Asked, decision: Decision, now: datetime
) -> None:
    """Record an answer to an app (`client`) or to a practitioner.

    Raises `Unavailable` if that fails: then the answer must not be given.
    """
    row = (
        decision.evaluated_micros,
        to_micros(now),
        client,
        request_id,
        *(_word(part) for part in (*asked.subject, asked.action, *asked.resource)),
        decision.allowed,
        decision.reason,
        decision.rule or "",
        decision.grant,
        decision.policy_version,
    )
    with answering(database):
        insert_rows(database, Row, _FIELDS, [row])


def _word(text: str) -> str:
    """What was asked about, as far as it can be an id or a name of a type: the record keeps no free text."""
    return text if len(text) <= _LONGEST and text.isprintable() else "?"
