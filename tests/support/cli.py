"""The command line as a process."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

_LOCK = threading.Lock()


@cache
def _server() -> "subprocess.Popen[str]":
    """Start the command server of this test process; it ends when this process closes its standard input."""
    command = [sys.executable, "-m", "tests.support.command_server"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _run(arguments: list[str], stdin: bytes, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run `caregrant`; return its exit code, its standard output and its standard error."""
    with tempfile.TemporaryDirectory() as folder, _LOCK:
        files = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        files[0].write_bytes(stdin)
        for file in files[1:]:
            file.touch()
        command = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        server = _server()
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({**command, "files": [str(file) for file in files]}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, files[1].read_text(), files[2].read_text()


def run(*arguments: str, url: str = "", stdin: bytes = b"", exit_code: int = 0, **environment: str) -> str:
    """Run `caregrant` as a user does; return its standard output, or its standard error if it refused."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CAREGRANT_")}
    full = [*arguments, *(("--database", url) if url else ())]
    code, out, err = _run(full, stdin, inherited | environment)
    assert code == exit_code, (out, err)
    assert "Traceback" not in err
    if exit_code == 0:
        assert err == ""
    return out or err


def refused(*arguments: str, url: str = "", stdin: bytes = b"", **environment: str) -> str:
    """Run a command that must be refused; return its one line of error."""
    line = run(*arguments, url=url, stdin=stdin, exit_code=1, **environment)
    assert line.startswith("caregrant: ")
    assert line.count("\n") == 1
    return line
