"""Entities of the types that a policy folder declares, version after version, with the properties that an app gives.

A change of properties ends the current version and starts another, so that a question about the past reads the
properties of that time. A type declares the properties that its entities may have; any other property is refused.
"""

import uuid
from collections.abc import Mapping
from typing import NamedTuple

from authz.domain import FOREVER, Row
from authz.errors import InvalidInput, NotFound
from authz.models import Entity, EntityLink, Membership, Patient
from authz.operations.change import Change
from authz.operations.idempotency import IdempotencyKey
from authz.operations.locks import EXCLUSIVE
from authz.operations.transaction import run_operation
from authz.policy.compiler import Type
from authz.policy.compiler.schema import ToOne
from authz.policy.decision import Ref
from authz.policy.entity_properties import parse_properties
from authz.policy.pdp import PDP
from authz.record import Actor, serialize_entity
from authz.texts import is_stored_id, parse_id, parse_stored_id, quote_value

Relations = dict[str, Ref]
"""The target of each relation of an entity."""
_STORED = ("patient", "practitioner", "subscription")


class Version(NamedTuple):
    """A stored version of an entity: its row, and the id that each relation leads to."""

    row: Row
    links: dict[str, str]


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
    links = {name: target for name, (_, target) in relations.items()}
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
        stored = {name: properties[name] for name in (*values, *links)}
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
    """Return a type that the policy's folder declares. Raises `NotFound`."""
    declared = pdp.policy.types.named(kind)
    if declared is None or not declared.declared:
        raise NotFound
    return declared


def _require_targets(change: Change, relations: Relations) -> None:
    """Raise `InvalidInput` for a relation to a patient, practitioner or subscription that does not exist here."""
    for name, target in relations.items():
        if target[0] in _STORED and not change.pdp.exists(target, tenant=change.actor.tenant):
            raise InvalidInput(f"{name}: there is no {target[0]} {quote_value(target[1])}")


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
    links = change.rows(EntityLink.select().where(EntityLink.entity == row["pk"]))
    return Version(row, {link["property"]: link["target"] for link in links})


def _is_same(version: Version, values: dict[str, object], links: dict[str, str], owner: str) -> bool:
    """Return whether a version has these properties, relations and this subscription."""
    return (version.row["properties"], version.links, version.row["subscription"]) == (values, links, owner)


def _start(change: Change, version: Version, relations: Relations) -> None:
    """Insert a version that counts from now on."""
    row = {**version.row, "started_at": change.now, "ended_at": FOREVER}
    key = Entity.insert(**row).execute(change.database)
    for name, target in version.links.items():
        EntityLink.insert(entity=key, property=name, type=row["type"], target=target).execute(change.database)
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


def _relations(pdp: PDP, declared: Type, links: dict[str, str]) -> Relations:
    """Return stored relations with the types that they lead to.

    Relations that the type does not declare any more are left out.
    """
    properties = {name: declared.properties.get(name) for name in links}
    types = pdp.policy.types.types
    return {
        name: (types[declared_property.target].name, links[name])
        for name, declared_property in properties.items()
        if isinstance(declared_property, ToOne)
    }


def _only_patient(relations: Relations) -> str:
    """Return the one patient that an entity leads to; empty if it leads to none, or to several."""
    patients = {target for kind, target in relations.values() if kind == "patient"}
    return patients.pop() if len(patients) == 1 else ""


def _owner(change: Change, relations: Relations, before: Version | None) -> str:
    """Return the subscription that an entity belongs to from now on; empty: the operator's.

    What a clinic's key writes belongs to that clinic. What the operator writes belongs to the one clinic that it leads
    to, else to the one that it belonged to; what leads to several is the operator's.
    """
    if change.actor.tenant is not None:
        return change.actor.tenant
    clinics = _clinics_of_patients(change, relations)
    for kind, target in relations.values():
        if kind not in _STORED:
            query = Entity.select(Entity.subscription).where(Entity.type == kind, Entity.id == target)
            row = change.row(query.where(Entity.ended_at == FOREVER))
            clinics |= {row["subscription"]} if row is not None and row["subscription"] else set()
    practitioners = sorted({target for kind, target in relations.values() if kind == "practitioner"})
    if not clinics and before is not None:
        return str(before.row["subscription"])
    if not clinics and practitioners:
        worked = Membership.select(Membership.subscription).where(Membership.practitioner.in_(practitioners))
        clinics = {row["subscription"] for row in change.rows(worked.distinct())}
    return clinics.pop() if len(clinics) == 1 else ""


def _clinics_of_patients(change: Change, relations: Relations) -> set[str]:
    """Return the subscriptions to which an entity has a relation, itself or through a patient."""
    patients = sorted({target for kind, target in relations.values() if kind == "patient"})
    rows = change.rows(Patient.select(Patient.subscription).where(Patient.id.in_(patients))) if patients else []
    direct = {target for kind, target in relations.values() if kind == "subscription"}
    return direct | {row["subscription"] for row in rows}
