"""Charts of answers. Each fetches nothing, and its caption says in words what it shows.

Colours also differ in lightness or shape, and have a contrast to white of at least 4.5 to 1.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from authz.audit.catalog.question import Answer

INK, QUIET, LINE = "#1b2733", "#4a5a69", "#cfd8e0"
BLUE, RUST, GREEN, VIOLET, RED = "#0b5394", "#a84300", "#1e6b3a", "#6b3fa0", "#b3261e"
_HOW = {"owner": BLUE, "share": RUST, "standing share": GREEN, "other": VIOLET}
_STATES = {
    "kept": GREEN,
    "revoked": BLUE,
    "never reviewed": QUIET,
    "overdue": RUST,
    "revoke not carried out": RED,
}
_MOST_BARS, _LONGEST = 30, 40
NOTHING = "Nothing found"
"""The text of a chart without data."""


@dataclass(frozen=True)
class Chart:
    """A picture (PNG), and a caption that says what it shows."""

    png: bytes
    caption: str

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.png).decode()
        caption = escape(self.caption)
        image = f"<img alt='{caption}' src='data:image/png;base64,{source}'>"
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    def __repr__(self) -> str:
        return self.caption


def spans(answer: Answer, caption: str) -> Chart:
    """Draw who held what from when until when, a line for each practitioner (or owner)."""
    frame, now = answer.frame, pd.Timestamp(answer.as_of)
    if frame.empty:
        return _nothing(caption)
    who = "practitioner" if "practitioner" in frame else "owner"
    people = list(dict.fromkeys(frame.sort_values("since")[who]))[:_MOST_BARS]
    figure, axes = _figure(0.42 * len(people) + 1.5)
    drawn: dict[str, Any] = {}
    rows: Any = frame[frame[who].isin(people)].itertuples()
    for row in rows:
        how = getattr(row, "how", "owner")
        until = row.until if pd.notna(row.until) else now
        begin, end = mdates.date2num(row.since), mdates.date2num(max(min(until, now), row.since))
        bar = axes.barh(people.index(getattr(row, who)), max(end - begin, 0.4), left=begin, height=0.5, color=_HOW[how])
        drawn.setdefault(how, bar)
        if pd.isna(row.until) or row.until > now:
            axes.plot(
                [end], [people.index(getattr(row, who))], marker=">", color=_HOW[how], markersize=8, clip_on=False
            )
    _named(axes, people)
    _dated(axes)
    if drawn:
        axes.legend(drawn.values(), drawn.keys(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    return _chart(figure, f"{caption} An arrow: it goes on.")


def moments(answer: Answer, caption: str) -> Chart:
    """Draw what was asked when, a line for each practitioner: a dot was permitted, a cross denied."""
    frame = answer.frame
    if frame.empty:
        return _nothing(caption)
    people = list(frame.practitioner.value_counts().index[:_MOST_BARS])
    figure, axes = _figure(0.42 * len(people) + 1.5)
    for allowed, color, marker, label in ((True, BLUE, "o", "permitted"), (False, RED, "X", "denied")):
        some = frame[(frame.allowed == allowed) & frame.practitioner.isin(people)]
        heights = [people.index(name) for name in some.practitioner]
        axes.scatter(
            mdates.date2num(some["at"]), heights, s=54, color=color, marker=marker, alpha=0.8, linewidths=0, label=label
        )
    _named(axes, people)
    _dated(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return _chart(figure, caption)


def bars(names: Sequence[str], values: Sequence[float], caption: str, unit: str, marked: Sequence[bool] = ()) -> Chart:
    """Draw a bar for each name, the longest first; a marked bar is red and has a star."""
    if not len(names):
        return _nothing(caption)
    marks = list(marked) or [False] * len(names)
    order = sorted(range(len(names)), key=lambda place: -values[place])[:_MOST_BARS]
    figure, axes = _figure(0.4 * len(order) + 1.2)
    for row, place in enumerate(order):
        axes.barh(row, values[place], height=0.6, color=RED if marks[place] else BLUE)
        star = " ★" if marks[place] else ""
        axes.annotate(
            f"{values[place]:,.0f}{star}", (values[place], row), (5, 0), textcoords="offset points", va="center"
        )
    _named(axes, [names[place] for place in order])
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.12)
    return _chart(figure, caption + (" A star marks what stands out." if any(marks) else ""))


def volume(answer: Answer, caption: str) -> Chart:
    """Draw how much each practitioner did on each day; unusual days are large red diamonds."""
    frame = answer.frame
    if frame.empty:
        return _nothing(caption)
    figure, axes = _figure(4.2)
    usual, odd = frame[~frame.unusual], frame[frame.unusual]
    axes.scatter(usual.day, usual.volume, s=22, color=BLUE, alpha=0.45, linewidths=0, label="a practitioner's day")
    axes.scatter(odd.day, odd.volume, s=90, color=RED, marker="D", label="unusual")
    rows: Any = odd.itertuples()
    for row in rows:
        axes.annotate(
            f"{row.practitioner}: {row.volume} × {row.what}",
            (row.day, row.volume),
            (-8, 0),
            textcoords="offset points",
            va="center",
            ha="right",
            fontweight="bold",
            color=INK,
        )
    if frame.peer_baseline.notna().any():
        axes.axhline(float(frame.peer_baseline.max()), color=RUST, linestyle="--", linewidth=1.4)
        axes.annotate(
            "95 of 100 days are below",
            (0.005, float(frame.peer_baseline.max())),
            (0, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=RUST,
        )
    axes.set_ylabel("on one day")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=LINE)
    _dated(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return _chart(figure, caption)


def states(answer: Answer, caption: str) -> Chart:
    """Draw how far a review is: one bar, with a part for each state."""
    if answer.frame.empty:
        return _nothing(caption)
    counts = answer.frame.state.value_counts()
    figure, axes = _figure(1.9)
    total = 0
    for state, color in _STATES.items():
        count = int(counts.get(state, 0))
        if count:
            axes.barh(
                0, count, left=total, color=color, height=0.6, edgecolor="white", linewidth=2, label=f"{state}: {count}"
            )
            total += count
    axes.set_yticks([])
    axes.set_xlabel("shares")
    if total:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, frameon=False)
    return _chart(figure, caption)


def _nothing(caption: str) -> Chart:
    """Return a chart that says that nothing was found; it has no axis, which would show days or counts."""
    figure = Figure(figsize=(10.5, 1.1), layout="constrained", dpi=130)
    figure.text(0.5, 0.5, NOTHING, ha="center", va="center", fontsize=13, color=QUIET)
    return _chart(figure, f"{caption} {NOTHING}.")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10.5, min(max(height, 1.8), 14)), layout="constrained", dpi=130)
    axes = figure.subplots()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.xaxis.label.set_color(QUIET)
    axes.yaxis.label.set_color(QUIET)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=LINE)
    return figure, axes


def _named(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(names)), [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _dated(axes: Axes) -> None:
    axes.xaxis_date()
    locator = mdates.AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def _chart(figure: Figure, caption: str) -> Chart:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white", metadata={"Software": ""})
    return Chart(out.getvalue(), caption)
