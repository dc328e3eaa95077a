"""Every error that this software raises on purpose, in one small tree.

CaregrantError
├── InvalidInput          what was given is malformed; says what and where
│   └── ImportRefused     a line of an import file, with its number
├── PolicyRefused         a policy directory that must not be loaded, with file, line and column
├── PolicyUnknown         the policy of a past instant, or of a version, is not known here
├── Conflict              the state does not allow it: it stands already, or somebody was faster
├── NotFound              not there, or not the caller's to know
├── Denied                known to the caller, but no rule permits it
├── NotEligible           the colleague cannot receive: one refusal for every cause
├── SelfTarget            a share or transfer to oneself
├── KeyReused             the same Idempotency-Key came with another request
├── BatchRefused          several patients at once: which, and why
├── TooMany               the caller asks more often than it may
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


class PolicyUnknown(CaregrantError):
    """The policy of a past instant, or of a version, is not known: no decision of that time can be made."""


class Conflict(CaregrantError):
    """The database already holds something that contradicts the request."""


class NotFound(CaregrantError):
    """There is no such thing, or it is not the caller's to know: nobody can tell which."""

    def __init__(self) -> None:
        super().__init__("There is nothing here, or it is not yours to know.")


DENIALS = {
    "view": "You may not view this patient.",
    "share": "You may not share this patient.",
    "transfer": "You may not transfer this patient.",
    "end_share": "You may not end this share.",
    "give_up": "You may not give up this share.",
    "list_access": "You may not see who has access to this patient.",
    "receive": "You may not receive this patient.",
    "edit": "You may not change the name or the reference of this patient.",
    "end": "You may not end this patient's care at the clinic.",
    "add_patient": "You may not add patients to this clinic.",
    "manage": "You may not manage this clinic.",
    "audit": "You may not audit this clinic.",
    "provision": "The key of one clinic may not change this; use the operator's key.",
}
"""The sentence of a refusal, for each action that an operation or a query requires."""


class Denied(CaregrantError):
    """The caller may know the resource, but no rule permits this action on it; `action` is a key of `DENIALS`."""

    def __init__(self, action: str) -> None:
        super().__init__(DENIALS[action])


class NotEligible(CaregrantError):
    """The colleague named cannot receive: unknown, of another clinic, lapsed, not a login. One text for all (T5)."""

    def __init__(self) -> None:
        super().__init__("Nobody with this login can receive here.")


class SelfTarget(CaregrantError):
    """A share or transfer to oneself (T9)."""

    def __init__(self) -> None:
        super().__init__("You cannot share or transfer to yourself.")


class KeyReused(CaregrantError):
    """The same `Idempotency-Key` came with another request (T16)."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another request before.")


class BatchRefused(CaregrantError):
    """Several patients at once, of which some refuse: nothing was done. `refusals` says which, by place, and why."""

    def __init__(self, refusals: list[tuple[int, CaregrantError]]) -> None:
        super().__init__("Nothing was done: not every patient allows it.")
        self.refusals = refusals


class TooMany(CaregrantError):
    """The caller has sent as many requests as it may; `seconds` until it may send more."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"This caller has sent as many requests as it may; again in {seconds} s.")
        self.seconds = seconds


class Unavailable(CaregrantError):
    """The database cannot answer now; there is no decision, neither permit nor deny."""
