"""The change feed: events after the last one that a reader has seen, in the order of commits."""

from authz.database import Database, database_connection
from authz.domain import Row, format_instant
from authz.models import Event


def read_events(database: Database, *, after: int, limit: int, subscription: str | None = None) -> list[Row]:
    """Return up to `limit` events with ids above `after`, of one subscription or of all.

    Ids are in the order of commits (`append`), so that no event appears later before the last id read.
    """
    query = Event.select().where(Event.id > after).order_by(Event.id).limit(limit)
    if subscription is not None:
        query = query.where(Event.subscription == subscription)
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
            for event in query.execute(database)
        ]
