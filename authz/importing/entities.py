"""Lines about entities of the types that a policy folder declares."""

from collections.abc import Iterable, Mapping

from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.lives import Fields, Outcome
from authz.importing.rows import EntityVersion


def apply_entity(batch: ImportBatch, fields: Fields, _started: int) -> Outcome:
    """Start a version of an entity from now on, if the line differs from the current one."""
    key = fields["type"], fields["id"]
    _require_targets(batch, fields)
    links = {name: target for name, (_, target) in fields["links"].items()}
    before = batch.stored.entities.get(key)
    if before is None and key in batch.stored.ended_entities:
        return "ended"
    if before is not None:
        if (before.properties, before.links) == (fields["properties"], links):
            return "unchanged"
        if before.started >= batch.now:
            raise InvalidInput(f"the {key[0]} {key[1]} is in this file already, with other properties")
    owner = _owner(batch, fields["links"].values(), before)
    batch.stored.entities[key] = EntityVersion(fields["properties"], links, batch.now, owner, before)
    batch.new_entities.append(key)
    return "new" if before is None else "changed"


def _require_targets(batch: ImportBatch, fields: Fields) -> None:
    """Raise `InvalidInput` for a relation to a practitioner, patient or subscription that does not exist."""
    stored = batch.stored
    rows: dict[str, Mapping[str, object]] = {
        "practitioner": stored.practitioners,
        "patient": stored.patients,
        "subscription": stored.subscriptions,
    }
    for name, (kind, target) in fields["links"].items():
        if kind in rows and target not in rows[kind]:
            raise InvalidInput(f"{name}: there is no {kind} {target}")


def _owner(batch: ImportBatch, relations: Iterable[tuple[str, str]], before: EntityVersion | None) -> str:
    """Return the clinic that an entity belongs to, as `authz.operations.entity` decides for the operator."""
    stored = batch.stored
    clinics, practitioners = set(), set()
    for kind, target in relations:
        if kind == "patient":
            clinics.add(stored.patients[target].subscription)
        elif kind == "subscription":
            clinics.add(target)
        elif kind == "practitioner":
            practitioners.add(target)
        elif (kind, target) in stored.entities:
            clinics |= {stored.entities[kind, target].subscription} - {""}
    if not clinics and before is not None:
        return before.subscription
    if not clinics:
        clinics = {subscription for practitioner, subscription in stored.belongs if practitioner in practitioners}
    return clinics.pop() if len(clinics) == 1 else ""
