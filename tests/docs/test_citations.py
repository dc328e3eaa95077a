"""Citations: every number and every document that code, tests or documents name exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "H": "docs/help-page.md",
    "Q": "docs/reference/questions.md",
    "R": "policies/README.md",
    "T": "docs/threats.md",
}
"""The page that has a row for each number of a letter."""
FOLDERS = ("api", "authz", "benchmarks", "docs", "letters", "notebooks", "policies", "scripts", "tests")
SUFFIXES = ("", ".css", ".html", ".js", ".md", ".polar", ".py", ".toml", ".yaml")


def files() -> Iterator[tuple[str, str]]:
    """Yield each file that may cite something, with its text; the changelog describes the past and is left out."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
    for folder in FOLDERS:
        paths += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES and path.is_file()]
    for path in paths:
        if "__pycache__" not in path.parts:
            yield str(path.relative_to(ROOT)), path.read_text()


def defined(letter: str) -> list[str]:
    """Return the numbers that have a row, a bold heading or an entry on the page of this letter, in order."""
    text = (ROOT / PAGES[letter]).read_text()
    return re.findall(rf"^(?:\| |- |\*\*)({letter}\d+)(?: \||\.|:)", text, re.M)


def cited(letter: str) -> dict[str, str]:
    """Return every number that a text or a test's name cites, each with one file that does.

    The tutorials' policies have rules of their own.
    """
    pattern = re.compile(rf"(?<![A-Za-z0-9:.\-+/\"])({letter}[1-9]\d?)(?![A-Za-z0-9:+/=])")
    in_names = re.compile(rf"(?<=_)({letter.lower()}[1-9]\d?)(?=_)")
    numbers: dict[str, str] = {}
    for path, text in files():
        if letter == "R" and path.startswith("docs/tutorial/"):
            continue
        names = [number.upper() for test in re.findall(r"def (test_\w+)", text) for number in in_names.findall(test)]
        numbers |= dict.fromkeys((*pattern.findall(text), *names), path)
    return numbers


@pytest.mark.parametrize("letter", list(PAGES))
def test_every_cited_number_exists(letter: str) -> None:
    """A number that something cites has a row, and the numbers of a page run from 1 without a gap."""
    known = set(defined(letter))
    assert {number: path for number, path in cited(letter).items() if number not in known} == {}
    assert sorted(known, key=lambda number: int(number[1:])) == [f"{letter}{at + 1}" for at in range(len(known))]


@pytest.mark.parametrize("letter", ["H", "R", "T"])
def test_a_number_has_one_row(letter: str) -> None:
    """No two rows have the same number."""
    assert len(defined(letter)) == len(set(defined(letter)))


@pytest.mark.parametrize("letter", ["H", "T"])
def test_every_row_names_its_tests(letter: str) -> None:
    """Each test that a row names exists; a row without a test says that nothing is built, and why."""
    for number, row in re.findall(rf"^\| ({letter}\d+) \| (.*) \|$", (ROOT / PAGES[letter]).read_text(), re.M):
        cells = row.split(" | ")
        assert all(cells), number
        named = re.findall(r"`(test_\w+)::(test_\w+)`", cells[-1])
        assert cells[-1].count("`") == 2 * len(named), f"{number}: {cells[-1]}"
        assert named or re.match(r"Not built: \w", cells[-1]), number
        for file, test in named:
            paths = list((ROOT / "tests").rglob(f"{file}.py"))
            assert len(paths) == 1, f"{number}: {file}"
            nodes = ast.walk(ast.parse(paths[0].read_text()))
            assert test in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}, f"{number}: {test}"


def test_every_cited_decision_exists() -> None:
    """A decision that something cites, by its path or among decisions by its number, is a file of docs/decisions."""
    known = {path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}
    for path, text in files():
        for number, name in re.findall(r"decisions/(\d{4})([a-z0-9-]*(?:\.md)?)", text):
            assert number in known, f"{path}: decisions/{number}"
            assert not name or (ROOT / "docs/decisions" / f"{number}{name.removesuffix('.md')}.md").exists(), path
        if path.startswith("docs/decisions/"):
            numbers = set(re.findall(r"(?<![\w.:+-])(0\d{3})(?![\w:])", text))
            assert numbers <= known, f"{path}: {sorted(numbers - known)}"


def test_every_decision_is_listed() -> None:
    """docs/decisions/README.md has a line for each decision, with its title."""
    listed = re.findall(r"^\| \[(\d{4})\]\((\1-[a-z0-9-]+\.md)\) \| (.*) \|$", index_of_decisions(), re.M)
    files_there = sorted(path for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    expected = []
    for path in files_there:
        title = re.match(r"# (\d+)\. (.*)\n", path.read_text())
        assert title, path.name
        assert int(title[1]) == int(path.name[:4]), path.name
        expected.append((path.name[:4], path.name, title[2]))
    assert sorted(listed) == expected


def index_of_decisions() -> str:
    return (ROOT / "docs/decisions/README.md").read_text()


def test_every_document_that_is_named_exists() -> None:
    """A Markdown file that code, a test, a document or a command names is a file of this project."""
    known = {path.name for path in ROOT.glob("*.md")}
    for folder in FOLDERS:
        known |= {path.name for path in (ROOT / folder).rglob("*.md")}
    for path, text in files():
        for name in re.findall(r"[\w./-]*\w\.md\b", text):
            if "/" not in name:
                assert name in known, f"{path}: {name}"
            elif name.startswith(("docs/", "policies/", "tests/", "benchmarks/")):
                assert (ROOT / name).exists(), f"{path}: {name}"


def test_every_path_that_a_document_names_exists() -> None:
    """A path of this project that a document names between backticks is there; `*` stands for any name."""
    for path, text in files():
        if path.endswith(".md") and not path.startswith("docs/decisions/"):
            for name in re.findall(
                r"`((?:api|authz|benchmarks|docs|notebooks|policies|tests|letters)/[\w./*-]*)`", text
            ):
                assert list(ROOT.glob(name.removesuffix("/"))), f"{path}: {name}"
