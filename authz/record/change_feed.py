"""The change feed: events after one that a reader has seen, in the order in which they were committed."""

from typing import Any

from authz.database import Database, database_connection
from authz.domain import format_instant
from authz.models import Event


def read_events(database: Database, *, after: int, limit: int, subscription: str | None = None) -> list[dict[str, Any]]:
    """Up to `limit` events with ids above `after`, of one subscription or of all.

    Ids are in the order of commits (`append`), so that nothing appears later behind the last id read.
    """
    found = Event.select().where(Event.id > after).order_by(Event.id).limit(limit)
    if subscription is not None:
        found = found.where(Event.subscription == subscription)
    with database_connection(database):
        return [
            {
                "id": str(event.id),
                "at": format_instant(event.at),
                "kind": event.kind,
                "subscription": event.subscription or None,
                "patient": event.patient or None,
                "actor": event.actor or None,
                "client": None if event.client is None else str(event.client),
                "request_id": event.request_id or None,
                **event.body,
            }
            for event in found.execute(database)
        ]
