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

from authz.audit.catalog.columns import COLUMNS
from authz.audit.catalog.parameters import PARAMETERS
from authz.audit.reports.interactive import PLAIN, as_interactive
from authz.audit.reports.tables import as_table
from authz.audit.session import MOST_ROWS, Audit, When
from authz.domain import FOREVER, FOREVER_MICROS, format_instant, from_micros
from authz.errors import InvalidInput
from authz.texts import quote_value

DTYPES = {"text": "str", "number": "Int64", "amount": "Float64", "truth": "boolean"}
"""The dtype of each kind of column; an instant is ``datetime64[us]`` in the time zone asked for, a day without one."""

_MOST_SHOWN = 2000


class Found(NamedTuple):
    """The result of a question's function: rows in the order of the columns, and how many things were looked at.

    `period` is the one looked at, if it is not that of `since` and `until`.
    """

    rows: Sequence[Sequence[Any]]
    checked: int
    period: tuple[int, int] | None = None


@dataclass(frozen=True)
class Answer:
    """The answer to one question. `frame` holds it; `checked` of `noun` were looked at to find it.

    `parameters` are those in force, defaults among them; `recorded` is how many events and decisions the record holds,
    counted if there was nothing to look at.
    """

    number: str
    name: str
    sentence: str
    frame: pd.DataFrame
    checked: int
    noun: str
    as_of: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False
    recorded: int | None = None

    @property
    def said(self) -> str:
        """How much was found: never blank."""
        more = f"; cut at {MOST_ROWS:,} rows" if self.cut else ""
        if len(self.frame):
            return f"{len(self.frame):,} of {self.checked:,} {self.noun} checked{more}"
        among = "" if self.recorded is None else f", in a record of {self.recorded:,} events and decisions"
        return f"none found; {self.checked:,} {self.noun} checked{among}"

    def __len__(self) -> int:
        return len(self.frame)

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.said}\n{self.frame.to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"{self._summary}{as_table(self.frame, _MOST_SHOWN)}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = as_interactive(self.frame, _MOST_SHOWN) if len(self.frame) else ""
        return {"text/plain": str(self), "text/html": f"{self._summary}{table}", PLAIN: self._repr_html_()}

    @property
    def _summary(self) -> str:
        return f"<p class='said'>{escape(self.number)} · {escape(self.said)}</p>"


class Question:
    """One question of the audit, to be called with an `Audit` and the question's own parameters.

    `days` is how long its period is unless `since` is given; None: it has no period.
    """

    def __init__(self, ask: Callable[..., Found], number: str, columns: str, noun: str, days: int | None) -> None:
        functools.update_wrapper(self, ask)
        self.name = ask.__name__
        self.number = number
        self.columns = tuple(columns.split())
        self.noun = noun
        self.days = days
        self.sentence = (ask.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()
        self.asked = ask
        unknown = [one for one in self.columns if one not in COLUMNS]
        unknown += [one for one in self.parameters if one not in PARAMETERS]
        assert not unknown, unknown

    @property
    def required(self) -> list[str]:
        """The parameters that it cannot do without."""
        return [name for name, default in self._defaults().items() if default is inspect.Parameter.empty]

    @property
    def parameters(self) -> list[str]:
        """All its own parameters."""
        return list(self._defaults())

    def _defaults(self) -> dict[str, Any]:
        declared = inspect.signature(self.asked).parameters.values()
        return {one.name: one.default for one in declared if one.kind is one.KEYWORD_ONLY}

    def __call__(self, audit: Audit, *, as_of: When = None, tz: str | None = None, **parameters: Any) -> Answer:
        """Ask. `as_of` and `tz` are the audit's own unless given. Raises `InvalidInput` and `Unavailable`."""
        here = audit.at(as_of, tz)
        with here.snapshot():
            values = self._checked(here, parameters)
            found = self.asked(here, **values)
            values |= dict(zip(("since", "until"), map(from_micros, found.period or ()), strict=False))
            recorded = None if found.rows or found.checked else here.recorded()
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
            {name: _shown(value, here) for name, value in values.items() if value not in (None, "", FOREVER)},
            len(found.rows) > MOST_ROWS,
            recorded,
        )

    def _checked(self, audit: Audit, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter, given or by default, as `PARAMETERS` wants it. Raises `InvalidInput`."""
        defaults = self._defaults()
        for name in given:
            if name not in defaults:
                raise InvalidInput(f"{self.name} has no parameter {quote_value(name)}; it has {', '.join(defaults)}")
        values = {}
        for name, default in defaults.items():
            value = given.get(name, default)
            if value is inspect.Parameter.empty:
                raise InvalidInput(f"{self.name} needs {name}")
            values[name] = value if value == default else PARAMETERS[name](audit, name, value)
        if self.days is not None:
            period = audit.period(values["since"], values["until"], self.days)
            values["since"], values["until"] = map(from_micros, period)
        return values


def question(
    number: str, columns: str, noun: str, *, days: int | None = None
) -> Callable[[Callable[..., Found]], Question]:
    """Make a function a `Question`; `noun` says what is counted as checked, `days` how long its period usually is."""

    def made(ask: Callable[..., Found]) -> Question:
        return Question(ask, number, columns, noun, days)

    return made


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


def _shown(value: Any, audit: Audit) -> Any:
    if isinstance(value, datetime):
        return audit.local(value)
    return _plain(value)
