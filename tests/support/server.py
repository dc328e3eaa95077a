"""A real server process on a free port of 127.0.0.1, stopped by its process id, and requests to it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("caregrant")
READY_SECONDS = 90
"""The longest time that a server may take to start on a busy machine, in seconds."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    *arguments: str, port: int, ready: str = "/readyz", environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server process on a port until the end of the block; yield it when it is ready."""
    process = subprocess.Popen(
        [COMMAND, *arguments, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None, process.stdout and process.stdout.read().decode()
            try:
                get(port, ready)
                break
            except OSError:
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        if process.stdout:
            process.stdout.close()


@contextmanager
def jupyterlab(database: str, folder: Path) -> Iterator[str]:
    """Run `caregrant notebooks` on a database, with the copies in a folder; yield the address that it prints."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CAREGRANT_", "JUPYTER"))}
    process = subprocess.Popen(
        [
            *(COMMAND, "notebooks", "--no-browser", "--port", str(port)),
            *("--folder", folder, "--database", database),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "HOME": str(folder.parent)},
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        yield next(
            match[1]
            for line in process.stderr
            if (match := re.search(rf"(http://127\.0\.0\.1:{port}/lab\S*token=\w+)", line))
        )
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def wait_until_nobody_listens(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise AssertionError("a worker outlived its parent")


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return json.load(response)


def send(port: int, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Send a request; return the status and the JSON of the answer. Raise `OSError` if there is no answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            content = response.read()
            return response.status, json.loads(content) if content else None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
