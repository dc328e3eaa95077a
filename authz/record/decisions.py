"""One row for every answer given, written before the answer leaves."""

from collections.abc import Iterable
from dataclasses import dataclass

from authz.database import Database, answering, insert_rows
from authz.models import Decision as Row
from authz.pdp import Decision, Ref
from authz.record.events import Act
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


def record_decisions(database: Database, act: Act, given: Iterable[tuple[Asked, Decision]]) -> None:
    """Record answers to whoever asked (`act`: a practitioner, an app, or both). Searches are `searched`.

    Raises `Unavailable` if that fails: then the answers must not be given.
    """
    rows = [
        (
            decision.evaluated_micros,
            to_micros(act.now),
            act.client,
            act.request_id,
            *(_word(part) for part in (*asked.subject, asked.action, *asked.resource)),
            decision.allowed,
            decision.reason,
            decision.rule or "",
            decision.grant,
            decision.policy_version,
        )
        for asked, decision in given
    ]
    with answering(database):
        insert_rows(database, Row, _FIELDS, rows)


def searched(act: Act, policy_version: str) -> Decision:
    """What the record says of a search that was answered."""
    return Decision(True, "searched", policy_version, to_micros(act.now))


def _word(text: str) -> str:
    """What was asked about, as far as it can be an id or a name of a type: the record keeps no free text."""
    return text if len(text) <= _LONGEST and text.isprintable() else "?"
