"""An audit question, and its answer: a typed frame, and the number of things that were checked.

A question is a function with a number (Q1–Q29) and a sentence. It returns a `QuestionResult`: rows under the
names that the SQL gives to the columns, each of which `COLUMNS` describes. Calling the question records that it was
asked, then returns an `Answer`: a pandas frame that has its columns and types even if it is empty.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

import pandas as pd

from authz.audit.catalog.columns import COLUMNS
from authz.audit.catalog.parameters import PARAMETERS
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.reports.interactive import PLAIN, as_interactive
from authz.audit.reports.tables import as_table
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.domain import FOREVER, FOREVER_MICROS, format_instant, from_micros
from authz.errors import InvalidInput
from authz.texts import quote_value

DTYPES = {"text": "str", "number": "Int64", "amount": "Float64", "truth": "boolean"}
"""The dtype of each kind of column; an instant is ``datetime64[us]`` in the time zone asked for, a day without one."""

_MOST_SHOWN = 2000


@dataclass(frozen=True)
class Answer:
    """The answer to one question, in `frame`; to find it, `checked` things of the kind `noun` were looked at.

    `parameters` are the parameters in force, with the defaults. `recorded` is how many events and decisions the record
    holds; they are counted only if there was nothing to look at.
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
    def summary(self) -> str:
        """A sentence with the number of rows and the number of things that were checked; never empty."""
        cut = f"; cut at {MOST_ROWS:,} rows" if self.cut else ""
        if len(self.frame):
            return f"{len(self.frame):,} of {self.checked:,} {self.noun} checked{cut}"
        record = "" if self.recorded is None else f", in a record of {self.recorded:,} events and decisions"
        return f"none found; {self.checked:,} {self.noun} checked{record}"

    def __len__(self) -> int:
        return len(self.frame)

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.summary}\n{self.frame.to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"{self._heading}{as_table(self.frame, _MOST_SHOWN)}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        table = as_interactive(self.frame, _MOST_SHOWN) if len(self.frame) else ""
        return {"text/plain": str(self), "text/html": f"{self._heading}{table}", PLAIN: self._repr_html_()}

    @property
    def _heading(self) -> str:
        return f"<p class='said'>{escape(self.number)} · {escape(self.summary)}</p>"


class AuditQuestion:
    """One question of the audit; it is called with an `Audit` and with the question's own parameters.

    `sentence` is what the question asks, `noun` names the things that are counted as checked. `days` is the length of
    the question's period if `since` is not passed; None: the question has no period.
    """

    def __init__(
        self, function: Callable[..., QuestionResult], number: str, sentence: str, noun: str, days: int | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.__doc__ = f"{sentence}\n\n    {function.__doc__}"
        self.name = function.__name__
        self.number = number
        self.sentence = sentence
        self.noun = noun
        self.days = days
        self.function = function
        unknown = [name for name in self.parameters if name not in PARAMETERS]
        assert not unknown, unknown

    @property
    def required(self) -> list[str]:
        """The parameters without a default."""
        return [name for name, default in self._defaults().items() if default is inspect.Parameter.empty]

    @property
    def parameters(self) -> list[str]:
        """All parameters of its own."""
        return list(self._defaults())

    def _defaults(self) -> dict[str, object]:
        declared = inspect.signature(self.function).parameters.values()
        return {parameter.name: parameter.default for parameter in declared if parameter.kind is parameter.KEYWORD_ONLY}

    def __call__(self, audit: Audit, *, as_of: When = None, tz: str | None = None, **parameters: object) -> Answer:
        """Ask the question, at the audit's own instant and time zone unless `as_of` and `tz` name others.

        Raises `InvalidInput` and `Unavailable`.
        """
        audit = audit.at(as_of, tz)
        with audit.snapshot():
            values = self._check(audit, parameters)
            result = self.function(audit, **values)
            values |= dict(zip(("since", "until"), map(from_micros, result.period or ()), strict=False))
            recorded = None if result.table.rows or result.checked else audit.count_recorded()
        frame = make_frame(result.table, str(audit.tz))
        self._record(audit, parameters, len(frame))
        return Answer(
            self.number,
            self.name,
            self.sentence,
            frame,
            result.checked,
            self.noun,
            audit.now,
            {name: _shown(value, audit) for name, value in values.items() if value not in (None, "", FOREVER)},
            len(result.table) > MOST_ROWS,
            recorded,
        )

    def _record(self, audit: Audit, parameters: Mapping[str, object], rows: int) -> None:
        """Record that the question was asked, with the parameters that were passed."""
        passed = {name: _serialize(value) for name, value in parameters.items() if value not in (None, "")}
        body = {
            "question": self.number,
            "name": self.name,
            "as_of": format_instant(audit.now),
            "rows": rows,
            "parameters": {name: value for name, value in passed.items() if name != "reason"},
        }
        patient, reason = (str(passed.get(name, "")) for name in ("patient", "reason"))
        audit.record("audit:read", body, patient=patient, reason=reason)

    def _check(self, audit: Audit, parameters: Mapping[str, Any]) -> dict[str, object]:
        """Return every parameter, passed or by default, after its check. Raises `InvalidInput`."""
        defaults = self._defaults()
        for name in parameters:
            if name not in defaults:
                raise InvalidInput(f"{self.name} has no parameter {quote_value(name)}; it has {', '.join(defaults)}")
        values = {}
        for name, default in defaults.items():
            value = parameters.get(name, default)
            if value is inspect.Parameter.empty:
                raise InvalidInput(f"{self.name} needs {name}")
            values[name] = value if value == default else PARAMETERS[name](audit, name, value)
        if self.days is not None:
            period = audit.period(values["since"], values["until"], self.days)
            values["since"], values["until"] = map(from_micros, period)
        return values


def question(
    number: str, sentence: str, noun: str, *, days: int | None = None
) -> Callable[[Callable[..., QuestionResult]], AuditQuestion]:
    """Make a function an `AuditQuestion`; the arguments are those of the class."""

    def decorate(function: Callable[..., QuestionResult]) -> AuditQuestion:
        return AuditQuestion(function, number, sentence, noun, days)

    return decorate


def make_frame(table: ResultTable, tz: str) -> pd.DataFrame:
    """Return the first `MOST_ROWS` rows of a table as a frame with the types that `COLUMNS` documents.

    The end of something that has no end is missing.
    """
    rows = table.rows[:MOST_ROWS]
    return pd.DataFrame({name: _typed(COLUMNS[name][0], [row[name] for row in rows], tz) for name in table.answered})


def _typed(kind: str, values: Sequence[Any], tz: str) -> "pd.Series[Any]":
    if kind == "instant":
        micros = [None if value is None or value >= FOREVER_MICROS else value for value in values]
        stamps = pd.Series(pd.array(micros, dtype="Int64")).astype("datetime64[us]")
        return stamps.dt.tz_localize("UTC").dt.tz_convert(tz)
    if kind == "day":
        return pd.Series(pd.array(list(values), dtype="datetime64[us]"))
    if kind == "truth":
        return pd.Series([None if value is None else bool(value) for value in values], dtype="boolean")
    if kind == "text":
        return pd.Series([None if value in (None, "") else str(value) for value in values], dtype="str")
    return pd.Series(list(values), dtype=DTYPES[kind])


def _serialize(value: object) -> str | int | float | bool:
    """Return a parameter as a member of an event's body."""
    if isinstance(value, datetime):
        return format_instant(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _shown(value: object, audit: Audit) -> str | int | float | bool:
    """Return a parameter as a report shows it."""
    return audit.format_local(value) if isinstance(value, datetime) else _serialize(value)
