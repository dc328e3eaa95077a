"""The daily e-mail of a practitioner: whether they want it, and which is due (docs/decisions/0107)."""

import secrets
from datetime import timedelta

from authz.database import database_connection
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
            is_new = last > newest
            following = now + (_PERIOD if is_new else _RECHECK) // timedelta(microseconds=1)
            with database.atomic():
                moved = run(database, _ADVANCE, following, max(last, newest), practitioner, due)
                if moved.rowcount and is_new:
                    run(database, _QUEUE, practitioner, now, secrets.token_hex(16), now)
                    queued += 1
    return queued
