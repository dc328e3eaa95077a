"""Processor time grows linearly with the size of input: it is measured at one size and at four times that size."""

import base64
import gc
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from api.gateway.proxies import Proxies
from authz.callers.clients import SCOPES
from authz.callers.provider_keys import usable_keys
from authz.callers.signed_tokens import parse_header
from authz.database import Database
from authz.domain import normalise_login, parse_instant
from authz.errors import CaregrantError, InvalidInput
from authz.importing.lines import parse_line
from authz.policy.compiler import compile_texts
from authz.strict_json import parse_object
from authz.texts import parse_id, parse_text
from tests.support.http import POLICY, App, As, question

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


def refused(parse: Callable[[Any], object], text: Any) -> Callable[[], object]:
    """Return a call of the parser on the text; the parser may refuse the text, but must not fail."""

    def parsing() -> None:
        with suppress(CaregrantError):
            parse(text)

    return parsing


def header(**members: str) -> str:
    whole = {"alg": "ES256", **members}
    return base64.urlsafe_b64encode(json.dumps(whole).encode()).decode().rstrip("=")


def parse_token(token: str) -> None:
    parse_header(token, ["ES256"])


def parse_keys(content: bytes) -> None:
    with suppress(ValueError):
        usable_keys(content)


PARSERS: dict[str, Callable[[int], Callable[[], object]]] = {
    "members that stand twice": lambda n: parsed(
        b"{" + b",".join(b'"k%d":1,"k%d":1' % (number, number) for number in range(n)) + b"}"
    ),
    "one member twice, at the end": lambda n: parsed(
        b"{" + b",".join(b'"k%d":1' % number for number in range(n)) + b',"k%d":1}' % (n - 1)
    ),
    "nested arrays": lambda n: parsed(b'{"a":[' + b",".join([b"[" * 50 + b"]" * 50] * n) + b"]}"),
    "surrogates": lambda n: parsed(b'{"a":"' + b"\\ud800" * (10 * n) + b'"}'),
    "a long number": lambda n: parsed(b'{"a":0.' + b"1" * (100 * n) + b"}"),
    "a string that is not closed": lambda n: polar('"' + '\\"' * n),
    "brackets that are not closed": lambda n: polar("allow(" * n),
    "a name": lambda n: refused(parse_text, "a" + "\u0301\u0327\u0316" * n),
    "an id": lambda n: refused(parse_id, "a/." * n),
    "a login": lambda n: refused(normalise_login, "a\u0301\u0327." * n + "@" + "xn--a." * n + "example"),
    "an instant": lambda n: refused(parse_instant, "2026-01-01T00:00:00." + "0" * (100 * n) + "Z"),
    "a line of an import": lambda n: refused(
        lambda text: parse_line(1, text, POLICY.types),
        b'{"patient":{%s}}' % b",".join(b'"k%d":1' % number for number in range(n)),
    ),
    "a line of an import that holds no fact": lambda n: refused(
        lambda text: parse_line(1, text, POLICY.types), b"[" * n
    ),
    "a token's header": lambda n: refused(parse_token, f"{header(k='x' * (10 * n))}.e30.c2ln"),
    "a token of many parts": lambda n: refused(parse_token, "a." * (10 * n)),
    "a provider's keys": lambda n: refused(parse_keys, json.dumps({"keys": [{"kty": "oct"}] * (n // 10)}).encode()),
    "forwarded addresses": lambda n: partial(Proxies("0.0.0.0/0").client, "192.0.2.1", "192.0.2.1," * n),
    "trusted proxies": lambda n: partial(
        Proxies, ",".join(f"10.{number // 256}.{number % 256}.0/24" for number in range(n // 10))
    ),
    "unknown rules": lambda n: polar("\n".join(f"f{number}(x) if x = {number};" for number in range(n // 4))),
}


def seconds(call: Callable[[], object], runs: int = 3) -> float:
    """Return the least processor time of some runs, without garbage collection."""
    took = []
    gc.disable()
    try:
        for _ in range(runs):
            begin = time.process_time()
            call()
            took.append(time.process_time() - begin)
    finally:
        gc.enable()
    return min(took)


def grows(small: Callable[[], object], large: Callable[[], object], runs: int) -> tuple[float, float] | None:
    """Return the times of both calls if the larger one took too long, else None."""
    small_seconds, large_seconds = seconds(small, runs), seconds(large, runs)
    return None if large_seconds < max(_LEAST, SLACK * small_seconds) else (small_seconds, large_seconds)


def require_linear(small: Callable[[], object], large: Callable[[], object]) -> None:
    assert grows(small, large, runs=3) is None


@pytest.mark.parametrize("name", list(PARSERS))
def test_a_parser_costs_what_its_text_is_long(name: str) -> None:
    """Four times as much text costs every parser about four times as much."""
    require_linear(PARSERS[name](SIZE), PARSERS[name](4 * SIZE))


BODIES: dict[str, tuple[str, Callable[[int], Any]]] = {
    "an evaluation's context": (
        "/access/v1/evaluation",
        lambda n: question(context={f"k{number}": number for number in range(n)}),
    ),
    "items": ("/access/v1/evaluations", lambda n: question(evaluations=[{}] * (n // 10))),
    "unknown members": ("/access/v1/search/resource", lambda n: {f"k{number}": 1 for number in range(n)}),
}


@pytest.mark.parametrize("name", list(BODIES))
def test_a_decision_costs_what_its_question_is_long(flask: Flask, sqlite_database: Database, name: str) -> None:
    """Four times as long a request costs each AuthZEN endpoint about four times as much."""
    app, (path, body) = App(flask, sqlite_database), BODIES[name]
    texts = [json.dumps(body(size)).encode() for size in (SIZE, 4 * SIZE)]
    require_linear(partial(app.ask, texts[0], path), partial(app.ask, texts[1], path))


def test_every_route_costs_what_its_request_is_long(flask: Flask, sqlite_database: Database, as_: As) -> None:
    """Every route and method takes linear time in a body, a form, a query, a cookie and a path."""
    app, alice = App(flask, sqlite_database, *SCOPES), as_("alice")
    slow = []
    for rule in flask.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            key = app.key if rule.rule.startswith("/access/") else alice.headers["Authorization"].split()[1]
            for name, sent in requests(method, rule, key).items():
                small, large = (partial(flask.test_client().open, **sent(size)) for size in (SIZE, 4 * SIZE))
                if grows(small, large, runs=1) and (took := grows(small, large, runs=5)):
                    slow.append((method, rule.rule, name, *took))
    assert slow == []


def requests(method: str, rule: Rule, key: str) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Return the requests to a route, by the part of the request that grows."""
    path = re.sub(r"<[^>]+>", "1", rule.rule)
    bearer = {"Authorization": f"Bearer {key}"}
    common: dict[str, Any] = {"path": path, "method": method, "headers": bearer}
    variants: dict[str, Callable[[int], dict[str, Any]]] = {
        "query": lambda n: {**common, "query_string": "q=" + "%C3%A9" * n},
        "cookie": lambda n: {**common, "headers": {**bearer, "Cookie": "caregrant=" + "ab.c-" * n}},
        "cookies": lambda n: {**common, "headers": {**bearer, "Cookie": "; ".join(["caregrant=e30"] * n)}},
    }
    if "<" in rule.rule:
        variants["path"] = lambda n: {**common, "path": re.sub(r"<[^>]+>", "a" * n, rule.rule)}
    if method != "GET":
        variants["members"] = lambda n: {**common, "json": {f"k{number}": number for number in range(n)}}
        variants["form"] = lambda n: {**common, "data": {f"k{number}": "1" for number in range(n)}}
    return variants
