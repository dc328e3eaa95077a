"""Entities of the types that a policy directory declares: as an app says that they are, version after version.

A change of properties ends the version that stands and starts another, so that the past stays the past. A policy reads
only what its type declares; anything else is refused.
"""

from typing import Any

from authz.compiler import Type
from authz.compiler.vocabulary import ToOne
from authz.errors import InvalidInput, NotFound
from authz.models import Entity, EntityLink, Patient
from authz.operations.change import ALONE, Change, Row, perform
from authz.pdp import PDP
from authz.properties import typed
from authz.record import Act, told_entity
from authz.statements import is_among
from authz.terms import FOREVER, parse_id, shown

_STORED = ("patient", "practitioner", "subscription")


def put_entity(pdp: PDP, *, act: Act, kind: str, entity: str, properties: dict[str, Any]) -> Row:
    """How an entity shall be from now on; what is so already changes nothing.

    Raises `NotFound` for a type that is not declared and, for a key of one subscription, an entity that belongs
    elsewhere; `InvalidInput` for a property that is not declared or of another kind, for a relation to what is not
    there, and where nothing leads to the key's subscription.
    """
    declared, one = _declared(pdp, kind), parse_id(entity)
    values, leads = typed(declared, pdp.policy.types, properties)
    links = {name: target for name, (_, target) in leads.items()}

    def work(change: Change) -> Row:
        for name, ref in leads.items():
            if ref[0] in _STORED and not pdp.exists(ref, within=act.bound):
                raise InvalidInput(f"{name}: there is no {ref[0]} {shown(ref[1])}")
        where, patient = _place(change, leads)
        before, was = _open(change, kind, one)
        if before is None or (before["properties"], was) != (values, links):
            if before is not None:
                _end(change, where, patient, before, was)
            row = {"type": kind, "id": one, "properties": values, "started_at": change.now, "ended_at": FOREVER}
            pk = Entity.insert(**row).execute(change.database)
            for name, (_, target) in leads.items():
                EntityLink.insert(entity=pk, property=name, type=kind, target=target).execute(change.database)
            body = {"type": kind, "id": one, "before": None, "after": told_entity(row, links)}
            change.happened("entity:started", where, body, patient)
        if act.bound is not None and not pdp.exists((kind, one), change.now, act.bound):
            raise InvalidInput("properties: nothing in them leads to the subscription of this key")
        return {"type": kind, "id": one, "properties": {name: properties[name] for name in (*values, *links)}}

    return perform(pdp, act, work)


def end_entity(pdp: PDP, *, act: Act, kind: str, entity: str) -> None:
    """An entity is no more, from now on. Raises `NotFound`."""
    declared = _declared(pdp, kind)

    def work(change: Change) -> None:
        row, links = _open(change, kind, entity)
        if row is None:
            raise NotFound
        leads = {}
        for name, target in links.items():
            related = declared.properties.get(name)
            if isinstance(related, ToOne):
                leads[name] = (pdp.policy.types.types[related.target].name, target)
        _end(change, *_place(change, leads), row, links)

    perform(pdp, act, work)


def _declared(pdp: PDP, kind: str) -> Type:
    found = pdp.policy.types.named(kind)
    if found is None or not found.declared:
        raise NotFound
    return found


def _open(change: Change, kind: str, one: str) -> tuple[Row | None, dict[str, str]]:
    """The version that stands, held, and its relations. Raises `NotFound` for one that is not the key's to change."""
    row = change.row(
        Entity.select().where(Entity.type == kind, Entity.id == one, Entity.ended_at == FOREVER), lock=ALONE
    )
    change.now = change.now if row is None else max(change.now, row["started_at"])
    known = change.act.bound is None or change.pdp.exists((kind, one), change.now, change.act.bound)
    if row is None:
        return None, {}
    if not known:
        raise NotFound
    found = change.rows(EntityLink.select().where(EntityLink.entity == row["pk"]))
    return row, {link["property"]: link["target"] for link in found}


def _place(change: Change, leads: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """The one subscription and the one patient that an entity leads to; empty where it leads to none, or to several."""
    patients = {one for kind, one in leads.values() if kind == "patient"}
    rows = (
        change.rows(Patient.select(Patient.subscription).where(is_among(change.database, Patient.id, sorted(patients))))
        if patients
        else []
    )
    clinics = {row["subscription"] for row in rows} | {one for kind, one in leads.values() if kind == "subscription"}
    where = clinics.pop() if len(clinics) == 1 else ""
    if where:
        change.enter(where)
    return where, patients.pop() if len(patients) == 1 else ""


def _end(change: Change, where: str, patient: str, row: Row, links: dict[str, str]) -> None:
    after = {**row, "ended_at": change.now}
    Entity.update(ended_at=change.now).where(Entity.pk == row["pk"]).execute(change.database)
    told = {"before": told_entity(row, links), "after": told_entity(after, links)}
    change.happened("entity:ended", where, {"type": row["type"], "id": row["id"], **told}, patient)
