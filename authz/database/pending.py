"""A query that was sent, and whose rows were not read yet."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """A query that the database works on; inside `pipelined` several are under way at the same time.

    `read` fetches the rows and returns the result; only the first call of `result` calls `read`.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read: Callable[[], T] | None = read
        self._result: T

    def result(self) -> T:
        """Wait for the rows and return the result, the same at each call. Raises the errors of the query."""
        if self._read is not None:
            self._result = self._read()
            self._read = None
        return self._result
