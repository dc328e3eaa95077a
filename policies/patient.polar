# Who may view, share and transfer a patient.

actor Practitioner {}

resource Patient {
    roles = ["owner", "viewer", "sharee", "manager", "member", "keeper"];
    permissions = ["view", "share", "transfer", "end_share", "give_up", "list_access", "receive", "edit", "end"];

    # R3. The owner views, shares, transfers, ends shares, lists access.
    "view" if "owner";
    "share" if "owner";
    "transfer" if "owner";
    "end_share" if "owner";
    "list_access" if "owner";

    # R5. A viewer views, and may give up their own share. Nothing else.
    "view" if "viewer";
    "viewer" if "sharee";
    "give_up" if "sharee";

    # R6. A manager here lists access, ends shares and transfers; being a manager does not open a patient.
    "list_access" if "manager";
    "end_share" if "manager";
    "transfer" if "manager";

    # R7. A member here may receive a patient of this subscription.
    "receive" if "member";

    # R10. The owner and a manager here correct a patient's name, and end the patient, who then leaves the clinic.
    "edit" if "keeper";
    "end" if "keeper";
}

allow(practitioner: Practitioner, action, patient: Patient) if has_permission(practitioner, action, patient);

has_role(practitioner: Practitioner, "owner", patient: Patient) if
    "R3" in practitioner.rules and
    member_here(practitioner, patient) and
    holds(practitioner, "owner", patient);

has_role(practitioner: Practitioner, "sharee", patient: Patient) if
    "R5" in practitioner.rules and
    member_here(practitioner, patient) and
    holds(practitioner, "viewer", patient);

has_role(practitioner: Practitioner, "viewer", patient: Patient) if
    shared_by_owner(practitioner, patient) and
    member_here(practitioner, patient);

has_role(practitioner: Practitioner, "manager", patient: Patient) if
    "R6" in practitioner.rules and
    works(practitioner, patient.subscription, ["manager"]) and
    live(patient);

has_role(practitioner: Practitioner, "member", patient: Patient) if
    "R7" in practitioner.rules and
    member_here(practitioner, patient);

has_role(practitioner: Practitioner, "keeper", patient: Patient) if
    "R10" in practitioner.rules and
    member_here(practitioner, patient) and
    holds(practitioner, "owner", patient);

has_role(practitioner: Practitioner, "keeper", patient: Patient) if
    "R10" in practitioner.rules and
    works(practitioner, patient.subscription, ["manager"]) and
    live(patient);
