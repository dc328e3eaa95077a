"""Apply a line of an import to its batch, by the rules of its kind."""

from collections.abc import Callable, Mapping

from authz.domain import format_micros
from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.entities import apply_entity
from authz.importing.lines import Line
from authz.importing.lives import Fields, Outcome, require_line_span
from authz.importing.patients import apply_grant, apply_patient
from authz.importing.people import apply_membership, apply_practitioner, apply_subscription
from authz.importing.standing_shares import apply_standing_share
from authz.texts import parse_id

_RULES: Mapping[str, Callable[[ImportBatch, Fields, int], Outcome]] = {
    "subscription": apply_subscription,
    "practitioner": apply_practitioner,
    "membership": apply_membership,
    "patient": apply_patient,
    "grant": apply_grant,
    "standing_share": apply_standing_share,
    "entity": apply_entity,
}
_IDENTITY: Mapping[str, tuple[str, ...]] = {
    "subscription": ("id",),
    "practitioner": ("id",),
    "membership": ("practitioner", "subscription", "started_at"),
    "patient": ("id",),
    "grant": ("patient", "practitioner", "role", "started_at"),
    "standing_share": ("owner", "colleague", "subscription", "started_at"),
    "entity": ("type", "id", "started_at"),
}
"""The fields by which a line names the fact that it is about."""


def apply_line(batch: ImportBatch, line: Line) -> Outcome:
    """Apply one line. Raises `InvalidInput` if the line contradicts what is there."""
    fields = line.fields
    if "id" in fields and not batch.stored.has(line):
        parse_id(fields["id"])  # of what is new; what was stored under the wider rule of before keeps its id
    started = fields.get("started_at", batch.now)
    if started > batch.now:
        raise InvalidInput(f"started_at {format_micros(started)} lies in the future")
    if "started_at" in fields:
        require_line_span(fields, started)
    outcome = _RULES[line.kind](batch, fields, started)
    _require_once(batch, line, outcome)
    return outcome


def _require_once(batch: ImportBatch, line: Line, outcome: Outcome) -> None:
    """Raise `InvalidInput` for a second change of one fact: such a file would change it to and fro every night."""
    key = (line.kind, *(line.fields.get(name) for name in _IDENTITY[line.kind]))
    if outcome == "changed":
        if key in batch.changed_facts or key in batch.new_facts:
            raise InvalidInput(f"contradicts a line before it about the same {line.kind}")
        batch.changed_facts.add(key)
    elif outcome == "new":
        batch.new_facts.add(key)
