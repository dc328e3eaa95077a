"""The layout of the tests' code."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def test_no_test_imports_another_test() -> None:
    """Tests import nothing of `tests` but `tests/support`."""
    wrong = []
    for file in sorted(HERE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module == "tests":
                modules = [f"tests.{alias.name}" for alias in node.names]
            wrong += [
                f"{file.relative_to(HERE)}: {module}"
                for module in modules
                if module.split(".")[0] == "tests" and not f"{module}.".startswith("tests.support.")
            ]
    assert not wrong, "\n".join(wrong)
