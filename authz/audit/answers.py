"""What a question is and what it answers: typed columns, and how much was looked at.

A question is a function with a number (AUDIT.md 1.4), a sentence and the names of its columns. Calling it records that
it was asked, then gives an `Answer`: a pandas frame that has its columns and types even when it is empty.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any, NamedTuple

import pandas as pd

from authz.audit.columns import COLUMNS
from authz.audit.reading import MOST_ROWS, Audit, When
from authz.audit.tables import as_table
from authz.errors import InvalidInput
from authz.terms import FOREVER_MICROS, format_instant

DTYPES = {"text": "str", "number": "Int64", "amount": "Float64", "truth": "boolean"}
"""The dtype of each kind of column; an instant is ``datetime64[us]`` in the time zone asked for, a day without one."""

_MOST_SHOWN = 500


class Found(NamedTuple):
    """What a question's function returns: rows in the order of the columns, and how many things were looked at."""

    rows: Sequence[Sequence[Any]]
    checked: int


@dataclass(frozen=True)
class Answer:
    """The answer to one question. `frame` holds it; `checked` of `noun` were looked at to find it."""

    number: str
    name: str
    sentence: str
    frame: pd.DataFrame
    checked: int
    noun: str
    as_of: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False

    @property
    def said(self) -> str:
        """How much was found: never blank."""
        more = f"; cut at {MOST_ROWS:,} rows" if self.cut else ""
        return f"{len(self.frame):,} of {self.checked:,} {self.noun} checked{more}"

    def __len__(self) -> int:
        return len(self.frame)

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.said}\n{self.frame.to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p class='said'>{escape(self.number)} · {escape(self.said)}</p>{as_table(self.frame, _MOST_SHOWN)}"


class Question:
    """One question of the audit, to be called with an `Audit` and the question's own parameters."""

    def __init__(self, ask: Callable[..., Found], number: str, columns: str, noun: str) -> None:
        functools.update_wrapper(self, ask)
        self.name = ask.__name__
        self.number = number
        self.columns = tuple(columns.split())
        self.noun = noun
        self.sentence = (ask.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()
        self.asked = ask
        unknown = [one for one in self.columns if one not in COLUMNS]
        assert not unknown, unknown

    @property
    def required(self) -> list[str]:
        """The parameters that it cannot do without."""
        given = inspect.signature(self.asked).parameters
        return [name for name in self.parameters if given[name].default is inspect.Parameter.empty]

    @property
    def parameters(self) -> list[str]:
        """All its own parameters."""
        given = inspect.signature(self.asked).parameters.values()
        return [one.name for one in given if one.kind is one.KEYWORD_ONLY]

    def __call__(self, audit: Audit, *, as_of: When = None, tz: str | None = None, **parameters: Any) -> Answer:
        """Ask. `as_of` and `tz` are the audit's own unless given. Raises `InvalidInput` and `Unavailable`."""
        here = audit.at(as_of, tz)
        with here.snapshot():
            found = self.asked(here, **parameters)
        rows = found.rows[:MOST_ROWS]
        told = {name: _plain(value) for name, value in parameters.items() if value not in (None, "")}
        body = {"question": self.number, "name": self.name, "as_of": format_instant(here.now), "rows": len(rows)}
        ids = {name: value for name, value in told.items() if name != "reason"}
        patient, reason = (str(told.get(name, "")) for name in ("patient", "reason"))
        here.record("audit:read", {**body, "parameters": ids}, patient=patient, reason=reason)
        return Answer(
            self.number,
            self.name,
            self.sentence,
            framed(self.columns, rows, str(here.tz)),
            found.checked,
            self.noun,
            here.now,
            told,
            len(found.rows) > MOST_ROWS,
        )


def question(number: str, columns: str, noun: str) -> Callable[[Callable[..., Found]], Question]:
    """Make a function a `Question`; `noun` says what is counted as checked."""

    def made(ask: Callable[..., Found]) -> Question:
        return Question(ask, number, columns, noun)

    return made


def require_reason(reason: str) -> None:
    """Raise `InvalidInput` unless a reason says why names are shown."""
    if not 10 <= len(reason.strip()) <= 500:
        raise InvalidInput("reason: say in 10 to 500 characters why the names are indispensable")


def framed(columns: Sequence[str], rows: Sequence[Sequence[Any]], tz: str) -> pd.DataFrame:
    """Rows as a frame with the documented types; the end of what has no end is missing."""
    by_column = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame(
        {name: _typed(COLUMNS[name][0], values, tz) for name, values in zip(columns, by_column, strict=True)}
    )


def _typed(kind: str, values: Sequence[Any], tz: str) -> "pd.Series[Any]":
    if kind == "instant":
        micros = [None if one is None or one >= FOREVER_MICROS else one for one in values]
        stamps = pd.Series(pd.array(micros, dtype="Int64")).astype("datetime64[us]")
        return stamps.dt.tz_localize("UTC").dt.tz_convert(tz)
    if kind == "day":
        return pd.Series(pd.array(list(values), dtype="datetime64[us]"))
    if kind == "truth":
        return pd.Series([None if one is None else bool(one) for one in values], dtype="boolean")
    if kind == "text":
        return pd.Series([None if one in (None, "") else str(one) for one in values], dtype="str")
    return pd.Series(list(values), dtype=DTYPES[kind])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_instant(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
