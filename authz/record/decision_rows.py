"""One row for every answer given, written before the answer leaves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authz.database import Database
from authz.domain import to_micros
from authz.policy.decision import Decision, Ref
from authz.record.decision_log import get_decision_log
from authz.record.events import Actor

_LONGEST = 128
_PURPOSE = re.compile(r"[\w.:/#-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class RecordedQuestion:
    """A question: may this subject do this to this resource?

    `purpose` is what the caller gave as `context.purpose`, whatever it is; `size` how many a search found.
    """

    subject: Ref
    action: str
    resource: Ref
    purpose: object = None
    size: int | None = None


def record_decisions(
    database: Database, actor: Actor, given: Iterable[tuple[RecordedQuestion, Decision]], *, record_locked: bool = False
) -> None:
    """Record answers to whoever asked (`act`: a practitioner, an app, or both). Searches are `searched`.

    Inside a transaction they belong to it (`announced`: it holds `RECORD_LOCK`); else they are committed when this
    returns, together with what other threads answer at that moment (`log`). Raises `Unavailable` if that fails: then
    the answers must not be given.
    """
    get_decision_log(database).record(
        [_row(actor, asked, decision) for asked, decision in given], record_locked=record_locked
    )


def _row(actor: Actor, asked: RecordedQuestion, decision: Decision) -> tuple[Any, ...]:
    """The columns of an answer, but for where it belongs (`tenancy`)."""
    return (
        decision.evaluated_micros,
        to_micros(actor.now),
        actor.client,
        actor.request_id,
        *(_word(part) for part in (*asked.subject, asked.action, *asked.resource)),
        decision.allowed,
        decision.reason,
        decision.rule or "",
        decision.grant,
        decision.standing_share,
        decision.policy_version,
        actor.practitioner,
        actor.address,
        _purpose(asked.purpose),
        asked.size,
    )


def search_decision(actor: Actor, policy_version: str, at: datetime | None = None) -> Decision:
    """What the record says of a search that was answered, about now or a past instant."""
    return Decision(True, "searched", policy_version, to_micros(at or actor.now))


def _word(text: str) -> str:
    """What was asked about, as far as it can be an id or a name of a type: the record keeps no free text."""
    return text if len(text) <= _LONGEST and text.isprintable() else "?"


def _purpose(said: object) -> str:
    """A purpose of use such as TREAT or urn:…: one word. Anything else is free text, and kept out."""
    if said is None or said == "":
        return ""
    return said if isinstance(said, str) and _PURPOSE.fullmatch(said) else "?"
