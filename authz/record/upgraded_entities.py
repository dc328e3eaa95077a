"""The clinics that the upgrade to 0.2 may have given a version of an entity, whose event tells none (decision 0064).

The upgrade read what the relations led to at that time. Patients and subscriptions keep their clinic, so that a version
which leads to those of one clinic is proven. Where somebody has worked only grows, and an id may name more things than
it did: such a version is of one of these clinics or of the operator, and no event says which.
"""

from collections.abc import Iterable
from typing import Any

from authz.database import Database
from authz.models import Entity, Membership, Patient, Practitioner, Subscription

OPERATOR = ""


def possible_clinics(database: Database, targets: Iterable[str]) -> frozenset[str]:
    """Return the clinics that a version with relations to these ids may belong to; a single clinic is proven."""
    ids = sorted(set(targets))

    def found(column: Any, key: Any) -> set[str]:
        return {value for (value,) in key.model.select(column).where(key.in_(ids)).tuples().execute(database)}

    clinics = found(Subscription.id, Subscription.id)
    things = clinics | found(Patient.subscription, Patient.id)
    worked = found(Membership.subscription, Membership.practitioner)
    people = found(Practitioner.id, Practitioner.id)
    unclear = found(Entity.id, Entity.id) or people & (clinics | found(Patient.id, Patient.id))
    if len(things) == 1 and not unclear:
        return frozenset(things)
    return frozenset(things | worked | {OPERATOR})
