"""Entities of the types that a policy folder declares, version after version, with the properties that an app gives.

A change of properties ends the current version and starts another, so that a question about the past reads the
properties of that time. A type declares the properties that its entities may have; any other property is refused.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from peewee import Field

from authz.database.statements import in_condition, insert_rows
from authz.domain import FOREVER, Row
from authz.errors import InvalidInput, NotFound
from authz.models import Entity, EntityLink, EntityTarget, Membership, Patient, Practitioner, Subscription
from authz.operations.change import Change
from authz.operations.idempotency import IdempotencyKey
from authz.operations.locks import EXCLUSIVE
from authz.operations.transaction import run_operation
from authz.policy.compiler import Type
from authz.policy.compiler.schema import ToOne
from authz.policy.decision import Ref
from authz.policy.entity_properties import Relations, parse_properties, targets_of
from authz.policy.pdp import PDP
from authz.record import Actor, serialize_entity
from authz.record.links import Links, link_rows, links_of, read_links, target_rows
from authz.texts import is_stored_id, parse_id, parse_stored_id, quote_value

_STORED = ("patient", "practitioner", "subscription")
_KNOWN_IN: Mapping[str, tuple[Field, Field]] = {
    "patient": (Patient.id, Patient.subscription),
    "practitioner": (Membership.practitioner, Membership.subscription),
    "subscription": (Subscription.id, Subscription.id),
}
"""The column that names a row of a built-in type, and the column of a clinic where the row is known."""


class Version(NamedTuple):
    """A stored version of an entity: its row, and its relations."""

    row: Row
    links: Links


def add_entity(
    pdp: PDP,
    *,
    actor: Actor,
    kind: str,
    properties: Mapping[str, object],
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    """Store a new entity under an id made here. Raises as `put_entity`."""
    return _put(pdp, actor, kind, str(uuid.uuid4()), properties, new=True, idempotency_key=idempotency_key)


def put_entity(pdp: PDP, *, actor: Actor, kind: str, entity: str, properties: Mapping[str, object]) -> Row:
    """Set the properties of an entity from now on; if they have these values already, change nothing.

    The operator may choose the id of a new entity; a key of one subscription changes what that subscription has.
    Raises `NotFound` for a type that is not declared and, for such a key, for every other entity, whether it exists or
    not; `InvalidInput` for a property that is not declared or of another kind, for a relation to a thing that does not
    exist, and if no relation leads to the key's subscription.
    """
    return _put(pdp, actor, kind, entity, properties, new=False)


def _put(
    pdp: PDP,
    actor: Actor,
    kind: str,
    entity: str,
    properties: Mapping[str, object],
    *,
    new: bool,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    declared = _require_declared(pdp, kind)
    if actor.tenant is None:
        parse_stored_id(entity)
    values, relations = parse_properties(declared, pdp.policy.types, properties)
    links = links_of(relations)
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        before = _lock_version(change, kind, entity)
        if before is None:
            if actor.tenant is not None and not new:
                raise NotFound
            parse_id(entity)
        _require_targets(change, relations)
        owner = _owner(change, relations, before)
        if owner:
            change.lock_subscription(owner)
        if before is None or not _is_same(before, values, links, owner):
            if before is not None:
                _end(change, declared, before)
            row = {"type": kind, "id": entity, "properties": values, "subscription": owner}
            _start(change, Version(row, links), relations)
        if actor.tenant is not None and not pdp.exists((kind, entity), now=change.now, tenant=actor.tenant):
            raise InvalidInput("properties: nothing in them leads to the subscription of this key")
        stored = {name: properties[name] for name in properties if name in values or name in links}
        return change.complete({"type": kind, "id": entity, "properties": stored})


def end_entity(pdp: PDP, *, actor: Actor, kind: str, entity: str) -> None:
    """End an entity now. Raises `NotFound`."""
    declared = _require_declared(pdp, kind)
    with run_operation(pdp, actor) as change:
        version = _lock_version(change, kind, entity)
        if version is None:
            raise NotFound
        _end(change, declared, version)


def _require_declared(pdp: PDP, kind: str) -> Type:
    """Return a type that the policy's folder declares. Raises `NotFound`, and `InvalidInput` if it is not stored."""
    declared = pdp.policy.types.named(kind)
    if declared is None or not declared.declared:
        raise NotFound
    if not declared.stored:
        raise InvalidInput(f"the type {kind} is not stored: its properties come with each question")
    return declared


def _require_targets(change: Change, relations: Relations) -> None:
    """Raise `InvalidInput` for a relation to a patient, practitioner or subscription that does not exist here."""
    known = {kind: _known(change, kind, _ids_of(relations, kind)) for kind in _STORED}
    for name, (kind, target) in targets_of(relations):
        if kind in known and target not in known[kind]:
            raise InvalidInput(f"{name}: there is no {kind} {quote_value(target)}")


def _ids_of(relations: Relations, kind: str) -> list[str]:
    """Return the ids of the rows of a type that relations lead to, ordered."""
    return sorted({target for _, (target_kind, target) in targets_of(relations) if target_kind == kind})


def _known(change: Change, kind: str, ids: list[str]) -> set[str]:
    """Return those of these patients, practitioners or subscriptions that exist for the caller."""
    tenant = change.actor.tenant
    if not ids:
        return set()
    key, clinic = _KNOWN_IN[kind]
    if kind == "practitioner" and tenant is None:
        key = Practitioner.id
    query = key.model.select(key.alias("known")).where(in_condition(change.database, key, ids))
    rows = change.rows((query if tenant is None else query.where(clinic == tenant)).distinct())
    return {row["known"] for row in rows}


def _lock_version(change: Change, kind: str, entity: str) -> Version | None:
    """Lock the current version and return it; None if there is none that the caller may change.

    The change is then not before the start of this version.
    """
    query = Entity.select().where(Entity.type == kind, Entity.id == entity, Entity.ended_at == FOREVER)
    if change.actor.tenant is not None:  # in the statement, so that the time does not tell what another clinic has
        query = query.where(Entity.subscription == change.actor.tenant)
    row = change.row(query, lock=EXCLUSIVE) if is_stored_id(entity) else None
    if row is None:
        return None
    if row["subscription"]:
        change.lock_subscription(row["subscription"])
    change.now = max(change.now, row["started_at"])
    return Version(row, read_links(change.database, [row["pk"]])[0].get(row["pk"], {}))


def _is_same(version: Version, values: dict[str, object], links: Links, owner: str) -> bool:
    """Return whether a version has these properties, relations and this subscription."""
    return (version.row["properties"], version.links, version.row["subscription"]) == (values, links, owner)


def _start(change: Change, version: Version, relations: Relations) -> None:
    """Insert a version that counts from now on."""
    row = {**version.row, "started_at": change.now, "ended_at": FOREVER}
    key = Entity.insert(**row).execute(change.database)
    links = [(key, name, row["type"], target) for name, target in link_rows(version.links)]
    insert_rows(change.database, EntityLink, ("entity", "property", "type", "target"), links)
    targets = [(key, name, row["type"], kind, target) for name, kind, target in target_rows(version.links)]
    insert_rows(change.database, EntityTarget, ("entity", "property", "type", "target_type", "target"), targets)
    body = {"type": row["type"], "id": row["id"], "before": None, "after": serialize_entity(row, version.links)}
    change.record_event("entity:started", row["subscription"], body, _only_patient(relations))


def _end(change: Change, declared: Type, version: Version) -> None:
    """End a version now."""
    row, links = version
    after = {**row, "ended_at": change.now}
    Entity.update(ended_at=change.now).where(Entity.pk == row["pk"]).execute(change.database)
    body = {
        "type": row["type"],
        "id": row["id"],
        "before": serialize_entity(row, links),
        "after": serialize_entity(after, links),
    }
    patient = _only_patient(_relations(change.pdp, declared, links))
    change.record_event("entity:ended", row["subscription"], body, patient)


def _relations(pdp: PDP, declared: Type, links: Links) -> Relations:
    """Return stored relations with the types that they lead to.

    Relations that the type does not declare any more are left out.
    """
    types = pdp.policy.types.types
    relations: dict[str, Ref | tuple[Ref, ...]] = {}
    for name, link in links.items():
        prop = declared.properties.get(name)
        if not isinstance(link, str):
            relations[name] = link
        elif isinstance(prop, ToOne):
            relations[name] = (types[prop.target].name, link)
    return relations


def _only_patient(relations: Relations) -> str:
    """Return the one patient that an entity leads to; empty if it leads to none, or to several."""
    patients = _ids_of(relations, "patient")
    return patients[0] if len(patients) == 1 else ""


def _owner(change: Change, relations: Relations, before: Version | None) -> str:
    """Return the subscription that an entity belongs to from now on; empty: the operator's.

    What a clinic's key writes belongs to that clinic. What the operator writes belongs to the one clinic that it leads
    to, else to the one that it belonged to; what leads to several is the operator's.
    """
    if change.actor.tenant is not None:
        return change.actor.tenant
    clinics = _clinics_of_patients(change, relations)
    for kind in sorted({kind for _, (kind, _) in targets_of(relations)} - set(_STORED)):
        clinics |= _clinics_of_entities(change, kind, _ids_of(relations, kind))
    practitioners = _ids_of(relations, "practitioner")
    if not clinics and before is not None:
        return str(before.row["subscription"])
    if not clinics and practitioners:
        worked = Membership.select(Membership.subscription)
        worked = worked.where(in_condition(change.database, Membership.practitioner, practitioners))
        clinics = {row["subscription"] for row in change.rows(worked.distinct())}
    return clinics.pop() if len(clinics) == 1 else ""


def _clinics_of_patients(change: Change, relations: Relations) -> set[str]:
    """Return the subscriptions to which an entity has a relation, itself or through a patient."""
    patients = _ids_of(relations, "patient")
    query = Patient.select(Patient.subscription).where(in_condition(change.database, Patient.id, patients))
    rows = change.rows(query.distinct()) if patients else []
    return {*_ids_of(relations, "subscription"), *(row["subscription"] for row in rows)}


def _clinics_of_entities(change: Change, kind: str, entities: Iterable[str]) -> set[str]:
    """Return the subscriptions to which these entities of a type belong now."""
    query = Entity.select(Entity.subscription).where(Entity.type == kind, Entity.subscription != "")
    query = query.where(Entity.ended_at == FOREVER)
    rows = change.rows(query.where(in_condition(change.database, Entity.id, list(entities))).distinct())
    return {row["subscription"] for row in rows}
