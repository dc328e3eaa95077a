"""Run the steps of a document one after another, and compare what they print with what the document shows."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server import free_port

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"(Write|Add to) `([\w./-]+)`:\s*\Z")


@dataclass
class Step:
    """A step of a document: a line of bash and what the document shows as its output, None for anything."""

    command: str
    output: str | None


def page(name: str) -> str:
    """Return the text of a file of this project."""
    return (ROOT / name).read_text()


def steps(text: str) -> list[Step]:
    """Return the steps of a document, in order.

    A `console` block has commands after `$`, each with its output below. A block after a paragraph that ends with
    "Write `path`:" or "Add to `path`:" is the content of a file. A `python` block is a program; a `text` block directly
    after it is its output.
    """
    document: list[Step] = []
    end = 0
    for block in _BLOCK.finditer(text):
        language, content = block.groups()
        before = text[end : block.start()]
        end = block.end()
        if language == "console":
            document += [Step(*parts) for parts in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", content, re.M)]
        elif file := _FILE.search(before):
            redirect = ">" if file[1] == "Write" else ">>"
            path = file[2]
            command = f"mkdir -p $(dirname {path}) && cat {redirect} {path} <<'END_OF_FILE'\n{content}END_OF_FILE"
            document.append(Step(command, ""))
        elif language == "python":
            document.append(Step(f"python - <<'END_OF_FILE'\n{content}END_OF_FILE", None))
        elif language == "text" and not before.strip():
            document[-1].output = content
    return document


def is_shown(shown: str, printed: str) -> bool:
    """Return whether output is what a document shows, in which an ellipsis stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.S) is not None


def run(document: list[Step], folder: Path) -> Iterator[tuple[Step, str]]:
    """Run the steps in one shell in a folder; yield each with what it prints. Port 8080 becomes a free one."""
    if shutil.which("curl") is None:
        assert os.environ.get("CI") != "true", "curl is not installed"
        pytest.skip("curl is not installed")
    port = str(free_port())
    script = "\n".join(f"echo; echo '@@{at}'\n{step.command.replace('8080', port)}" for at, step in enumerate(document))
    process = subprocess.Popen(
        ["bash", "-c", script + "\nkill %1 2>/dev/null; wait"],
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=100)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    printed = re.split(r"^@@\d+\n", output, flags=re.M)[1:]
    assert len(printed) == len(document), output
    yield from zip(document, printed, strict=True)


def check(document: list[Step], folder: Path) -> None:
    """Run the steps in a folder, and require that each prints what the document shows."""
    for step, printed in run(document, folder):
        assert step.output is None or is_shown(step.output, printed), f"{step.command}\n{printed}"
