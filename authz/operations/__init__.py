"""The operations: one file for each heading of the help page, one function for each thing that can be done.

Each operation has one shape: open the transaction, lock, ask the PDP, change the facts, record, return. It takes who
acts and when (`Actor`) as an argument, and raises the errors of `authz.errors`; then nothing has changed.
"""

from authz.operations.emergency import (
    EMERGENCY_TIME,
    EmergencyAccess,
    break_glass,
    review_emergency,
)
from authz.operations.entity import add_entity, end_entity, put_entity
from authz.operations.idempotency import IdempotencyKey, ReplayedResponse, StoredResponse
from authz.operations.membership import (
    end_membership,
    put_membership,
    put_practitioner,
    put_subscription,
)
from authz.operations.patient import AddPatientResult, add_patient, edit_patient, end_patient
from authz.operations.review import ReviewResult, ReviewVerdict, SheetSource, review
from authz.operations.share import ShareResult, change_share, end_share, share
from authz.operations.standing_share import end_standing_share, share_all
from authz.operations.transfer import UNDO_TIME, TransferResult, transfer
from authz.operations.undo_transfer import UndoneTransfer, undo_transfer

__all__ = [
    "EMERGENCY_TIME",
    "UNDO_TIME",
    "AddPatientResult",
    "EmergencyAccess",
    "IdempotencyKey",
    "ReplayedResponse",
    "ReviewResult",
    "ReviewVerdict",
    "ShareResult",
    "SheetSource",
    "StoredResponse",
    "TransferResult",
    "UndoneTransfer",
    "add_entity",
    "add_patient",
    "break_glass",
    "change_share",
    "edit_patient",
    "end_entity",
    "end_membership",
    "end_patient",
    "end_share",
    "end_standing_share",
    "put_entity",
    "put_membership",
    "put_practitioner",
    "put_subscription",
    "review",
    "review_emergency",
    "share",
    "share_all",
    "transfer",
    "undo_transfer",
]
