"""Unusual volume: what a practitioner did on a day, against their own other days and the days of others (Q13)."""

from collections import defaultdict
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When, offset_spans
from authz.domain import FOREVER_MICROS

_DAY = 86_400_000_000
_PERCENTILE = 0.95
_SHARED = """
SELECT who, what, at - (at + :offset) % :day AS begun, COUNT(*) FROM (
    SELECT given_by AS who, origin AS what, started_at AS at FROM "grant"
    WHERE origin IN ('share', 'transfer') AND started_at >= :begin AND started_at < :end
    UNION ALL SELECT owner_id, 'standing share', started_at FROM standing_share
    WHERE started_at >= :begin AND started_at < :end) AS shared
GROUP BY 1, 2, 3"""
_DECIDED = """
SELECT who, what, "at" - ("at" + :offset) % :day AS begun, COUNT(*) FROM (
    SELECT subject AS who, CASE WHEN allowed THEN 'view' ELSE 'denial' END AS what, "at" FROM decision
    WHERE subject_type = 'practitioner' AND subject <> '' AND resource_type = 'patient' AND action = 'view'
        AND "at" >= :begin AND "at" < :end) AS views
GROUP BY 1, 2, 3"""


@question(
    "Q13",
    "Who shared, transferred, viewed or was denied how often on each day, and on which days far more than usual?",
    "days on which somebody did something",
    days=90,
)
def volume(
    audit: Audit, *, since: When = None, until: When = None, least: int = 10, times: float = 3
) -> QuestionResult:
    """Return one row for each practitioner, day and kind of act, the unusual ones first.

    A day is unusual with at least `least`, and more than `times` what is usual: the practitioner's own median of other
    days, and the 95th percentile of the days of everybody else. By default of the last 90 days.
    """
    begin, end = audit.period(since, until)
    frame = _count_by_day(audit, begin, end)
    columns = "day practitioner what volume own_baseline peer_baseline unusual leaves_in"
    if frame.empty:
        return QuestionResult(ResultTable.of(columns, []), 0)
    frame["own"] = _median_of_others(frame)
    frame["peers"] = pd.concat([_percentile_of_others(same) for _, same in frame.groupby("what")])
    usual = np.fmax(frame.own.fillna(0), frame.peers.fillna(0))
    frame["unusual"] = (frame.volume >= least) & (frame.volume > times * usual)
    ordered = frame.sort_values(["unusual", "volume", "day", "who", "what"], ascending=[False, False, True, True, True])
    ends = _last_days(audit)
    rows = [
        (
            _date(day),
            who,
            what,
            count,
            _optional(own),
            _optional(peers),
            unusual,
            _days(day, ends.get(who)),
        )
        for who, what, day, count, own, peers, unusual in ordered.head(MOST_ROWS + 1).itertuples(index=False)
    ]
    return QuestionResult(ResultTable.of(columns, rows), len(frame))


def _count_by_day(audit: Audit, begin: int, end: int) -> pd.DataFrame:
    """Return how often each practitioner did what on each day of the time zone."""
    counts: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for start, stop, offset in offset_spans(begin, end, audit.tz):
        values = {"begin": start, "end": stop, "offset": offset, "day": _DAY}
        for who, what, at, count in [*audit.rows(_SHARED, **values), *audit.decision_rows(_DECIDED, **values)]:
            counts[who, what, (at + offset) // _DAY] += count
    return pd.DataFrame([(*key, count) for key, count in counts.items()], columns=["who", "what", "day", "volume"])


def _median_of_others(frame: pd.DataFrame) -> "pd.Series[float]":
    """Return, for each day, the median of the same practitioner's other days; missing if there is no other day."""
    ordered = frame.sort_values(["who", "what", "volume"], kind="stable")
    groups = ordered.groupby(["who", "what"], sort=False).volume
    rank, size = groups.cumcount().to_numpy(), groups.transform("size").to_numpy()
    first = np.arange(len(ordered)) - rank
    values = ordered.volume.to_numpy(dtype=float)
    others = size - 1
    low, high = (others - 1) // 2, others // 2
    halves = [values[np.minimum(first + at + (at >= rank), len(values) - 1)] for at in (low, high)]
    median = np.where(others > 0, (halves[0] + halves[1]) / 2, np.nan)
    return pd.Series(median, index=ordered.index)


def _percentile_of_others(frame: pd.DataFrame) -> "pd.Series[float]":
    """Return, for each day, the 95th percentile of the days of all others; missing if nobody else did this."""
    own = pd.crosstab(frame.who, frame.volume)
    others = (own.sum() - own).cumsum(axis=1)
    days = others.iloc[:, -1].to_numpy()
    place = np.floor(_PERCENTILE * (days - 1))
    first = (others.to_numpy() > place[:, None]).argmax(axis=1)
    percentiles = pd.Series(np.where(days > 0, own.columns.to_numpy()[first], np.nan), index=own.index, dtype=float)
    return frame.who.map(percentiles)


def _optional(value: float) -> float | None:
    return None if pd.isna(value) else value


def _last_days(audit: Audit) -> dict[str, int]:
    """Return the day on which each practitioner's last membership ends, of the memberships that end."""
    rows = audit.rows("SELECT practitioner_id, MAX(ended_at) FROM membership GROUP BY practitioner_id")
    return {who: ended // _DAY for who, ended in rows if ended < FOREVER_MICROS}


def _days(day: int, ended: int | None) -> int | None:
    """Return the days from a day to the end of the last membership, if that lies ahead."""
    return None if ended is None or ended < day else ended - day


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(days=int(day))  # noqa: DTZ001 - a day of the time zone asked for
