"""Which policy versions have decided here, and since when: an event when a service begins with another."""

from authz.database import Database, answering
from authz.models import Event
from authz.record.events import Act, Happened, append
from authz.statements import LOADING, take_alone

_LOADED = "policy:loaded"


def policy_loaded(database: Database, act: Act, version: str, source: str) -> bool:
    """Record that a service decides by this version from now on, loaded from `source`; false where it is the last told.

    Raises `Unavailable`: a service that cannot record must not begin.
    """
    with answering(database), database.atomic():
        take_alone(database, LOADING)
        loaded = Event.select(Event.body).where(Event.subscription == "", Event.kind == _LOADED)
        last = loaded.order_by(Event.id.desc()).limit(1).tuples().execute(database)
        if any(body.get("policy_version") == version for (body,) in last):
            return False
        append(database, act, [Happened(_LOADED, "", {"policy_version": version, "source": source})])
        return True
