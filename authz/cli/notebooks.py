"""The commands `audit report`, `audit review` and `notebooks`. They need the extra `notebooks`."""

import getpass
import hashlib
import os
import re
import subprocess
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import click

from authz.audit.reports.returned_sheets import LARGEST, read_sheet
from authz.cli.audit import audit
from authz.cli.options import PORT, as_json, now, open_decider, setting, settings, write_json
from authz.database import absolute_url, connect
from authz.domain import parse_instant
from authz.errors import ImportRefused, InvalidInput, Unavailable
from authz.operations import ReviewVerdict, SheetSource, review
from authz.record import Actor, keep_policy

_FORMATS = (".html", ".pdf", ".ipynb")
_NUMBER = re.compile("[0-9]{1,19}")


def _notebooks_module() -> ModuleType:
    """Return the module that runs notebooks. Raises `Unavailable` without the extra."""
    try:
        from authz.audit.reports import notebooks  # noqa: PLC0415 - only these commands need it
    except ModuleNotFoundError as error:
        raise Unavailable(f"this needs {error.name}: pip install 'caregrant[notebooks]'") from error
    return notebooks


@audit.command("report")
@click.argument("name", required=False)
@click.option(
    "-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="A parameter of the notebook."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file: .html, .pdf or .ipynb."
)
@click.option("--letter", is_flag=True, help="Write the letter that the notebook makes instead of the report.")
@setting("letters")
@setting("database")
@setting("policies")
def report_command(
    name: str | None,
    parameters: tuple[str, ...],
    output: Path | None,
    letter: bool,
    letters: str | None,
    database: str | None,
    policies: str | None,
) -> None:
    """Run the audit notebook NAME without JupyterLab, and write it as a report; without NAME, list the notebooks.

    \b
    caregrant audit report who_could_see_this_patient -p patient=p-1 -o report.html
    caregrant audit report subject_access_report -p patient=p-1 --letter -o letter.pdf
    """
    notebooks = _notebooks_module()
    if name is None:
        for notebook in notebooks.list_notebooks():
            click.echo(f"{notebook.name}  ({', '.join(notebook.parameters)})")
        return
    notebook = notebooks.find_notebook(name)
    if output is None or output.suffix not in _FORMATS:
        raise click.UsageError(f"-o names the file to write: {', '.join(_FORMATS)}")
    if output.exists():
        raise InvalidInput(f"{output} is there already; nothing is written over")
    url = _pass_settings_on(database, policies, letters)
    values = notebooks.parse_parameters(notebook, dict(_pair(text) for text in parameters))
    executed = notebooks.run(notebook, {"output": "", **values, "database": url}, progress=sys.stderr.isatty())
    _write(notebooks, notebook, executed, output, url, letter=letter)
    sys.exit(notebooks.report_of(executed)["exit_code"])


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _pass_settings_on(database: str | None, policies: str | None, letters: str | None = None) -> str:
    """Put the settings into the environment of the kernels that are started; return the URL with an absolute path."""
    chosen = settings(database=database, policies=policies, letters=letters)
    url = absolute_url(chosen.database)
    policies = str(Path(chosen.policies).absolute())
    key = str(Path(chosen.checkpoint_key).absolute()) if chosen.checkpoint_key else ""
    letters = str(Path(chosen.letters).absolute()) if chosen.letters else ""
    chosen.export_to_environment(database=url, policies=policies, checkpoint_key=key, letters=letters)
    connected = connect(url)
    if connected.dialect == "sqlite" and not Path(str(connected.database)).is_file():
        raise Unavailable(f"there is no database at {connected.database}; make one with: caregrant migrate")
    return url


def _write(notebooks: ModuleType, notebook: Any, executed: object, output: Path, url: str, *, letter: bool) -> None:
    """Write a notebook that was run, or its letter, in the format of the file's suffix."""
    from authz.audit.reports.files import export  # noqa: PLC0415
    from authz.audit.reports.printed import as_pdf  # noqa: PLC0415 - as above
    from authz.audit.session import open_audit  # noqa: PLC0415

    html: str | None = notebooks.report_of(executed)["letter"] if letter else notebooks.as_html(notebook, executed)
    if html is None or (letter and output.suffix == ".ipynb"):
        raise InvalidInput(f"{notebook.name} makes no letter" if html is None else "a letter is .html or .pdf")
    content = html.encode()
    if output.suffix == ".ipynb":
        content = notebooks.as_text(executed).encode()
    elif output.suffix == ".pdf":
        pdf = as_pdf(html)
        if pdf is None:
            raise Unavailable("a PDF needs Chromium, which is not installed or did not print; write .html instead")
        content = pdf
    with closing(open_audit(url)) as opened:
        export(opened, output, content)
    click.echo(f"wrote {output}")


@audit.command("review")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--reviewer",
    metavar="ID",
    required=True,
    help="The practitioner who decided, and may audit the clinic.",
)
@click.option("--campaign", metavar="NAME", required=True, help="The name of the review, such as 2026-spring.")
@click.option("--due", metavar="TIME", required=True, help="When the review was due: RFC 3339, or a day.")
@as_json
@setting("database")
@setting("policies")
def review_command(
    file: BinaryIO, reviewer: str, campaign: str, due: str, as_json: bool, database: str | None, policies: str | None
) -> None:
    """Carry out the sheet FILE (CSV, XLSX) of an access review, in which somebody filled in the verdicts.

    All of its lines are carried out, or none; each is recorded.
    """
    chosen = settings(database=database, policies=policies)
    content = file.read(LARGEST + 1)
    verdicts = _read_verdicts(content)
    source = SheetSource(hashlib.sha256(content).hexdigest(), chosen.reader or getpass.getuser())
    with open_decider(chosen, policies) as pdp:
        keep_policy(pdp.database, Actor("", now()), pdp.policy)  # so that its decisions can be asked again
        reviewed = review(
            pdp, actor=Actor(reviewer, now()), campaign=campaign, due=_parse_due(due), verdicts=verdicts, source=source
        )
    if as_json:
        write_json({"kept": reviewed.kept, "revoked": reviewed.revoked})
    else:
        click.echo(f"kept {reviewed.kept}, revoked {reviewed.revoked}")


def _parse_due(text: str) -> datetime:
    return parse_instant(f"{text}T00:00:00Z" if len(text) == 10 else text)


def _read_verdicts(content: bytes) -> list[ReviewVerdict]:
    """Return the verdicts of a sheet. Raises `InvalidInput`."""
    needed = ("grant", "standing_share", "patient", "practitioner", "verdict")
    verdicts = []
    for line, cells in read_sheet(content, "review_sheet", needed, foreign=("state", "reviewed_at")):
        nouns = [noun for noun in ("grant", "standing_share") if cells[noun]]
        if len(nouns) != 1 or not _NUMBER.fullmatch(cells[nouns[0]]) or int(cells[nouns[0]]) >= 2**63:
            raise ImportRefused(line, "a line has the number of a grant or of a standing share")
        number, verdict = int(cells[nouns[0]]), cells["verdict"].casefold()
        verdicts.append(ReviewVerdict(line, nouns[0], number, cells["patient"], cells["practitioner"], verdict))
    return verdicts


@click.command("notebooks")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="caregrant-notebooks",
    show_default=True,
    help="The folder of your copies of the notebooks, and of your reports.",
)
@click.option("--port", default=8888, show_default=True, type=PORT, help="The port on 127.0.0.1.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser; print the address.")
@setting("database")
@setting("policies")
def notebooks_command(folder: Path, port: int, no_browser: bool, database: str | None, policies: str | None) -> None:
    """Open JupyterLab on your copies of the audit notebooks, which only read the database. Ctrl-C stops it."""
    notebooks = _notebooks_module()
    url = _pass_settings_on(database, policies)
    notebooks.copy_notebooks(folder)
    click.echo(f"The notebooks are in {folder.absolute()}, on {connect(url).database}. Start with 01_start_here.")
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--port={port}", *notebooks.QUIET]
    command += ["--no-browser"] if no_browser else []
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    try:
        ended = subprocess.run([*command, "01_start_here.ipynb"], cwd=folder, check=False)  # noqa: S603 - a command of ours
    except KeyboardInterrupt:
        return
    if ended.returncode not in (0, 130):
        raise InvalidInput(f"JupyterLab ended with {ended.returncode}")
