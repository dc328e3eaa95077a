"""All errors that this software raises on purpose, in one small tree.

CaregrantError
├── InvalidInput          a malformed value; the text says what and where
│   └── ImportRefused     a line of an import file, with its number
├── PolicyRefused         a policy folder that must not be loaded, with file, line and column
├── PolicyUnknown         the policy of a past instant, or of a version, is not stored here
├── Conflict              the stored state does not allow the change
├── NotFound              the thing does not exist, or the caller may not know it
├── Denied                the caller knows the thing, but no rule permits the action
├── NotEligible           the colleague cannot receive: one text for every cause
├── SelfTarget            a share or transfer to oneself
├── KeyReused             the same Idempotency-Key with another request
├── BatchRefused          several patients at once: which were refused, and why
├── TooMany               the caller has sent more requests than its rate
└── Unavailable           the database cannot answer: there is no decision

The tree has no HTTP statuses and no exit codes; `api` and `cli` map the errors to them.
"""

from dataclasses import dataclass


class CaregrantError(Exception):
    """The root of the tree."""


class InvalidInput(CaregrantError):
    """A malformed value from a caller or a file."""


class ImportRefused(InvalidInput):
    """An import file that was refused as a whole; `line` is the number of the first faulty line."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, order=True)
class Fault:
    """One fault in a policy folder and its place; line and column count from 1, 0 if unknown."""

    file: str
    line: int
    column: int
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.why}"


class PolicyRefused(CaregrantError):
    """A policy folder that cannot be compiled and is not loaded. `faults` lists every reason."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class PolicyUnknown(CaregrantError):
    """The policy of a past instant, or of a version, is not stored: decisions of that time cannot be made."""


class Conflict(CaregrantError):
    """A request that contradicts the stored state."""


class NotFound(CaregrantError):
    """A thing that does not exist, or that the caller may not know: the answer does not tell which (T1)."""

    def __init__(self) -> None:
        super().__init__("This does not exist, or you do not have access to it.")


DENIALS = {
    "view": "You may not view this patient.",
    "share": "You may not share this patient.",
    "transfer": "You may not transfer this patient.",
    "undo_transfer": "You may not undo the transfer of this patient.",
    "end_share": "You may not end this share.",
    "give_up": "You may not give up this share.",
    "list_access": "You may not see who has access to this patient.",
    "receive": "You may not receive this patient.",
    "edit": "You may not change the name or the reference of this patient.",
    "end": "You may not end this patient's care at the clinic.",
    "break_glass": "You may not open this patient in an emergency.",
    "review_emergency": "You opened this patient in an emergency yourself; somebody else reviews this access.",
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
    """A colleague who cannot receive: unknown, of another clinic, lapsed, or no login; one text for all (T5)."""

    def __init__(self) -> None:
        super().__init__("Nobody with this login can receive here.")


class SelfTarget(CaregrantError):
    """A share or transfer to oneself (T9)."""

    def __init__(self) -> None:
        super().__init__("You cannot share or transfer to yourself.")


class KeyReused(CaregrantError):
    """An `Idempotency-Key` that was used with another request before (T16)."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request before.")


class BatchRefused(CaregrantError):
    """A request about several patients of which some were refused: nothing was done.

    `refusals` holds the places of these patients in the request, and why.
    """

    def __init__(self, refusals: list[tuple[int, CaregrantError]]) -> None:
        super().__init__("Nothing was done: the request was refused for some of the patients.")
        self.refusals = refusals


class TooMany(CaregrantError):
    """A caller that has reached its rate; it may send more requests after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"This caller has reached its limit of requests; try again in {seconds} s.")
        self.seconds = seconds


class Unavailable(CaregrantError):
    """A database that cannot answer now; there is no decision, neither permit nor deny."""
