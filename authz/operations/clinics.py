"""The subscriptions that a practitioner works under, or has worked under."""

from authz.models import Membership
from authz.operations.change import Change


def clinics_worked_in(change: Change) -> list[str]:
    """Return the subscriptions, sorted, in which the actor has ever had a membership and which the app may know."""
    own = Membership.select(Membership.subscription).where(Membership.practitioner == change.actor.practitioner)
    names = sorted(row["subscription"] for row in change.rows(own.distinct()))
    return [name for name in names if change.is_in_tenant(("subscription", name))]
