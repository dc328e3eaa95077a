"""Fixtures of the tests of policies: a database that is filled anew for each example."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from authz.database import Database, close_all, connect, migrate
from tests.support import worlds
from tests.support.agreement import Fill

QUICK_PLANS = "-c plan_cache_mode=force_generic_plan -c enable_hashjoin=off -c enable_mergejoin=off"
"""Options with which PostgreSQL plans these large queries over few rows sooner; planning takes most of the time."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fill]:
    """Empty a database, fill it with rows, and return it.

    Rows and questions use different connections, because after a refused row the driver forgets prepared statements.
    """
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('properties')}/facts.db"
        database = connect(url)
        migrate(database)
    else:
        url = request.getfixturevalue("new_postgresql_url")()
        database = connect(f"{url}?options={quote(QUICK_PLANS)}")
    writer = connect(url)
    for opened in (database, writer):
        opened.connect(reuse_if_open=True)
    if request.param == "sqlite":
        writer.execute_sql("PRAGMA synchronous = 0")
    else:
        database.connection().prepare_threshold = 0  # plan each statement once, not five times

    def fill(rows: list[tuple[Any, dict[str, Any]]]) -> Database:
        worlds.insert(writer, rows)
        return database

    yield fill
    for opened in (database, writer):
        close_all(opened)
