"""The gateway's parts: kinds of requests, their lanes, the WSGI environment, trusted proxies."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.gateway import lanes
from api.gateway.environ import BadHeader, environ
from api.gateway.lanes import KINDS, Kind, Lane, kind_of
from api.gateway.proxies import Proxies
from api.gateway.receiving import MOST_BYTES, MOST_RECEIVING
from api.limits import LARGEST_HEAD, LONGEST_TARGET
from authz.database import Database
from authz.errors import InvalidInput
from authz.settings import Settings
from tests.http import service

ROUTES = {
    "access": "decisions",
    "feed": "polls",
    "health": "operations",
    "metadata": "reads",
    "metrics": "operations",
    "openapi": "reads",
    "pages": "pages",
}
DOCS = Path(__file__).resolve().parent.parent / "docs"


class Headers:
    """Headers as granian gives them: one whose value is not ASCII is in `keys` alone."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def keys(self) -> list[str]:
        return list(dict(self._pairs))

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._pairs if value.isascii()]


class Scope:
    """A request's head as granian gives it."""

    method, path, query_string, scheme, server = "GET", "/v1/me", "", "http", "127.0.0.1:8000"

    def __init__(self, *pairs: tuple[str, str], client: str = "192.0.2.9:4000", **other: str) -> None:
        self.client, self.headers = client, Headers(*pairs)
        self.__dict__.update(other)


def made(*pairs: tuple[str, str], proxies: str = "", **scope: str) -> dict[str, Any]:
    given = Scope(*pairs, **scope)
    return environ(given, given.headers.items(), b"", Proxies(proxies))


def test_every_route_has_a_kind(sqlite_database: Database) -> None:
    """Each route of the application is of the kind that its blueprint has; a new blueprint fails."""
    names = {kind.name for kind in KINDS}
    for rule in service(sqlite_database).url_map.iter_rules():
        path = re.sub(r"<[^>]*>", "1", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            by_method = "reads" if method in ("GET", "HEAD") else "changes"
            by_blueprint = ROUTES.get(rule.endpoint.partition(".")[0], by_method)
            expected = "sign-in" if path.startswith("/sign-") else by_blueprint
            assert path == "/healthz" or kind_of(method, path) == expected in names, f"{method} {path}"
            assert not rule.endpoint.startswith("v1.") or expected in ("reads", "changes")
            assert rule.endpoint.partition(".")[0] in {*ROUTES, "v1"}, f"{rule.endpoint}: give it a kind"


def test_the_documentation_lists_kinds_and_limits() -> None:
    """docs/serving.md tells each kind's threads and queue, and each limit, as the code has them."""
    text = (DOCS / "serving.md").read_text()
    told = re.findall(r"^\| `([a-z-]+)` \| .* \| (\d+) \| (\d+) \|$", text, re.M)
    assert [Kind(name, int(threads), int(room)) for name, threads, room in told] == list(KINDS)
    for limit in (LARGEST_HEAD, LONGEST_TARGET, MOST_RECEIVING, MOST_BYTES, Settings.receive_seconds):
        assert f"| {limit:,} |" in text, limit
    assert f"{lanes.PATIENCE:.0f} seconds" in text


@pytest.fixture
def held() -> Any:
    """An event that holds threads; set at the end."""
    event = threading.Event()
    yield event
    event.set()


def until(true: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_full_lane_refuses_at_once_and_touches_no_other(held: threading.Event) -> None:
    """Beyond its threads and its room nothing is queued; another lane goes on; what was queued is done later."""
    full, other = Lane(Kind("full", 2, 3)), Lane(Kind("other", 1, 1))
    begun, late = threading.Semaphore(0), []

    def stall(is_late: bool) -> None:
        late.append(is_late)
        begun.release()
        held.wait(10)

    assert full.submit(stall)
    assert begun.acquire(timeout=5)
    assert full.submit(stall)

    def helped() -> bool:
        full.hurry()
        return begun.acquire(blocking=False)

    until(helped)
    assert [full.submit(late.append) for _ in range(4)] == [True, True, True, False]
    done = threading.Event()
    assert other.submit(lambda _: done.set())
    assert done.wait(5)
    held.set()
    until(lambda: len(late) == 5)
    assert late == [False] * 5


def test_what_waits_too_long_is_refused_even_if_every_thread_is_stuck(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop refuses it; the thread that comes later does not do it again."""
    late: list[bool] = []
    lane, begun = Lane(Kind("stuck", 1, 3)), threading.Event()
    monkeypatch.setattr(lanes, "PATIENCE", 0.05)

    def stall(_: bool) -> None:
        begun.set()
        held.wait(10)

    lane.submit(stall)
    assert begun.wait(5)
    assert lane.submit(late.append)

    def expired() -> bool:
        lane.expire()
        return late == [True]

    until(expired)
    held.set()
    done = threading.Event()
    until(lambda: lane.submit(lambda _: done.set()))
    assert done.wait(5)
    assert late == [True]


def test_duplicates_are_joined_and_underscores_are_dropped() -> None:
    """As WSGI expects; X_On_Behalf_Of cannot stand for X-On-Behalf-Of, whichever comes first."""
    pairs = [("x_on_behalf_of", "mallory"), ("x-on-behalf-of", "alice"), ("accept", "a"), ("accept", "b")]
    for some in (pairs, pairs[::-1]):
        given = made(*some, ("cookie", "a=1"), ("cookie", "b=2"))
        assert given["HTTP_X_ON_BEHALF_OF"] == "alice"
        assert given["HTTP_ACCEPT"] in ("a,b", "b,a")
        assert given["HTTP_COOKIE"] == "a=1; b=2"
    assert "HTTP_X_ON_BEHALF_OF" not in made(("x_on_behalf_of", "mallory"))


def test_a_header_beyond_ascii_is_refused() -> None:
    """Granian leaves it out; without it an app with the scope admin would act as the operator."""
    with pytest.raises(BadHeader):
        made(("x-on-behalf-of", "jos\u00e9@north.example"))


@pytest.mark.parametrize("path", ["/caf\u00e9", "/a/\u65e5", "/\ufffd", "/a\0b", "/a/../b", "*"])
def test_a_path_is_its_bytes_as_latin_1(path: str) -> None:
    """PEP 3333: PATH_INFO is the decoded path's UTF-8, each byte a character."""
    assert made(path=path)["PATH_INFO"].encode("latin-1").decode() == path


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ("", "192.0.2.9:1", "198.51.100.1", "192.0.2.9"),
        ("10.0.0.0/8", "192.0.2.9:1", "198.51.100.1", "192.0.2.9"),
        ("192.0.2.9", "192.0.2.9:1", "198.51.100.1", "198.51.100.1"),
        ("192.0.2.9", "192.0.2.9:1", "203.0.113.7, 198.51.100.1", "198.51.100.1"),
        ("192.0.2.9 10.0.0.0/8", "192.0.2.9:1", "203.0.113.7, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("192.0.2.9, 10.0.0.0/8", "192.0.2.9:1", "10.2.2.2", "10.2.2.2"),
        ("192.0.2.9", "192.0.2.9:1", "198.51.100.1:8080", "198.51.100.1"),
        ("2001:db8::/32", "[2001:db8::1]:1", "[2001:db9::5]:443", "2001:db9::5"),
        ("192.0.2.9", "[::ffff:192.0.2.9]:1", "198.51.100.1", "198.51.100.1"),
        ("192.0.2.9", "192.0.2.9:1", "unknown", "192.0.2.9"),
        ("192.0.2.9", "192.0.2.9:1", "198.51.100.1, nonsense", "192.0.2.9"),
        ("192.0.2.9", "192.0.2.9:1", "," * 5000, "192.0.2.9"),
    ],
)
def test_forwarded_addresses(proxies: str, peer: str, forwarded: str, address: str) -> None:
    """Only a trusted peer is believed; the client is the last address that is no trusted proxy's."""
    given = made(("x-forwarded-for", forwarded), ("x-forwarded-proto", "https"), client=peer, proxies=proxies)
    assert given["REMOTE_ADDR"] == address
    assert given["wsgi.url_scheme"] == (
        "https" if Proxies(proxies).trusts(peer.rpartition(":")[0].strip("[]")) else "http"
    )
    assert not any("FORWARDED" in name for name in given)


def test_a_setting_that_names_no_network_is_refused() -> None:
    """With the setting's name."""
    with pytest.raises(InvalidInput, match="CAREGRANT_TRUSTED_PROXIES"):
        Proxies("10.0.0.0/8 proxy.example")


def test_a_credential_is_checked_before_a_body_is_parsed(sqlite_database: Database) -> None:
    """A malformed body without a credential is 401 on every route that takes a bearer, and nothing parses it."""
    flask: Flask = service(sqlite_database)
    client, tried = flask.test_client(), 0
    for rule in flask.url_map.iter_rules():
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            if rule.endpoint.startswith(("access.", "v1.")):
                path = re.sub(r"<[^>]*>", "1", rule.rule)
                body = b'{"a":' * 50_000
                answer = client.open(path, method=method, data=body, content_type="application/json")
                assert answer.status_code == 401, f"{method} {path}"
                tried += 1
    assert tried > 15
