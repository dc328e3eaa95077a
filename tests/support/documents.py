"""Pages of the documentation."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (ROOT / name).read_text()
