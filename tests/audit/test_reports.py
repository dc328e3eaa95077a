"""Reports of the audit: the files of a spreadsheet, the page, and what is recorded about a report."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import sync_playwright

from authz.audit import questions as ask
from authz.audit.catalog.columns import COLUMNS
from authz.audit.catalog.question import Answer, make_frame
from authz.audit.catalog.result import ResultTable
from authz.audit.export.parquet import SCHEMA
from authz.audit.integrity.checkpoints import Signer, checkpoint
from authz.audit.reports import charts
from authz.audit.reports.cells import escape_formula, unescape_formula
from authz.audit.reports.files import export
from authz.audit.reports.header import COLORS
from authz.audit.reports.interactive import as_interactive, datatable_script
from authz.audit.reports.printed import as_pdf, chromium
from authz.audit.reports.report import Report
from authz.audit.reports.sheets import as_csv, as_xlsx
from authz.audit.reports.tables import arrange
from authz.audit.session import Audit, AuditCache, open_audit
from authz.audit.verify import make_verdict
from authz.database import Database
from authz.domain import to_micros
from authz.errors import InvalidInput
from authz.models import Event, Grant, Patient
from tests.support.acting import served_since
from tests.support.browser import CHROMIUM, FLAGS, needs_chromium
from tests.support.people import LONG_AGO, NOW, add, fill
from tests.support.tampering import tell_facts

DANGEROUS = ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "＝1", "|calc"]


@pytest.fixture
def audit(sqlite_database: Database, sqlite_url: str) -> Iterator[Audit]:
    """Yield an audit of the cast, with patients whose ids a spreadsheet would take for formulas."""
    fill(sqlite_database)
    served_since(sqlite_database, LONG_AGO)
    for name in ("=cmd|'/C'!A0", "<b>p</b>"):
        add(sqlite_database, Patient, id=name, subscription="north", name="Pat")
        add(sqlite_database, Grant, patient=name, practitioner="alice", role="owner", origin="created")
    tell_facts(sqlite_database)
    opened = open_audit(sqlite_url, as_of=NOW, tz="Europe/Helsinki", reader="compliance")
    yield opened
    opened.close()


def answer_of(values: list[str]) -> Answer:
    frame = make_frame(ResultTable.of("patient", [(value,) for value in values]), "UTC")
    return Answer("Q0", "made", "Which?", frame, len(values), "things", NOW)


def test_no_cell_is_a_formula() -> None:
    """T22: in CSV and XLSX a text that begins like a formula gets an apostrophe; other text is unchanged."""
    answer = answer_of([*DANGEROUS, "p-1", "O'Hara"])
    lines = [row[0] for row in csv.reader(io.StringIO(as_csv(answer).decode("utf-8-sig")))]
    assert lines == ["patient", *(f"'{text}" for text in DANGEROUS), "p-1", "O'Hara"]
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx({"record": "=1"}, [answer])))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [unescape_formula(escape_formula(text)) for text in DANGEROUS] == DANGEROUS


def test_csv_and_xlsx_hold_the_whole_answer(audit: Audit) -> None:
    """CSV and XLSX hold every row; instants have their offset, or the time zone of the first sheet."""
    answer = ask.what_could_reach(audit, practitioner="alice")
    actual = pd.read_csv(io.BytesIO(as_csv(answer)))
    assert list(actual.columns) == list(answer.frame.columns)
    assert len(actual) == len(answer) == 3
    assert {since[-6:] for since in actual.since} <= {"+02:00", "+03:00"}
    report = Report(audit, "Reach", [answer])
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx(report.header.lines, [answer])))
    about, sheet = book.worksheets
    assert "Europe/Helsinki" in {row[1].value for row in about.iter_rows() if row[0].value == "instant"}.pop()
    assert sheet.max_row == 4
    assert sheet["H2"].value == answer.frame.since.iloc[0].tz_localize(None).to_pydatetime()


def test_the_header_says_what_a_report_rests_on(audit: Audit, sqlite_database: Database) -> None:
    """The header has database, instant, rows checked, checkpoint and verdict, which names a changed row."""
    lines = Report(audit, "x").header.lines
    assert lines["record"].startswith("The record is PARTLY VERIFIED: 0 of 73 leaves in 1 trees are proven; ")
    assert re.fullmatch(r"73, in \d+\.\d s", lines["rows checked"].split(";")[0])
    assert lines["database"].endswith("caregrant.db")
    assert lines["instant"] == "2026-06-01 15:00:00+03:00 (Europe/Helsinki)"
    assert lines["checkpoint"] == "none was signed yet"
    number = Event.insert(at=NOW, kind="client:added", body={}).execute(sqlite_database)
    again = open_audit(audit.url, as_of=NOW)
    header = Report(again, "x").header
    assert header.verdict.exit_code == 1
    assert re.match(rf"The record is NOT VERIFIED: .*event {number}", header.lines["record"])
    assert "header broken" in header._repr_html_()
    again.close()


def test_the_header_says_what_a_checkpoint_is_worth(audit: Audit, sqlite_database: Database, tmp_path: Path) -> None:
    """The verdict is VERIFIED only with a checkpoint and a key to check it; else it says less."""
    signer = Signer.make(str(tmp_path / "key"), "clinic.example/log")
    (tmp_path / "public").write_text(f"{signer.key}\n")
    other = Signer.make(str(tmp_path / "other"), "clinic.example/log")
    (tmp_path / "stranger").write_text(str(other.key))
    audit.record("audit:exported", {"file": "x"})
    checkpoint(sqlite_database, signer, NOW)
    for name, worth, record in (
        ("", "unproven", "PARTLY VERIFIED: 0 of "),
        ("key", "ok", "VERIFIED: "),
        ("public", "ok", "VERIFIED: "),
        ("stranger", "broken", "NOT VERIFIED: rewritten history: "),
    ):
        with closing(replace(audit, cache=AuditCache(), checkpoint_key=name and str(tmp_path / name))) as opened:
            header = Report(opened, "x").header
        assert header.lines["record"].startswith(f"The record is {record}")
        assert f"header {worth}" in header._repr_html_()
        assert header.lines["checkpoint"] == "the last of 2026-06-01T12:00:00Z (unsigned time)"
    pq.write_table(SCHEMA.empty_table(), tmp_path / "decisions.parquet")
    with closing(open_audit(audit.url, as_of=NOW, parquet=tmp_path)) as opened:
        header = Report(opened, "x").header
    assert header.lines["record"].endswith(f"; not proven: the decisions, read from {tmp_path}.")
    assert header.verdict.word == "PARTLY VERIFIED"


def test_a_password_is_not_shown(audit: Audit) -> None:
    """The header shows the database without its password."""
    shown = Audit(**{**vars(audit), "url": "postgresql://me:secret@host:5432/clinic?sslpassword=x"}).shown_url
    assert shown == "postgresql://me@host:5432/clinic"


def test_a_report_is_saved_whole_and_recorded(audit: Audit, tmp_path: Path, sqlite_database: Database) -> None:
    """Page, workbook, CSV and parameters are saved, and recorded with their hashes."""
    report = Report(audit, "Who could see p-1?")
    could = report.ask(ask.who_could, patient="p-1")
    grants = report.ask(ask.access_over_time, patient="p-1")
    report.show(charts.spans(grants, "Who held access."))
    empty = report.ask(ask.ownership, patient="p-1", as_of="2000-01-01")
    assert re.fullmatch(r"none found; \d grants of this patient checked", empty.summary)
    saved = report.save(tmp_path / "reports")
    name = f"who_could_see_p_1_as_of_20260601T120000Z_made_{audit.opened:%Y%m%dT%H%M%SZ}"
    names = {path.name for path in saved.files} - {f"{name}.pdf"}
    assert names == {
        *(f"{name}.{end}" for end in ("html", "xlsx", "json")),
        *(f"{name}_{text}.csv" for text in ("1_who_could", "2_access_over_time", "3_ownership")),
    }
    page = (tmp_path / f"reports/{name}.html").read_text()
    assert not re.search(r"https?://|<script|@import", page)
    assert could.summary in page
    assert "alt='Who held access." in page
    manifest = json.loads((tmp_path / f"reports/{name}.json").read_text())
    assert manifest["asked"][0]["parameters"] == {"patient": "p-1"}
    recorded = {row.body["file"]: row.body for row in Event.select().execute(sqlite_database) if "file" in row.body}
    for path in saved.files:
        answer = hashlib.sha256(path.read_bytes()).hexdigest()
        assert recorded[path.name]["sha256"] == answer
        assert path.suffix == ".json" or manifest["sha256"][path.name] == answer
    reads = ask.audit_reads(audit).frame
    assert f"exported {name}.html" in set(reads.question)
    assert report.save("").files == ()


def test_nothing_is_written_over(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of one title on two dates, or twice within a second, do not overwrite each other."""
    monkeypatch.setattr("authz.audit.reports.report.as_pdf", lambda _: None)
    saved = [
        Report(opened, "Who could", [ask.orphans(opened)]).save(tmp_path / "out")
        for opened in (audit, audit.at("2026-03-01"), replace(audit, opened=NOW), audit)
    ]
    files = [path for report in saved for path in report.files]
    assert len(set(files)) == len(files) == len(list((tmp_path / "out").iterdir())) == 16
    assert "as_of_20260228T220000Z" in saved[1].files[0].name
    assert "made_20260601T120000Z" in saved[2].files[0].name
    assert saved[3].files[0].stem == f"{saved[0].files[0].stem}_2"
    for report in saved:
        manifest = json.loads(report.files[-1].read_text())
        assert all(
            hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"][path.name] for path in report.files[:-1]
        )
    with pytest.raises(InvalidInput, match="is there already; nothing is written over"):
        export(audit, files[0], b"")


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 128, "患" * 128, "🌿/..", "..", "CON", "p\n1"])
def test_any_id_makes_a_file_name(name: str, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report about any id, however long, is saved in the folder."""
    monkeypatch.setattr("authz.audit.reports.report.as_pdf", lambda _: None)
    saved = Report(audit, f"Patient {name}", [ask.orphans(audit)]).save(tmp_path / "out")
    assert {path.parent for path in saved.files} == {tmp_path / "out"}
    assert all(len(path.name.encode()) < 256 for path in saved.files)
    assert re.fullmatch(r"[\w.]+", saved.files[0].name)


def test_an_output_that_is_no_folder_is_refused(audit: Audit, tmp_path: Path) -> None:
    """An output path that is a file is refused, and nothing is written."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match=r"output: .*file"):
        Report(audit, "x").save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def printed_text(content: bytes, folder: Path) -> list[str]:
    """Return the text of each page of a PDF."""
    (folder / "printed.pdf").write_bytes(content)
    texts = ["pdftotext", "-layout", str(folder / "printed.pdf"), "-"]
    text: str = subprocess.run(texts, check=True, capture_output=True, text=True).stdout
    return text.split("\f")[:-1]


def needs_pdf() -> None:
    """Skip the test if no PDF can be printed and read; not in CI."""
    needs_chromium()
    if shutil.which("pdftotext") is None:
        assert os.environ.get("CI") != "true", "poppler-utils is not installed"
        pytest.skip("poppler-utils is not installed")


def test_every_page_says_what_it_belongs_to(audit: Audit, tmp_path: Path) -> None:
    """Each printed page has title, subject, period, parameters, policy, verdict, author, time and page number."""
    needs_pdf()
    report = Report(audit, 'Who asked about "p-1" \\ </style>', patient="p-1")
    did = report.ask(ask.who_did, patient="p-1", since="2026-01-01")
    report.ask(ask.stale_shares)
    report.parts += [replace(did, frame=make_frame(ResultTable.of("patient why", [("p-1", "why")] * 200), "UTC"))]
    content = as_pdf(report.html())
    assert content is not None
    pages = printed_text(content, tmp_path)
    assert len(pages) > 2
    for number, text in enumerate(pages, 1):
        joined = " ".join(text.split())
        for expected in (
            'Who asked about "p-1" \\ </style>',
            "PARTLY VERIFIED",
            "about: Patient p-1",
            "period: 2026-01-01 00:00:00+02:00 to 2026-06-01 15:00:00+03:00",
            "parameters: open_days = 365; unused_days = 180",
            "instant: 2026-06-01 15:00:00+03:00 (Europe/Helsinki)",
            f"policy: {audit.pdp.version[:12]}",
            f"made by: compliance, {audit.format_local(audit.opened)}",
            f"Page {number} of {len(pages)}",
        ):
            assert expected in joined, (number, expected, joined)


@pytest.mark.parametrize(("word", "exit_code"), [("VERIFIED", 0), ("PARTLY VERIFIED", 3), ("NOT VERIFIED", 1)])
def test_the_verdict(word: str, exit_code: int) -> None:
    """Each verdict has one word, one readable colour and one exit code."""
    verdict = make_verdict(word, "")
    assert verdict.exit_code == exit_code
    assert contrast(COLORS[verdict.colour]) >= 4.5


def test_a_report_refuses_a_typing_error_at_once(audit: Audit) -> None:
    """A mistyped parameter is refused before the record is verified."""
    with pytest.raises(InvalidInput, match=r"no patient P1; did you mean p-1\?"):
        Report(audit, "x", patient="P1")
    assert audit.cache == AuditCache()


def test_what_is_shown_is_escaped(audit: Audit) -> None:
    """Ids that are HTML are text on the page."""
    answer = ask.what_could_reach(audit, practitioner="alice")
    page = Report(audit, "<i>x</i>", [answer]).html()
    assert "&lt;b&gt;p&lt;/b&gt;" in page
    assert "<b>p" not in page
    assert "<i>x" not in page
    assert "&lt;b&gt;" in answer._repr_html_()


WIDE = "at practitioner actor action resource_type resource allowed reason rule grant purpose client address owner"


def wide_answer(audit: Audit, text: str) -> Answer:
    """Return an answer of fourteen columns, each of them full."""
    values = {"instant": to_micros(NOW), "truth": True, "number": 7}
    row = [values.get(COLUMNS[name][0], text) for name in WIDE.split()]
    return Answer("Q0", "made", "Which?", make_frame(ResultTable.of(WIDE, [row] * 3), "UTC"), 3, "things", NOW)


@pytest.mark.parametrize("text", ["x" * 128, "p-1", "患" * 128])
def test_a_printed_table_fits_its_page(audit: Audit, tmp_path: Path, text: str) -> None:
    """No printed table is wider than the page, whatever its columns and ids."""
    needs_chromium()
    (tmp_path / "page.html").write_text(Report(audit, "Wide", [wide_answer(audit, text)]).html())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1016, "height": 650})  # A4 across, without its margins
        page.emulate_media(media="print")
        page.goto((tmp_path / "page.html").as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert width <= 1016


def test_of_a_wide_table_the_chosen_columns_come_first(audit: Audit) -> None:
    """The chosen columns of a wide table come first; JupyterLab hides the others until asked."""
    answer = wide_answer(audit, "p-1")
    shown, _ = arrange(answer.frame, 10)
    assert list(shown.columns)[:6] == ["at", "practitioner", "action", "owner", "resource", "allowed"]
    assert set(shown.columns) == set(WIDE.split())
    narrow = ask.orphans(audit).frame
    assert list(arrange(narrow, 10)[0].columns) == list(narrow.columns)
    moving = answer._repr_mimebundle_()["text/html"]
    assert '"targets": [10, 11, 12, 13], "visible": false' in " ".join(moving.split())
    assert '"extend": "colvis"' in moving


def test_a_table_that_moves_is_escaped_and_fetches_nothing(audit: Audit) -> None:
    """JupyterLab's table shows HTML as text, fetches nothing, and offers no unrecorded copy."""
    text = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
    answer = wide_answer(audit, text)
    moving = as_interactive(answer.frame, 10)
    assert "<img" not in moving
    assert moving.count("<script") == 2
    assert not re.search(r"(src|import|url)\W{1,3}https?://", moving + datatable_script())
    assert not re.search(r"csvHtml5|excelHtml5|copyHtml5", moving)
    assert "taken" in moving


def test_a_page_prints_as_pdf(audit: Audit) -> None:
    """If Chromium is installed, the page is saved as PDF too."""
    needs_chromium()
    assert chromium()
    printed = as_pdf(Report(audit, "x").html())
    assert printed is not None
    assert printed.startswith(b"%PDF-")


def contrast(first: str, second: str = "#ffffff") -> float:
    """Return WCAG's contrast of two colours."""

    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out() -> None:
    """Every colour that carries meaning has a contrast of 4.5 to 1 with the page (WCAG AA)."""
    for color in (charts.INK, charts.QUIET, charts.BLUE, charts.RUST, charts.GREEN, charts.VIOLET, charts.RED):
        assert contrast(color) >= 4.5, color


def test_charts_of_nothing_are_drawn(audit: Audit) -> None:
    """The chart of an empty answer says that nothing was found, and has no axis."""
    early = "2000-01-01"
    empty_charts = [
        charts.spans(ask.ownership(audit, patient="p-1", as_of=early), "x"),
        charts.moments(ask.who_did(audit, patient="p-1", as_of=early), "x"),
        charts.bars([], [], "x", "things"),
        charts.volume(ask.volume(audit, as_of=early), "x"),
        charts.states(ask.access_review(audit, subscription="north", as_of=early), "x"),
    ]
    for chart in empty_charts:
        assert chart.png.startswith(b"\x89PNG")
        assert chart.caption == "x Nothing found."
        assert chart.png == empty_charts[0].png
