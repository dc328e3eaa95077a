# Who may do what in a subscription.

resource Subscription {
    roles = ["member", "manager", "auditor"];
    permissions = ["add_patient", "receive", "manage", "audit"];

    "add_patient" if "member";
    "receive" if "member";
    "manage" if "manager";
    "audit" if "manager";
    "audit" if "auditor";
}

allow(practitioner: Practitioner, action, subscription: Subscription) if
    has_permission(practitioner, action, subscription);

# R8. Members add patients to their subscription and receive there; managers manage memberships; managers and auditors
# audit.
has_role(practitioner: Practitioner, "member", subscription: Subscription) if
    works(practitioner, subscription, ["member", "manager"]);
has_role(practitioner: Practitioner, "manager", subscription: Subscription) if
    works(practitioner, subscription, ["manager"]);
has_role(practitioner: Practitioner, "auditor", subscription: Subscription) if
    works(practitioner, subscription, ["auditor"]);
