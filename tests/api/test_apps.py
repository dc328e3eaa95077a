"""The examples of `docs/apps.md`, each run as it stands against a real server with the demonstration clinic."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.callers.clients import add_client
from authz.database import close_all, connect, migrate
from authz.importing import demo
from authz.policy.compiler import load
from authz.settings import shipped_folder
from tests.support.server import free_port, serving

PAGE = (Path(__file__).parents[2] / "docs/apps.md").read_text()


def example(title: str) -> str:
    """The code beneath a heading."""
    found: list[str] = re.findall(rf"^## {title}\n.*?^```\w+\n(.*?)^```", PAGE, re.M | re.S)
    return found[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a service, and a key."""
    url = f"sqlite:///{tmp_path_factory.mktemp('apps')}/clinic.db"
    database = connect(url)
    migrate(database)
    demo.fill(database, load(shipped_folder("policies")).types, datetime.now(UTC) - timedelta(hours=1))
    key = add_client(database, name="app", scopes=("decide",), now=datetime.now(UTC))
    close_all(database)
    port = free_port()
    with serving("serve", "--database", url, port=port):
        yield f"http://127.0.0.1:{port}", key


@pytest.mark.parametrize(
    ("title", "command", "printed"),
    [
        ("curl", ["sh", "-c"], '{"decision":true,'),
        ("Python", [sys.executable, "-c"], "True False\n"),
        ("Flask", [sys.executable, "-c"], "200 404\n"),
        ("JavaScript", ["node", "-e"], "true false\n"),
    ],
)
def test_each_example_runs(told: tuple[str, str], title: str, command: list[str], printed: str) -> None:
    """With the address and the key in place, it prints what the demonstration clinic permits."""
    if shutil.which(command[0]) is None:
        assert os.environ.get("CI") != "true" or command[0] == "node", f"{command[0]} is not installed"
        pytest.skip(f"{command[0]} is not installed")
    url, key = told
    code = example(title).replace("http://127.0.0.1:8000", url).replace("cg_your-key", key)
    ran = subprocess.run([*command, code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout[: len(printed)], ran.returncode) == (printed, 0), ran.stderr
