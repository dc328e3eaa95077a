"""The documentation lists everything that a user may call, and the README's commands print what it shows."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from api.app import create_app
from api.errors import PROBLEMS
from authz.audit.catalog.columns import COLUMNS
from authz.audit.questions import QUESTIONS
from authz.audit.reports.notebooks import list_notebooks
from authz.callers.clients import SCOPES
from authz.cli import caregrant
from authz.database import Database
from authz.domain import REASONS
from authz.importing.lines import _KINDS
from authz.operations.notices import NOTICES
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.policy_tests.stories import QUESTION_KEYS, STORY_KEYS
from authz.record import KINDS
from authz.settings import SETTINGS, Settings, shipped_folder
from tests.support.documents import ROOT, check, page, steps

DOCS = ROOT / "docs"


def commands(group: click.Group, *groups: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name, which begins with the names of its groups."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *groups, name)
        else:
            yield " ".join((*groups, name)), command


def test_every_command_and_option_is_documented() -> None:
    """docs/reference/commands.md has a section for each command, which names its options."""
    text = page("docs/reference/commands.md")
    sections = dict(re.findall(r"^## caregrant ([^\n]*)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    sections = {re.sub(r" \[?[A-Z].*", "", title): section for title, section in sections.items()}
    for name, command in commands(caregrant):
        assert name in sections, f"caregrant {name}"
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[0]}`" in sections[name], f"caregrant {name} {option.opts[0]}"
                assert option.help, f"caregrant {name} {option.opts[0]}"


def test_every_setting_is_documented() -> None:
    """docs/reference/settings.md has a line for each setting with its own sentence, and none that does not exist."""
    text = page("docs/reference/settings.md")
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


def test_every_route_is_documented(sqlite_database: Database) -> None:
    """docs/reference/http.md has a line for each route that Flask knows, and none that it does not."""
    pdp = PDP(sqlite_database, load(shipped_folder("policies")))
    routes = {
        f"{method} {rule.rule}"
        for rule in create_app(Settings(), pdp).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page("docs/reference/http.md"), re.M)) == routes


def test_every_problem_reason_and_scope_is_documented() -> None:
    """docs/reference/http.md has each kind of problem with its status, each reason, each scope with its sentence."""
    text = page("docs/reference/http.md")
    documented = re.findall(r"^\| `/problems/([a-z-]+)` \| (\d+) \|", text, re.M)
    assert {kind: int(status) for kind, status in documented} == {
        kind: status for kind, (status, _) in PROBLEMS.items()
    }
    for reason in REASONS:
        assert f"| `{reason}` |" in text
    for scope, sentence in SCOPES.items():
        assert f"| `{scope}` | {sentence} |" in text


def test_every_event_and_notice_is_documented() -> None:
    """docs/reference/events.md has a line for each kind of event and of notice, with its own sentence, and no other."""
    documented = dict(re.findall(r"^\| `([a-z_]+:[a-z_]+)` \| (.*) \|$", page("docs/reference/events.md"), re.M))
    assert documented == KINDS | NOTICES


def test_every_line_of_an_import_is_documented() -> None:
    """docs/reference/import.md names each kind of line with its fields, the needed ones before the others."""
    for kind, fields in _KINDS.items():
        row = re.search(rf"^\| `{kind}` \| (.*?) \| (.*?) ?\|$", page("docs/reference/import.md"), re.M)
        assert row, kind
        needed, optional = (set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell))) for cell in row.groups())
        assert needed == {name for name, (_, must) in fields.items() if must}, kind
        assert optional == {name for name, (_, must) in fields.items() if not must}, kind


def test_every_key_of_a_policy_test_is_documented() -> None:
    """docs/reference/policy-tests.md has a row for each key of a story and of a question, and no other."""
    text = page("docs/reference/policy-tests.md").partition("## Limits")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == [*STORY_KEYS, *QUESTION_KEYS]


def test_every_question_is_documented() -> None:
    """docs/reference/questions.md has each question with sentence, parameters, columns; each column; and Q1 to Q29."""
    text = page("docs/reference/questions.md")
    rows = {
        name: rest for name, *rest in re.findall(r"^\| (?:Q\d+) \| `(\w+)` \| (.*?) \| (.*?) \| .* \|$", text, re.M)
    }
    assert set(rows) == {question.name for question in QUESTIONS}
    for question in QUESTIONS:
        sentence, parameters = rows[question.name]
        assert sentence == question.sentence
        assert re.findall(r"`(\w+)", parameters) == question.parameters
    assert dict(re.findall(r"^\| `(\w+)` \| \w+ \| (.*) \|$", text, re.M)) == {
        name: sentence for name, (_, sentence) in COLUMNS.items()
    }
    columns = re.findall(rf"^- `(?:{'|'.join(rows)})`: (.*)$", text, re.M)  # tests/audit/ compares them with answers
    assert set(re.findall(r"`(\w+)`", " ".join(columns))) == set(COLUMNS)
    assert {f"Q{number}" for number in range(1, 30)} == set(re.findall(r"Q\d+", text))


def test_every_notebook_is_documented() -> None:
    """docs/howto/notebooks.md has a line for each notebook, in reading order."""
    rows = re.findall(r"^\| (\d\d) ([^|]*) \|", page("docs/howto/notebooks.md"), re.M)
    assert ["_".join((number, *name.split())) for number, name in rows] == [
        notebook.path.stem for notebook in list_notebooks()
    ]


def test_every_rule_is_documented() -> None:
    """The rules that the policy files carry are the numbered rules of their README."""
    carried = {
        number for path in (ROOT / "policies").rglob("*.polar") for number in re.findall(r"R\d+", path.read_text())
    }
    assert set(re.findall(r"^\| (R\d+) \|", page("policies/README.md"), re.M)) == carried


def pages() -> list[Path]:
    """Return every page for people."""
    return [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "policies/README.md", ROOT / "benchmarks/README.md"]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    """Every link between the pages leads to a file, and to a heading of it."""
    for path in pages():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
            if not target.startswith("https://"):
                there = path.parent / target if target else path
                assert there.exists(), f"{path.name}: {target}"
                assert not anchor or anchor in anchors(there.read_text()), f"{path.name}: {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    """docs/README.md links to every page of docs, but for the decisions, which have an index of their own."""
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#]+)", page("docs/README.md"))}
    missing = {str(path) for path in DOCS.rglob("*.md") if path.parent.name != "decisions" and path not in linked}
    assert missing == {str(DOCS / "README.md")}


def test_what_make_offers_is_documented() -> None:
    """Every make command of the README exists."""
    offered = set(re.findall(r"^([a-z-]+):.*## ", page("Makefile"), re.M))
    assert set(re.findall(r"^make (\w+)", page("README.md"), re.M)) <= offered


def test_the_readme_does_what_it_says(tmp_path: Path, database_url: str) -> None:
    """The README's commands, run in order in an empty folder, print what the README shows, on both databases."""
    text = page("README.md")
    if database_url.startswith("postgresql"):
        text = text.replace("sqlite:///clinic.db", database_url)
    document = [step for step in steps(text) if not step.command.startswith("python")]
    assert len(document) > 5
    check(document, tmp_path)


def test_the_readme_in_python(tmp_path: Path) -> None:
    """The README's Python runs on the demonstration clinic and prints what the README says."""
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
