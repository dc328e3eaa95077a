"""The documentation: nothing that a user may call is left out, and what the README shows is what happens."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from api.app import create_app
from api.errors import PROBLEMS
from authz.audit.catalog.columns import COLUMNS
from authz.audit.questions import QUESTIONS
from authz.audit.reports.notebooks import listed
from authz.callers.clients import SCOPES
from authz.cli import caregrant
from authz.domain import REASONS
from authz.importing.lines import _KINDS
from authz.operations.transaction import NOTICES
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.record import KINDS
from authz.settings import SETTINGS, Settings, shipped_folder
from tests.support.documents import DOCS, ROOT, page
from tests.support.server import free_port


def commands(group: click.Group, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command, by its words."""
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, *words, name)
        else:
            yield " ".join((*words, name)), one


def test_every_command_and_option_is_documented() -> None:
    """docs/commands.md has a section for each command, which names its options."""
    sections = dict(re.findall(r"^## caregrant ([^\n]*)\n(.*?)(?=^## |\Z)", page("docs/commands.md"), re.M | re.S))
    for words, command in commands(caregrant):
        found = [text for title, text in sections.items() if re.sub(r" \[?[A-Z].*", "", title) == words]
        assert found, f"caregrant {words}"
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[0]}`" in found[0], f"caregrant {words} {option.opts[0]}"
                assert option.help, f"caregrant {words} {option.opts[0]}"


def test_every_setting_is_documented() -> None:
    """docs/settings.md has a line for each setting with its own sentence, and none that does not exist."""
    text = page("docs/settings.md")
    for variable, (default, sentence) in SETTINGS.items():
        shown = (
            "the shipped policies"
            if str(default) == str(shipped_folder("policies"))
            else f"`{default}`"
            if default
            else "none"
        )
        assert f"| `{variable}` | {shown} | {sentence} |" in text
    assert set(re.findall(r"CAREGRANT_\w+", text)) == set(SETTINGS)


def test_every_route_is_documented(sqlite_database: object) -> None:
    """docs/http.md has a line for each route that Flask knows, and none that it does not."""
    pdp = PDP(sqlite_database, load(shipped_folder("policies")))  # type: ignore[arg-type]
    routes = {
        f"{method} {rule.rule}"
        for rule in create_app(Settings(), pdp).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page("docs/http.md"), re.M)) == routes


def test_every_problem_reason_and_scope_is_documented() -> None:
    """docs/http.md tells each kind of problem with its status, each reason, each scope with its own sentence."""
    text = page("docs/http.md")
    told = re.findall(r"^\| `/problems/([a-z-]+)` \| (\d+) \|", text, re.M)
    assert {kind: int(status) for kind, status in told} == {kind: status for kind, (status, _) in PROBLEMS.items()}
    for reason in REASONS:
        assert f"| `{reason}` |" in text
    for scope, sentence in SCOPES.items():
        assert f"| `{scope}` | {sentence} |" in text


def test_every_event_and_notice_is_documented() -> None:
    """docs/events.md has a line for each kind of event and of notice, with its own sentence, and no other."""
    told = dict(re.findall(r"^\| `([a-z_]+:[a-z_]+)` \| (.*) \|$", page("docs/events.md"), re.M))
    assert told == KINDS | NOTICES


def test_every_line_of_an_import_is_documented() -> None:
    """docs/import.md names each kind of line with its fields, the needed ones before the others."""
    for kind, fields in _KINDS.items():
        row = re.search(rf"^\| `{kind}` \| (.*?) \| (.*?) ?\|$", page("docs/import.md"), re.M)
        assert row, kind
        needed, optional = (set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell))) for cell in row.groups())
        assert needed == {name for name, (_, must) in fields.items() if must}, kind
        assert optional == {name for name, (_, must) in fields.items() if not must}, kind


def test_every_question_is_documented() -> None:
    """docs/questions.md has each question with sentence, parameters, columns; each column; and Q1 to Q29."""
    text = page("docs/questions.md")
    told = {
        name: rest for name, *rest in re.findall(r"^\| (?:Q\d+) \| `(\w+)` \| (.*?) \| (.*?) \| .* \|$", text, re.M)
    }
    assert set(told) == {one.name for one in QUESTIONS}
    for one in QUESTIONS:
        sentence, parameters = told[one.name]
        assert sentence == one.sentence
        assert re.findall(r"`(\w+)", parameters) == one.parameters
        listed = re.search(rf"^- `{one.name}`: (.*)$", text, re.M)
        assert listed, one.name
        assert tuple(re.findall(r"`(\w+)`", listed[1])) == one.columns
    assert dict(re.findall(r"^\| `(\w+)` \| \w+ \| (.*) \|$", text, re.M)) == {
        name: sentence for name, (_, sentence) in COLUMNS.items()
    }
    assert {name for one in QUESTIONS for name in one.columns} == set(COLUMNS)
    assert {f"Q{number}" for number in range(1, 30)} == set(re.findall(r"Q\d+", text))


def test_every_notebook_is_documented() -> None:
    """docs/notebooks.md has a line for each notebook, in reading order."""
    told = re.findall(r"^\| (\d\d) ([^|]*) \|", page("docs/notebooks.md"), re.M)
    assert ["_".join((number, *name.split())) for number, name in told] == [one.path.stem for one in listed()]


def test_every_rule_is_documented() -> None:
    """The rules that the policy files carry are the numbered rules of their README."""
    carried = {
        number for path in (ROOT / "policies").glob("*.polar") for number in re.findall(r"R\d+", path.read_text())
    }
    assert set(re.findall(r"^\| (R\d+) \|", page("policies/README.md"), re.M)) == carried


def test_links_lead_somewhere() -> None:
    """Every link between the pages leads to a file."""
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "policies/README.md", ROOT / "benchmarks/README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_what_make_offers_is_documented() -> None:
    """The README's make commands exist."""
    offered = set(re.findall(r"^([a-z-]+):.*## ", page("Makefile"), re.M))
    assert set(re.findall(r"^make (\w+)", page("README.md"), re.M)) <= offered


def consoles(text: str) -> list[tuple[str, str]]:
    """The commands of the console blocks, each with the output that is shown beneath it."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    return [found for block in blocks for found in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)]


def alike(shown: str, seen: str) -> bool:
    """Whether output is what is shown, an ellipsis standing for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, seen.strip(), re.S) is not None


def test_the_readme_does_what_it_says(tmp_path: Path, database_url: str) -> None:
    """Its commands, run one after the other in an empty folder, print what it shows; on PostgreSQL too."""
    if shutil.which("curl") is None:
        assert os.environ.get("CI") != "true", "curl is not installed"
        pytest.skip("curl is not installed")
    text = page("README.md")
    if database_url.startswith("postgresql"):
        text = text.replace("sqlite:///clinic.db", database_url)
    told = consoles(text)
    port = str(free_port())
    script = "\n".join(f"echo; echo '@@{at}'\n{command.replace('8080', port)}" for at, (command, _) in enumerate(told))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", script + "\nkill %1; wait"],
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        seen = process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    parts = re.split(r"^@@\d+\n", seen, flags=re.M)[1:]
    assert len(parts) == len(told) > 5
    for (command, shown), part in zip(told, parts, strict=True):
        assert alike(shown, part), f"{command}\n{part}"


def test_the_readme_in_python(tmp_path: Path) -> None:
    """Its Python, run on the demonstration clinic, runs."""
    code = re.findall(r"^```python\n(.*?)^```", page("README.md"), re.M | re.S)[0]
    folder = Path(sys.executable).parent
    subprocess.run(
        [folder / "caregrant", "demo", "--database", "sqlite:///clinic.db"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout == "True R5 101\n['p-1', 'p-10', 'p-15']\n"
