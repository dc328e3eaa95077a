"""Cost grows linearly with the size of what is sent: processor time at a size and at four times it."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from flask import Flask

from authz.compiler import compile_texts
from authz.database import Database
from authz.errors import CaregrantError, InvalidInput
from authz.strict_json import parse_object
from tests.http import App, As, question

SIZE = 2000
SLACK = 8.0
"""Four times the size may cost so many times as much: a quadratic cost would be sixteen times."""

_LEAST = 0.02
"""Seconds that no comparison is made below: the clock is too coarse."""


def polar(body: str) -> Callable[[], object]:
    def load() -> None:
        with suppress(CaregrantError):
            compile_texts({"x.polar": body})

    return load


def parsed(text: bytes) -> Callable[[], object]:
    def parse() -> None:
        with suppress(InvalidInput):
            parse_object(text)

    return parse


PARSERS: dict[str, Callable[[int], Callable[[], object]]] = {
    "members that stand twice": lambda n: parsed(
        b"{" + b",".join(b'"k%d":1,"k%d":1' % (one, one) for one in range(n)) + b"}"
    ),
    "one member twice, at the end": lambda n: parsed(
        b"{" + b",".join(b'"k%d":1' % one for one in range(n)) + b',"k%d":1}' % (n - 1)
    ),
    "nested arrays": lambda n: parsed(b'{"a":[' + b",".join([b"[" * 50 + b"]" * 50] * n) + b"]}"),
    "surrogates": lambda n: parsed(b'{"a":"' + b"\\ud800" * (10 * n) + b'"}'),
    "a long number": lambda n: parsed(b'{"a":0.' + b"1" * (100 * n) + b"}"),
    "a string that is not closed": lambda n: polar('"' + '\\"' * n),
    "brackets that are not closed": lambda n: polar("allow(" * n),
    "unknown rules": lambda n: polar("\n".join(f"f{one}(x) if x = {one};" for one in range(n // 4))),
}


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of a few runs."""
    took = []
    for _ in range(3):
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return min(took)


def require_linear(small: Callable[[], object], large: Callable[[], object]) -> None:
    one, four = seconds(small), seconds(large)
    assert four < max(_LEAST, SLACK * one), (one, four)


@pytest.mark.parametrize("name", list(PARSERS))
def test_a_parser_costs_what_its_text_is_long(name: str) -> None:
    """Whatever stands in a text, four times as much of it costs about four times as much."""
    require_linear(PARSERS[name](SIZE), PARSERS[name](4 * SIZE))


BODIES: dict[str, tuple[str, Callable[[int], Any]]] = {
    "an evaluation's context": (
        "/access/v1/evaluation",
        lambda n: question(context={f"k{one}": one for one in range(n)}),
    ),
    "items": ("/access/v1/evaluations", lambda n: question(evaluations=[{}] * (n // 10))),
    "unknown members": ("/access/v1/search/resource", lambda n: {f"k{one}": 1 for one in range(n)}),
}


@pytest.mark.parametrize("name", list(BODIES))
def test_a_decision_costs_what_its_question_is_long(flask: Flask, sqlite_database: Database, name: str) -> None:
    """The same of what an app asks."""
    app, (path, body) = App(flask, sqlite_database), BODIES[name]
    texts = [json.dumps(body(size)).encode() for size in (SIZE, 4 * SIZE)]
    require_linear(partial(app.ask, texts[0], path), partial(app.ask, texts[1], path))


@pytest.mark.parametrize("path", ["/v1/patients", "/v1/shares", "/v1/transfers", "/v1/standing-shares"])
def test_a_change_costs_what_its_body_is_long(as_: As, path: str) -> None:
    """The same of what a practitioner sends."""
    alice = as_("alice")
    texts = [json.dumps({f"k{one}": one for one in range(size)}).encode() for size in (SIZE, 4 * SIZE)]
    require_linear(partial(alice.call, "POST", path, texts[0]), partial(alice.call, "POST", path, texts[1]))
