"""The questions of the audit (Q1–Q29), one function each, by subject.

`docs/reference/questions.md` lists all of them. Each is called with an `authz.audit.session.Audit`, takes `as_of`, `tz`
and its own parameters by name, and returns an `authz.audit.catalog.question.Answer`.
"""

from authz.audit.catalog.question import AuditQuestion
from authz.audit.questions.access import access_over_time, what_could_reach, who_could, who_did
from authz.audit.questions.changes import what_changed
from authz.audit.questions.denials import denied_attempts
from authz.audit.questions.disclosures import accounting, disclosures, subject_access
from authz.audit.questions.emergencies import emergency_accesses
from authz.audit.questions.members import allowed_after_leaving
from authz.audit.questions.names import who_is
from authz.audit.questions.notices import notices_missing
from authz.audit.questions.ownership import former_owner_access, orphans, ownership, transfer_chains
from authz.audit.questions.patterns import sharing_patterns
from authz.audit.questions.policies import policies_in_force, policy_changes, replayed_decisions
from authz.audit.questions.practitioners import denied_patients, names_shown, what_did
from authz.audit.questions.record import audit_reads, reconciliation, record_whole
from authz.audit.questions.reviews import access_review, review_sheet, separation_of_duties
from authz.audit.questions.shares import given_by_others, given_to_others, stale_shares, standing_shares
from authz.audit.questions.volume import volume

QUESTIONS: tuple[AuditQuestion, ...] = (
    who_could,
    access_over_time,
    who_did,
    what_could_reach,
    ownership,
    transfer_chains,
    disclosures,
    accounting,
    subject_access,
    stale_shares,
    allowed_after_leaving,
    former_owner_access,
    given_by_others,
    given_to_others,
    orphans,
    volume,
    emergency_accesses,
    separation_of_duties,
    access_review,
    review_sheet,
    denied_attempts,
    sharing_patterns,
    notices_missing,
    policies_in_force,
    replayed_decisions,
    policy_changes,
    record_whole,
    reconciliation,
    standing_shares,
    audit_reads,
    who_is,
    what_did,
    denied_patients,
    what_changed,
    names_shown,
)
"""Every question that the data can answer, by its number."""

__all__ = [
    "QUESTIONS",
    "access_over_time",
    "access_review",
    "accounting",
    "allowed_after_leaving",
    "audit_reads",
    "denied_attempts",
    "denied_patients",
    "disclosures",
    "emergency_accesses",
    "former_owner_access",
    "given_by_others",
    "given_to_others",
    "names_shown",
    "notices_missing",
    "orphans",
    "ownership",
    "policies_in_force",
    "policy_changes",
    "reconciliation",
    "record_whole",
    "replayed_decisions",
    "review_sheet",
    "separation_of_duties",
    "sharing_patterns",
    "stale_shares",
    "standing_shares",
    "subject_access",
    "transfer_chains",
    "volume",
    "what_changed",
    "what_could_reach",
    "what_did",
    "who_could",
    "who_did",
    "who_is",
]
