"""The glossary: a word that it replaces is not used as a name, and a class name means one class."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRODUCT = ("authz", "api")
FOLDERS = (*PRODUCT, "tests", "benchmarks")

ALLOWED = {
    ("api/gateway/*", "receive"): "ASGI calls it so",
    ("authz/record/merkle.py", "left"): "RFC 6962: a node has a left and a right child",
    ("authz/audit/verify.py", "left"): "RFC 6962: a node has a left and a right child",
    ("authz/policy/compiler/*", "left"): "the left side of a comparison, beside its right side",
    ("api/ops/route_documentation.py", "left"): "the query parameter `left` of /v1/patients is a contract",
    ("api/web/wording.py", "words"): "the words of a person's name",
    ("authz/audit/catalog/known_ids.py", "folded"): "an id whose case and punctuation are folded",
    ("authz/importing/demo.py", "given"): "given names, beside family names",
    ("authz/policy/compiler/placeholders.py", "words"): "the words of a text that is searched for",
    ("authz/policy/compiler/filtered.py", "words"): "the words of a text that is searched for",
    ("authz/policy/plan.py", "words"): "the words of a text that is searched for",
}
"""Names that are the field's own or a contract with callers: a pattern of paths and the name, with the reason."""


def modules(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of a folder with its syntax tree; a migration is never changed, and is left out."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.parent.name != "migrations":
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def defined_names(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each definition: functions, classes, parameters, variables, attributes of self."""
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name


def replaced_words() -> dict[str, str]:
    """Return each replaced word of the glossary with what stands instead of it; a capital marks a class's name."""
    table = (ROOT / "docs/glossary.md").read_text().partition("## Words that are not names")[2]
    replaced: dict[str, str] = {}
    for cell, instead in re.findall(r"^\| (?!Not |-)(.*) \| (.*) \|$", table, re.M):
        replaced |= dict.fromkeys(re.split(", |; as a class ", cell), instead)
    assert len(replaced) > 40
    return replaced


def is_allowed(path: str, name: str) -> bool:
    return any(fnmatch(path, pattern) and name == allowed for pattern, allowed in ALLOWED)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_replaced_word_is_a_name(folder: str) -> None:
    """No module, function, class, parameter, variable or attribute is called by a word that the glossary replaces."""
    instead = replaced_words()
    findings: dict[str, list[str]] = defaultdict(list)
    for path, module in modules(folder):
        for line, name in [(1, Path(path).stem), *sorted(set(defined_names(module)))]:
            for word in {name.strip("_"), name.strip("_").lower()} & instead.keys():
                if not is_allowed(path, word) and not name.endswith("__"):
                    findings[path].append(f"  line {line}: {name} (instead: {instead[word]})")
    text = "\n".join("\n".join([f"{path}: {len(lines)}", *lines]) for path, lines in findings.items())
    assert not findings, f"{sum(map(len, findings.values()))} names in {len(findings)} files\n{text}"


def test_a_class_name_means_one_class() -> None:
    """No two classes of authz and api have the same name."""
    places: dict[str, list[str]] = defaultdict(list)
    for folder in PRODUCT:
        for path, module in modules(folder):
            for node in ast.walk(module):
                if isinstance(node, ast.ClassDef) and node.name != "Meta":  # Peewee's, in each model
                    places[node.name.strip("_")].append(f"{path}:{node.lineno}")
    repeated = {name: where for name, where in places.items() if len(where) > 1}
    assert not repeated, "\n".join(f"{name}: {', '.join(where)}" for name, where in sorted(repeated.items()))


def test_every_exception_is_needed() -> None:
    """Each exception of `ALLOWED` covers a name that is there."""
    used = {
        (pattern, allowed)
        for folder in FOLDERS
        for path, module in modules(folder)
        for _, name in defined_names(module)
        for pattern, allowed in ALLOWED
        if fnmatch(path, pattern) and allowed in (name.strip("_"), name.strip("_").lower())
    }
    assert ALLOWED.keys() - used == set()
