"""The header of a report: the verdict on the record, and what the report rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from authz.audit.integrity.verdict import LogVerdict, verdict_of
from authz.audit.session import Audit
from authz.domain import format_instant

COLORS = {"green": "#1e6b3a", "amber": "#8a5a00", "red": "#8a1c12"}
"""The colour of a verdict, as it is drawn: by name, and readable on white."""

_CLASSES = {"green": "ok", "amber": "unproven", "red": "broken"}
"""The class of a verdict's colour in the style sheet."""


@dataclass(frozen=True)
class Header:
    """The subject and the basis of a report: person, dates, parameters, and the result of the verification."""

    lines: dict[str, str]
    verdict: LogVerdict

    @property
    def color(self) -> str:
        """The verdict's colour, as it is drawn."""
        return COLORS[self.verdict.colour]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.lines.items())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        align = "style='text-align: left'"
        rows = "".join(
            f"<tr><th scope='row' {align}>{escape(name)}</th><td {align}>{escape(value)}</td></tr>"
            for name, value in self.lines.items()
            if name != "record"
        )
        color = self.color  # in the element itself: JupyterLab does not have our style sheet
        verdict = f"<p class='verdict' style='color: {color}; font-weight: 700'>{escape(self.lines['record'])}</p>"
        border = f"style='border-left: 6px solid {color}; padding-left: 1rem'"
        return (
            f"<section class='header {_CLASSES[self.verdict.colour]}' {border}>{verdict}<table>{rows}</table></section>"
        )


def header_of(audit: Audit, about: Mapping[str, str] | None = None) -> Header:
    """Return the header of every report on an audit; the record is verified for it.

    The lines of `about` come after the verdict.
    """
    verified = audit.verification
    signed = verified.checkpoint_at
    checkpoint = "none was signed yet" if signed is None else f"the last of {format_instant(signed)} (unsigned time)"
    source = "" if audit.exported is None else f"the decisions, read from {audit.exported.folder}"
    verdict = verdict_of(verified.report, source)
    return Header(
        {
            "record": f"The record is {verdict}.",
            **(about or {}),
            "instant": f"{audit.format_local(audit.now)} ({audit.tz})",
            "policy": audit.policy_described,
            "made by": f"{audit.reader}, {audit.format_local(audit.opened)}",
            "database": audit.shown_url,
            "rows checked": f"{verified.report.rows:,}, in {verified.seconds:.1f} s",
            "checkpoint": checkpoint,
        },
        verdict,
    )
