"""Entities of the types that a policy directory declares: as an app says that they are, version after version.

A change of properties ends the version that stands and starts another, so that the past stays the past. A policy reads
only what its type declares; anything else is refused.
"""

import uuid
from typing import Any

from authz.domain import FOREVER, Row
from authz.errors import InvalidInput, NotFound
from authz.models import Entity, EntityLink, Membership, Patient
from authz.operations.idempotency import IdempotencyKey
from authz.operations.transaction import EXCLUSIVE, Change, perform
from authz.policy.compiler import Type
from authz.policy.compiler.schema import ToOne
from authz.policy.entity_properties import parse_properties
from authz.policy.pdp import PDP
from authz.record import Actor, serialize_entity
from authz.texts import is_stored_id, parse_id, parse_stored_id, quote_value

Leads = dict[str, tuple[str, str]]
"""The type and the id that each relation leads to."""
_STORED = ("patient", "practitioner", "subscription")


def add_entity(
    pdp: PDP, *, actor: Actor, kind: str, properties: dict[str, Any], idempotency_key: IdempotencyKey | None = None
) -> Row:
    """Store a new entity under an id made here. Raises as `put_entity`."""
    return _put(pdp, actor, kind, str(uuid.uuid4()), properties, new=True, idempotency_key=idempotency_key)


def put_entity(pdp: PDP, *, actor: Actor, kind: str, entity: str, properties: dict[str, Any]) -> Row:
    """How an entity shall be from now on; what is so already changes nothing.

    The operator may choose the id of a new entity; a key of one subscription changes what that subscription has.
    Raises `NotFound` for a type that is not declared and, for such a key, any other entity, whether or not it is there;
    `InvalidInput` for a property that is not declared or of another kind, for a relation to what is not there, and if
    nothing leads to the key's subscription.
    """
    return _put(pdp, actor, kind, entity, properties, new=False)


def _put(
    pdp: PDP,
    actor: Actor,
    kind: str,
    one: str,
    properties: dict[str, Any],
    *,
    new: bool,
    idempotency_key: IdempotencyKey | None = None,
) -> Row:
    declared = _declared(pdp, kind)
    if actor.tenant is None:
        parse_stored_id(one)
    values, leads = parse_properties(declared, pdp.policy.types, properties)
    links = {name: target for name, (_, target) in leads.items()}

    def work(change: Change) -> Row:
        before, was = _open(change, kind, one)
        if before is None:
            if actor.tenant is not None and not new:
                raise NotFound
            parse_id(one)
        for name, ref in leads.items():
            if ref[0] in _STORED and not pdp.exists(ref, tenant=actor.tenant):
                raise InvalidInput(f"{name}: there is no {ref[0]} {quote_value(ref[1])}")
        owner = _owner(change, leads, before)
        if owner:
            change.enter(owner)
        if before is None or (before["properties"], was, before["subscription"]) != (values, links, owner):
            if before is not None:
                _end(change, _leads(pdp, declared, was), before, was)
            row: Row = {"type": kind, "id": one, "properties": values, "subscription": owner}
            row |= {"started_at": change.now, "ended_at": FOREVER}
            pk = Entity.insert(**row).execute(change.database)
            for name, (_, target) in leads.items():
                EntityLink.insert(entity=pk, property=name, type=kind, target=target).execute(change.database)
            body = {"type": kind, "id": one, "before": None, "after": serialize_entity(row, links)}
            change.happened("entity:started", owner, body, _patient(leads))
        if actor.tenant is not None and not pdp.exists((kind, one), now=change.now, tenant=actor.tenant):
            raise InvalidInput("properties: nothing in them leads to the subscription of this key")
        return {"type": kind, "id": one, "properties": {name: properties[name] for name in (*values, *links)}}

    return perform(pdp, actor, work, idempotency_key=idempotency_key)


def end_entity(pdp: PDP, *, actor: Actor, kind: str, entity: str) -> None:
    """An entity is no more, from now on. Raises `NotFound`."""
    declared = _declared(pdp, kind)

    def work(change: Change) -> None:
        row, links = _open(change, kind, entity)
        if row is None:
            raise NotFound
        _end(change, _leads(pdp, declared, links), row, links)

    perform(pdp, actor, work)


def _declared(pdp: PDP, kind: str) -> Type:
    found = pdp.policy.types.named(kind)
    if found is None or not found.declared:
        raise NotFound
    return found


def _open(change: Change, kind: str, one: str) -> tuple[Row | None, dict[str, str]]:
    """The version that stands, held, and its relations; None if there is none that the caller may change."""
    query = Entity.select().where(Entity.type == kind, Entity.id == one, Entity.ended_at == FOREVER)
    if change.actor.tenant is not None:  # in the statement, so that the time does not tell what another clinic has
        query = query.where(Entity.subscription == change.actor.tenant)
    row = change.row(query, lock=EXCLUSIVE) if is_stored_id(one) else None
    if row is None:
        return None, {}
    if row["subscription"]:
        change.enter(row["subscription"])
    change.now = max(change.now, row["started_at"])
    found = change.rows(EntityLink.select().where(EntityLink.entity == row["pk"]))
    return row, {link["property"]: link["target"] for link in found}


def _leads(pdp: PDP, declared: Type, links: dict[str, str]) -> Leads:
    """Stored relations with the types that they lead to; one that the type does not declare any more is left out."""
    related = {name: declared.properties.get(name) for name in links}
    names = {name: pdp.policy.types.types[one.target].name for name, one in related.items() if isinstance(one, ToOne)}
    return {name: (kind, links[name]) for name, kind in names.items()}


def _patient(leads: Leads) -> str:
    """The one patient that an entity leads to; empty if it leads to none, or to several."""
    patients = {one for kind, one in leads.values() if kind == "patient"}
    return patients.pop() if len(patients) == 1 else ""


def _owner(change: Change, leads: Leads, before: Row | None) -> str:
    """The clinic that an entity belongs to from now on: the one whose key writes it. What the operator writes belongs
    to the one clinic that it leads to, else to the one that it belonged to; what leads to several is the operator's.
    """
    if change.actor.tenant is not None:
        return change.actor.tenant
    clinics = _clinics_of_things(change, leads)
    for kind, one in leads.values():
        if kind not in _STORED:
            theirs = Entity.select(Entity.subscription).where(Entity.type == kind, Entity.id == one)
            row = change.row(theirs.where(Entity.ended_at == FOREVER))
            clinics |= {row["subscription"]} if row is not None and row["subscription"] else set()
    people = sorted({one for kind, one in leads.values() if kind == "practitioner"})
    if not clinics and before is not None:
        return str(before["subscription"])
    if not clinics and people:
        worked = Membership.select(Membership.subscription).where(Membership.practitioner.in_(people)).distinct()
        clinics = {row["subscription"] for row in change.rows(worked)}
    return clinics.pop() if len(clinics) == 1 else ""


def _clinics_of_things(change: Change, leads: Leads) -> set[str]:
    """The subscriptions of the patients and subscriptions that an entity leads to."""
    patients = sorted({one for kind, one in leads.values() if kind == "patient"})
    rows = change.rows(Patient.select(Patient.subscription).where(Patient.id.in_(patients))) if patients else []
    return {row["subscription"] for row in rows} | {one for kind, one in leads.values() if kind == "subscription"}


def _end(change: Change, leads: Leads, row: Row, links: dict[str, str]) -> None:
    after = {**row, "ended_at": change.now}
    Entity.update(ended_at=change.now).where(Entity.pk == row["pk"]).execute(change.database)
    told = {"before": serialize_entity(row, links), "after": serialize_entity(after, links)}
    body = {"type": row["type"], "id": row["id"], **told}
    change.happened("entity:ended", row["subscription"], body, _patient(leads))
