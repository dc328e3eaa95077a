"""Answers as files for a spreadsheet: CSV and XLSX, in which no cell is a formula (T22)."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl
import pandas as pd
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from authz.audit.catalog.question import Answer
from authz.audit.reports.cells import RETURNED_SHEETS, escape_formula, protect_id
from authz.domain import VERDICTS

_HEAD = PatternFill("solid", fgColor="E8EEF4")
_WIDEST = 48


def as_csv(answer: Answer) -> bytes:
    """Return the whole answer as CSV, with a byte-order mark for Excel; an instant has its offset."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(answer.frame.columns)
    for row in answer.frame.itertuples(index=False):
        writer.writerow([_csv_cell(value) for value in _protect_ids(answer, row)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def as_xlsx(header: Mapping[str, str], answers: Sequence[Answer]) -> bytes:
    """Return a workbook with a sheet for each answer; the first sheet holds the header, questions and parameters.

    A spreadsheet has no time zones: instants are dates in the time zone that the first sheet names.
    """
    book = openpyxl.Workbook()
    about = book.active
    assert about is not None
    about.title = "About"
    for line in header.items():
        about.append([escape_formula(text) for text in line])
    for answer in answers:
        parameters = ", ".join(f"{name} = {value}" for name, value in answer.parameters.items())
        texts = (answer.sentence, answer.summary, parameters)
        about.append([f"{answer.number} {answer.name}", *map(escape_formula, texts)])
    _lay_out(about)
    for number, answer in enumerate(answers, 1):
        sheet = book.create_sheet(f"{number} {answer.name}"[:31])
        sheet.append(list(answer.frame.columns))
        for row in answer.frame.itertuples(index=False):
            sheet.append([_xlsx_cell(value) for value in _protect_ids(answer, row)])
        if answer.name in RETURNED_SHEETS:
            _prepare_to_fill_in(sheet, answer)
        for cell in sheet[1]:
            cell.font, cell.fill = Font(bold=True), _HEAD
        sheet.freeze_panes = "A2"
        _lay_out(sheet)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _protect_ids(answer: Answer, row: Sequence[Any]) -> list[Any]:
    """Return a row of an answer; in a sheet that comes back the ids are protected."""
    ids = RETURNED_SHEETS.get(answer.name, ())
    return [
        protect_id(value) if column in ids and isinstance(value, str) else value
        for column, value in zip(answer.frame.columns, row, strict=True)
    ]


def _prepare_to_fill_in(sheet: Worksheet, answer: Answer) -> None:
    """Format the ids of a sheet as text, and let the reviewer choose each verdict from a list."""
    for column, cells in zip(answer.frame.columns, sheet.iter_cols(min_row=2), strict=True):
        for cell in cells if column in RETURNED_SHEETS[answer.name] else ():
            cell.number_format = "@"
    letter = get_column_letter(list(answer.frame.columns).index("verdict") + 1)
    choice = DataValidation(type="list", formula1=f'"{",".join(VERDICTS)}"', allow_blank=True, showErrorMessage=True)
    choice.error, choice.errorTitle = f"{' or '.join(VERDICTS)}", "verdict"
    choice.add(f"{letter}2:{letter}{max(len(answer) + 1, 2)}")
    sheet.add_data_validation(choice)


def _lay_out(sheet: Worksheet) -> None:
    """Set the widths of the columns, and wrap the first row."""
    for number, column in enumerate(sheet.iter_cols(max_row=200), 1):
        widest = max(len(str(cell.value or "")) for cell in column)
        sheet.column_dimensions[get_column_letter(number)].width = min(max(widest + 2, 10), _WIDEST)
    for row in sheet.iter_rows(max_row=1):
        for cell in row:
            cell.alignment = Alignment(vertical="top", wrap_text=True)


def _csv_cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return escape_formula(value) if isinstance(value, str) else str(value)


def _xlsx_cell(value: Any) -> object:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).to_pydatetime()
    if isinstance(value, str):
        return escape_formula(value)
    return value.item() if hasattr(value, "item") else value
