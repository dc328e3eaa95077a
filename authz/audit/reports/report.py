"""A report: a header that says what it rests on, the questions asked, the charts; shown, and saved as files.

Every file that is saved is recorded with its hash before it is written (AUDIT.md Q24).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import orjson

from authz.audit.catalog.parameters import PARAMETERS
from authz.audit.catalog.question import Answer, Question
from authz.audit.integrity.verdict import LogVerdict, verdict_of
from authz.audit.reports.charts import Chart
from authz.audit.reports.interactive import script
from authz.audit.reports.letters import STYLE, Letter, write_letter
from authz.audit.reports.printed import Margins, as_pdf, page
from authz.audit.reports.sheets import as_csv, as_xlsx
from authz.audit.reports.tables import as_table
from authz.audit.session import Audit
from authz.domain import format_instant
from authz.errors import InvalidInput

MIME = "application/vnd.caregrant.report+json"
"""The kind of a notebook's output that holds what a report is about, for whoever prints the notebook."""

SUBJECTS = {"patient": "Patient", "practitioner": "Practitioner", "subscription": "Clinic"}
"""The parameters that say whom a report is about, as a reader calls them."""

_MOST_PRINTED = 2000
_LONGEST_NAME = 100


Part = Answer | Chart | Letter


COLORS = {"green": "#1e6b3a", "amber": "#8a5a00", "red": "#8a1c12"}
"""The colour of a verdict, as it is drawn: by name, and readable on white."""


_CLASSES = {"green": "ok", "amber": "unproven", "red": "broken"}
"""The class of a verdict's colour in the style sheet."""


@dataclass(frozen=True)
class Header:
    """What a report is about and rests on: whom, when, by which parameters, and what the verification found."""

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
        left = "style='text-align: left'"
        rows = "".join(
            f"<tr><th scope='row' {left}>{escape(name)}</th><td {left}>{escape(value)}</td></tr>"
            for name, value in self.lines.items()
            if name != "record"
        )
        color = self.color  # in the element itself: JupyterLab has no style sheet of ours
        verdict = f"<p class='verdict' style='color: {color}; font-weight: 700'>{escape(self.lines['record'])}</p>"
        border = f"style='border-left: 6px solid {color}; padding-left: 1rem'"
        worth = _CLASSES[self.verdict.colour]
        return f"<section class='header {worth}' {border}>{verdict}<table>{rows}</table></section>"


def header_of(audit: Audit, about: Mapping[str, str] | None = None) -> Header:
    """The header of every report on an audit; the record is verified for it. `about` is said after the verdict."""
    found = audit.verification
    signed = found.checkpoint_at
    checkpoint = "none was signed yet" if signed is None else f"the last of {format_instant(signed)} (unsigned time)"
    source = "" if audit.decision_log is None else f"the decisions, read from {audit.decision_log.folder}"
    verdict = verdict_of(found.report, source)
    return Header(
        {
            "record": f"The record is {verdict}.",
            **(about or {}),
            "instant": f"{audit.local(audit.now)} ({audit.tz})",
            "policy": audit.policy_described,
            "made by": f"{audit.reader}, {audit.local(audit.opened)}",
            "database": audit.shown_url,
            "rows checked": f"{found.report.rows:,}, in {found.seconds:.1f} s",
            "checkpoint": checkpoint,
        },
        verdict,
    )


class Report:
    """One report on an audit. Shown by itself it is its header. Parameters that it is given are checked at once."""

    def __init__(self, audit: Audit, title: str, parts: list[Part] | None = None, **parameters: Any) -> None:
        self.audit, self.title, self.parts = audit, title, parts or []
        self.given = {name: value for name, value in parameters.items() if value not in (None, "")}
        for name, value in self.given.items():
            PARAMETERS[name](audit, name, value)

    @property
    def answers(self) -> list[Answer]:
        return [one for one in self.parts if isinstance(one, Answer)]

    @property
    def parameters(self) -> dict[str, str]:
        """Every parameter in force: as the questions took it, before any was asked as the report was given it."""
        values: dict[str, list[str]] = {}
        for one in (*(answer.parameters for answer in self.answers), self.given):
            for name, value in one.items():
                if name not in ("since", "until") and str(value) not in values.setdefault(name, []):
                    values[name].append(str(value))
        return {name: ", ".join(said) for name, said in values.items()}

    @property
    def periods(self) -> list[str]:
        """The periods that the questions looked at, each once."""
        asked = [one.parameters for one in self.answers] or [self.given]
        said = [f"{one.get('since', 'the beginning')} to {one.get('until', 'now')}" for one in asked if "since" in one]
        return list(dict.fromkeys(said))

    @property
    def subject(self) -> str:
        """Whom it is about, by id, and by name if the name was asked for."""
        known = self.parameters
        said = ", ".join(f"{word} {known[name]}" for name, word in SUBJECTS.items() if name in known)
        names = {str(one.frame.name[0]) for one in self.answers if one.name == "who_is"}
        return f"{said} ({', '.join(sorted(names))})" if names else said

    @property
    def about(self) -> dict[str, str]:
        """Subject, period and the other parameters, as the header says them; what there is of them."""
        rest = "; ".join(f"{name} = {value}" for name, value in self.parameters.items() if name not in SUBJECTS)
        said = {"about": self.subject, "period": "; ".join(self.periods), "parameters": rest}
        return {name: value for name, value in said.items() if value}

    @property
    def header(self) -> Header:
        return header_of(self.audit, self.about)

    def ask(self, question: Question, **parameters: Any) -> Answer:
        """Ask a question; the answer becomes part of the report."""
        answer = question(self.audit, **parameters)
        self.parts.append(answer)
        return answer

    def show(self, chart: Chart) -> Chart:
        """A chart becomes part of the report."""
        self.parts.append(chart)
        return chart

    def write(self, template: str, person: Answer, **answers: Answer) -> Letter:
        """A letter becomes part of the report; see `authz.audit.reports.letters.write_letter`."""
        letter = write_letter(self, template, person, **answers)
        self.parts.append(letter)
        return letter

    @property
    def letter(self) -> str | None:
        """The page to print of the letter that is part of the report, if there is one."""
        letters = [one for one in self.parts if isinstance(one, Letter)]
        if not letters:
            return None
        header = self.header
        about = "; ".join((self.subject, *(f"period: {one}" for one in self.periods[:1])))
        rests = f"policy: {header.lines['policy']}; record: {header.verdict.word}; made by: {header.lines['made by']}"
        return page(self.title, letters[-1].body, Margins("", "", header.color, about, rests), STYLE)

    def margins(self, header: Header) -> Margins:
        """What stands on every printed page."""
        about = [f"{name}: {header.lines[name]}" for name in ("about", "period", "parameters") if name in header.lines]
        rests = [f"{name}: {header.lines[name]}" for name in ("instant", "policy", "made by")]
        return Margins(self.title, header.verdict.word, header.color, "; ".join(about), "; ".join(rests))

    def serialize(self) -> dict[str, Any]:
        """What a printed notebook needs of its report: the header as it is now, and the margins."""
        header = self.header
        return {
            "header": header._repr_html_(),
            "margins": list(self.margins(header)),
            "letter": self.letter,
            "exit_code": header.verdict.exit_code,
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        said = self.serialize()
        return {"text/plain": str(self), "text/html": f"{said['header']}{script()}", MIME: said}

    def __str__(self) -> str:
        return str(self.header)

    __repr__ = __str__

    def html(self) -> str:
        """The whole report as a page to print."""
        header = self.header
        parts = [_printed(one) if isinstance(one, Answer) else one._repr_html_() for one in self.parts]
        body = [f"<h1>{escape(self.title)}</h1>", header._repr_html_(), *parts]
        return page(self.title, "\n".join(body), self.margins(header))

    def save(self, folder: str | Path) -> "Saved":
        """Write it into a folder: a page to print (HTML; PDF where Chromium is), a workbook, a CSV for each answer, and
        `….json` with what was asked and each file's SHA-256. Their names hold the instant asked about and when the
        report was made; no file is written over. An empty name of a folder writes nothing.
        """
        if not str(folder):
            return Saved((), self)
        into = Path(folder)
        try:
            into.mkdir(parents=True, exist_ok=True)
            name = _free(into, file_name(self.title, self.audit.now, self.audit.opened))
        except OSError as error:
            raise InvalidInput(f"output: {into}: {error.strerror}") from error
        files = {f"{name}.xlsx": as_xlsx(self.header.lines, self.answers)}
        files |= {f"{name}_{at}_{one.name}.csv": as_csv(one) for at, one in enumerate(self.answers, 1)}
        for file, html in ((name, self.html()), (f"{name}_letter", self.letter)):
            if html is not None:
                pdf = as_pdf(html)
                files |= {f"{file}.html": html.encode(), **({f"{file}.pdf": pdf} if pdf is not None else {})}
        files[f"{name}.json"] = self._manifest(files)
        for file, content in files.items():
            export(self.audit, into / file, content)
        return Saved(tuple(into / file for file in files), self)

    def _manifest(self, files: dict[str, bytes]) -> bytes:
        asked = [
            {
                "question": one.number,
                "name": one.name,
                "as_of": format_instant(one.as_of),
                "parameters": one.parameters,
                "found": one.said,
            }
            for one in self.answers
        ]
        told = {"title": self.title, "header": self.header.lines, "verdict": self.header.verdict.word, "asked": asked}
        hashes = {file: _hash(content) for file, content in files.items()}
        return orjson.dumps({**told, "sha256": hashes}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


@dataclass(frozen=True)
class Saved:
    """The files of a report that was saved."""

    files: tuple[Path, ...]
    report: Report

    def __str__(self) -> str:
        return "\n".join(map(str, self.files)) or "nothing was saved: `output` names no folder"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": str(self), MIME: self.report.serialize()}


def file_name(title: str, as_of: datetime, made: datetime) -> str:
    """The name of a report's files without their ends: letters and digits of the title, the instant, when made."""
    words = re.sub(r"\W+", "_", title.lower()).strip("_").encode()[:_LONGEST_NAME].decode(errors="ignore") or "report"
    return f"{words}_as_of_{_stamp(as_of)}_made_{_stamp(made)}"


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _free(folder: Path, name: str) -> str:
    """The name, or with a number after it the first that no file in the folder begins with."""
    taken = {path.name.partition(".")[0] for path in folder.iterdir()}
    return next(one for at in range(1, len(taken) + 2) if (one := f"{name}_{at}" if at > 1 else name) not in taken)


def export(audit: Audit, target: Path, content: bytes) -> None:
    """Write one file that is not there yet, recorded before it is there. Raises `InvalidInput`."""
    if target.exists():
        raise InvalidInput(f"{target} is there already; nothing is written over")
    audit.record("audit:exported", {"file": target.name, "sha256": _hash(content)})
    try:
        with target.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise InvalidInput(f"{target}: {error.strerror}") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _printed(answer: Answer) -> str:
    asked = "; ".join(f"{name}: {value}" for name, value in answer.parameters.items())
    said = " · ".join(filter(None, (answer.number, answer.said, asked)))
    heading = f"<h2>{escape(answer.sentence)}</h2><p class='said'>{escape(said)}</p>"
    return heading + as_table(answer.frame, _MOST_PRINTED)
