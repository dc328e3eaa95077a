"""The service against its own OpenAPI document: schemathesis asks every operation, as every kind of caller.

All of its checks are on: no 5xx, documented statuses and content types, bodies of errors too, malformed input refused,
no way round the credential. `SCHEMATHESIS_EXAMPLES` says how many requests for each operation and caller.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from authz.callers.clients import add_client
from authz.callers.tokens import sign_token
from authz.database import Database
from authz.settings import Settings
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.people import NOW

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
CALLERS = ("everything", "one clinic", "decide", "practitioner", "nobody")


@pytest.fixture(params=CALLERS)
def called(request: pytest.FixtureRequest, sqlite_database: Database, tmp_path: Any) -> tuple[Flask, dict[str, str]]:
    """Return the service, and the headers of one kind of caller."""
    people.fill(sqlite_database)
    key_file = str(tmp_path / "key.json")
    flask = service(sqlite_database, development_key=key_file, public_url="http://127.0.0.1:8000", rate=0)
    scopes = ("decide",) if request.param == "decide" else ("decide", "act", "admin", "audit")
    tenant = "north" if request.param == "one clinic" else None
    credential = add_client(sqlite_database, name="app", scopes=scopes, subscription=tenant, now=NOW)
    if request.param == "practitioner":
        credential = sign_token(Settings(development_key=key_file), login("alice"), datetime.now(UTC), 3600)
    headers = {"Authorization": f"Bearer {credential}"} if request.param != "nobody" else {}
    return flask, headers


def operations(flask: Flask) -> Iterator[Any]:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app=flask)
    # A token that was not given out, a day in the past and the like are well formed, and refused all the same.
    well_formed = schema.config.checks.positive_data_acceptance
    well_formed.expected_statuses = ["2xx", "400", "401", "403", "404", "409", "422"]
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def test_every_operation_keeps_to_the_document(called: tuple[Flask, dict[str, str]]) -> None:
    """Random requests, well formed and malformed, to every operation; each answer is as the document says."""
    flask, headers = called
    load_all_checks()
    count = 0
    for operation in operations(flask):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=EXAMPLES < 10,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(headers=headers, checks=CHECKS.get_all())

            ask()
    print(f"{count} requests")  # noqa: T201
