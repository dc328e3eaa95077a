"""The tutorials and two guides: every command and every program of them does what the page shows."""

import shutil
from pathlib import Path

import pytest

from tests.support.documents import ROOT, check, page, steps

PAGES = [
    *sorted(path.name for path in (ROOT / "docs/tutorial").glob("*.md")),
    "../howto/share-and-transfer.md",
    "../howto/test-policies.md",
    "../howto/change-a-policy.md",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    """The steps of a page, run in order in a folder of their own, print what the page shows."""
    (tmp_path / "authz").symlink_to(ROOT / "authz")
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    document = steps(page(f"docs/tutorial/{name}"))
    assert len(document) > 5
    check(document, tmp_path)
