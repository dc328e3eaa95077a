# Who may view, share and transfer a patient.

actor Practitioner {}

resource Patient {
    roles = ["owner", "viewer", "sharee", "manager", "member", "keeper", "sender"];
    permissions = [
        "view", "share", "transfer", "end_share", "give_up", "list_access", "receive", "edit", "end", "undo_transfer"
    ];

    # The owner: R3.
    "view" if "owner";
    "share" if "owner";
    "transfer" if "owner";
    "end_share" if "owner";
    "list_access" if "owner";

    # A viewer: R4 and R5. *Shared with me* lists the patients on which somebody is a viewer.
    "view" if "viewer";
    "viewer" if "sharee";
    "give_up" if "sharee";

    # A manager here: R6.
    "list_access" if "manager";
    "end_share" if "manager";
    "transfer" if "manager";

    # A member here: R7.
    "receive" if "member";

    # The owner and a manager here: R10.
    "edit" if "keeper";
    "end" if "keeper";

    # Who transferred the patient: R12.
    "undo_transfer" if "sender";
}

allow(practitioner: Practitioner, action, patient: Patient) if has_permission(practitioner, action, patient);

# R3. The owner views, shares, transfers, ends shares, lists access.
has_role(practitioner: Practitioner, "owner", patient: Patient) if
    member_here(practitioner, patient) and
    holds(practitioner, "owner", patient);

# R5. A viewer views, and may give up their own share. Nothing else.
has_role(practitioner: Practitioner, "sharee", patient: Patient) if
    member_here(practitioner, patient) and
    holds(practitioner, "viewer", patient);

# R4. A colleague to whom the owner, still a member here, shares everything (a live standing share for this
# subscription) is a viewer of what the owner owns, not of what is shared with the owner.
has_role(practitioner: Practitioner, "viewer", patient: Patient) if
    shared_by_owner(practitioner, patient) and
    member_here(practitioner, patient);

# R6. A manager here lists access, ends shares and transfers; being a manager does not open a patient.
has_role(practitioner: Practitioner, "manager", patient: Patient) if
    works(practitioner, patient.subscription, ["manager"]) and
    live(patient);

# R7. A member here may receive a patient of this subscription.
# (That somebody owns it already is for the operation to refuse.)
has_role(practitioner: Practitioner, "member", patient: Patient) if
    member_here(practitioner, patient);

# R10. The owner and a manager here correct a patient's name (`edit`) and end the patient (`end`): the patient leaves
# the clinic, every grant ends, and from then on nobody may do anything to the patient.
has_role(practitioner: Practitioner, "keeper", patient: Patient) if
    member_here(practitioner, patient) and
    holds(practitioner, "owner", patient);
has_role(practitioner: Practitioner, "keeper", patient: Patient) if
    works(practitioner, patient.subscription, ["manager"]) and
    live(patient);

# R12. Who transferred a patient, and is still a member here, may undo the transfer (`undo_transfer`) for ten minutes, as
# long as the new owner has neither acted on the patient nor transferred the patient on.
has_role(practitioner: Practitioner, "sender", patient: Patient) if
    member_here(practitioner, patient) and
    grant in patient.grants and
    grant.given_by = practitioner.id and
    live(grant) and
    now < grant.undo_until;
