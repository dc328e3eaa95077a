"""A full disk or corrupted pages under a service on SQLite: nothing is wrongly permitted, and nothing is lost."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.callers.clients import add_client
from authz.database import close_all, connect, migrate
from authz.importing import demo
from authz.models import RecordedDecision
from authz.policy.compiler import load
from authz.settings import shipped_folder
from tests.support.http import EVALUATION, question
from tests.support.server import COMMAND, free_port, send, serving

ROOT = os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of some megabytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def clinic(file: Path) -> str:
    """Create the demonstration clinic in a file; return the key of an app."""
    database, began = connect(f"sqlite:///{file}"), datetime.now(UTC) - timedelta(hours=1)
    migrate(database)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide", "act"), now=began)
    close_all(database)
    return key


class Asking:
    """An app that asks and changes, and keeps the ids of the requests that were answered."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.headers, self.answered = port, {"Authorization": f"Bearer {key}"}, list[str]()

    def decide(self, who: str = "bob") -> int:
        name = f"r-{len(self.answered)}-{who}"
        status, answer = send(self.port, "POST", EVALUATION, question(who), {**self.headers, "X-Request-ID": name})
        if status == 200:
            assert answer["decision"] is (who == "bob")
            self.answered.append(name)
        return status

    def change(self) -> int:
        acting = {**self.headers, "X-On-Behalf-Of": "alice@north.example"}
        return send(self.port, "POST", "/v1/patients", {"name": "Pat"}, acting)[0]

    def ready(self) -> int:
        return send(self.port, "GET", "/readyz", None, {})[0]

    def until(self, status: int) -> None:
        """Ask until a decision, a change and readiness all answer with a status."""
        for _ in range(600):
            statuses = {200 if code == 201 else code for code in (self.decide(), self.change(), self.ready())}
            if statuses == {status}:
                return
        raise AssertionError(f"the service never answered {status}: {statuses}")


def recorded(file: Path) -> list[str]:
    database = connect(f"sqlite:///{file}")
    requests = [name for (name,) in RecordedDecision.select(RecordedDecision.request_id).tuples().execute(database)]
    close_all(database)
    return requests


@pytest.mark.skipif(not ROOT, reason="a file system of its own needs root")
def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """On a full disk the service refuses every request; with room again it goes on, and no answer is lost."""
    with small_disk(tmp_path / "disk", 24) as disk:
        file, port = disk / "clinic.db", free_port()
        key = clinic(file)
        with serving("serve", "--database", f"sqlite:///{file}", port=port):
            app = Asking(port, key)
            assert app.decide() == 200
            filler = (disk / "filler").open("wb", buffering=0)
            with filler:
                try:
                    while filler.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            app.until(503)
            (disk / "filler").unlink()
            app.until(200)
            assert app.decide("frank") == 200
        assert sorted(set(app.answered)) == sorted(app.answered)
        assert set(app.answered) <= set(recorded(file))


def test_corrupted_pages_permit_nothing(tmp_path: Path) -> None:
    """If pages are overwritten under a running service, an answer is right or refused."""
    file, port = tmp_path / "clinic.db", free_port()
    key = clinic(file)
    with serving("serve", "--database", f"sqlite:///{file}", port=port):
        app = Asking(port, key)
        assert app.decide() == 200
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.seek(4096)
            opened.write(b"\xa5" * (size - 4096))
        assert {app.decide(who) for who in ("bob", "frank", "nobody", "oscar") * 3} <= {200, 503}
        assert send(port, "GET", "/healthz", None, {})[0] == 200
    for arguments in (("serve", "--port", str(port)), ("check", "practitioner:bob", "view", "patient:p-1")):
        done = subprocess.run(
            [COMMAND, *arguments, "--database", f"sqlite:///{file}"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert b"malformed" in done.stderr or b"cannot" in done.stderr
        assert b"Traceback" not in done.stderr
