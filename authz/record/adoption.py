"""Record, in an upgrade, the stored facts that no event contains yet; their earlier states are not known.

Each event adopts several facts, and is in the tree of no subscription (docs/decisions/0081).
"""

from datetime import datetime

from peewee import chunked

from authz.database import Database
from authz.record.commitments import read_secrets
from authz.record.events import Actor, NewEvent, append
from authz.record.facts import DIGEST_OWNER, stored_keyed_facts

_NOUNS = ("subscription", "practitioner", "patient", "client", "review")
"""The facts that were stored before events contained them; later kinds of facts have had events from the start."""
_FACTS = 200
"""The most facts of one event, so that a reader of the feed gets no body without a limit."""


def adopt_facts(database: Database, now: datetime) -> int:
    """Record every stored fact with an id; return how many. It runs once, in the transaction of the upgrade."""
    if not any(database.execute_sql(f"SELECT 1 FROM {noun} LIMIT 1").fetchone() for noun in _NOUNS):
        return 0
    read_secrets(database, [DIGEST_OWNER], create=True)
    count = 0
    for facts in chunked(stored_keyed_facts(database, _NOUNS), _FACTS):
        count += len(facts)
        body = {"facts": [[noun, row] for noun, _, row in facts]}
        append(database, Actor("", now), [NewEvent("facts:adopted", "", body)])
    return count
