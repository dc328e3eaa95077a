"""Record one row for every answer, before the answer is sent."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from authz.database import Database
from authz.domain import Values, to_micros
from authz.policy.decision import Decision, Ref
from authz.record.decision_log import get_decision_log
from authz.record.events import Actor

_LONGEST_ID = 128
_PURPOSE = re.compile(r"[\w.:/#-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class RecordedQuestion:
    """The question that a decision answers: subject, action and resource, as the record keeps them.

    `purpose` is the caller's `context.purpose`, of any type; `size` is the number of results of a search.
    """

    subject: Ref
    action: str
    resource: Ref
    purpose: object = None
    size: int | None = None


def record_decisions(
    database: Database,
    actor: Actor,
    decisions: Iterable[tuple[RecordedQuestion, Decision]],
    *,
    record_locked: bool = False,
) -> None:
    """Record the decisions that `actor` asked for; a search is recorded as a `search_decision`.

    If a transaction is open, the rows are written in this transaction, which holds `RECORD_LOCK` if `record_locked`.
    Otherwise `decision_log` commits them, together with rows of other threads. Raises `Unavailable` if the rows cannot
    be recorded: then the answers must not be sent.
    """
    rows = [_row(actor, question, decision) for question, decision in decisions]
    get_decision_log(database).record(rows, record_locked=record_locked)


def _row(actor: Actor, question: RecordedQuestion, decision: Decision) -> Values:
    """Return the columns of an answer, without its tenant (`decision_insert`)."""
    return (
        decision.evaluated_micros,
        to_micros(actor.now),
        actor.client,
        actor.request_id,
        *(_id_or_mask(part) for part in (*question.subject, question.action, *question.resource)),
        decision.allowed,
        decision.reason,
        decision.rule or "",
        decision.grant,
        decision.standing_share,
        decision.policy_version,
        actor.practitioner,
        actor.address,
        _purpose_or_mask(question.purpose),
        question.size,
    )


def search_decision(actor: Actor, policy_version: str, at: datetime | None = None) -> Decision:
    """Return the decision that stands in the record for a search about the instant `at` (default: now)."""
    return Decision(True, "searched", policy_version, to_micros(at or actor.now))


def _id_or_mask(text: str) -> str:
    """Return a text that can be an id or the name of a type or action, else ``?``: the record holds no free text."""
    return text if len(text) <= _LONGEST_ID and text.isprintable() else "?"


def _purpose_or_mask(purpose: object) -> str:
    """Return a purpose of use that is one word, such as TREAT or urn:…, else ``?``: the record holds no free text."""
    if purpose is None or purpose == "":
        return ""
    return purpose if isinstance(purpose, str) and _PURPOSE.fullmatch(purpose) else "?"
