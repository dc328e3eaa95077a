"""Letters to a patient, made from answers by templates that a clinic can change.

The templates are in the folder of `CAREGRANT_LETTERS`; a template that is not there is the shipped one. They are Jinja
templates in a sandbox, and every value in them is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from authz.audit.catalog.question import Answer
from authz.errors import InvalidInput
from authz.settings import shipped_folder

if TYPE_CHECKING:
    from authz.audit.reports.report import Report

SUBJECT_ACCESS = "subject_access"
ACCOUNTING = "accounting_of_disclosures"
LETTERS = (SUBJECT_ACCESS, ACCOUNTING)
"""The templates of letters, without ``.html``."""

STYLE = """
@page { size: A4 portrait; margin: 20mm 20mm 22mm; }
body { max-width: 46rem; }
.sender { text-align: right; } .address { margin: 2.2rem 0; } .date { text-align: right; } .sign { margin-top: 1.2rem; }
.quiet { color: var(--quiet); font-size: .9em; } h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 1.5rem; }
table.letter { width: 100%; font-size: .95em; } table.letter td { max-width: none; }
@media print { body { font-size: 10.5pt; } }
"""


@dataclass(frozen=True)
class Letter:
    """A letter: the HTML of its body."""

    body: str

    def _repr_html_(self) -> str:
        style = "<style>section.letter th, section.letter td { text-align: left !important; }</style>"
        return f"<section class='letter'>{style}{self.body}</section>"

    def __repr__(self) -> str:
        return "a letter; save the report, or look at it here"


def write_letter(report: "Report", template: str, person: Answer, **answers: Answer) -> Letter:
    """Return a letter to the patient whom `person` (an answer of `who_is`) names.

    The template sees the rows of each of the answers, by name. The period is that of the answers. Raises `InvalidInput`
    for a fault in the clinic's own template.
    """
    addressee, parameters = _rows(person)[0], next(iter(answers.values())).parameters
    letter = {
        **{name: addressee[name] for name in ("patient", "name", "clinic")},
        "since": pd.Timestamp(parameters["since"]),
        "until": pd.Timestamp(parameters["until"]),
        "made": report.audit.opened.astimezone(report.audit.tz),
        "tz": str(report.audit.tz),
        "names": bool(parameters.get("names")),
        "verdict": report.header.verdict,
        "color": report.header.color,
    }
    rows = {name: _rows(answer) for name, answer in answers.items()}
    return Letter(_render(report.audit.letters, template, {"letter": letter, **rows}))


def _rows(answer: Answer) -> list[dict[str, object]]:
    rows = answer.frame.astype(object).where(answer.frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _render(folder: str, template: str, values: Mapping[str, object]) -> str:
    if folder and not Path(folder).is_dir():
        raise InvalidInput(f"CAREGRANT_LETTERS: {folder} is not a folder")
    folders: Sequence[str] = [*([folder] if folder else []), str(shipped_folder("letters"))]
    environment = SandboxedEnvironment(
        loader=ChoiceLoader([FileSystemLoader(path) for path in folders]), autoescape=True, undefined=StrictUndefined
    )
    try:
        return environment.get_template(f"{template}.html").render(values)
    except TemplateSyntaxError as error:
        raise InvalidInput(f"{error.filename or template}:{error.lineno}: {error.message}") from error
    except TemplateError as error:
        raise InvalidInput(f"{template}.html: {error}") from error
