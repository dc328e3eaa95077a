"""Ids that were stored under the wider rule of before 0.2, for an operator who upgrades."""

from collections.abc import Iterator
from typing import Any

import peewee

from authz.database import Database, database_connection
from authz.errors import InvalidInput
from authz.models import Entity, Patient, Practitioner, Subscription
from authz.texts import parse_id


def outside_the_rule(database: Database) -> Iterator[tuple[str, str]]:
    """The kind and the id of everything whose id a path cannot name, or which could not be stored today."""
    with database_connection(database):
        for model in (Subscription, Practitioner, Patient):
            yield from _outside(database, model._meta.table_name, model.select(model.id))
        yield from _outside(database, "", Entity.select(Entity.type, Entity.id).distinct())


def _outside(database: Database, kind: str, query: "peewee.ModelSelect[Any]") -> Iterator[tuple[str, str]]:
    for row in query.tuples().iterator(database):
        try:
            parse_id(row[-1])
        except InvalidInput:
            yield kind or row[0], row[-1]
