"""A soak: `python -m benchmarks.soak --rate 2000 [--minutes 10]`.

Two workers on SQLite answer single evaluations durably at a fixed rate, while patients are shared, shares are ended and
the log is exported, with the lowest priority, again and again. Each half minute is a line: answers, latencies, memory.
At the end the record is verified. Exit 1 if a change or an export failed, if the record is not VERIFIED, or if the
memory or the p99 of the last third is more than 1.5 times that of the first third.
"""

import http.client
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import click

from authz.audit.integrity.checkpoints import Signer
from authz.callers.clients import add_client
from authz.database import close_all, connect
from benchmarks import answers
from tests.support.server import COMMAND, free_port, serving

_WINDOW = 30.0


class RepeatedWork(threading.Thread):
    """Calls `task` again and again, with a pause, until it is stopped; counts the calls that failed."""

    def __init__(self, pause: float, task: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.pause, self.task = pause, task
        self.stopping = threading.Event()
        self.done = self.failed = 0

    def run(self) -> None:
        while not self.stopping.wait(self.pause):
            try:
                self.task()
            except Exception as error:
                self.failed += 1
                click.echo(f"beside the answers: {error}", err=True)
            else:
                self.done += 1


def _caregrant(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["nice", "-n", "19", COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(done.stderr or done.stdout)
    return done.stdout


def _share_and_end(port: int, key: str, patient: str) -> None:
    """Share a patient of Alice with Ivan over HTTP, then end the share."""
    headers = {
        "Authorization": f"Bearer {key}",
        "X-On-Behalf-Of": "alice@north.example",
        "Content-Type": "application/json",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        share = b'{"colleague": "ivan@north.example"}'
        connection.request("POST", f"/v1/patients/{patient}/shares", share, headers)
        answer = _read(connection.getresponse())
        connection.request("DELETE", f"/v1/patients/{patient}/shares/{json.loads(answer)['id']}", headers=headers)
        _read(connection.getresponse())


def _read(response: http.client.HTTPResponse) -> bytes:
    body = response.read()
    if response.status >= 400:
        raise RuntimeError(f"{response.status} {body.decode()}")
    return body


@click.command()
@click.option("--rate", required=True, type=float, help="Evaluations a second.")
@click.option("--minutes", default=10.0, show_default=True)
def main(rate: float, minutes: float) -> None:
    """Soak, print a line each half minute, verify."""
    with tempfile.TemporaryDirectory(prefix="caregrant-soak-") as folder:
        url = f"sqlite:///{folder}/clinic.db"
        _caregrant("demo", "--database", url)
        database = connect(url)
        keys = [add_client(database, name=scope, scopes=(scope,), now=datetime.now(UTC)) for scope in ("decide", "act")]
        close_all(database)
        mine, ivans = (
            set(_caregrant("what", f"practitioner:{who}", action, "patient", "--database", url).split())
            for who, action in (("alice", "share"), ("ivan", "view"))
        )
        port, patients = free_port(), itertools.cycle(sorted(mine - ivans))
        arguments = ("serve", "--database", url, "--workers", str(answers.WORKERS))
        with serving(*arguments, port=port, environment={"CAREGRANT_RATE": "0"}) as process:
            service = answers.Service(process.pid, port, keys[0])
            changes = RepeatedWork(0.2, lambda: _share_and_end(port, keys[1], next(patients)))
            exports = RepeatedWork(
                20,
                lambda: _caregrant(
                    "audit", "export", "--format", "log", "-o", f"{folder}/log.ndjson", "--database", url
                ),
            )
            for thread in (changes, exports):
                thread.start()
            people = ("alice", "bob", "carol", "ivan", "dan")
            bodies = [answers.question(who, f"p-{number}") for number in range(1, 60) for who in people]
            lines: list[tuple[float, float]] = []
            total = 0
            for _ in range(int(minutes * 60 / _WINDOW)):
                measured = service.load(answers.EVALUATION, bodies, _WINDOW, rate=rate)
                p99, memory = measured.percentile(99), service.megabytes()
                lines.append((p99, memory))
                total += measured.answers
                click.echo(
                    f"{measured.rate:,.0f} answers/s, p50 {measured.percentile(50) * 1e3:.1f} ms, "
                    f"p99 {p99 * 1e3:.1f} ms, longest {max(measured.latencies) * 1e3:.0f} ms, {memory:.0f} MB"
                )
            for thread in (changes, exports):
                thread.stopping.set()
                thread.join()
        key_file = f"{folder}/key"
        environment = {"CAREGRANT_CHECKPOINT_KEY": key_file}
        Signer.make(key_file, "soak.example/caregrant")
        _caregrant("audit", "checkpoint", "--database", url, environment=environment)
        verdict = _caregrant("audit", "verify", "--database", url, environment=environment)
    third = max(1, len(lines) // 3)
    growth = [
        statistics.median(line[part] for line in lines[-third:])
        / statistics.median(line[part] for line in lines[:third])
        for part in (0, 1)
    ]
    click.echo(
        f"{total:,} answers, {changes.done} shares begun and ended, {exports.done} exports; p99 of the last third "
        f"beside the first {growth[0]:.2f}, memory {growth[1]:.2f}; {verdict.strip().splitlines()[-1]}"
    )
    if changes.failed or exports.failed or max(growth) > 1.5 or "VERIFIED" not in verdict:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
