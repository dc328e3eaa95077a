"""A report: a header, the questions asked, the charts, and a letter; shown in a notebook, and saved as files."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import orjson

from authz.audit.catalog.parameters import PARAMETERS
from authz.audit.catalog.question import Answer, AuditQuestion
from authz.audit.reports.charts import Chart
from authz.audit.reports.files import export, file_name, hash_of, unused_name
from authz.audit.reports.header import Header, header_of
from authz.audit.reports.interactive import datatable_script
from authz.audit.reports.letters import STYLE, Letter, write_letter
from authz.audit.reports.printed import Margins, as_pdf, page
from authz.audit.reports.sheets import as_csv, as_xlsx
from authz.audit.reports.tables import as_table
from authz.audit.session import Audit
from authz.domain import format_instant
from authz.errors import InvalidInput

MIME = "application/vnd.caregrant.report+json"
"""The kind of a notebook's output that holds what a printed notebook needs of its report."""

SUBJECTS = {"patient": "Patient", "practitioner": "Practitioner", "subscription": "Clinic"}
"""The parameters that say whom a report is about, as a reader calls them."""

_MOST_PRINTED = 2000

Part = Answer | Chart | Letter


class Report:
    """One report on an audit; a notebook shows its header. Its parameters are checked at once.

    Raises `InvalidInput` for a parameter that cannot be.
    """

    def __init__(self, audit: Audit, title: str, parts: list[Part] | None = None, **parameters: object) -> None:
        self.audit, self.title, self.parts = audit, title, parts or []
        self.passed = {name: value for name, value in parameters.items() if value not in (None, "")}
        for name, value in self.passed.items():
            PARAMETERS[name](audit, name, value)

    @property
    def answers(self) -> list[Answer]:
        return [part for part in self.parts if isinstance(part, Answer)]

    @property
    def parameters(self) -> dict[str, str]:
        """Every parameter in force, without the period: those of the questions, and those of the report itself."""
        values: dict[str, list[str]] = {}
        for parameters in (*(answer.parameters for answer in self.answers), self.passed):
            for name, value in parameters.items():
                if name not in ("since", "until") and str(value) not in values.setdefault(name, []):
                    values[name].append(str(value))
        return {name: ", ".join(texts) for name, texts in values.items()}

    @property
    def periods(self) -> list[str]:
        """The periods that the questions looked at, each once."""
        sources = [answer.parameters for answer in self.answers] or [self.passed]
        periods = [
            f"{parameters.get('since', 'the beginning')} to {parameters.get('until', 'now')}"
            for parameters in sources
            if "since" in parameters
        ]
        return list(dict.fromkeys(periods))

    @property
    def subject(self) -> str:
        """Whom the report is about, by id, and by name if the name was asked for."""
        parameters = self.parameters
        subject = ", ".join(f"{word} {parameters[name]}" for name, word in SUBJECTS.items() if name in parameters)
        names = {str(answer.frame.name[0]) for answer in self.answers if answer.name == "who_is"}
        return f"{subject} ({', '.join(sorted(names))})" if names else subject

    @property
    def about(self) -> dict[str, str]:
        """The subject, the period and the other parameters, as the header shows them; empty ones are left out."""
        others = "; ".join(f"{name} = {value}" for name, value in self.parameters.items() if name not in SUBJECTS)
        lines = {"about": self.subject, "period": "; ".join(self.periods), "parameters": others}
        return {name: value for name, value in lines.items() if value}

    @property
    def header(self) -> Header:
        return header_of(self.audit, self.about)

    def ask(self, question: AuditQuestion, **parameters: Any) -> Answer:
        """Ask a question; the answer becomes part of the report."""
        answer = question(self.audit, **parameters)
        self.parts.append(answer)
        return answer

    def show(self, chart: Chart) -> Chart:
        """Add a chart to the report and return it."""
        self.parts.append(chart)
        return chart

    def write(self, template: str, person: Answer, **answers: Answer) -> Letter:
        """Add a letter to the report and return it; see `authz.audit.reports.letters.write_letter`."""
        letter = write_letter(self, template, person, **answers)
        self.parts.append(letter)
        return letter

    @property
    def letter(self) -> str | None:
        """The letter that is part of the report, as a page to print, if there is one."""
        letters = [part for part in self.parts if isinstance(part, Letter)]
        if not letters:
            return None
        header = self.header
        about = "; ".join((self.subject, *(f"period: {period}" for period in self.periods[:1])))
        rests = f"policy: {header.lines['policy']}; record: {header.verdict.word}; made by: {header.lines['made by']}"
        return page(self.title, letters[-1].body, Margins("", "", header.color, about, rests), STYLE)

    def margins(self, header: Header) -> Margins:
        """Return what stands in the margins of every printed page."""
        about = [f"{name}: {header.lines[name]}" for name in ("about", "period", "parameters") if name in header.lines]
        rests = [f"{name}: {header.lines[name]}" for name in ("instant", "policy", "made by")]
        return Margins(self.title, header.verdict.word, header.color, "; ".join(about), "; ".join(rests))

    def serialize(self) -> dict[str, Any]:
        """Return what a printed notebook needs of its report: the header as it is now, the margins, the letter."""
        header = self.header
        return {
            "header": header._repr_html_(),
            "margins": list(self.margins(header)),
            "letter": self.letter,
            "exit_code": header.verdict.exit_code,
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        serialized = self.serialize()
        return {
            "text/plain": str(self),
            "text/html": f"{serialized['header']}{datatable_script()}",
            MIME: serialized,
        }

    def __str__(self) -> str:
        return str(self.header)

    __repr__ = __str__

    def html(self) -> str:
        """Return the whole report as a page to print."""
        header = self.header
        parts = [_print_answer(part) if isinstance(part, Answer) else part._repr_html_() for part in self.parts]
        body = [f"<h1>{escape(self.title)}</h1>", header._repr_html_(), *parts]
        return page(self.title, "\n".join(body), self.margins(header))

    def save(self, folder: str | Path) -> "SavedReport":
        """Write the report into a folder; an empty name writes nothing. Raises `InvalidInput`.

        The files are a page to print (HTML, and PDF if Chromium is installed), a workbook, a CSV for each answer, and
        `….json` with what was asked and the SHA-256 of each file. The file names hold the instant asked about and when
        the report was made; no file is written over.
        """
        if not str(folder):
            return SavedReport((), self)
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            name = unused_name(target, file_name(self.title, self.audit.now, self.audit.opened))
        except OSError as error:
            raise InvalidInput(f"output: {target}: {error.strerror}") from error
        files = {f"{name}.xlsx": as_xlsx(self.header.lines, self.answers)}
        files |= {f"{name}_{number}_{answer.name}.csv": as_csv(answer) for number, answer in enumerate(self.answers, 1)}
        for file, html in ((name, self.html()), (f"{name}_letter", self.letter)):
            if html is not None:
                pdf = as_pdf(html)
                files |= {f"{file}.html": html.encode(), **({f"{file}.pdf": pdf} if pdf is not None else {})}
        files[f"{name}.json"] = self._manifest(files)
        for file, content in files.items():
            export(self.audit, target / file, content)
        return SavedReport(tuple(target / file for file in files), self)

    def _manifest(self, files: dict[str, bytes]) -> bytes:
        """Return what was asked, and the hash of each file, as JSON."""
        questions = [
            {
                "question": answer.number,
                "name": answer.name,
                "as_of": format_instant(answer.as_of),
                "parameters": answer.parameters,
                "found": answer.summary,
            }
            for answer in self.answers
        ]
        header = self.header
        manifest = {
            "title": self.title,
            "header": header.lines,
            "verdict": header.verdict.word,
            "asked": questions,
            "sha256": {file: hash_of(content) for file, content in files.items()},
        }
        return orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


@dataclass(frozen=True)
class SavedReport:
    """The files of a report that was saved."""

    files: tuple[Path, ...]
    report: Report

    def __str__(self) -> str:
        return "\n".join(map(str, self.files)) or "nothing was saved: `output` names no folder"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {"text/plain": str(self), MIME: self.report.serialize()}


def _print_answer(answer: Answer) -> str:
    """Return an answer as part of a page to print."""
    parameters = "; ".join(f"{name}: {value}" for name, value in answer.parameters.items())
    line = " · ".join(filter(None, (answer.number, answer.summary, parameters)))
    heading = f"<h2>{escape(answer.sentence)}</h2><p class='said'>{escape(line)}</p>"
    return heading + as_table(answer.frame, _MOST_PRINTED)
