"""The daily e-mail of a practitioner: whether they want it, and which is due (docs/decisions/0107)."""

import secrets
from datetime import datetime, timedelta

from authz.database import Database, database_connection
from authz.database.statements import run
from authz.domain import to_micros
from authz.models import Digest
from authz.policy.pdp import PDP
from authz.queries.notifications import newest_unread
from authz.record import Actor

_PERIOD = timedelta(days=1)
_RECHECK = timedelta(minutes=5)
_AT_ONCE = 200
_SET = """INSERT INTO digest (practitioner_id, wanted, next_at, newest) VALUES ({}, {}, {}, 0)
    ON CONFLICT (practitioner_id) DO UPDATE SET wanted = excluded.wanted"""
_DUE = "SELECT practitioner_id, next_at, newest FROM digest WHERE wanted AND next_at <= {} ORDER BY next_at LIMIT {}"
_ADVANCE = "UPDATE digest SET next_at = {}, newest = {} WHERE practitioner_id = {} AND next_at = {} AND wanted"
_QUEUE = """INSERT INTO mail (practitioner_id, at, token, tries, next_at, state)
    VALUES ({}, {}, {}, 0, {}, 'waiting')"""
_IS_WAITING = "SELECT 1 FROM mail WHERE practitioner_id = {} AND state = 'waiting' LIMIT 1"
_SENT_AT = "UPDATE digest SET next_at = {} WHERE practitioner_id = {} AND next_at < {}"


def is_digest_wanted(pdp: PDP, actor: Actor) -> bool:
    """Return whether the practitioner wants the daily e-mail; nobody does who has not switched it on."""
    with database_connection(pdp.database):
        wanted = Digest.select().where(Digest.practitioner == actor.practitioner, Digest.wanted)
        return bool(wanted.exists(pdp.database))


def set_digest(pdp: PDP, actor: Actor, wanted: bool) -> None:
    """Switch the practitioner's daily e-mail on or off; a day lies between two e-mails however often they do."""
    with database_connection(pdp.database):
        run(pdp.database, _SET, actor.practitioner, wanted, to_micros(actor.now))


def queue_digests(pdp: PDP, actor: Actor) -> int:
    """Put e-mails into the outbox for practitioners who want one and have new unread notifications; return how many.

    At most 200 practitioners are looked at; the others are left to the next call. Several services at once queue one
    e-mail, because each moves `next_at` from the value that it read. `actor` is the operator.
    """
    database, now, queued = pdp.database, to_micros(actor.now), 0
    with database_connection(database):
        for practitioner, due, newest in run(database, _DUE, now, _AT_ONCE).fetchall():
            last = newest_unread(pdp, Actor(practitioner, actor.now))
            is_waiting = run(database, _IS_WAITING, practitioner).fetchone() is not None  # it counts what is new, too
            is_new = last > newest and not is_waiting
            following = now + (_PERIOD if is_new else _RECHECK) // timedelta(microseconds=1)
            with database.atomic():
                moved = run(database, _ADVANCE, following, max(last, newest), practitioner, due)
                if moved.rowcount and is_new:
                    run(database, _QUEUE, practitioner, now, secrets.token_hex(16), now)
                    queued += 1
    return queued


def record_sent(database: Database, practitioner: str, now: datetime) -> None:
    """Let a day pass from now, when an e-mail was sent, before the next; inside `database_connection`."""
    following = to_micros(now + _PERIOD)
    run(database, _SENT_AT, following, practitioner, following)
