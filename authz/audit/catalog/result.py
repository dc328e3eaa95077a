"""The rows that answer a question, under the names that the SQL gives to its columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class ResultTable:
    """Rows by the names of their columns; `columns` are the names in the order of the answer.

    The SQL of a question names its columns (``AS patient``). It selects ``NULL`` for a column that Python computes. A
    column whose name begins with an underscore serves to compute others, and is no part of the answer.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, columns: str, rows: Iterable[Sequence[object]]) -> "ResultTable":
        """Return a table of rows that Python makes; `columns` are names with blanks between them."""
        return cls.from_tuples(columns.split(), rows)

    @classmethod
    def from_tuples(cls, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "ResultTable":
        """Return a table of the rows of a cursor."""
        return cls(tuple(columns), [dict(zip(columns, row, strict=True)) for row in rows])

    @property
    def answered(self) -> list[str]:
        """The columns that are part of the answer."""
        return [name for name in self.columns if not name.startswith("_")]

    def __len__(self) -> int:
        return len(self.rows)


class QuestionResult(NamedTuple):
    """The result of a question's function: a table, and the number of things that were checked.

    `period` is the period in microseconds, if it is not the one of the parameters `since` and `until`.
    """

    table: ResultTable
    checked: int
    period: tuple[int, int] | None = None
