"""Apps that ask /v1, and the ids in its answers."""

from typing import Any

from flask import Flask

from authz.callers.clients import add_client
from authz.database import Database
from tests.support.acting import login
from tests.support.http import Person
from tests.support.people import NOW


def app(flask: Flask, database: Database, *scopes: str, tenant: str | None = None, who: str | None = None) -> Person:
    """Return an app with a key, on behalf of `who` if named."""
    key = add_client(database, name="app", scopes=scopes, subscription=tenant, now=NOW)
    behalf = {"X-On-Behalf-Of": login(who)} if who else {}
    return Person(flask, {"Authorization": f"Bearer {key}", **behalf})


def ids(listed: Any) -> list[str]:
    return [item["id"] for item in listed["items"]]
