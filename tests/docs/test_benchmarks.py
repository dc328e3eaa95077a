"""The benchmarks run, and every contestant that is installed answers as Caregrant does; nothing here is timed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_contestant_agrees() -> None:
    """A small run succeeds, so that all contestants give equal answers, and prints every measure."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    measures = [line.split("|")[1].strip() for line in ran.stdout.splitlines()]
    for start in ("evaluate", "evaluate_many", "search of resources", "search of subjects", "matrix", "import"):
        assert any(what.startswith(start) for what in measures), start
