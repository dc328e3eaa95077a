"""Notifications, which tell practitioners of changes that others made. They hold ids only, no names."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from authz.database import Database
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import Notification

NOTICES = {
    "share:received": "a colleague shared a patient with you",
    "share:given": "you shared a patient with a colleague",
    "share:changed": "the end or the reason of a share that you gave or have was changed",
    "share:ended": "a share that you gave or had has ended",
    "transfer:received": "a patient was transferred to you",
    "transfer:given": "a patient of yours was transferred to a colleague",
    "transfer:undone": "the transfer of a patient to you was undone",
    "transfer:returned": "the transfer of a patient of yours to a colleague was undone",
    "standing_share:received": "a colleague shares everything with you",
    "standing_share:given": "you share everything with a colleague",
    "standing_share:ended": "a standing share that you gave or had has ended",
    "patient:ended": "a patient of yours left the clinic",
}
"""The kinds of notifications."""


class NewNotice(NamedTuple):
    """A notification to insert; `colleague` is the other side of the change, `patient` empty if it concerns none."""

    kind: str
    practitioner: str
    colleague: str
    subscription: str
    patient: str = ""


def insert_notices(database: Database, notices: Sequence[NewNotice], *, actor: str, at: datetime) -> None:
    """Insert notifications, unread, of a change that `actor` made."""
    fields = (*NewNotice._fields, "at", "actor", "read_at")
    insert_rows(database, Notification, fields, [(*notice, to_micros(at), actor, FOREVER_MICROS) for notice in notices])
