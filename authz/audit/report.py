"""A report: a header that says what it rests on, the questions asked, the charts; shown, and saved as files.

Every file that is saved is recorded with its hash before it is written (AUDIT.md Q24).
"""

import hashlib
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import orjson

from authz.audit.answers import Answer, Question
from authz.audit.charts import Chart
from authz.audit.printed import as_pdf, page
from authz.audit.reading import Audit
from authz.audit.sheets import as_csv, as_xlsx
from authz.audit.tables import as_table
from authz.audit.verdict import Verdict, verdict_of
from authz.terms import format_instant

_MOST_PRINTED = 2000


_CLASSES = {"green": "ok", "amber": "unproven", "red": "broken"}
"""The class of a verdict's colour in the style sheet."""


@dataclass(frozen=True)
class Header:
    """What a report rests on: database, instant, rows checked, checkpoint, and the verdict of the verification."""

    lines: dict[str, str]
    verdict: Verdict

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.lines.items())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.lines.items()
            if name != "record"
        )
        verdict = f"<p class='verdict'>{escape(self.lines['record'])}</p>"
        return f"<section class='header {_CLASSES[self.verdict.colour]}'>{verdict}<table>{rows}</table></section>"


def header_of(audit: Audit) -> Header:
    """The header of every report on an audit; the record is verified for it."""
    found = audit.verification
    signed = found.checkpoint_at
    checkpoint = "none was signed yet" if signed is None else f"the last of {format_instant(signed)} (unsigned time)"
    source = "" if audit.decision_log is None else f"the decisions, read from {audit.decision_log.folder}"
    verdict = verdict_of(found.report, source)
    return Header(
        {
            "record": f"The record is {verdict}.",
            "database": audit.shown_url,
            "instant": f"{audit.now.astimezone(audit.tz).isoformat(sep=' ', timespec='seconds')} ({audit.tz})",
            "rows checked": f"{found.report.rows:,}, in {found.seconds:.1f} s",
            "checkpoint": checkpoint,
            "policy": audit.policy_described,
            "read by": audit.reader,
        },
        verdict,
    )


@dataclass
class Report:
    """One report on an audit. Shown by itself it is its header."""

    audit: Audit
    title: str
    parts: list[Answer | Chart] = field(default_factory=list)

    @property
    def header(self) -> Header:
        return header_of(self.audit)

    def ask(self, question: Question, **parameters: Any) -> Answer:
        """Ask a question; the answer becomes part of the report."""
        answer = question(self.audit, **parameters)
        self.parts.append(answer)
        return answer

    def show(self, chart: Chart) -> Chart:
        """A chart becomes part of the report."""
        self.parts.append(chart)
        return chart

    def _repr_html_(self) -> str:
        return self.header._repr_html_()

    def __str__(self) -> str:
        return str(self.header)

    __repr__ = __str__

    def html(self) -> str:
        """The whole report as a page to print."""
        parts = [_printed(one) if isinstance(one, Answer) else one._repr_html_() for one in self.parts]
        return page(self.title, "\n".join([f"<h1>{escape(self.title)}</h1>", self.header._repr_html_(), *parts]))

    def save(self, folder: str | Path) -> "Saved":
        """Write it into a folder: a page to print (HTML; PDF where Chromium is), a workbook, a CSV for each answer, and
        `….json` with what was asked and each file's SHA-256. An empty name of a folder writes nothing.
        """
        if not str(folder):
            return Saved(())
        name = re.sub(r"\W+", "_", self.title.lower()).strip("_")[:80]
        html = self.html()
        answers = [one for one in self.parts if isinstance(one, Answer)]
        files = {f"{name}.html": html.encode(), f"{name}.xlsx": as_xlsx(self.header.lines, answers)}
        files |= {f"{name}_{at}_{one.name}.csv": as_csv(one) for at, one in enumerate(answers, 1)}
        pdf = as_pdf(html)
        if pdf is not None:
            files[f"{name}.pdf"] = pdf
        files[f"{name}.json"] = self._manifest(files, answers)
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            export(self.audit, into / file, content)
        return Saved(tuple(into / file for file in files))

    def _manifest(self, files: dict[str, bytes], answers: list[Answer]) -> bytes:
        asked = [
            {
                "question": one.number,
                "name": one.name,
                "as_of": format_instant(one.as_of),
                "parameters": one.parameters,
                "found": one.said,
            }
            for one in answers
        ]
        told = {"title": self.title, "header": self.header.lines, "asked": asked}
        hashes = {file: _hash(content) for file, content in files.items()}
        return orjson.dumps({**told, "sha256": hashes}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


@dataclass(frozen=True)
class Saved:
    """The files of a report that was saved."""

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.files)) or "nothing was saved: `output` names no folder"

    __repr__ = __str__


def export(audit: Audit, target: Path, content: bytes) -> None:
    """Write one file, recorded before it is there."""
    audit.record("audit:exported", {"file": target.name, "sha256": _hash(content)})
    target.write_bytes(content)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _printed(answer: Answer) -> str:
    asked = "; ".join(f"{name}: {value}" for name, value in answer.parameters.items())
    said = " · ".join(filter(None, (answer.number, answer.said, asked)))
    heading = f"<h2>{escape(answer.sentence)}</h2><p class='said'>{escape(said)}</p>"
    return heading + as_table(answer.frame, _MOST_PRINTED)
