"""The clinics that the upgrade to 0.2 may have assigned to a version of an entity (decision 0064).

The event of such a version contains no clinic. The upgrade read what the relations of the version led to at that time.
Patients and subscriptions keep their clinic, so that the clinic of a version that leads only to these is proven if it
is a single one. The clinics of a practitioner only become more, and an id may name more rows than it did then: such a
version belongs to one of these clinics or to the operator, and no event says to which.
"""

from collections.abc import Iterable
from typing import Any

from authz.database import Database
from authz.models import Entity, Membership, Patient, Practitioner, Subscription

OPERATOR = ""


def possible_clinics(database: Database, targets: Iterable[str]) -> frozenset[str]:
    """Return the clinics that a version with relations to these ids may belong to; a single clinic is proven."""
    ids = sorted(set(targets))

    def values(column: object, key: Any) -> set[str]:
        return {value for (value,) in key.model.select(column).where(key.in_(ids)).tuples().execute(database)}

    subscriptions = values(Subscription.id, Subscription.id)
    clinics = subscriptions | values(Patient.subscription, Patient.id)
    workplaces = values(Membership.subscription, Membership.practitioner)
    practitioners = values(Practitioner.id, Practitioner.id)
    ambiguous = values(Entity.id, Entity.id) or practitioners & (subscriptions | values(Patient.id, Patient.id))
    if len(clinics) == 1 and not ambiguous:
        return frozenset(clinics)
    return frozenset(clinics | workplaces | {OPERATOR})
