"""SQLite under a running service: a full disk, corrupted pages. Nothing is permitted or lost by them."""

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
    """A file system of some megabytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def clinic(file: Path) -> str:
    """The demonstration clinic in a file; the key of an app."""
    database, began = connect(f"sqlite:///{file}"), datetime.now(UTC) - timedelta(hours=1)
    migrate(database)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide", "act"), now=began)
    close_all(database)
    return key


class Asking:
    """An app of a service: what it asks and changes, and which answers it was given."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.headers, self.given = port, {"Authorization": f"Bearer {key}"}, list[str]()

    def decide(self, who: str = "bob") -> int:
        name = f"r-{len(self.given)}-{who}"
        status, answer = send(self.port, "POST", EVALUATION, question(who), {**self.headers, "X-Request-ID": name})
        if status == 200:
            assert answer["decision"] is (who == "bob")
            self.given.append(name)
        return status

    def change(self) -> int:
        acting = {**self.headers, "X-On-Behalf-Of": "alice@north.example"}
        return send(self.port, "POST", "/v1/patients", {"name": "Pat"}, acting)[0]

    def ready(self) -> int:
        return send(self.port, "GET", "/readyz", None, {})[0]

    def until(self, status: int) -> None:
        """Ask until a decision, a change and readiness answer so."""
        for _ in range(600):
            got = {200 if one == 201 else one for one in (self.decide(), self.change(), self.ready())}
            if got == {status}:
                return
        raise AssertionError(f"the service never answered {status}: {got}")


def recorded(file: Path) -> list[str]:
    database = connect(f"sqlite:///{file}")
    found = [name for (name,) in RecordedDecision.select(RecordedDecision.request_id).tuples().execute(database)]
    close_all(database)
    return found


@pytest.mark.skipif(not ROOT, reason="a file system of its own needs root")
def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """While nothing can be written nothing is answered; with room again the service goes on, and nothing is lost."""
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
        assert sorted(set(app.given)) == sorted(app.given)
        assert set(app.given) <= set(recorded(file))


def test_corrupted_pages_permit_nothing(tmp_path: Path) -> None:
    """Pages that are no pages any more, under a running service: an answer is right or there is none."""
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
    for words in (("serve", "--port", str(port)), ("check", "practitioner:bob", "view", "patient:p-1")):
        done = subprocess.run(
            [COMMAND, *words, "--database", f"sqlite:///{file}"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert b"malformed" in done.stderr or b"cannot" in done.stderr
        assert b"Traceback" not in done.stderr
