"""A review sheet that an office program saved is read as it was sent, or refused with its line."""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.audit.catalog.question import Answer, make_frame
from authz.audit.catalog.result import ResultTable
from authz.audit.reports.cells import protect_id, unprotect_id
from authz.audit.reports.returned_sheets import LARGEST, MOST_LINES, SheetLine, read_sheet
from authz.audit.reports.sheets import as_csv, as_xlsx
from authz.errors import ImportRefused, InvalidInput
from authz.texts import parse_id
from tests.support.people import NOW

NEEDED = ("grant", "standing_share", "patient", "practitioner", "verdict")
FOREIGN = ("state", "reviewed_at")
IDS = ("p-1", "007", "'quoted", "=1+1", "-5", "@x", "1E5", "2026-03-01", "3-4", "true", "9" * 25, "MAR-1", "''", "é")


def read(content: bytes) -> list[SheetLine]:
    return read_sheet(content, "review_sheet", NEEDED, FOREIGN)


COLUMNS = (
    "grant standing_share patient patient_name practitioner name owner given_by reason since until accesses purposes "
    "last_used verdict"
)


def answer(ids: tuple[str, ...], verdict: str = "keep") -> Answer:
    """Return a sheet with a standing share and a grant for each id, all decided on."""
    rows: list[tuple[Any, ...]] = [
        (None, 9, None, None, "dan", None, "alice", "alice", "all", 0, 0, 0, None, None, verdict)
    ]
    rows += [
        (number, None, name, None, name, None, "o", "o", "=why;\n'so'", 0, 0, 1, "TREAT", 0, verdict)
        for number, name in enumerate(ids, 1)
    ]
    frame = make_frame(ResultTable.of(COLUMNS, rows), "UTC")
    return Answer("Q16", "review_sheet", "?", frame, len(rows), "live shares", NOW)


def expected(ids: tuple[str, ...], verdict: str = "keep") -> list[dict[str, str]]:
    """Return the cells that are read from the sheet of `answer`."""
    shared = {"grant": "", "standing_share": "9", "patient": "", "practitioner": "dan", "verdict": verdict}
    grants = [
        {"grant": str(number), "standing_share": "", "patient": name, "practitioner": name, "verdict": verdict}
        for number, name in enumerate(ids, 1)
    ]
    return [shared, *grants]


def cells(lines: list[SheetLine]) -> list[dict[str, str]]:
    return [{name: line.cells[name] for name in NEEDED} for line in lines]


def typed_again(cell: str) -> str:
    """Return what a spreadsheet makes of a cell of a CSV file that it opens and saves."""
    if re.fullmatch(r"[+-]?\d[\d.,]*(e[+-]?\d+)?", cell, re.IGNORECASE):
        return f"{float(cell.replace(',', '')):.15g}".upper()
    if cell.casefold() in ("true", "false"):
        return cell.upper()
    if re.match(r"[=+\-@]", cell):
        return "#NAME?"
    if re.fullmatch(r"\d+([-/.:]\d+)+|[a-z]{3,}-\d+", cell, re.IGNORECASE):
        return "45352"
    return cell


def table(content: bytes) -> list[list[str]]:
    """Return the cells of our CSV as a spreadsheet holds them."""
    return [[typed_again(cell) for cell in row] for row in csv.reader(io.StringIO(content.decode("utf-8-sig")))]


def saved(rows: list[list[str]], separator: str = ",", newline: str = "\r\n") -> str:
    out = io.StringIO(newline="")
    quoting: Any = csv.QUOTE_ALL if newline == "\r" else csv.QUOTE_MINIMAL  # else Python leaves a line break unquoted
    csv.writer(out, delimiter=separator, lineterminator=newline, quoting=quoting).writerows(rows)
    return out.getvalue()


FORMS: dict[str, Callable[[list[list[str]]], bytes]] = {
    "LibreOffice": lambda rows: saved(rows, newline="\n").encode(),
    "Excel, English": lambda rows: saved(rows).encode("cp1252"),
    "Excel, German": lambda rows: saved(rows, ";").encode("cp1252"),
    "Excel, CSV UTF-8": lambda rows: saved(rows, ";").encode("utf-8-sig"),
    "Excel, Unicode text": lambda rows: saved(rows, "\t").encode("utf-16"),
    "UTF-16, big end first": lambda rows: b"\xfe\xff" + saved(rows, "\t").encode("utf-16-be"),
    "UTF-16 without a mark": lambda rows: saved(rows).encode("utf-16-le"),
    "a line sep=": lambda rows: ("sep=;\r\n" + saved(rows, ";")).encode(),
    "a line sep= in quotes": lambda rows: ('"SEP=|"\n' + saved(rows, "|")).encode("utf-8-sig"),
    "a line sep= with a tab": lambda rows: ("sep=\t\r" + saved(rows, "\t", "\r")).encode(),
    "an old Mac": lambda rows: saved(rows, newline="\r").encode(),
    "blank lines": lambda rows: ("\r\n , ,\r\n" + saved([*rows, [], [" "] * 15]) + ",,\r\n").encode(),
    "blank columns": lambda rows: saved([[*row, "", " "] for row in rows], ";").encode(),
    "other columns first": lambda rows: saved([row[::-1] for row in rows]).encode(),
    "a column of one's own": lambda rows: saved([["why not?", *row] for row in rows]).encode(),
    "other case and spaces": lambda rows: saved(
        [
            [f" {cell.upper().replace('_', ' ')}\u00a0" for cell in rows[0]],
            *([f"  {cell} " for cell in row] for row in rows[1:]),
        ]
    ).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_sheet_survives_each_form_of_csv(form: str) -> None:
    """Ids, numbers and verdicts survive each form of CSV; lines have the numbers that an editor shows."""
    lines = read(FORMS[form](table(as_csv(answer(IDS)))))
    assert cells(lines) == expected(IDS)


def test_lines_are_numbered_as_an_editor_does() -> None:
    """Line numbers count blank lines, the separator's line and line breaks inside a cell."""
    text = (
        'sep=;\n\ngrant;standing_share;patient;practitioner;verdict;why\n1;;p-1;bob;keep;"a\nb"\n\n2;;p-2;bob;keep;\n'
    )
    assert [line.line for line in read(text.encode())] == [4, 7]


VISIBLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


def is_id(text: str) -> bool:
    try:
        return parse_id(text) == text
    except InvalidInput:
        return False


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.one_of(VISIBLE, st.from_regex(r"['=0-9.:eE+-]{1,12}", fullmatch=True)).filter(is_id), max_size=5),
    form=st.sampled_from(sorted(FORMS)),
)
@example(ids=list(IDS), form="LibreOffice")
def test_every_id_comes_back(ids: list[str], form: str) -> None:
    """Any id survives a spreadsheet, in CSV and in a workbook."""
    sheet = answer(tuple(ids))
    assert [unprotect_id(protect_id(name)) for name in ids] == ids
    assert cells(read(as_xlsx({}, [sheet]))) == expected(tuple(ids))
    try:
        content = FORMS[form](table(as_csv(sheet)))
    except UnicodeEncodeError:
        return  # no office can write this id in cp1252
    assert cells(read(content)) == expected(tuple(ids))


def workbook(change: Callable[[Any, Any], None]) -> bytes:
    """Return the workbook of the notebook after somebody changed it."""
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx({"record": "x"}, [answer(IDS, "")])))
    change(book, book.worksheets[-1])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def decide(_: Any, sheet: Any) -> None:
    for row in range(2, sheet.max_row + 1):
        sheet.cell(row, sheet.max_column, "Keep ")


def test_the_workbook_itself_is_a_sheet() -> None:
    """The workbook's verdicts are a list to choose from; filled in, it is read as the sheet."""
    content = workbook(decide)
    assert cells(read(content)) == expected(IDS, "Keep")
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[-1]
    (choice,) = sheet.data_validations.dataValidation
    assert (choice.formula1, str(choice.sqref)) == ('"keep,revoke"', f"O2:O{len(IDS) + 2}")
    assert {sheet.cell(row, column).number_format for row in (2, 3) for column in (3, 5)} == {"@"}


def far_away(_: Any, sheet: Any) -> None:
    sheet.cell(1_048_576, 16_384, "x")


def number(_: Any, sheet: Any) -> None:
    sheet["C3"] = 1234567890123456789012345


def rounded(_: Any, sheet: Any) -> None:
    sheet["A3"] = 1.5


def a_date(_: Any, sheet: Any) -> None:
    sheet["C3"] = NOW.replace(tzinfo=None)


def truth(_: Any, sheet: Any) -> None:
    sheet["E3"] = True


def second_sheet(book: Any, sheet: Any) -> None:
    book.copy_worksheet(sheet).title = "2 review_sheet"


def no_sheet(book: Any, sheet: Any) -> None:
    del book[sheet.title]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (number, "line 3: patient holds a number that is rounded"),
        (rounded, "line 3: grant holds a number that is rounded, or is no whole one"),
        (a_date, "line 3: patient holds a date, which a spreadsheet has made of its text"),
        (truth, "line 3: practitioner holds a truth value"),
        (second_sheet, "the workbook has 2 sheets that could be meant: 1 review_sheet, 2 review_sheet"),
        (no_sheet, "the workbook has 0 sheets that could be meant: About"),
    ],
)
def test_a_workbook_at_fault(change: Callable[[Any, Any], None], why: str) -> None:
    """An id that a spreadsheet changed is refused with its line; so are two sheets."""
    with pytest.raises(InvalidInput, match=re.escape(why)):
        read(workbook(change))


def test_a_renamed_sheet_is_known_by_its_columns() -> None:
    """In a workbook with several sheets, the sheet with the columns is read."""

    def renamed(_: Any, sheet: Any) -> None:
        sheet.title = "Freigaben"
        decide(_, sheet)

    assert cells(read(workbook(renamed))) == expected(IDS, "Keep")


def test_a_stray_cell_costs_nothing() -> None:
    """A formatted cell in the last row and column of a sheet is not read."""
    assert len(read(workbook(far_away))) == len(IDS) + 1


HEAD = b"grant,standing_share,patient,practitioner,verdict\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "line 1: the sheet has no line"),
        (HEAD, "line 1: the sheet has no line"),
        (b"patient,verdict\n", "line 1: the sheet has no column grant"),
        (HEAD[:-1] + b",Verdict \n1,,p,b,keep,revoke\n", "line 1: the sheet has more than one column verdict"),
        (HEAD[:-1] + b",state\n1,,p,b,keep,kept\n", "line 1: a sheet with a column state is not the one to decide on"),
        (HEAD + b"1,,p-1,bob,keep,\n2,,p,2,bob,keep\n", "line 3: the line has more cells than there are columns"),
        (HEAD + b'1,,p-1,bob,"keep\n', "line 2: the line cannot be read: unexpected end of data"),
        (HEAD + b'1,,p-1,bob,"keep"x\n', "line 2: the line cannot be read"),
        (HEAD + b"1,,p-1,bob," + b"x" * 140_000, "line 2: the line cannot be read: field larger"),
        (
            HEAD + b"1,,p-1,bob,keep\n" * (MOST_LINES + 1),
            f"line {MOST_LINES + 2}: the sheet has more than 100,000 lines",
        ),
        (b"x" * (LARGEST + 1), "at most 16,777,216"),
        (HEAD + b"1,,p-\x81,bob,keep\n", "the file is damaged: byte 55 is not cp1252"),
        (b"\xef\xbb\xbf" + HEAD + b"\xff", "the file is damaged: byte"),
        (b"\xff\xfe" + HEAD[:-1], "the file is damaged: byte"),
        (HEAD + b" " * 200 + b"\0", "it holds NUL characters"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "old workbook"),
        (b"PK\x03\x04" + b"\0" * 600, "the workbook is damaged"),
    ],
)
def test_a_file_that_is_no_sheet(content: bytes, why: str) -> None:
    """Each fault is reported with its line, and nothing of the file is used."""
    with pytest.raises((ImportRefused, InvalidInput), match=re.escape(why)):
        read(content)


def test_a_workbook_that_unpacks_to_too_much_is_refused() -> None:
    """A small file that unpacks to a large workbook is refused unread."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/sharedStrings.xml", b" " * (8 * LARGEST + 1))
    assert len(out.getvalue()) < 1_000_000
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        read(out.getvalue())
