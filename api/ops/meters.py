"""Counters: requests and their seconds, decisions, invalid credentials, requests that the gateway refused.

Every label has a fixed set of values, whatever callers send. Worker processes share their counts in files of one folder
(`share_counts`, called before anything is counted).
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Iterable
from functools import cache

from flask import Flask, Response, g
from flask.globals import request_ctx

from api.request_group import DeferredBody
from authz.policy.decision import Decision

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""The methods that the service supports; any other method is counted as ``other``."""

_folder: list[str] = []


class Meters:
    """All counters of a process."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415 - at import it looks whether counts are shared

        self.requests: Counter = Counter("caregrant_requests", "Requests answered", ["route", "method", "status"])
        self.seconds: Histogram = Histogram("caregrant_request_seconds", "Seconds until the answer", ["route"])
        self.decisions: Counter = Counter("caregrant_decisions", "Decisions given", ["decision"])
        self.refused: Counter = Counter("caregrant_credentials_refused", "Credentials refused", ["kind"])
        self.refused_requests: Counter = Counter(
            "caregrant_requests_refused", "Requests refused before a thread took them", ["kind", "problem"]
        )
        self.activations: Counter = Counter("caregrant_policies_activated", "Activated policies that a process took")
        self.stale_policies: Counter = Counter(
            "caregrant_policies_not_taken", "Looks at an activated policy that a process could not take"
        )
        self.by_decision = {True: self.decisions.labels("permit"), False: self.decisions.labels("deny")}
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. The children of labels are cached: a look-up costs more than counting."""
        key = (route, method if method in METHODS else "other", status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self.requests.labels(*key), self.seconds.labels(route)
        requests, request_seconds = children
        requests.inc()
        request_seconds.observe(seconds)


@cache
def meters() -> Meters:
    """Return the counters of this process."""
    return Meters()


def share_counts(folder: str) -> None:
    """Share the counts with the other processes of the same folder; to be called before anything is counted."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus_client reads the folder from the environment
    _folder[:] = [folder]


def count_decisions(decisions: Iterable[Decision]) -> None:
    """Count the decisions of one response."""
    for allowed, count in Tally(decision.allowed for decision in decisions).items():
        meters().by_decision[allowed].inc(count)


def install(app: Flask) -> None:
    """Count every request of an app."""
    meters()  # here, before several threads could make the counters at once

    @app.before_request
    def start_clock() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def count_response(response: Response) -> Response:
        current = request_ctx.request  # each use of a proxy costs
        route = "none" if current.url_rule is None else current.url_rule.rule
        method, began = current.method, g.get("began", time.perf_counter())

        def count(status: int) -> None:
            meters().count_request(route, method, status, time.perf_counter() - began)

        if isinstance(response.response, DeferredBody):
            response.response.count = count
        else:
            count(response.status_code)
        return response


def exposition_text() -> tuple[bytes, str]:
    """Return all counts in Prometheus' text format, and the content type of that format."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry = REGISTRY
    if _folder:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, _folder[0])
    return generate_latest(registry), CONTENT_TYPE_LATEST
