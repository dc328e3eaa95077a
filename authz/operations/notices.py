"""Notifications, which tell practitioners of changes that others made. They hold ids only, no names."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from authz.database import Database
from authz.database.statements import insert_rows
from authz.domain import FOREVER, FOREVER_MICROS, Values, to_micros
from authz.models import Notification

NOTICES = {
    "share:received": "a colleague shared a patient with you",
    "share:given": "you shared a patient with a colleague",
    "share:changed": "the end or the reason of a share that you gave or have was changed",
    "share:ended": "a share that you gave or had has ended",
    "share:ending": "a share that you gave or have ends by its date in some days",
    "share:expired": "a share that you gave or had has ended by its date",
    "transfer:received": "a patient was transferred to you",
    "transfer:given": "a patient of yours was transferred to a colleague",
    "transfer:undone": "the transfer of a patient to you was undone",
    "transfer:returned": "the transfer of a patient of yours to a colleague was undone",
    "standing_share:received": "a colleague shares everything with you",
    "standing_share:given": "you share everything with a colleague",
    "standing_share:ended": "a standing share that you gave or had has ended",
    "standing_share:ending": "a standing share that you gave or have ends by its date in some days",
    "standing_share:expired": "a standing share that you gave or had has ended by its date",
    "emergency:opened": "a colleague opened a patient of yours, or of a clinic that you manage, in an emergency",
    "emergency:ended": "an emergency access to a patient of yours, or of your own, was ended before its time",
    "emergency:reviewed": "an emergency access to a patient of yours, or of your own, was reviewed",
    "patient:ended": "a patient of yours left the clinic",
}
"""The kinds of notifications."""


class NewNotice(NamedTuple):
    """A notification to insert; `colleague` is the other side of the change, `patient` empty if it concerns none.

    `grant` or `standing_share` is the number of what began, ends or has ended, `until` the end of a share.
    """

    kind: str
    practitioner: str
    colleague: str
    subscription: str
    patient: str = ""
    grant: int | None = None
    standing_share: int | None = None
    until: datetime = FOREVER


def insert_notices(database: Database, notices: Sequence[NewNotice], *, actor: str, at: datetime) -> None:
    """Insert notifications of a change that `actor` made; those to `actor` count as read.

    What one practitioner is told of several patients alike is one batch. Its last row has its size, so that whoever
    reads up to that row has read the batch.
    """
    batches: dict[Values, list[int]] = {}
    for number, notice in enumerate(notices):
        same = (
            notice.kind,
            notice.practitioner,
            notice.colleague,
            notice.subscription,
            notice.until,
            bool(notice.patient),
        )
        batches.setdefault(same, []).append(number)
    places: dict[int, tuple[str, int]] = {}
    for numbers in batches.values():
        batch = uuid.uuid4().hex if len(numbers) > 1 else ""
        places |= dict.fromkeys(numbers, (batch, 0)) | {numbers[-1]: (batch, len(numbers))}
    instant = to_micros(at)
    rows = [
        (
            *notice[:-1],
            to_micros(notice.until),
            instant,
            actor,
            instant if notice.practitioner == actor else FOREVER_MICROS,
            *places[number],
        )
        for number, notice in enumerate(notices)
    ]
    insert_rows(database, Notification, (*NewNotice._fields, "at", "actor", "read_at", "batch", "size"), rows)
