"""The notifications of a practitioner, of the clinics in which they may receive now.

A notification of several patients is a batch of rows: the last row stands for all in the lists of the pages, and the
batch is read as a whole.
"""

from typing import Any

from peewee import SQL, Select, fn

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import FOREVER, FOREVER_MICROS, Row, to_micros
from authz.errors import NotFound
from authz.models import Grant, Notification, StandingShare
from authz.policy.pdp import PDP
from authz.queries.practitioner import receiving_clinics
from authz.record import Actor

_MOST_UNREAD = 1000
_LISTED = SQL("size > 0")


def notifications(
    pdp: PDP, actor: Actor, *, unread: bool = False, batches: bool = False, limit: int, before: int | None
) -> tuple[list[Row], bool]:
    """Return a page of the practitioner's notifications, the newest first, and whether there are more.

    A batch is one row with `batches`, else one row for each of its patients.
    """
    with database_connection(pdp.database):
        query = Notification.select().where(*_own_notifications(pdp, actor)).order_by(Notification.id.desc())
        if unread:
            query = query.where(Notification.read_at == FOREVER)
        if batches:
            query = query.where(_LISTED)
        if before is not None:
            query = query.where(Notification.id < before)
        rows = list(query.limit(limit + 1).dicts().execute(pdp.database))
    return rows[:limit], len(rows) > limit


def batch(pdp: PDP, actor: Actor, notification: int, *, limit: int, after: int) -> tuple[Row, list[Row], bool]:
    """Return one of the practitioner's notifications, a page of the rows of its batch, and whether there are more.

    The page follows the row `after`. Raises `NotFound`.
    """
    with database_connection(pdp.database):
        row = _own_row(pdp, actor, notification)
        same = Notification.batch == row["batch"] if row["batch"] else Notification.id == notification
        query = Notification.select().where(same, *_own_notifications(pdp, actor), Notification.id > after)
        rows = list(query.order_by(Notification.id).limit(limit + 1).dicts().execute(pdp.database))
    return row, rows[:limit], len(rows) > limit


def shares(pdp: PDP, rows: list[Row]) -> tuple[dict[int, Row], dict[int, Row]]:
    """Return the grants and the standing shares that these notifications are about, by number."""
    with database_connection(pdp.database):
        return _by_number(pdp, Grant, rows, "grant"), _by_number(pdp, StandingShare, rows, "standing_share")


def _by_number(pdp: PDP, model: Any, rows: list[Row], name: str) -> dict[int, Row]:
    """Return the rows of a model that the field `name` of these notifications names, by number."""
    numbers = sorted({row[name] for row in rows if row[name] is not None})
    query = model.select().where(in_condition(pdp.database, model.id, numbers))
    return {row["id"]: row for row in query.dicts().execute(pdp.database)}


def unread(pdp: PDP, actor: Actor) -> int:
    """Return how many of the practitioner's last notifications are unread; at most the last 1000 are counted."""
    return _last_unread(pdp, actor)[0]


def newest_unread(pdp: PDP, actor: Actor) -> int:
    """Return the number of the newest of the notifications that `unread` counts, 0 if there is none."""
    return _last_unread(pdp, actor)[1]


def _last_unread(pdp: PDP, actor: Actor) -> tuple[int, int]:
    """Return how many of the last notifications are unread, and the number of the newest of them, 0 without one."""
    with database_connection(pdp.database):
        last = Notification.select(Notification.id, Notification.read_at)
        last = last.where(*_own_notifications(pdp, actor), _LISTED).order_by(Notification.id.desc())
        last = last.limit(_MOST_UNREAD).alias("last")
        counts = (fn.COUNT(last.c.id), fn.COALESCE(fn.MAX(last.c.id), 0))
        query = Select((last,), counts).where(last.c.read_at == FOREVER_MICROS)
        ((count, newest),) = query.tuples().execute(pdp.database)
        return count, newest


def mark_all_read(pdp: PDP, actor: Actor, newest: int) -> None:
    """Mark the practitioner's notifications as read, up to the number `newest` that they saw."""
    with database_connection(pdp.database), pdp.database.atomic():
        unread = (*_own_notifications(pdp, actor), Notification.read_at == FOREVER, Notification.id <= newest)
        Notification.update(read_at=to_micros(actor.now)).where(*unread).execute(pdp.database)


def mark_read(pdp: PDP, actor: Actor, notification: int) -> Row:
    """Mark a notification of the practitioner as read, with its batch; again changes nothing. Raises `NotFound`."""
    with database_connection(pdp.database), pdp.database.atomic():
        row = _own_row(pdp, actor, notification)
        same = Notification.batch == row["batch"] if row["batch"] else Notification.id == notification
        unread = (same, Notification.practitioner == actor.practitioner, Notification.read_at == FOREVER)
        Notification.update(read_at=to_micros(actor.now)).where(*unread).execute(pdp.database)
        return _own_row(pdp, actor, notification)


def _own_notifications(pdp: PDP, actor: Actor) -> tuple[object, object]:
    """Return the conditions of the practitioner's own notifications, of the clinics in which they still work."""
    clinics = receiving_clinics(pdp, actor)
    return Notification.practitioner == actor.practitioner, Notification.subscription.in_(clinics)


def _own_row(pdp: PDP, actor: Actor, notification: int) -> Row:
    """Return one of the practitioner's own notifications. Raises `NotFound`."""
    own = Notification.select().where(Notification.id == notification, *_own_notifications(pdp, actor))
    for row in own.dicts().execute(pdp.database):
        return dict(row)
    raise NotFound
