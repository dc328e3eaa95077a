"""Read a sheet that somebody filled in: CSV with any of the separators and encodings of offices, or XLSX.

Columns are found by their names, in any order and case. A line that is ambiguous or damaged is refused with its number;
no id and no number is guessed.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from itertools import islice
from typing import Any, NamedTuple

from authz.audit.reports.cells import unprotect_id
from authz.errors import ImportRefused, InvalidInput, Unavailable

LARGEST = 16 * 1024 * 1024
"""The most bytes of a sheet."""
LARGEST_UNPACKED = 8 * LARGEST
"""The most bytes of a workbook's parts."""
MOST_LINES = 100_000
"""The most lines of a sheet; a campaign may have several sheets."""

_BLANK = " \t\r\n\f\v\u00a0\u202f\ufeff"
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[,;\t ]*(?:\r\n?|\n)', re.IGNORECASE)
_SEPARATORS = (",", ";", "\t", "|")
_MOST_COLUMNS = 100
_MOST_ROWS = 2**20
_LARGEST_EXACT = 10**15
_FROM_THE_NOTEBOOK = "save it from the notebook, access review"

SheetRow = tuple[int, list[Any]]
"""The number of a line in the file, and its cells."""


class SheetLine(NamedTuple):
    """A line of a sheet: its number in the file, and its cells by the names of the columns."""

    line: int
    cells: Mapping[str, str]


def read_sheet(content: bytes, name: str, needed: Sequence[str], foreign: Sequence[str] = ()) -> list[SheetLine]:
    """Return the lines of a sheet, without blank ones, each with the columns `needed`.

    `name` ends the sheet's title in a workbook; `foreign` are columns of other sheets, which must not be taken for this
    one. Raises `ImportRefused` with the line at fault, `InvalidInput` for a file that is no sheet, and `Unavailable`
    for a workbook without the extra that reads it.
    """
    if len(content) > LARGEST:
        raise InvalidInput(f"the sheet has {len(content):,} bytes; at most {LARGEST:,}")
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InvalidInput("this is an old workbook (.xls), or one with a password; save it as .xlsx or CSV")
    rows = _rows_of_workbook(content, name, needed) if content.startswith(b"PK") else _rows_of_text(content, needed)
    lines = list(_lines(rows, needed, foreign))
    if not lines:
        raise ImportRefused(1, "the sheet has no line")
    return lines


def _lines(rows: Iterable[SheetRow], needed: Sequence[str], foreign: Sequence[str]) -> Iterator[SheetLine]:
    columns: dict[str, int] = {}
    count = 0
    for line, row in rows:
        if all(map(_is_blank, row)):
            continue
        if not columns:
            columns = _columns(line, row, needed, foreign)
            continue
        count += 1
        if count > MOST_LINES:
            raise ImportRefused(
                line, f"the sheet has more than {MOST_LINES:,} lines; a campaign may have several sheets"
            )
        width = max(columns.values()) + 1
        if not all(map(_is_blank, row[width:])):
            raise ImportRefused(line, "the line has more cells than there are columns")
        cells = {name: row[place] if place < len(row) else "" for name, place in columns.items() if name in needed}
        yield SheetLine(line, {name: _cell_text(line, name, cell) for name, cell in cells.items()})


def _columns(line: int, row: Sequence[object], needed: Sequence[str], foreign: Sequence[str]) -> dict[str, int]:
    """Return the place of each column in a row. Raises `ImportRefused`."""
    names = _names(row)
    for name in needed:
        if names.count(name) != 1:
            count = "no column" if name not in names else "more than one column"
            raise ImportRefused(line, f"the sheet has {count} {name}; {_FROM_THE_NOTEBOOK}")
    for name in foreign:
        if name in names:
            raise ImportRefused(line, f"a sheet with a column {name} is not the one to decide on; {_FROM_THE_NOTEBOOK}")
    return {name: place for place, name in enumerate(names) if name}


def _names(row: Sequence[object]) -> list[str]:
    return ["_".join(str(cell or "").strip(_BLANK).casefold().replace("-", " ").split()) for cell in row]


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip(_BLANK))


def _cell_text(line: int, column: str, cell: object) -> str:
    """Return the text of a cell. Raises `ImportRefused` if a spreadsheet has changed the text to something else."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return unprotect_id(cell.strip(_BLANK))
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if abs(cell) >= _LARGEST_EXACT or cell != int(cell):
            raise ImportRefused(line, f"{column} holds a number that is rounded, or is no whole one")
        return str(int(cell))
    kind = "a date" if isinstance(cell, date | time) else "a truth value"
    raise ImportRefused(line, f"{column} holds {kind}, which a spreadsheet has made of its text")


# Text.


def _rows_of_text(content: bytes, needed: Sequence[str]) -> Iterator[SheetRow]:
    text = _decode(content)
    if "\0" in text:
        raise InvalidInput("the file is no sheet: it holds NUL characters")
    declared = _SEPARATOR_LINE.match(text)
    begin = 1 if declared else 0
    text = text[declared.end() :] if declared else text
    separator = declared[1] if declared else _separator(text, needed)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = begin
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ImportRefused(line + 1, f"the line cannot be read: {error}") from error
        yield line + 1, row
        line = begin + reader.line_num


def _separator(text: str, needed: Sequence[str]) -> str:
    """Return the separator by which the first line that is not blank names most of the columns."""
    head = next((line for line in text.splitlines() if not all(map(_is_blank, line.split(",")))), "")
    return max(_SEPARATORS, key=lambda mark: len(set(_names(next(csv.reader([head], delimiter=mark)))) & set(needed)))


def _decode(content: bytes) -> str:
    """Return the text of a file: by its byte-order mark, as UTF-16 without a mark, as UTF-8, or as Windows-1252."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return _decode_strictly(content, encoding)
    start = content[:200]
    if b"\0" in start:
        return _decode_strictly(content, "utf-16-le" if start[1:2] == b"\0" else "utf-16-be")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return _decode_strictly(content, "cp1252")


def _decode_strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the file is damaged: byte {error.start} is not {encoding}") from error


# Workbooks.


def _rows_of_workbook(content: bytes, name: str, needed: Sequence[str]) -> list[SheetRow]:
    try:
        import openpyxl  # noqa: PLC0415 - only a workbook needs it
    except ModuleNotFoundError as error:
        raise Unavailable("a workbook needs openpyxl: pip install 'caregrant[notebooks]'; or save it as CSV") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(part.file_size for part in packed.infolist()) > LARGEST_UNPACKED:
                raise InvalidInput(f"the workbook unpacks to more than {LARGEST_UNPACKED:,} bytes")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = {sheet.title: _rows_of_sheet(sheet) for sheet in book.worksheets}
    except (InvalidInput, ImportRefused):
        raise
    except Exception as error:  # openpyxl raises whatever a damaged part makes fail
        raise InvalidInput(f"the workbook is damaged: {error}") from error
    candidates = {title: rows for title, rows in sheets.items() if title.endswith(name)}
    candidates = candidates or {title: rows for title, rows in sheets.items() if _has_columns(rows, needed)}
    if len(candidates) != 1:
        titles = ", ".join(candidates or sheets)
        raise InvalidInput(f"the workbook has {len(candidates)} sheets that could be meant: {titles}")
    return next(iter(candidates.values()))


def _rows_of_sheet(sheet: Any) -> list[SheetRow]:
    rows: list[SheetRow] = []
    sheet.reset_dimensions()  # otherwise a row is as wide as the file claims
    for line, row in enumerate(islice(sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True), _MOST_ROWS), 1):
        if row.count(None) < len(row) and not all(map(_is_blank, row)):  # `count` is quick for empty rows
            rows.append((line, list(row)))
        if len(rows) > MOST_LINES + 1:
            break
    return rows


def _has_columns(rows: list[SheetRow], needed: Sequence[str]) -> bool:
    return bool(rows) and set(needed) <= set(_names(rows[0][1]))
