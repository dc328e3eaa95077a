"""Answers as files for a spreadsheet: CSV and XLSX in which no cell is a formula (T22)."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl
import pandas as pd
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation

from authz.audit.catalog.question import Answer
from authz.audit.reports.cells import RETURNED, guarded, safe
from authz.domain import VERDICTS

_HEAD = PatternFill("solid", fgColor="E8EEF4")
_WIDEST = 48


def as_csv(answer: Answer) -> bytes:
    """The whole answer; instants with their offset, what is missing empty; a byte-order mark first, for Excel."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(answer.frame.columns)
    for row in answer.frame.itertuples(index=False):
        writer.writerow([_written(value) for value in _guarded(answer, row)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def as_xlsx(header: Mapping[str, str], answers: Sequence[Answer]) -> bytes:
    """A sheet for each answer, and before them one about the report: its header, its questions and parameters.

    Instants are dates of the time zone that the first sheet names: a spreadsheet knows none.
    """
    book = openpyxl.Workbook()
    about = book.active
    assert about is not None
    about.title = "About"
    for line in header.items():
        about.append([safe(one) for one in line])
    for answer in answers:
        asked = ", ".join(f"{name} = {value}" for name, value in answer.parameters.items())
        about.append([f"{answer.number} {answer.name}", safe(answer.sentence), safe(answer.said), safe(asked)])
    _laid_out(about)
    for number, answer in enumerate(answers, 1):
        sheet = book.create_sheet(f"{number} {answer.name}"[:31])
        sheet.append(list(answer.frame.columns))
        for row in answer.frame.itertuples(index=False):
            sheet.append([_cell(value) for value in _guarded(answer, row)])
        if answer.name in RETURNED:
            _fillable(sheet, answer)
        for cell in sheet[1]:
            cell.font, cell.fill = Font(bold=True), _HEAD
        sheet.freeze_panes = "A2"
        _laid_out(sheet)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _guarded(answer: Answer, row: Sequence[Any]) -> list[Any]:
    """A row of an answer; the ids of a sheet that comes back as `guarded` writes them."""
    ids = RETURNED.get(answer.name, ())
    return [
        guarded(value) if column in ids and isinstance(value, str) else value
        for column, value in zip(answer.frame.columns, row, strict=True)
    ]


def _fillable(sheet: Any, answer: Answer) -> None:
    """Make the ids of a sheet text, and its verdicts a choice from a list."""
    for column, cells in zip(answer.frame.columns, sheet.iter_cols(min_row=2), strict=True):
        for cell in cells if column in RETURNED[answer.name] else ():
            cell.number_format = "@"
    letter = get_column_letter(list(answer.frame.columns).index("verdict") + 1)
    choice = DataValidation(type="list", formula1=f'"{",".join(VERDICTS)}"', allow_blank=True, showErrorMessage=True)
    choice.error, choice.errorTitle = f"{' or '.join(VERDICTS)}", "verdict"
    choice.add(f"{letter}2:{letter}{max(len(answer) + 1, 2)}")
    sheet.add_data_validation(choice)


def _laid_out(sheet: Any) -> None:
    for at, column in enumerate(sheet.iter_cols(max_row=200), 1):
        widest = max(len(str(cell.value or "")) for cell in column)
        sheet.column_dimensions[get_column_letter(at)].width = min(max(widest + 2, 10), _WIDEST)
    for row in sheet.iter_rows(max_row=1):
        for cell in row:
            cell.alignment = Alignment(vertical="top", wrap_text=True)


def _written(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return safe(value) if isinstance(value, str) else str(value)


def _cell(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).to_pydatetime()
    return safe(value) if isinstance(value, str) else value.item() if hasattr(value, "item") else value
