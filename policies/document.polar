# Who may view and edit a document: added content, declared in types.toml.

resource Document {
    permissions = ["view", "edit"];
}

allow(practitioner: Practitioner, action, document: Document) if has_permission(practitioner, action, document);

# R9. A document follows its patient: who views the patient views it.
has_permission(practitioner: Practitioner, "view", document: Document) if
    has_permission(practitioner, "view", document.patient);

# R9. Its author edits it while they view it.
has_permission(practitioner: Practitioner, "edit", document: Document) if
    document.author = practitioner and
    has_permission(practitioner, "view", document);

# R9. Library content (no patient) is its author's while they are a member of a live subscription,
has_permission(practitioner: Practitioner, "view", document: Document) if
    document.patient = nil and
    document.author = practitioner and
    membership in practitioner.memberships and
    works(practitioner, membership.subscription, ["member", "manager"]);

# R9. and seen through a live standing share with content.
has_permission(practitioner: Practitioner, "view", document: Document) if
    document.patient = nil and
    share in practitioner.standing_shares and
    share.owner = document.author and
    share.content = true and
    live(share) and
    works(practitioner, share.subscription, ["member", "manager"]) and
    works(share.owner, share.subscription, ["member", "manager"]);
