"""The refusals of a request about several patients, raised together so that the caller learns of all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from authz.errors import BatchRefused, CaregrantError, Conflict, Denied, NotEligible, NotFound


class Refusals:
    """The refusals of a request about some patients, collected one by one."""

    def __init__(self, patients: Sequence[str]) -> None:
        self._patients = list(patients)
        self._refused: list[tuple[int, CaregrantError]] = []

    @contextmanager
    def collect(self, patient: str) -> Iterator[None]:
        """Collect the refusal of this patient, if the block raises one."""
        try:
            yield
        except (Conflict, Denied, NotEligible, NotFound) as error:
            self._refused.append((self._patients.index(patient), error))

    def require_none(self) -> None:
        """Raise what was collected: for one patient the refusal itself, for several `BatchRefused`."""
        if self._refused and len(self._patients) == 1:
            raise self._refused[0][1]
        if self._refused:
            raise BatchRefused(self._refused)
