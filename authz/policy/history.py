"""The policies that served this database: the text of each, and from when each was in force.

A service that begins to decide by another version than the last one records an event `policy:loaded`
(`authz.record.policies`). That version is in force from then until the next such event. The text is kept by its
version, which is its hash: a text of another hash is refused.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Generic, TypeVar

import orjson

from authz.database import Database, database_connection
from authz.database.statements import run
from authz.domain import to_micros
from authz.errors import PolicyRefused, PolicyUnknown
from authz.models import PolicyText
from authz.policy.compiler import CompiledPolicy, compile_texts, version_of

T = TypeVar("T")

_MOST_COMPILED = 8
"""The most policies of the past that a process keeps compiled."""
_MOST_FAULTS = 3

_IN_FORCE = "SELECT body FROM event WHERE kind = 'policy:loaded' AND at <= {} ORDER BY at DESC, id DESC LIMIT 1"


def kept_texts(database: Database, version: str) -> dict[str, str] | None:
    """Return the files of a policy that served, by their names; None if they are not kept.

    Raises `PolicyUnknown` for a text that was changed since.
    """
    with database_connection(database):
        rows = PolicyText.select(PolicyText.files).where(PolicyText.version == version).tuples().execute(database)
        row = next(iter(rows), None)
    if row is None:
        return None
    files: dict[str, str] = row[0]
    hashed = hash_of_kept(files)
    if hashed != version:
        raise PolicyUnknown(f"the text that is kept of version {version[:12]} was changed: its hash is {hashed[:12]}")
    return {name: files[name] for name in sorted(files)}  # as `load` reads them: the first way to a permit counts


def hash_of_kept(files: object) -> str:
    """Return the version of a text as the database keeps it; empty if it is no text of a policy."""
    if isinstance(files, dict) and all(isinstance(text, str) for text in files.values()):
        return version_of(files)
    return ""


def version_loaded(body: object) -> tuple[str, str]:
    """Return the version and the source that an event `policy:loaded` names; empty if a forged one names none."""
    named = body if isinstance(body, dict) else {}
    version, source = named.get("policy_version"), named.get("source")
    return version if isinstance(version, str) else "", source if isinstance(source, str) else ""


class PolicyHistory(Generic[T]):
    """What `build` makes of the policies of the past of one database; what was used last is remembered."""

    def __init__(self, database: Database, build: Callable[[CompiledPolicy], T]) -> None:
        self._database = database
        self._build = build
        self._lock = threading.Lock()
        self._remembered = lru_cache(maxsize=_MOST_COMPILED)(self._made_of)

    def version_at(self, at: datetime) -> str | None:
        """Return the version in force at an instant; None if no service had begun. Raises `PolicyUnknown`."""
        with database_connection(self._database):
            row = run(self._database, _IN_FORCE, to_micros(at)).fetchone()
        if row is None:
            return None
        version, _ = version_loaded(orjson.loads(row[0]) if isinstance(row[0], str) else row[0])
        if not version:
            raise PolicyUnknown("the event of it names no version")
        return version

    def of_version(self, version: str) -> T:
        """Return what is made of a policy that served, by its version. Raises `PolicyUnknown`."""
        with self._lock:
            made = self._remembered(version)
        if isinstance(made, PolicyRefused):
            why = "; ".join(map(str, made.faults[:_MOST_FAULTS]))
            raise PolicyUnknown(f"this release does not compile the text of version {version[:12]}: {why}")
        return made

    def _made_of(self, version: str) -> T | PolicyRefused:
        """What is made of a policy, or why this release cannot: that is remembered, too."""
        texts = kept_texts(self._database, version)
        if texts is None:
            raise PolicyUnknown(f"its version {version[:12]} served before policies were kept")
        try:
            return self._build(compile_texts(texts))
        except PolicyRefused as refused:
            return refused
