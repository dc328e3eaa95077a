"""The demonstration clinic in a database, and an app that asks its real service."""

from datetime import UTC, datetime, timedelta
from typing import Any

from authz.callers.clients import add_client
from authz.database import close_all, connect
from authz.importing import demo
from authz.policy.compiler import load
from authz.settings import shipped_folder
from tests.support.http import EVALUATION
from tests.support.server import send


def demonstration_key(url: str) -> str:
    """Fill a migrated database with the demonstration clinic; return the key of an app that may ask."""
    database = connect(url)
    began = datetime.now(UTC) - timedelta(hours=1)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    made = add_client(database, name="app", scopes=("decide",), now=began)
    close_all(database)
    return made


def ask(port: int, key: str, body: Any) -> tuple[int, Any]:
    return send(port, "POST", EVALUATION, body, {"Authorization": f"Bearer {key}"})
