"""The shipped notebooks: list them, copy them for JupyterLab, run them without JupyterLab.

They are stored as text (jupytext, ``py:percent``) without outputs. A run changes the cell with the tag `parameters`.
"""

import re
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbconvert
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from authz.audit.reports.interactive import PLAIN
from authz.audit.reports.printed import Margins, page
from authz.audit.reports.report import MIME
from authz.errors import InvalidInput, NotFound
from authz.settings import shipped_folder

SETTINGS = ".jupyterlab"
"""The folder, inside the folder of the notebooks, in which JupyterLab stores its settings."""

QUIET = (
    f"--LabApp.user_settings_dir={SETTINGS}",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
"""Options that keep JupyterLab from sending requests to other servers."""


@dataclass(frozen=True)
class ShippedNotebook:
    """One notebook: its file, its first heading, and its parameters with their defaults."""

    path: Path
    title: str
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.stem.partition("_")[2]


def list_notebooks() -> list[ShippedNotebook]:
    """Return every notebook, in reading order."""
    return [_read(path) for path in sorted(shipped_folder("notebooks").glob("[0-9]*.py"))]


def find_notebook(name: str) -> ShippedNotebook:
    """Return the notebook of a name such as ``who_did``, ``03_who_did`` or ``3``. Raises `InvalidInput`."""
    for notebook in list_notebooks():
        number = notebook.path.stem.partition("_")[0]
        if name in (notebook.name, notebook.path.stem, number, number.lstrip("0")):
            return notebook
    names = ", ".join(notebook.name for notebook in list_notebooks())
    raise InvalidInput(f"there is no notebook {name!r}; there are {names}")


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy every notebook into a folder for JupyterLab, unless the reader's own copy is there; return the new files."""
    settings = folder / SETTINGS / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}\n')
    copied = []
    for notebook in list_notebooks():
        target = folder / f"{notebook.path.stem}.ipynb"
        if not target.exists():
            nbformat.write(jupytext.read(notebook.path), target)
            copied.append(target)
    return copied


def run(notebook: ShippedNotebook, parameters: Mapping[str, object], *, progress: bool = False) -> NotebookNode:
    """Run a notebook in a kernel of its own and return it with its outputs.

    Raises `InvalidInput` for a parameter that the notebook does not have, and with the error of a cell that fails.
    """
    unknown = sorted(set(parameters) - set(notebook.parameters))
    if unknown:
        raise InvalidInput(f"{notebook.name} has no parameter {unknown[0]!r}; it has {', '.join(notebook.parameters)}")
    with tempfile.TemporaryDirectory(prefix="caregrant-notebook-") as folder:
        source, target = Path(folder, "in.ipynb"), Path(folder, "out.ipynb")
        nbformat.write(jupytext.read(notebook.path), source)
        try:
            papermill.execute_notebook(
                source,
                target,
                dict(parameters),
                kernel_name="python3",
                progress_bar=progress,
                cwd=folder,
                # The errors of a cell come as messages. Each kernel is interrupted at its end, and would log that.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            raise InvalidInput(f"{error.ename}: {error.evalue}") from error
        executed: NotebookNode = nbformat.read(target, as_version=4)
        return executed


def as_text(executed: NotebookNode) -> str:
    """Return a notebook that was run as a file for JupyterLab."""
    text: str = nbformat.writes(_make_plain(executed))
    return text


def _make_plain(executed: NotebookNode) -> NotebookNode:
    """Return a notebook that was run with the plain form of each table, and with its last header.

    The last header names the periods that were looked at.
    """
    plain, report = deepcopy(executed), report_of(executed)
    for cell in plain.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if MIME in data:
                data["text/html"] = report["header"]
            elif PLAIN in data:
                data["text/html"] = data.pop(PLAIN)
    return plain


def report_of(executed: NotebookNode) -> dict[str, Any]:
    """Return the last report that a notebook showed, as `Report.serialize` makes it."""
    reports = [
        output["data"][MIME]
        for cell in executed.cells
        for output in cell.get("outputs", ())
        if MIME in output.get("data", {})
    ]
    last: dict[str, object] = reports[-1]
    return last


def as_html(notebook: ShippedNotebook, executed: NotebookNode) -> str:
    """Return a notebook that was run as a page to print: its texts and outputs, without code."""
    exporter = nbconvert.HTMLExporter(
        template_name="basic", exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    remover = nbconvert.preprocessors.TagRemovePreprocessor(remove_cell_tags={"save"}, enabled=True)
    exporter.register_preprocessor(remover, enabled=True)
    exporter.anchor_link_text = ""
    body, _ = exporter.from_notebook_node(_make_plain(executed))
    return page(notebook.title, body, Margins(*report_of(executed)["margins"]))


def parse_parameters(notebook: ShippedNotebook, texts: Mapping[str, str]) -> dict[str, object]:
    """Return parameters with the types of their defaults. Raises `InvalidInput`."""
    parameters: dict[str, object] = {}
    for name, text in texts.items():
        default = notebook.parameters.get(name, "")
        try:
            parameters[name] = _parse_boolean(text) if isinstance(default, bool) else type(default)(text)
        except ValueError as error:
            raise InvalidInput(f"{name} is of the kind of {default!r}, not {text!r}") from error
    return parameters


def _parse_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read(path: Path) -> ShippedNotebook:
    text = path.read_text(encoding="utf-8")
    title = re.search(r"^# # (.*)$", text, re.MULTILINE)
    cell = re.search(r'^# %% tags=\["parameters"\]\n(.*?)\n\n', text, re.MULTILINE | re.DOTALL)
    if title is None or cell is None:
        raise NotFound
    values: dict[str, object] = {}
    exec(cell[1], {}, values)  # noqa: S102 - a file of ours
    return ShippedNotebook(path, title[1], values)
