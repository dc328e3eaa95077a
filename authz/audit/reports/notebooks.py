"""The notebooks that come with this software: listed, laid out for JupyterLab, run without one.

They are kept as text (jupytext, ``py:percent``) without outputs; the cell tagged `parameters` is what a run changes.
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
from papermill.exceptions import PapermillExecutionError

from authz.audit.reports.interactive import PLAIN
from authz.audit.reports.printed import Margins, page
from authz.audit.reports.report import MIME
from authz.errors import InvalidInput, NotFound
from authz.settings import shipped_folder

SETTINGS = ".jupyterlab"
"""Where JupyterLab keeps its settings for these notebooks, in their folder."""

QUIET = (
    f"--LabApp.user_settings_dir={SETTINGS}",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
"""What keeps JupyterLab from asking anything of the world outside."""


@dataclass(frozen=True)
class ShippedNotebook:
    """One notebook: its file, what its first heading says, and its parameters with their defaults."""

    path: Path
    title: str
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.stem.partition("_")[2]


def listed() -> list[ShippedNotebook]:
    """Every notebook, in reading order."""
    return [_read(path) for path in sorted(shipped_folder("notebooks").glob("[0-9]*.py"))]


def named(name: str) -> ShippedNotebook:
    """The notebook of a name such as ``who_did``, ``03_who_did`` or ``3``. Raises `InvalidInput`."""
    for one in listed():
        number = one.path.stem.partition("_")[0]
        if name in (one.name, one.path.stem, number, number.lstrip("0")):
            return one
    known = ", ".join(one.name for one in listed())
    raise InvalidInput(f"there is no notebook {name!r}; there are {known}")


def lay_out(folder: Path) -> list[Path]:
    """Put every notebook into a folder for JupyterLab to open; one that stands there already is the reader's own."""
    told = folder / SETTINGS / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text('{"fetchNews": "false", "checkForUpdates": false}\n')
    made = []
    for one in listed():
        target = folder / f"{one.path.stem}.ipynb"
        if not target.exists():
            nbformat.write(jupytext.read(one.path), target)
            made.append(target)
    return made


def run(one: ShippedNotebook, parameters: Mapping[str, Any], *, progress: bool = False) -> Any:
    """The notebook with its outputs, run in a kernel of its own.

    Raises `InvalidInput` for a parameter that it does not have, and where a cell fails: with what the cell said.
    """
    unknown = sorted(set(parameters) - set(one.parameters))
    if unknown:
        raise InvalidInput(f"{one.name} has no parameter {unknown[0]!r}; it has {', '.join(one.parameters)}")
    with tempfile.TemporaryDirectory(prefix="caregrant-notebook-") as folder:
        source, target = Path(folder, "in.ipynb"), Path(folder, "out.ipynb")
        nbformat.write(jupytext.read(one.path), source)
        try:
            papermill.execute_notebook(
                source,
                target,
                dict(parameters),
                kernel_name="python3",
                progress_bar=progress,
                cwd=folder,
                # A cell's faults come as messages; a kernel logs that it was interrupted, as each is at its end.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except PapermillExecutionError as error:
            raise InvalidInput(f"{error.ename}: {error.evalue}") from error
        return nbformat.read(target, as_version=4)


def as_text(ran: Any) -> str:
    """A notebook that was run, as a file for JupyterLab."""
    text: str = nbformat.writes(_plain(ran))
    return text


def _plain(ran: Any) -> Any:
    """A notebook that was run, with the plain forms of what it shows, and with the header as it was at the end: it then
    names the periods that were looked at.
    """
    ran, said = deepcopy(ran), about(ran)
    for cell in ran.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if MIME in data:
                data["text/html"] = said["header"]
            elif PLAIN in data:
                data["text/html"] = data.pop(PLAIN)
    return ran


def about(ran: Any) -> dict[str, Any]:
    """What a notebook that was run says of its report, as it was at the end."""
    said = [
        output["data"][MIME]
        for cell in ran.cells
        for output in cell.get("outputs", ())
        if MIME in output.get("data", {})
    ]
    last: dict[str, Any] = said[-1]
    return last


def as_html(one: ShippedNotebook, ran: Any) -> str:
    """A notebook that was run, as a page to print: its words and outputs, without code, fetching nothing."""
    exporter = nbconvert.HTMLExporter(
        template_name="basic", exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    remover = nbconvert.preprocessors.TagRemovePreprocessor(remove_cell_tags={"save"}, enabled=True)
    exporter.register_preprocessor(remover, enabled=True)
    exporter.anchor_link_text = ""
    body, _ = exporter.from_notebook_node(_plain(ran))
    return page(one.title, body, Margins(*about(ran)["margins"]))


def typed(one: ShippedNotebook, given: Mapping[str, str]) -> dict[str, Any]:
    """Parameters given as text, each of its default's type. Raises `InvalidInput`."""
    made: dict[str, Any] = {}
    for name, text in given.items():
        default = one.parameters.get(name, "")
        try:
            made[name] = _boolean(text) if isinstance(default, bool) else type(default)(text)
        except ValueError as error:
            raise InvalidInput(f"{name} is of the kind of {default!r}, not {text!r}") from error
    return made


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read(path: Path) -> ShippedNotebook:
    text = path.read_text(encoding="utf-8")
    title = re.search(r"^# # (.*)$", text, re.MULTILINE)
    cell = re.search(r'^# %% tags=\["parameters"\]\n(.*?)\n\n', text, re.MULTILINE | re.DOTALL)
    if title is None or cell is None:
        raise NotFound
    values: dict[str, Any] = {}
    exec(cell[1], {}, values)  # noqa: S102 - a file of ours
    return ShippedNotebook(path, title[1], values)
