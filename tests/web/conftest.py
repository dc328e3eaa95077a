"""The pages on the cast's database, and visitors who are signed in."""

from collections.abc import Callable

import pytest
from flask import Flask

from authz.database import Database
from tests.support import people
from tests.support.http import service
from tests.support.visitor import Visitor


@pytest.fixture
def flask(database: Database) -> Flask:
    people.fill(database)
    return service(database)


@pytest.fixture
def as_(flask: Flask) -> Callable[[str], Visitor]:
    """Return a function that signs in somebody of the cast."""
    return lambda who: Visitor(flask, who)
