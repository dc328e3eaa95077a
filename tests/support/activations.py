"""A policy to activate, and an activation that is killed before its commit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

OSCAR = 'allow(p: Practitioner, "view", _: Patient) if p.id = "oscar";'

_DYING = """
import os, signal, sys
from authz.cli import caregrant
from authz.record import policies
append = policies.append
def append_and_die(database, actor, events, at=None):
    append(database, actor, events, at)
    if events[0].kind == "policy:activated":
        os.kill(os.getpid(), signal.SIGKILL)
policies.append = append_and_die
caregrant(sys.argv[1:])
"""


def kill_amid_activation(folder: Path, url: str) -> None:
    """Activate a policy in a process that is killed between its event and the commit."""
    arguments = ["policy", "activate", str(folder), "--author", "O", "--reason", "x", "--database", url]
    done = subprocess.run([sys.executable, "-c", _DYING, *arguments], env=os.environ, check=False, timeout=90)
    assert done.returncode == -signal.SIGKILL
