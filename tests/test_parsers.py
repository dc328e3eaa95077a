"""The readers of JSON, imports and requests answer or refuse any bytes, and never fail."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from authz.database import Database
from authz.errors import ImportRefused, InvalidInput
from authz.importing import import_facts
from authz.importing.lines import _KINDS
from authz.policy.compiler import load
from authz.settings import shipped_folder
from authz.strict_json import parse_object
from tests.support import people
from tests.support.http import App, service
from tests.support.people import NOW

TYPES = load(shipped_folder("policies")).types
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

samples = some.sampled_from(
    ["p-1", "alice", "north", "", "\0", "\ud800", "x" * 200, "2030-01-01T00:00:00Z", "document"]
)
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | samples | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(samples, inner, max_size=3),
    max_leaves=8,
)
fields = some.sampled_from(sorted({name for known in _KINDS.values() for name in known}))
lines = some.one_of(
    some.binary(max_size=60),
    values.map(lambda value: json.dumps(value).encode()),
    some.dictionaries(some.sampled_from(sorted(_KINDS)), some.dictionaries(fields, values), min_size=1, max_size=1).map(
        lambda fact: json.dumps(fact).encode()
    ),
)


@quick
@given(some.binary(max_size=200) | values.map(lambda value: json.dumps({"x": value}).encode()))
def test_json_is_read_or_refused(text: bytes) -> None:
    """JSON that is accepted reads as Python's own parser reads it, and can be written again in UTF-8."""
    try:
        read = parse_object(text)
    except InvalidInput:
        return
    assert read == json.loads(text)
    json.dumps(read, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(("opening", "closing"), [('{"a": ', "}"), ("[", "]")])
def test_nesting_has_an_end(opening: str, closing: str) -> None:
    """Read 64 levels, with a value in the last of them, and refuse 65.

    Brackets side by side or in a string are no levels.
    """

    def nested(levels: int, inner: str = "5") -> bytes:
        return f'{{"x": {opening * (levels - 1)}{inner}{closing * (levels - 1)}}}'.encode()

    for inner in ("5", '"' + "[" * 99 + '"'):
        parse_object(nested(63, inner))
        with pytest.raises(InvalidInput, match="nested too deeply"):
            parse_object(nested(64, inner))
    parse_object(nested(62, f"[{'[],' * 99}{{}}]"))
    with pytest.raises(InvalidInput, match="nested too deeply"):
        parse_object(nested(62, f"[{'[],' * 99}[1]]"))


def test_a_file_is_imported_or_refused(sqlite_database: Database) -> None:
    """Any lines are imported completely, or refused with a line number and nothing stored."""
    people.fill(sqlite_database)
    tables = ("patient", "membership", '"grant"', "entity", "event")

    def count() -> list[int]:
        return [sqlite_database.execute_sql(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]

    @quick
    @given(some.lists(lines, max_size=4), some.integers(1, 10**6))
    def imported(some_lines: list[bytes], later: int) -> None:
        before = count()
        try:
            now = NOW + timedelta(seconds=later)
            import_facts(sqlite_database, io.BytesIO(b"\n".join(some_lines)), TYPES, now=now)
        except ImportRefused as refused:
            last = sum(line.count(b"\n") + 1 for line in some_lines)
            kept = (refused.line in range(1, last + 1), count() == before)
        else:
            kept = (True, True)
        assert kept == (True, True)

    imported()


def test_a_request_is_answered_or_refused(sqlite_database: Database) -> None:
    """Any JSON in any part of a request is 200 or 400 at every endpoint, in the right content type."""
    people.fill(sqlite_database)
    flask: Flask = service(sqlite_database, rate=0)
    app = App(flask, sqlite_database, "decide", "audit")
    parts = some.sampled_from(["subject", "action", "resource", "context", "page", "evaluations", "options"])
    shaped: Any = some.fixed_dictionaries(
        {}, optional=dict.fromkeys(("type", "id", "name", "properties", "at", "explain", "limit", "token"), values)
    )
    paths = some.sampled_from(["evaluation", "evaluations", "search/subject", "search/resource", "search/action"])

    @quick
    @given(paths, some.dictionaries(parts, shaped | values | some.lists(shaped, max_size=3)))
    def is_answered(path: str, body: dict[str, Any]) -> None:
        response = app.ask(json.dumps(body).encode(), f"/access/v1/{path}")
        assert response.status_code in (200, 400), response.text
        assert response.content_type == (
            "application/json" if response.status_code == 200 else "application/problem+json"
        )

    is_answered()
