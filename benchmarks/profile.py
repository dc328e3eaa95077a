"""The processor time of an answer by its parts: `python -m benchmarks.profile [--count 5000]`.

One thread answers single evaluations in this process, through the gateway, Flask and the record, as a thread of a
worker does. Each part is timed by itself, without the parts that it calls; the command prints the median processor time
of an answer for each part. Timing costs about a microsecond for each call of a part.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from flask import Flask
from flask.ctx import RequestContext

import api.auth
import api.authzen.evaluation
import api.gateway.receiving
import api.ops.meters
from api.app import create_app
from api.gateway import Gateway
from api.gateway.lanes import EVALUATION, GROUP
from api.gateway.proxies import Proxies
from api.gateway.receiving import ReceivedRequest
from api.request_group import DeferredBody
from authz.callers.clients import add_client
from authz.database import connect, migrate
from authz.policy.pdp import PDP
from authz.record import DecisionLog, get_decision_log
from authz.settings import Settings
from benchmarks import data
from tests.support import postgresql_server

_LOOP = asyncio.new_event_loop()
PARTS: dict[str, list[tuple[object, str]]] = {
    "the environment of WSGI": [(api.gateway.receiving, "environ")],
    "Flask and Werkzeug: contexts, dispatch, response": [(api.gateway.receiving, "_call_wsgi")],
    "the gateway": [(Gateway, "_answer"), (Gateway, "_read_answer"), (Gateway, "_commit")],
    "routing": [(RequestContext, "match_request"), (Flask, "create_url_adapter")],
    "hooks: request id, checks, connection, headers": [(Flask, "preprocess_request"), (Flask, "process_response")],
    "credentials": [(api.auth, "_verify_credential")],
    "strict JSON": [(api.authzen.evaluation, "json_body")],
    "the question: pydantic": [(api.authzen.evaluation, "parse_question")],
    "the decision: SQL and fetch": [(PDP, "evaluate_many")],
    "the answer": [
        (api.authzen.evaluation, "_serialize_answer"),
        (api.authzen.evaluation, "json_response"),
        (api.authzen.evaluation, "_evaluate_one"),
        (DeferredBody, "__iter__"),
    ],
    "metrics": [(api.authzen.evaluation, "count_decisions"), (api.ops.meters.Meters, "count_request")],
    "the record: row and commit": [(api.authzen.evaluation, "record_decisions"), (DecisionLog, "commit")],
}


class Clock:
    """Adds up the seconds of each part, without those of the parts within it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            began = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                took = time.thread_time() - began
                self.seconds[part] += took - self._inner.pop()
                self._inner[-1] += took

        return wrapper


@contextmanager
def timed_parts(clock: Clock) -> Iterator[None]:
    """Time the functions of all parts in this block."""
    patches = [
        patch.object(owner, name, clock.timed(part, getattr(owner, name)))
        for part, functions in PARTS.items()
        for owner, name in functions
    ]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def scopes(key: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[dict[str, Any], bytes]]:
    """Return the ASGI scope and the body of each question."""
    made = []
    for who, patient in pairs:
        question = {
            "subject": {"type": "practitioner", "id": who},
            "action": {"name": "view"},
            "resource": {"type": "patient", "id": patient},
        }
        body = json.dumps(question).encode()
        headers = {
            "host": "127.0.0.1:8000",
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        scope = {
            "method": "POST",
            "path": "/access/v1/evaluation",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
        }
        made.append((scope, body))
    return made


def answer_all(gateway: Gateway, requests: Sequence[tuple[dict[str, Any], bytes]]) -> None:
    """Answer the requests in groups, as a thread of a worker does."""

    def send(message: dict[str, Any]) -> Any:
        if message.get("status", 200) != 200:
            raise SystemExit(f"an answer has the status {message['status']}")

    for begin in range(0, len(requests), GROUP):
        with gateway._group():
            for scope, body in requests[begin : begin + GROUP]:
                gateway._answer(ReceivedRequest(EVALUATION, scope, body, send, asyncio.Future(loop=_LOOP)), late=False)


def profile(mode: str, count: int, rounds: int, url: str = "") -> tuple[dict[str, float], float]:
    """Return the median seconds of an answer for each part, and for the whole answer without timing its parts."""
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/facts.db"
        database = connect(url)
        migrate(database)
        database.connect(reuse_if_open=True)
        world = data.fill(database, 10_000, 1)
        key = add_client(database, name="bench", scopes=("decide",), now=datetime.now(UTC))
        heartbeat = Path(folder) / "sealing"
        heartbeat.touch()
        app = create_app(Settings(database=url, decision_log=mode, rate=0), heartbeat=heartbeat)
        log = get_decision_log(app.extensions["caregrant"].database)
        gateway = Gateway(app, Proxies(""), log, largest=2**20, seconds=30)
        requests = scopes(key, data.questions(world, count, 3))
        parts: dict[str, list[float]] = {part: [] for part in PARTS}
        whole = []
        answer_all(gateway, requests)
        for _ in range(rounds):
            began = time.thread_time()
            answer_all(gateway, requests)
            whole.append((time.thread_time() - began) / count)
            clock = Clock()
            with timed_parts(clock):
                answer_all(gateway, requests)
            for part, seconds in clock.seconds.items():
                parts[part].append(seconds / count)
        return {part: statistics.median(seconds) for part, seconds in parts.items()}, statistics.median(whole)


@click.command()
@click.option("--count", default=4000, show_default=True, help="Answers in a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(count: int, rounds: int) -> None:
    """Print the table of the parts."""
    columns = {"Log off": profile("off", count, rounds), "Durable": profile("durable", count, rounds)}
    if postgresql_server.binaries() is not None:
        with postgresql_server.server(by_socket=True) as server:
            columns["Durable, PostgreSQL"] = profile("durable", count, rounds, f"{server}/postgres")
    click.echo(f"| Part | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for part in PARTS:
        click.echo(f"| {part} | {' | '.join(f'{parts[part] * 1e6:.0f} µs' for parts, _ in columns.values())} |")
    click.echo(f"| whole, parts not timed | {' | '.join(f'{whole * 1e6:.0f} µs' for _, whole in columns.values())} |")


if __name__ == "__main__":
    main()
