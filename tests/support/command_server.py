"""A process that runs commands of `caregrant`: it has imported everything once, and forks for each command.

A command is a process of its own, with its own arguments, environment and files; only the imports are not repeated,
which take half a second. Requests and exit codes are lines of JSON: `python -m tests.support.command_server`.
"""

import json
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

import pandas as pd  # noqa: F401

import api.server  # noqa: F401
import authz.audit.questions
import authz.audit.session  # noqa: F401
from authz.cli import main


def serve() -> None:
    """Run a command for each line of standard input, and print its exit code."""
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if not child:
            _run(command)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(command: dict[str, Any]) -> None:
    """Run a command in this process, as its script does, and end the process."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(command["environment"])
        os.chdir(command["folder"])
        for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
            os.dup2(os.open(command["files"][number], flags), number)
        sys.stdin, sys.stdout, sys.stderr = (open(number, "rw"[number > 0], closefd=False) for number in range(3))  # noqa: SIM115
        sys.argv = ["caregrant", *command["arguments"]]
        sys.modules["__main__"].__package__ = None  # click names a program by it in its help
        main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
