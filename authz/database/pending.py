"""A query under way: sent, and not yet waited for."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """A query that a database works on; inside `pipelined` several are under way at once.

    `read` fetches the rows and makes the result of them. It is called once, by the first `result`.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read: Callable[[], T] | None = read
        self._result: T

    def result(self) -> T:
        """Wait for the rows and return the result; the same at each call. Raises what the query raises."""
        if self._read is not None:
            self._result = self._read()
            self._read = None
        return self._result
