# Who may do what in a subscription.

resource Subscription {
    roles = ["member", "manager", "auditor"];
    permissions = ["add_patient", "receive", "manage", "audit"];

    # R8. Members add patients to their subscription and receive there; managers manage memberships; managers and
    #     auditors audit.
    "add_patient" if "member";
    "receive" if "member";
    "manage" if "manager";
    "audit" if "manager";
    "audit" if "auditor";
}

allow(practitioner: Practitioner, action, subscription: Subscription) if
    has_permission(practitioner, action, subscription);

has_role(practitioner: Practitioner, "member", subscription: Subscription) if
    "R8" in practitioner.rules and works(practitioner, subscription, ["member", "manager"]);

has_role(practitioner: Practitioner, "manager", subscription: Subscription) if
    "R8" in practitioner.rules and works(practitioner, subscription, ["manager"]);

has_role(practitioner: Practitioner, "auditor", subscription: Subscription) if
    "R8" in practitioner.rules and works(practitioner, subscription, ["auditor"]);
