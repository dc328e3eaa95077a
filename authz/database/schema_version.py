"""The schema's version: the last migration. A service works with the one that it knows, and with no other."""

from functools import cache
from pathlib import Path

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
MIGRATING = "migrating"
"""What a connection says of itself while it migrates: its database is between two versions."""


@cache
def known_version() -> str:
    """Return the name of the last migration that this release knows."""
    return max(file.stem for file in MIGRATIONS.glob("[0-9]*.py"))
