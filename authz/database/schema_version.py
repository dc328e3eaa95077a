"""The version of the schema is its last migration. A service works only with the version that it knows."""

from functools import cache
from pathlib import Path

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
MIGRATING = "migrating"
"""The name of a connection that migrates: its database is between two versions."""


@cache
def known_version() -> str:
    """Return the name of the last migration that this release knows."""
    return max(file.stem for file in MIGRATIONS.glob("[0-9]*.py"))
