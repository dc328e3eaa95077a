"""The notebooks run on the demonstration clinic and on the three years, also by papermill and in JupyterLab."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError
from playwright.sync_api import sync_playwright

from authz.audit.reports import notebooks
from authz.audit.reports.report import Report
from authz.database import close_all, connect, migrate
from authz.errors import CaregrantError, InvalidInput
from authz.importing import demo
from authz.policy.compiler import load
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision
from authz.settings import shipped_folder
from tests.support.browser import CHROMIUM, FLAGS, needs_chromium
from tests.support.cli import refused, run
from tests.support.history import END, History
from tests.support.server import jupyterlab

NOTEBOOKS = notebooks.list_notebooks()
READING_ORDER = [
    "start_here",
    "who_could_see_this_patient",
    "who_did",
    "what_could_this_practitioner_reach",
    "transfers_and_chains",
    "shares_past_their_purpose",
    "leavers_and_lapses",
    "unusual_volume",
    "denied_attempts",
    "access_review",
    "is_the_record_whole",
    "subject_access_report",
    "accounting_of_disclosures",
    "what_did_this_practitioner_do",
    "what_changed",
    "what_would_this_policy_change",
]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Return the demonstration clinic with a search of an app, now, and the seeded history, at its end."""
    folder = tmp_path_factory.mktemp("notebooks")
    copied = {}
    for name in ("demo", "history"):
        url = f"sqlite:///{folder}/{name}.db"
        database = connect(url)
        migrate(database)
        database.connect(reuse_if_open=True)
        database.execute_sql("PRAGMA synchronous = 0")
        if name == "demo":
            demo.fill(database, load(shipped_folder("policies")).types, datetime.now(UTC) - timedelta(hours=1))
            actor = Actor("", datetime.now(UTC))
            for who in ("", "bob"):  # an app's search for who may view, and all that anybody viewed
                search = RecordedQuestion(("practitioner", who), "view", ("patient", "p-1"), size=3)
                record_decisions(database, actor, [(search, search_decision(actor, "f" * 64))])
        else:
            History(database)
        close_all(database)
        copied[name] = (url, "now" if name == "demo" else END.isoformat())
    return copied


def executed(notebook: notebooks.ShippedNotebook, **parameters: Any) -> dict[str, Any]:
    """Run a notebook's cells in order, without a kernel; return their variables."""
    variables: dict[str, Any] = {}
    for cell in jupytext.read(notebook.path).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, notebook.path.name, "exec"), variables)  # noqa: S102
        if "parameters" in cell.metadata.get("tags", ()):
            variables |= parameters
    return variables


def test_they_are_numbered_in_reading_order() -> None:
    """The notebooks are numbered in the order in which they are read."""
    assert [notebook.name for notebook in NOTEBOOKS] == READING_ORDER
    assert [notebook.path.stem[:2] for notebook in NOTEBOOKS] == [f"{number:02}" for number in range(1, 17)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_each_follows_the_habit(notebook: notebooks.ShippedNotebook) -> None:
    """Each notebook has no outputs, parameters first, asserts, and imports only `authz.audit.notebook`."""
    text = notebook.path.read_text()
    cells = jupytext.read(notebook.path).cells
    assert "language: python" in text
    assert set(re.findall(r"^(?:from|import) (\S+)", text, re.M)) == {"authz.audit.notebook"}
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"] == ["parameters"]
    assert not any(cell.get("outputs") for cell in code)
    assert {"as_of", "tz", "database", "output"} <= set(notebook.parameters)
    assert "\nassert " in text
    for before, cell in pairwise(cells):
        if cell.cell_type == "code" and cell not in code[:2]:
            assert before.cell_type == "markdown", cell.source


@pytest.mark.parametrize("where", ["demo", "history"])
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_each_runs(notebook: notebooks.ShippedNotebook, where: str, databases: dict[str, tuple[str, str]]) -> None:
    """Every cell runs and every assertion holds; only the tampered history's record is not verified."""
    url, as_of = databases[where]
    variables = executed(notebook, database=url, as_of=as_of, output="")
    report: Report = variables["report"]
    assert (report.header.verdict.word == "PARTLY VERIFIED") is (where == "demo")
    assert report.parts
    assert len(report.html()) > 1000
    report.audit.close()


TYPOS: dict[str, dict[str, Any]] = {
    "as_of": {"as_of": "yesterday"},
    "tz": {"tz": "Europe/Helsinky"},
    "database": {"database": "slqite:///clinic.db"},
    "output": {"output": __file__},
    "names": {"names": "Treu"},
    "reason": {"names": True, "reason": "because"},
    "times": {"times": "3,0"},
    "patient": {"patient": "P1"},
    "practitioner": {"practitioner": "ailce"},
    "subscription": {"subscription": "nroth"},
    "since_review": {"since_review": "nroth-2026"},
    "until_review": {"until_review": "nroth-2026"},
    "candidate": {"candidate": "nowhere"},
    "since": {"since": "2026-02-30"},
    "until": {"until": "2026-2-1"},
}
"""A typing error in each parameter of a notebook; of those that are not here, which are numbers, a word."""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_typing_error_in_any_parameter_is_refused(
    notebook: notebooks.ShippedNotebook, databases: dict[str, tuple[str, str]]
) -> None:
    """A mistyped value of any parameter is refused, and the error names the parameter or the value."""
    for name in notebook.parameters:
        if name == "output" and notebook.name != "start_here":  # refused where the report is saved, in each alike
            continue
        typo = TYPOS.get(name, {name: "x"})
        with pytest.raises(CaregrantError, match=rf"\b{name}\b|slqite|no campaign nroth"):
            executed(notebook, **{"database": databases["demo"][0], "output": "", **typo})


def test_an_error_in_a_notebook_is_one_line(databases: dict[str, tuple[str, str]]) -> None:
    """A cell shows an error of this package as one line, without a traceback."""
    with pytest.raises(InvalidInput) as caught:
        notebooks.run(notebooks.find_notebook("2"), {"database": databases["demo"][0], "patient": "P1", "output": ""})
    error = caught.value.__cause__
    assert isinstance(error, PapermillExecutionError)
    assert error.traceback == ["InvalidInput: no patient P1; did you mean p-1?"]


def test_what_the_first_five_find(databases: dict[str, tuple[str, str]]) -> None:
    """With a patient as the only parameter, the first notebooks find who could see p-4 and what changed."""
    url, _ = databases["demo"]
    could = executed(NOTEBOOKS[1], database=url, patient="p-4", output="")
    assert dict(zip(could["could"].frame.practitioner, could["could"].frame.how, strict=True)) == {
        "alice": "owner",
        "carol": "standing share",
    }
    moved = executed(NOTEBOOKS[4], database=url, patient="p-4", output="")
    assert list(moved["owned"].frame.owner) == ["alice", "bob", "alice"]
    assert list(moved["chains"].frame.patient) == ["p-4"]


def test_a_report_without_jupyterlab(databases: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    """`caregrant audit report` runs a notebook; the page has its text and answers, no code and no address."""
    url, _ = databases["demo"]
    target = tmp_path / "report.html"
    arguments = ("audit", "report", "who_could_see_this_patient", "-p", "patient=p-1", "-p", "tz=Europe/Helsinki")
    assert run(*arguments, "-o", str(target), url=url, exit_code=3) == f"wrote {target}\n"
    page = target.read_text()
    assert "is there already; nothing is written over" in refused(*arguments, "-o", str(target), url=url)
    assert ">Patient p-1</td>" in page
    assert 'content: "PARTLY VERIFIED"' in page
    assert "3 of 14 practitioners checked" in page
    assert "The record is PARTLY VERIFIED: 0 of " in page
    assert "Europe/Helsinki" in page
    assert re.search("<img alt=.Who held access to p-1", page)
    assert not re.search(r"https?://|<script|report\.ask|report\.save", page)


def test_a_letter_without_jupyterlab(databases: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    """`caregrant audit report --letter` writes the letter alone, with the clinic's own templates."""
    url, _ = databases["demo"]
    template = (shipped_folder("letters") / "words.html").read_text()
    (tmp_path / "words.html").write_text(template.replace("Yours sincerely", "With our best wishes"))
    target = tmp_path / "letter.html"
    run(
        *("audit", "report", "13", "-p", "patient=p-1", "--letter", "--letters", str(tmp_path), "-o", str(target)),
        url=url,
        exit_code=3,
    )
    page = target.read_text()
    assert "Dear Ben Abel" in page
    assert "With our best wishes" in page
    assert "A4 portrait" in page
    assert "Q5" not in page


def test_what_a_report_refuses(tmp_path: Path) -> None:
    """An unknown notebook or parameter, a bad value and a missing file or database are refused in one line."""
    target = str(tmp_path / "x.html")
    with pytest.raises(InvalidInput, match="there is no notebook 'nothing'; there are start_here"):
        notebooks.find_notebook("nothing")
    did = notebooks.find_notebook("03_who_did")
    with pytest.raises(InvalidInput, match="who_did has no parameter 'patent'; it has patient, since"):
        notebooks.run(did, {"patent": "p-1"})
    with pytest.raises(InvalidInput, match="least is of the kind of 10, not 'x'"):
        notebooks.parse_parameters(notebooks.find_notebook("8"), {"least": "x"})
    assert notebooks.parse_parameters(notebooks.find_notebook("12"), {"names": "True"}) == {"names": True}
    assert "-o names the file" in run("audit", "report", "2", exit_code=2)
    nowhere = f"sqlite:///{tmp_path}/nowhere.db"
    assert "there is no database" in refused("audit", "report", "2", "-o", target, url=nowhere)
    assert not Path(target).exists()


def test_a_failing_cell_is_told(databases: dict[str, tuple[str, str]]) -> None:
    """The error of a cell is the report's error, in the same sentence."""
    url, _ = databases["demo"]
    notebook = notebooks.find_notebook("12")
    with pytest.raises(InvalidInput, match="why the names are indispensable"):
        notebooks.run(notebook, {"database": url, "names": True, "output": ""})


def test_copies_are_the_readers_own(tmp_path: Path) -> None:
    """JupyterLab opens copies of the notebooks; an existing copy is not overwritten."""
    copied = notebooks.copy_notebooks(tmp_path)
    assert [path.stem for path in copied] == [notebook.path.stem for notebook in NOTEBOOKS]
    first = nbformat.read(copied[0], as_version=4)
    assert first.metadata.kernelspec.language == "python"
    copied[0].write_text("mine")
    assert notebooks.copy_notebooks(tmp_path) == []
    assert copied[0].read_text() == "mine"


def test_without_the_extra_the_commands_say_what_to_install() -> None:
    """Without its extra a report names the extra to install; the service needs no extra."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(['pandas', 'jupytext', 'matplotlib', 'papermill']))"
    for arguments in (["audit", "report"], ["notebooks"], ["audit", "ask"]):
        code = f"{hidden}; from authz.cli import main; sys.argv = ['caregrant', *{arguments!r}]; main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert re.fullmatch(r"caregrant: this needs \w+: pip install 'caregrant\[notebooks\]'\n", done.stderr)
    code = "import sys, api.server, authz.cli; print([m for m in sys.modules if m.startswith(('pandas', 'jupy'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_in_jupyterlab(databases: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    """In JupyterLab all cells of a notebook run, show the answer and a chart, and save the report."""
    needs_chromium()
    outside: list[str] = []
    with jupyterlab(databases["demo"][0], tmp_path / "mine") as start, sync_playwright() as playwright:
        address = re.sub(r"/lab[^?]*", "/lab/tree/02_who_could_see_this_patient.ipynb", start)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1500})
        page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
        page.goto(address)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
        page.wait_for_function("document.body.innerText.includes('(ipykernel) | Idle')", timeout=90_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_selector("text=The record is PARTLY VERIFIED: 0 of ", timeout=90_000)
        page.wait_for_selector("text=3 of 14 practitioners checked", timeout=90_000)
        table = page.locator(".dt-container").first
        table.locator("tbody tr").nth(2).wait_for(timeout=90_000)
        table.locator(".dt-search input").fill("standing")
        page.wait_for_function("document.querySelector('.dt-container tbody').rows.length == 1")
        assert "carol" in table.locator("tbody tr").inner_text()
        page.wait_for_selector("figure img", timeout=90_000)
        page.wait_for_selector("text=who_could_see_patient_p_1_as_of_", timeout=90_000)
        page.screenshot(path=tmp_path / "jupyterlab.png")
        if os.environ.get("CAREGRANT_SCREENSHOTS"):
            page.screenshot(path=Path(os.environ["CAREGRANT_SCREENSHOTS"]) / "jupyterlab.png")
        browser.close()
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []
    (saved,) = (tmp_path / "mine/reports").glob("who_could_see_patient_p_1_as_of_*.json")
    manifest = json.loads(saved.read_text())
    assert manifest["header"]["record"].startswith("The record is PARTLY VERIFIED: 0 of ")
    assert (tmp_path / "jupyterlab.png").stat().st_size > 20_000
