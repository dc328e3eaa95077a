"""Unusual volume: what somebody did on a day against their own days and their peers' (Q13)."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When, offset_spans
from authz.domain import FOREVER_MICROS

_DAY = 86_400_000_000
_PEERS = 0.95
_GIVEN = """
SELECT who, what, at - (at + :offset) % :day AS begun, COUNT(*) FROM (
    SELECT given_by AS who, origin AS what, started_at AS at FROM "grant"
    WHERE origin IN ('share', 'transfer') AND started_at >= :begin AND started_at < :end
    UNION ALL SELECT owner_id, 'standing share', started_at FROM standing_share
    WHERE started_at >= :begin AND started_at < :end) AS given
GROUP BY 1, 2, 3"""
_DECIDED = """
SELECT who, what, "at" - ("at" + :offset) % :day AS begun, COUNT(*) FROM (
    SELECT subject AS who, CASE WHEN allowed THEN 'view' ELSE 'denial' END AS what, "at" FROM decision
    WHERE subject_type = 'practitioner' AND subject <> '' AND resource_type = 'patient' AND action = 'view'
        AND "at" >= :begin AND "at" < :end) AS asked
GROUP BY 1, 2, 3"""


@question(
    "Q13",
    "day practitioner what volume own_baseline peer_baseline unusual leaves_in",
    "days on which somebody did something",
    days=90,
)
def volume(audit: Audit, *, since: When = None, until: When = None, least: int = 10, times: float = 3) -> Found:
    """Who shared, transferred, viewed or was denied how often on each day, and on which days far more than usual?

    Unusual is a day with at least `least`, and more than `times` what is usual: the practitioner's own median of other
    days, and the 95th percentile of everybody else's days. Within 90 days unless said otherwise.
    """
    begin, end = audit.period(since, until)
    counts: defaultdict[tuple[str, str, Any], int] = defaultdict(int)
    for one, to, offset in offset_spans(begin, end, audit.tz):
        values = {"begin": one, "end": to, "offset": offset, "day": _DAY}
        for who, what, at, count in [*audit.rows(_GIVEN, **values), *audit.decided(_DECIDED, **values)]:
            counts[who, what, (at + offset) // _DAY] += count
    if not counts:
        return Found([], 0)
    frame = pd.DataFrame([(*key, count) for key, count in counts.items()], columns=["who", "what", "day", "volume"])
    counts.clear()
    frame["own"] = _median_of_others(frame)
    frame["peers"] = pd.concat([_percentile_of_others(one) for _, one in frame.groupby("what")])
    usual = np.fmax(frame.own.fillna(0), frame.peers.fillna(0))
    frame["unusual"] = (frame.volume >= least) & (frame.volume > times * usual)
    ordered = frame.sort_values(["unusual", "volume", "day", "who", "what"], ascending=[False, False, True, True, True])
    ends = _ends(audit)
    rows = [
        (_date(day), who, what, count, _known(own), _known(peers), unusual, _left(ends.get(who), day))
        for who, what, day, count, own, peers, unusual in ordered.head(MOST_ROWS + 1).itertuples(index=False)
    ]
    return Found(rows, len(frame))


def _median_of_others(frame: pd.DataFrame) -> "pd.Series[float]":
    """For each day, the median of the same practitioner's other days with any; missing where there is no other."""
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
    """For each day, the 95th percentile of the days of all others; missing where nobody else did this."""
    own = pd.crosstab(frame.who, frame.volume)
    others = (own.sum() - own).cumsum(axis=1)
    days = others.iloc[:, -1].to_numpy()
    place = np.floor(_PEERS * (days - 1))
    first = (others.to_numpy() > place[:, None]).argmax(axis=1)
    found = pd.Series(np.where(days > 0, own.columns.to_numpy()[first], np.nan), index=own.index, dtype=float)
    return frame.who.map(found)


def _known(value: float) -> float | None:
    return None if pd.isna(value) else value


def _ends(audit: Audit) -> dict[str, int]:
    """When each practitioner's last membership ends, of those that end."""
    found = audit.rows("SELECT practitioner_id, MAX(ended_at) FROM membership GROUP BY practitioner_id")
    return {who: ended // _DAY for who, ended in found if ended < FOREVER_MICROS}


def _left(ended: int | None, day: int) -> int | None:
    return None if ended is None or ended < day else ended - day


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(days=int(day))  # noqa: DTZ001 - a day of the time zone asked for
