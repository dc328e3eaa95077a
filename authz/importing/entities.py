"""Lines about entities of the types that a policy folder declares."""

from collections.abc import Mapping

from authz.domain import FOREVER_MICROS, format_micros
from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.lives import Fields, Outcome, match_life, require_line_span
from authz.importing.rows import EntityVersion
from authz.policy.entity_properties import Relations, targets_of
from authz.record.links import links_of


def apply_entity(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Begin a version of an entity, end the current one, or change it from now on.

    The line is about the version that began at its `started_at` or, without one, about the current version. A line that
    gives no end says what the entity is now: the current version may have begun later, by an earlier change.
    """
    key = fields["type"], fields["id"]
    _require_targets(batch, fields["relations"])
    ended = fields["until"] != FOREVER_MICROS
    if fields["until"] > batch.now and ended:
        raise InvalidInput(
            f"until {format_micros(fields['until'])} lies in the future: an entity ends when it has come"
        )
    versions = batch.stored.entities[key]
    current = batch.stored.current_entity(key)
    match = match_life(versions, fields, started, batch.now)
    if isinstance(match, EntityVersion) and current is not None and not ended:
        match = current
    if not isinstance(match, EntityVersion):
        if match == "new":
            require_line_span(fields, started)
            owner = _owner(batch, fields["relations"], versions[-1] if versions else None)
            batch.begin_version(key, _version(fields, owner, started, fields["until"]))
        return "ended" if match == "ended" else "new"
    if match.ended <= batch.now and not ended:
        return "ended"
    same = (match.properties, match.links) == (fields["properties"], links_of(fields["relations"]))
    return _change(batch, key, match, fields, same=same, ended=ended)


def _change(
    batch: ImportBatch, key: tuple[str, str], version: EntityVersion, fields: Fields, *, same: bool, ended: bool
) -> Outcome:
    """End a version now if its line has an end, or start another in its place if the line has other properties."""
    noun = f"the {key[0]} {key[1]}"
    if not same and (version.id is None or version.started >= batch.now):
        raise InvalidInput(f"{noun} is in this file already, with other properties")
    if not same and ended:
        raise InvalidInput(f"{noun} has other properties from {format_micros(version.started)} on")
    if version.ended <= batch.now or (same and not ended):
        return "unchanged"
    if version.id is None:
        raise InvalidInput(f"{noun} is in this file already, without an end")
    version.move_end(batch.now, "")
    if not same:
        owner = _owner(batch, fields["relations"], version)
        batch.begin_version(key, _version(fields, owner, batch.now, FOREVER_MICROS))
    return "changed"


def _version(fields: Fields, owner: str, started: int, ended: int) -> EntityVersion:
    links = links_of(fields["relations"])
    return EntityVersion(started, ended, properties=fields["properties"], links=links, subscription=owner)


def _require_targets(batch: ImportBatch, relations: Relations) -> None:
    """Raise `InvalidInput` for a relation to a practitioner, patient or subscription that does not exist."""
    stored = batch.stored
    rows: dict[str, Mapping[str, object]] = {
        "practitioner": stored.practitioners,
        "patient": stored.patients,
        "subscription": stored.subscriptions,
    }
    for name, (kind, target) in targets_of(relations):
        if kind in rows and target not in rows[kind]:
            raise InvalidInput(f"{name}: there is no {kind} {target}")


def _owner(batch: ImportBatch, relations: Relations, before: EntityVersion | None) -> str:
    """Return the clinic that an entity belongs to, as `authz.operations.entity` decides for the operator."""
    stored = batch.stored
    clinics, practitioners = set(), set()
    for _, (kind, target) in targets_of(relations):
        if kind == "patient":
            clinics.add(stored.patients[target].subscription)
        elif kind == "subscription":
            clinics.add(target)
        elif kind == "practitioner":
            practitioners.add(target)
        else:
            entity = stored.current_entity((kind, target))
            clinics |= {entity.subscription} - {""} if entity is not None else set()
    if not clinics and before is not None:
        return before.subscription
    if not clinics:
        clinics = {subscription for practitioner, subscription in stored.belongs if practitioner in practitioners}
    return clinics.pop() if len(clinics) == 1 else ""
