"""The gateway's parts: kinds of requests, lanes, the environment that Flask sees, trusted proxies."""

import re
import threading
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from api.gateway import lanes
from api.gateway.environ import environ
from api.gateway.lanes import KINDS, Lane, LaneKind, kind_of
from api.gateway.proxies import Proxies
from authz.errors import InvalidInput
from tests.support.documents import page

NOBODY = Proxies("")


def seen(*items: tuple[str, str], proxies: Proxies = NOBODY, **more: Any) -> dict[str, Any]:
    """Return Flask's environment of a request with these headers, as granian delivers it."""
    scope = {"method": "GET", "path": "/v1/me", "query_string": b"a=1", "scheme": "http"}
    headers = [(name.encode(), value.encode()) for name, value in items]
    ends = {"client": ("192.0.2.1", "4711"), "server": ("127.0.0.1", "8000")}
    return environ({**scope, **ends, "headers": headers, **more}, b"body", proxies)


# Kinds.


def test_every_route_has_its_kind(flask: Flask) -> None:
    """Every route belongs to the kind of request that its path says; every kind has a route."""
    kinds: dict[str, set[str]] = {}
    for rule in flask.url_map.iter_rules():
        for method in rule.methods or ():
            kinds.setdefault(kind_of(method, rule.rule), set()).add(f"{method} {rule.rule}")
    assert set(kinds) == {kind.name for kind in KINDS}
    assert kinds["decisions"] == {route for route in kinds["decisions"] if "/access/v1/" in route}
    assert all(route.split()[1].startswith("/v1/") and route.split()[0] not in lanes.SAFE for route in kinds["changes"])
    assert {route.split()[1] for route in kinds["operations"]} == {"/readyz", "/metrics"}
    assert {route.split()[1] for route in kinds["polls"]} == {"/v1/events"}
    assert not any(route.split()[1].startswith(("/v1", "/access")) for route in kinds["pages"] | kinds["sign-in"])


def test_a_fixed_path_has_the_rule_that_a_search_finds(flask: Flask) -> None:
    """For each path without variables the adapter knows the rule that Werkzeug's search finds, and builds URLs."""
    fixed = [rule for rule in flask.url_map.iter_rules() if not rule.arguments]
    assert len(fixed) > 10
    for rule in fixed:
        for method in {"GET", "POST"} & (rule.methods or set()):
            with flask.test_request_context(rule.rule, method=method) as context:
                searched = flask.url_map.bind("localhost").match(rule.rule, method=method, return_rule=True)
                assert (context.request.url_rule, context.request.view_args) == searched
                assert flask.url_for("access.evaluation") == "/access/v1/evaluation"


@pytest.mark.parametrize("path", ["/access/v1/evaluation", "//access/v1/evaluation", "////access/v1/evaluation"])
def test_more_slashes_change_no_kind(flask: Flask, path: str) -> None:
    """Werkzeug drops all but one of the first slashes of a path; so does the gateway, which chooses the threads."""
    variables = EnvironBuilder(method="POST", json={}).get_environ() | {"PATH_INFO": path}
    _, status, _ = run_wsgi_app(flask, variables)
    assert status == "401 UNAUTHORIZED", "the view of the evaluation answers"
    assert kind_of("POST", path) == "evaluation"


def test_the_kinds_are_documented() -> None:
    """docs/reference/serving.md has each kind with its threads and its queue."""
    rows = re.findall(r"^\| `([a-z-]+)` \| .+ \| (\d+) \| (\d+) \|$", page("docs/reference/serving.md"), re.MULTILINE)
    assert [(name, int(threads), int(queue_size)) for name, threads, queue_size in rows] == [
        (kind.name, kind.threads, kind.queue_size) for kind in KINDS
    ]


# Lanes.


def test_a_full_queue_refuses_at_once() -> None:
    """While the threads of a lane are busy, the lane queues as many requests as it may and refuses the next."""
    go_on, begun, done = threading.Event(), threading.Semaphore(0), []

    def slow(late: bool) -> None:
        begun.release()
        go_on.wait(30)
        done.append(late)

    lane = Lane(LaneKind("few", 1, 2))
    assert lane.submit(slow)
    begun.acquire(timeout=30)
    assert [lane.submit(slow) for _ in range(3)] == [True, True, False]
    go_on.set()
    for _ in range(2):
        begun.acquire(timeout=30)
    assert lane.submit(slow)


def test_another_thread_helps_behind_a_slow_request() -> None:
    """Requests behind a slow request are carried out by the lane's other threads."""
    go_on, begun, quick = threading.Event(), threading.Event(), threading.Semaphore(0)

    def slow(_: bool) -> None:
        begun.set()
        go_on.wait(30)

    lane = Lane(LaneKind("few", 2, 10))
    lane.submit(slow)
    begun.wait(30)
    for _ in range(3):
        assert lane.submit(lambda _: quick.release())
    helped = 0
    while helped < 3:
        lane.call_help()
        helped += quick.acquire(timeout=0.01)
    go_on.set()


def test_who_waited_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waited longer than its caller is likely to wait is refused and not begun."""
    monkeypatch.setattr(lanes, "PATIENCE", -1.0)
    lateness, done = list[bool](), threading.Event()

    def task(late: bool) -> None:
        lateness.append(late)
        done.set()

    Lane(LaneKind("few", 1, 2)).submit(task)
    assert done.wait(30)
    assert lateness == [True]


# What Flask sees.


def test_the_environment_is_of_pep_3333() -> None:
    """The environment has header bytes as latin-1, repeated headers joined, and the whole body (PEP 3333)."""
    variables = seen(("host", "x"), ("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2"), path="/v1/é")
    assert variables["wsgi.input"].read() == b"body"
    assert (variables["CONTENT_LENGTH"], variables["HTTP_X_A"], variables["HTTP_COOKIE"]) == ("4", "1,2", "a=1; b=2")
    assert variables["PATH_INFO"].encode("latin-1").decode() == "/v1/é"
    assert (variables["REMOTE_ADDR"], variables["wsgi.url_scheme"], variables["QUERY_STRING"]) == (
        "192.0.2.1",
        "http",
        "a=1",
    )
    assert seen(("x-on-behalf-of", "jörg@clinic.example"))["HTTP_X_ON_BEHALF_OF"].encode("latin-1").decode() == (
        "jörg@clinic.example"
    )


def test_an_underscore_passes_for_no_hyphen() -> None:
    """A header with an underscore in its name is dropped, before and after the header with a hyphen."""
    for items in (
        (("x-on-behalf-of", "a"), ("x_on_behalf_of", "b")),
        (("x_on_behalf_of", "b"), ("x-on-behalf-of", "a")),
    ):
        assert seen(*items)["HTTP_X_ON_BEHALF_OF"] == "a"
    assert "HTTP_X_ON_BEHALF_OF" not in seen(("x_on_behalf_of", "b"))
    assert "CONTENT_TYPE" not in seen(("content_type", "text/plain"))


FORWARDED = ("x-forwarded-for", "203.0.113.9, 198.51.100.7")


@pytest.mark.parametrize(
    ("setting", "peer", "address"),
    [
        ("", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1", "198.51.100.7"),
        ("192.0.2.0/24, 198.51.100.7", "192.0.2.1", "203.0.113.9"),
        ("0.0.0.0/0", "192.0.2.1", "203.0.113.9"),
        ("::1", "::1", "198.51.100.7"),
    ],
)
def test_an_address_is_believed_of_trusted_proxies_alone(setting: str, peer: str, address: str) -> None:
    """The client's address is the last address in the header that no trusted proxy has."""
    variables = seen(FORWARDED, ("x-forwarded-proto", "https"), proxies=Proxies(setting), client=(peer, "1"))
    assert variables["REMOTE_ADDR"] == address
    assert variables["wsgi.url_scheme"] == ("http" if address == peer else "https")
    assert not [name for name in variables if "FORWARDED" in name]


@pytest.mark.parametrize("word", ["nonsense", "", "1.2.3.4.5", "<script>", "unknown", "203.0.113.9:99x, "])
def test_a_forged_address_is_none(word: str) -> None:
    """A forwarded value that is not an IP address is not recorded as one."""
    variables = seen(("x-forwarded-for", word), proxies=Proxies("192.0.2.1"))
    assert variables["REMOTE_ADDR"] in ("192.0.2.1", "203.0.113.9")


def test_a_setting_that_names_no_network_is_refused() -> None:
    """A service does not start with a trusted proxy that is not an address or a network."""
    with pytest.raises(InvalidInput, match="CAREGRANT_TRUSTED_PROXIES"):
        Proxies("proxy.example")
