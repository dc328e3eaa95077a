"""Facts that no event told before an upgrade: it tells them once, as they stand. What they were before is not known.

An event adopts some at a time, and is in the tree of no subscription: `decisions/0081`.
"""

from datetime import datetime

from peewee import chunked

from authz.database import Database
from authz.record.commitments import secrets_of
from authz.record.events import Actor, NewEvent, append
from authz.record.facts import KEYED, WHOSE, standing_keyed

_FACTS = 200
"""The most facts of one event, so that a reader of the feed gets no body without a limit."""


def adopt_facts(database: Database, now: datetime) -> int:
    """Tell every fact with an id as it stands; return how many. Run once, in the transaction of the upgrade."""
    if not any(database.execute_sql(f"SELECT 1 FROM {noun} LIMIT 1").fetchone() for noun in KEYED):
        return 0
    secrets_of(database, [WHOSE], make=True)
    count = 0
    for facts in chunked(standing_keyed(database), _FACTS):
        count += len(facts)
        body = {"facts": [[noun, row] for noun, _, row in facts]}
        append(database, Actor("", now), [NewEvent("facts:adopted", "", body)])
    return count
