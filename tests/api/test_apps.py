"""The examples of `docs/howto/apps.md`, each run as it stands against a real server with the demonstration clinic."""

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

PAGE = (Path(__file__).parents[2] / "docs/howto/apps.md").read_text()


def example(title: str) -> str:
    """Return the code below a heading."""
    blocks: list[str] = re.findall(rf"^## {title}\n.*?^```\w+\n(.*?)^```", PAGE, re.M | re.S)
    return blocks[0]


@pytest.fixture(scope="module")
def service_and_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the address of a service, and a key."""
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
def test_each_example_runs(service_and_key: tuple[str, str], title: str, command: list[str], printed: str) -> None:
    """Each example, given the address and the key, prints what the demonstration clinic permits."""
    if shutil.which(command[0]) is None:
        assert os.environ.get("CI") != "true" or command[0] == "node", f"{command[0]} is not installed"
        pytest.skip(f"{command[0]} is not installed")
    url, key = service_and_key
    code = example(title).replace("http://127.0.0.1:8000", url).replace("cg_your-key", key)
    ran = subprocess.run([*command, code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout[: len(printed)], ran.returncode) == (printed, 0), ran.stderr
