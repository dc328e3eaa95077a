"""The subscriptions that a practitioner works under, or has worked under."""

from authz.models import Membership
from authz.operations.change import Change


def clinics_worked_in(change: Change) -> list[str]:
    """Return where the practitioner who acts has ever had a membership, in order, as far as the app's key reaches."""
    own = Membership.select(Membership.subscription).where(Membership.practitioner == change.actor.practitioner)
    names = sorted(row["subscription"] for row in change.rows(own.distinct()))
    return [name for name in names if change.is_in_tenant(("subscription", name))]
