"""The threats and the help page: every number that is used has a row, and every test that a row names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"T": "docs/threats.md", "H": "docs/help-page.md"}
USERS = ("api", "authz", "docs", "notebooks", "policies", "scripts", "tests")
KINDS = (".css", ".html", ".js", ".md", ".polar", ".py", ".toml", ".yaml")


def rows(letter: str) -> dict[str, list[str]]:
    """The cells of a page's rows, by number; a number has one row."""
    lines = re.findall(rf"^\| ({letter}\d+) \| (.*) \|$", (ROOT / PAGES[letter]).read_text(), re.M)
    assert len({number for number, _ in lines}) == len(lines)
    return {number: cells.split(" | ") for number, cells in lines}


def used(letter: str) -> dict[str, str]:
    """Every number that a file uses, in a text or in a test's name, with a file that uses it."""
    pattern = re.compile(rf"(?<![A-Za-z0-9:.\-])({letter}[1-9]\d?)(?![A-Za-z0-9:])")
    names = re.compile(rf"(?<=_)({letter.lower()}[1-9]\d?)(?=_)")
    found: dict[str, str] = {}
    for folder in USERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in KINDS and "__pycache__" not in path.parts:
                text = path.read_text()
                named = [name for test in re.findall(r"def (test_\w+)", text) for name in names.findall(test)]
                found |= {one.upper(): str(path.relative_to(ROOT)) for one in (*pattern.findall(text), *named)}
    return found


@pytest.mark.parametrize("letter", list(PAGES))
def test_every_number_has_a_row(letter: str) -> None:
    """Nothing refers to a row that is not there, and the numbers run from 1 without a gap."""
    known = rows(letter)
    assert {number: path for number, path in used(letter).items() if number not in known} == {}
    assert sorted(known, key=lambda number: int(number[1:])) == [f"{letter}{at + 1}" for at in range(len(known))]


@pytest.mark.parametrize("letter", list(PAGES))
def test_every_row_names_its_tests(letter: str) -> None:
    """Each test that a row names exists; a row without one says that nothing is built, and why."""
    for number, cells in rows(letter).items():
        assert all(cells), number
        named = re.findall(r"`(test_\w+)::(test_\w+)`", cells[-1])
        assert cells[-1].count("`") == 2 * len(named), f"{number}: {cells[-1]}"
        assert named or re.match(r"Not built: \w", cells[-1]), number
        for file, test in named:
            paths = list((ROOT / "tests").rglob(f"{file}.py"))
            assert len(paths) == 1, f"{number}: {file}"
            assert test in {
                one.name for one in ast.walk(ast.parse(paths[0].read_text())) if isinstance(one, ast.FunctionDef)
            }, f"{number}: {file}::{test}"
