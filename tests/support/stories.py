"""A small policy with its stories, for the tests of the policy tests."""

from pathlib import Path

POLICY = """\
allow(p: Practitioner, action, x: Patient) if has_permission(p, action, x);

actor Practitioner {}

resource Patient {
    roles = ["owner", "viewer"];
    permissions = ["view", "share"];

    "view" if "viewer";
    "share" if "owner";
}

live(fact) if fact.started_at <= now and now < fact.ended_at;

# R1. The owner shares, and views.
has_role(p: Practitioner, "owner", x: Patient) if
    g in x.grants and
    g.practitioner = p and
    g.role = "owner" and
    live(g);
has_role(p: Practitioner, "viewer", x: Patient) if has_role(p, "owner", x);

# R2. Who treats the patient, or has an emergency, views.
has_role(p: Practitioner, "viewer", x: Patient) if
    g in x.grants and
    g.practitioner = p and
    (g.role = "viewer" or p.request.context.emergency = true);
"""

STORY = """\
now: 2026-06-01T12:00:00Z
facts:
  - subscription: {id: north, name: North, started_at: 2025-01-01T00:00:00Z}
  - practitioner: {id: alice, login: alice@clinic.example, name: Alice}
  - practitioner: {id: bob, login: bob@clinic.example, name: Bob}
  - membership: {practitioner: alice, subscription: north, role: member, started_at: 2025-01-01T00:00:00Z}
  - membership: {practitioner: bob, subscription: north, role: member, started_at: 2025-01-01T00:00:00Z}
  - patient: {id: p-1, subscription: north, name: Pat, owner: alice, started_at: 2025-01-01T00:00:00Z}
  - grant: {patient: p-1, practitioner: bob, role: viewer, started_at: 2026-01-01T00:00:00Z}
questions:
  - subject: practitioner:alice
    resource: patient:p-1
    permit: {view: R1, share: R1}
  - subject: practitioner:bob
    resource: patient:p-1
    permit: {view: R2}
    deny: {share: R1}
"""


def write_folder(folder: Path, story: str = STORY, policy: str = POLICY) -> str:
    """Write the policy and a story into a folder; return its path."""
    (folder / "clinic.polar").write_text(policy)
    (folder / "clinic_test.yaml").write_text(story)
    return str(folder)
