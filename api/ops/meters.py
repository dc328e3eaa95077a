"""Counters: requests and how long they took, decisions, refused credentials, requests that never reached Flask.

Every label has a fixed set of values, whatever callers send. Worker processes count together in files of one folder
(`together`, before the first of them counts).
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Iterable
from functools import cache
from typing import Any

from flask import Flask, Response, g, request

from authz.policy.decision import Decision

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""The methods that are known; any other is counted as ``other``."""

_folder: list[str] = []


class Meters:
    """All counters, once for each process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415 - reads when imported whether to count together

        self.requests: Counter = Counter("caregrant_requests", "Requests answered", ["route", "method", "status"])
        self.seconds: Histogram = Histogram("caregrant_request_seconds", "Seconds until the answer", ["route"])
        self.decisions: Counter = Counter("caregrant_decisions", "Decisions given", ["decision"])
        self.refused: Counter = Counter("caregrant_credentials_refused", "Credentials refused", ["kind"])
        self.refused_requests: Counter = Counter(
            "caregrant_requests_refused", "Requests refused before a thread took them", ["kind", "problem"]
        )
        self.by_decision = {True: self.decisions.labels("permit"), False: self.decisions.labels("deny")}
        self._answered: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. Label children are kept: finding one costs more than counting."""
        key = (route, method if method in METHODS else "other", status)
        pair = self._answered.get(key)
        if pair is None:
            pair = self._answered[key] = self.requests.labels(*key), self.seconds.labels(route)
        pair[0].inc()
        pair[1].observe(seconds)


@cache
def meters() -> Meters:
    """The process's own."""
    return Meters()


def together(folder: str) -> None:
    """Count together with the other processes that name the same folder; before anything is counted."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # how prometheus_client is told
    _folder[:] = [folder]


def decided(decisions: Iterable[Decision]) -> None:
    """Count the decisions of an answer."""
    for allowed, count in Tally(decision.allowed for decision in decisions).items():
        meters().by_decision[allowed].inc(count)


def install(app: Flask) -> None:
    """Count every request of an app."""
    meters()  # made here, before several threads would make them

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        seconds = time.perf_counter() - g.get("began", time.perf_counter())
        meters().answered(route, request.method, response.status_code, seconds)
        return response


def exposed() -> tuple[bytes, str]:
    """Return all counts in Prometheus' text format, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry: Any = REGISTRY
    if _folder:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, _folder[0])
    return generate_latest(registry), CONTENT_TYPE_LATEST
