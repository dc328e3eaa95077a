"""Notices of shares that end by their date: some days before, and after the end; nobody acts, so no operation does it.

A service tells of the ends that follow the last one that was told (`NoticePosition`), in one transaction with the new
position: no end is told twice, whatever dies, and however many services there are. Each transaction is short. On
PostgreSQL it locks the shares of which it tells, so that a share which changes meanwhile is told of before the change,
or as it is afterwards. It waits for no such lock: a share that somebody changes just now is left to the next turn.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from authz.database import Database, check_clock, database_connection
from authz.database.statements import run
from authz.domain import FOREVER_MICROS, Values, from_micros, to_micros
from authz.operations.notices import NewNotice, insert_notices

SOON = timedelta(days=3)
"""The time before the end of a share at which both sides are notified."""

_DELAY = timedelta(minutes=1)  # a change of the share that began before its end is committed by then
_MOST_AGE = timedelta(hours=1)  # of a position: nobody is told of an end that lies further back when an import adds it
_AT_ONCE = 500
_ENDS = {
    "grant": f"""SELECT s.ended_at, s.id, p.subscription_id, s.practitioner_id, o.practitioner_id, s.patient_id
        FROM "grant" s JOIN patient p ON p.id = s.patient_id JOIN "grant" o ON o.patient_id = s.patient_id
            AND o.role = 'owner' AND o.started_at < s.ended_at AND o.ended_at >= s.ended_at
        WHERE s.role = 'viewer' AND s.origin <> 'emergency' AND s.end_cause = ''
            AND s.ended_at < {FOREVER_MICROS} AND s.started_at < s.ended_at
            AND (s.ended_at, s.id) > ({{}}, {{}}) AND s.ended_at <= {{}} ORDER BY s.ended_at, s.id LIMIT {{}}""",
    "standing_share": f"""SELECT s.ended_at, s.id, s.subscription_id, s.colleague_id, s.owner_id, ''
        FROM standing_share s
        WHERE s.end_cause = '' AND s.ended_at < {FOREVER_MICROS} AND s.started_at < s.ended_at
            AND (s.ended_at, s.id) > ({{}}, {{}}) AND s.ended_at <= {{}} ORDER BY s.ended_at, s.id LIMIT {{}}""",
}
"""The ends by date after a position, in order: instant and number, clinic, viewer, owner and patient."""

_POSITION = "SELECT ended_at, number FROM notice_position WHERE kind = {}"
_BEGIN = "INSERT INTO notice_position (kind, ended_at, number) VALUES ({}, {}, 0) ON CONFLICT DO NOTHING"
_ADVANCE = "UPDATE notice_position SET ended_at = {}, number = {} WHERE kind = {}"


def notify_ends(database: Database, now: datetime) -> int:
    """Notify both sides of shares that end within `SOON`, and of shares that have ended by their date.

    Return of how many shares; at most 500 of each kind, the others are left to the next call. Shares that ended before
    the first call are told to nobody. Raises `Unavailable`.
    """
    kinds = (("share", "grant"), ("standing_share", "standing_share"))
    with database_connection(database):
        return sum(
            _notify(database, f"{kind}:ending", noun, now, now, now + SOON)
            + _notify(database, f"{kind}:expired", noun, now, now - _DELAY, now - _DELAY)
            for kind, noun in kinds
        )


def _notify(database: Database, kind: str, noun: str, now: datetime, first: datetime, until: datetime) -> int:
    """Notify of the ends up to `until`, in a transaction if there are any; `first` is where the first call begins."""
    position = run(database, _POSITION, kind).fetchone()
    if position is None:
        run(database, _BEGIN, kind, to_micros(first))
        return 0
    is_far = abs(until - from_micros(position[0])) > _MOST_AGE
    if not is_far and not _read_ends(database, noun, position, until):
        return 0
    with database.atomic():
        lock = " FOR UPDATE" if database.dialect == "postgresql" else ""
        clock = check_clock(database)
        ended, number = run(database, _POSITION + lock, kind).fetchone()
        clock.result()
        if from_micros(ended) > until + _MOST_AGE:  # a clock that was ahead has moved it
            ended, number = to_micros(until), 0
        if kind.endswith(":ending"):
            ended, number = max((ended, number), (to_micros(now), 0))  # what has ended already ends no more
        ends = _read_ends(database, noun, (ended, number), until)
        rows = _lock_ends(database, noun, (ended, number), until, ends)
        insert_notices(database, list(_notices(kind, noun, rows)), actor="", at=now)
        if rows or not ends:
            run(database, _ADVANCE, *(rows[-1][:2] if rows else (to_micros(until), 0)), kind)
    return len(rows)


def _read_ends(database: Database, noun: str, position: Values, until: datetime, lock: str = "") -> list[Values]:
    return list(run(database, _ENDS[noun] + lock, *position, to_micros(until), _AT_ONCE).fetchall())


def _lock_ends(database: Database, noun: str, position: Values, until: datetime, ends: list[Values]) -> list[Values]:
    """Lock the shares that end after a position; return `ends` up to the first share that somebody changes just now."""
    if database.dialect == "sqlite":  # the transaction has the only lock
        return ends
    locked = _read_ends(database, noun, position, until, " FOR SHARE OF s SKIP LOCKED")
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(ends, locked, strict=False))
    return [row for row, _ in pairs]


def _notices(kind: str, noun: str, rows: list[Values]) -> Iterator[NewNotice]:
    """Yield the notices of ends, for the viewer and the owner of each share."""
    for ended, number, subscription, viewer, owner, patient in rows:
        for reader, colleague in ((viewer, owner), (owner, viewer)):
            share = {noun: number, "until": from_micros(ended)}
            yield NewNotice(kind, reader, colleague, subscription, patient, **share)
