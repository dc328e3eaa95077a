# Who is a colleague: live facts, members here, and the standing share.
# A comment that begins with a number of README.md numbers the rules directly below it: decisions name them by it.

# A fact is live when it has begun and not ended at the instant asked about.
live(fact) if fact.started_at <= now and now < fact.ended_at;

# A subscription is live while one of its licences is.
licensed(subscription) if licence in subscription.licences and live(licence);

# Somebody works in a subscription in one of these roles, and the subscription is live.
works(practitioner, subscription, roles) if
    membership in practitioner.memberships and
    membership.subscription = subscription and
    membership.role in roles and
    live(membership) and
    licensed(subscription);

# R1. Nobody does anything to a patient unless they are a member here.
member_here(practitioner, patient) if
    works(practitioner, patient.subscription, ["member", "manager"]) and
    live(patient);

# R2. A role on a patient is held only through a live grant, or R4.
holds(practitioner, role, patient) if
    grant in patient.grants and
    grant.practitioner = practitioner and
    grant.role = role and
    live(grant);

# The owner, still a member here, shares everything with this practitioner: what the owner owns, not what is shared
# with the owner.
shared_by_owner(practitioner, patient) if
    share in practitioner.standing_shares and
    share.subscription = patient.subscription and
    live(share) and
    holds(share.owner, "owner", patient) and
    member_here(share.owner, patient);
