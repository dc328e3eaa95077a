"""A picture of every notebook on three records, in JupyterLab and printed.

    python -m tests.support.notebook_screenshots FOLDER [RECORD …] [NOTEBOOK …]

The records are the demonstration clinic with consultations, the seeded history at its end, and an empty clinic, where a
notebook of a patient shows the refusal. `FOLDER/RECORD-NAME.png` is JupyterLab, `FOLDER/RECORD-NAME.pdf` the report.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from playwright.sync_api import Browser, sync_playwright

from authz.audit.reports import notebooks
from authz.audit.reports.printed import as_pdf
from authz.database import close_all, connect, migrate
from authz.errors import InvalidInput
from authz.importing import demo
from authz.operations import put_subscription
from authz.policy.compiler import load
from authz.record import Actor
from authz.settings import shipped_folder
from tests.support.acting import pdp_of
from tests.support.browser import CHROMIUM, FLAGS
from tests.support.consultations import consult
from tests.support.history import END, History
from tests.support.server import jupyterlab

RECORDS = ("demonstration", "history", "empty")
WIDTH, HIGHEST = 1400, 6000
_RAN = """(() => {
    const prompts = [...document.querySelectorAll('.jp-InputPrompt')].map(one => one.innerText.trim());
    return prompts.includes('[1]:') && !prompts.includes('[*]:');
})()"""


def make_record(name: str, folder: Path) -> dict[str, Any]:
    """Make a database of this kind in the folder; return the parameters that open it."""
    url = f"sqlite:///{folder}/{name}.db"
    database = connect(url)
    migrate(database)
    database.connect(reuse_if_open=True)
    database.execute_sql("PRAGMA synchronous = 0")
    now = datetime.now(UTC)
    if name == "demonstration":
        demo.fill(database, load(shipped_folder("policies")).types, now - timedelta(hours=1))
        consult(database, now)
    elif name == "history":
        History(database)
    else:
        put_subscription(pdp_of(database), actor=Actor("", now), subscription="north", name="North Clinic")
    close_all(database)
    return {"database": url, "as_of": END.isoformat() if name == "history" else "now"}


def lay_out(notebook: notebooks.ShippedNotebook, parameters: dict[str, Any], folder: Path) -> str:
    """Write the notebook with these parameters for JupyterLab; return its file's name."""
    text = notebook.path.read_text()
    for name, value in parameters.items():
        text = re.sub(rf"^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", text, count=1, flags=re.M)  # type: ignore[misc]
    target = folder / f"{notebook.path.stem}.ipynb"
    nbformat.write(jupytext.reads(text, fmt="py:percent"), target)
    return target.name


def picture(browser: Browser, address: str, target: Path) -> None:
    """Run every cell of the notebook at the address, and take a picture of all of it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HIGHEST})  # JupyterLab draws what is in sight alone
    page.goto(address)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
    page.wait_for_function("document.body.innerText.includes('(ipykernel) | Idle')", timeout=90_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(_RAN, timeout=180_000)
    page.wait_for_function("document.body.innerText.includes('(ipykernel) | Idle')", timeout=90_000)
    bottom = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.jp-Cell')].map(one => one.getBoundingClientRect().bottom))"
    )
    page.screenshot(path=target, clip={"x": 0, "y": 0, "width": WIDTH, "height": min(bottom + 20, HIGHEST)})
    page.close()


def report(notebook: notebooks.ShippedNotebook, parameters: dict[str, Any], target: Path) -> None:
    """Print the notebook as a report, unless it refuses."""
    try:
        printed = as_pdf(notebooks.as_html(notebook, notebooks.run(notebook, {**parameters, "output": ""})))
    except InvalidInput as error:
        sys.stdout.write(f"{target.stem}: {error}\n")
        return
    if printed is not None:
        target.write_bytes(printed)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for record in RECORDS if record in names] or RECORDS
    chosen = [
        notebook for notebook in notebooks.list_notebooks() if notebook.name in names
    ] or notebooks.list_notebooks()
    with tempfile.TemporaryDirectory() as made, opened_browser() as browser:
        for record in records:
            parameters = make_record(record, Path(made))
            with jupyterlab(parameters["database"], Path(made, record)) as address:
                for notebook in chosen:
                    file = lay_out(notebook, {**parameters, "output": ""}, Path(made, record))
                    at = re.sub(r"/lab[^?]*", f"/lab/tree/{file}", address) + "&reset"
                    picture(browser, at, folder / f"{record}-{notebook.path.stem}.png")
                    report(notebook, parameters, folder / f"{record}-{notebook.path.stem}.pdf")


if __name__ == "__main__":
    main()
