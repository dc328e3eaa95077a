"""A real service under load takes each activated policy: no request is lost, and each is answered by one version."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from authz.database import Database, close_all, connect
from authz.domain import parse_instant
from authz.models import RecordedDecision
from authz.record import list_served_policies
from tests.support.acting import POLICY
from tests.support.activations import OSCAR, kill_amid_activation
from tests.support.cli import run
from tests.support.http import question
from tests.support.server import free_port, send, serving

ACTIVATIONS = int(os.environ.get("CAREGRANT_ACTIVATIONS", "2"))
REQUESTS = int(os.environ.get("CAREGRANT_ACTIVATION_REQUESTS", "200"))
"""By hand 50 and 10,000."""

LATE = timedelta(seconds=float(os.environ.get("CAREGRANT_LATE_SECONDS", "30")))
"""The seconds for which a process may answer by the old policy; one on a machine that is not busy."""


class Askers:
    """Apps that ask one question again and again, until they have asked enough and are stopped."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.answers: list[tuple[int, Any]] = []
        self.stop = threading.Event()

    def ask(self, asker: int) -> None:
        number = 0
        while not self.stop.is_set() or len(self.answers) < REQUESTS:
            number += 1
            headers = {"Authorization": f"Bearer {self.key}", "X-Request-ID": f"r-{asker}-{number}"}
            status, body = send(self.port, "POST", "/access/v1/evaluation", question("noa"), headers)
            self.answers.append((status, {**body, "request": headers["X-Request-ID"]}))

    def wait_for(self, version: str) -> None:
        """Wait until all of the last answers are of a version."""
        until = time.monotonic() + 60
        begin = len(self.answers)
        while True:
            last = self.answers[begin:][-20:]
            if len(last) == 20 and {body["context"]["policy_version"] for _, body in last} == {version}:
                return
            assert time.monotonic() < until, last[-1:]
            time.sleep(0.01)


def test_activations_under_load(database_url: str, key: str, tmp_path: Path) -> None:
    """Requests during activations, a crash in one and a rollback: none is lost, record and version agree."""
    folders = [tmp_path / name for name in ("shipped", "noa")]
    for folder, more in zip(folders, ("", OSCAR.replace("oscar", "noa")), strict=True):
        folder.mkdir()
        for name, text in POLICY.texts.items():
            (folder / name).write_text(text)
        (folder / "more.polar").write_text(f"# R11. More.\n{more}\n" if more else "\n")
    port = free_port()
    with serving("serve", "--workers", "2", "--database", database_url, port=port), ThreadPoolExecutor(4) as pool:
        askers = Askers(port, key)
        asking = [pool.submit(askers.ask, number) for number in range(4)]
        try:
            for number in range(ACTIVATIONS):
                if number == ACTIVATIONS // 2:
                    kill_amid_activation(folders[number % 2], database_url)
                done = activated(str(folders[number % 2]), url=database_url)
                askers.wait_for(done)
            askers.wait_for(activated("", url=database_url))
        finally:
            askers.stop.set()
        for future in asking:
            future.result()
    database = connect(database_url)
    check_answers(database, askers.answers)
    close_all(database)


def activated(folder: str, url: str) -> str:
    """Activate the policy of a folder, or roll back; return the version."""
    command = ("activate", folder) if folder else ("rollback",)
    printed = run("policy", *command, "--author", "O", "--reason", "x", "--json", url=url)
    version: str = json.loads(printed)["version"]
    return version


def check_answers(database: Database, answers: list[tuple[int, Any]]) -> None:
    """Require an answer to each request by one version, as it is recorded, and in force then or shortly before."""
    assert len(answers) >= REQUESTS
    assert {status for status, _ in answers} == {200}
    periods = list_served_policies(database)
    assert len(periods) == ACTIVATIONS + 2, "the start, the activations, the rollback; nothing of the crash"
    permits = {period.version for period in periods[2::2]} - {periods[1].version}
    rows = RecordedDecision.select(
        RecordedDecision.request_id,
        RecordedDecision.policy_version,
        RecordedDecision.allowed,
        RecordedDecision.asked_at,
    )
    recorded = {request: rest for request, *rest in rows.tuples().execute(database)}
    assert len(recorded) == len(answers)
    for _, body in answers:
        version, allowed, asked_at = recorded[body["request"]]
        assert (version, bool(allowed)) == (body["context"]["policy_version"], body["decision"])
        assert body["decision"] == (version in permits)
        assert any(
            period.version == version
            and parse_instant(period.since) <= asked_at + timedelta(seconds=1)
            and (period.until is None or asked_at < parse_instant(period.until) + LATE)
            for period in periods
        )
