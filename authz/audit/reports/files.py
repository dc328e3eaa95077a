"""The files of a report: their names, and the record that they were written (Q24)."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

from authz.audit.session import Audit
from authz.errors import InvalidInput

_LONGEST_NAME = 100


def file_name(title: str, as_of: datetime, made: datetime) -> str:
    """Return the name of a report's files without a suffix: the title, the instant asked about, when it was made."""
    stem = re.sub(r"\W+", "_", title.lower()).strip("_").encode()[:_LONGEST_NAME].decode(errors="ignore") or "report"
    return f"{stem}_as_of_{_stamp(as_of)}_made_{_stamp(made)}"


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def unused_name(folder: Path, name: str) -> str:
    """Return the name, or the name with the first number with which no file in the folder begins."""
    used = {path.name.partition(".")[0] for path in folder.iterdir()}
    names = (name, *(f"{name}_{number}" for number in range(2, len(used) + 2)))
    return next(candidate for candidate in names if candidate not in used)


def export(audit: Audit, target: Path, content: bytes) -> None:
    """Record a new file with its hash, then write it. Raises `InvalidInput`."""
    if target.exists():
        raise InvalidInput(f"{target} is there already; nothing is written over")
    audit.record("audit:exported", {"file": target.name, "sha256": hash_of(content)})
    try:
        with target.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise InvalidInput(f"{target}: {error.strerror}") from error


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
