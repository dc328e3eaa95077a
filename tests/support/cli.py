"""The command line as a process."""

import os
import subprocess
import sys
from pathlib import Path


def run(*arguments: str, url: str = "", stdin: bytes = b"", exit_code: int = 0, **environment: str) -> str:
    """Run `caregrant` as a user does; return its standard output, or its standard error if it refused."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CAREGRANT_")}
    done = subprocess.run(
        [Path(sys.executable).with_name("caregrant"), *arguments, *(("--database", url) if url else ())],
        input=stdin,
        capture_output=True,
        check=False,
        env=inherited | environment,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == exit_code, (out, err)
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
