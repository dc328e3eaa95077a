"""Every error that this software raises on purpose, in one small tree.

CaregrantError
├── InvalidInput          what was given is malformed; says what and where
│   └── ImportRefused     a line of an import file, with its number
├── PolicyRefused         a policy directory that must not be loaded, with file, line and column
├── Conflict              the database holds something else under the same name
└── Unavailable           the database cannot answer: never a decision

None of them is an HTTP status or an exit code; `api` and `cli` map them.
"""

from dataclasses import dataclass


class CaregrantError(Exception):
    """The root of the tree."""


class InvalidInput(CaregrantError):
    """A value given by a caller or a file is malformed."""


class ImportRefused(InvalidInput):
    """An import file was refused as a whole; `line` is the number of the first line at fault."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong in a policy directory, and where it stands (line and column from 1, 0 if unknown)."""

    file: str
    line: int
    column: int
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.why}"


class PolicyRefused(CaregrantError):
    """A policy directory outside what can be compiled: nothing of it is loaded. `faults` lists every reason."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Conflict(CaregrantError):
    """The database already holds something that contradicts the request."""


class Unavailable(CaregrantError):
    """The database cannot answer now; there is no decision, neither permit nor deny."""
