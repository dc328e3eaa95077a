"""The policies that served this database: the text of each, and since when each was in force.

A service that begins to decide by another version than the last service did records an event `policy:loaded`
(`authz.record.policies`). That version is in force until the next such event. The text is kept under its version, which
is the hash of the text: a text of another hash is refused.
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

    Raises `PolicyUnknown` if the text was changed since.
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
    """Return the version of the stored files of a policy; empty if they are not files with texts."""
    if isinstance(files, dict) and all(isinstance(text, str) for text in files.values()):
        return version_of(files)
    return ""


def version_loaded(body: object) -> tuple[str, str]:
    """Return the version and the source of an event `policy:loaded`; empty texts if a forged event has none."""
    members = body if isinstance(body, dict) else {}
    version, source = members.get("policy_version"), members.get("source")
    return version if isinstance(version, str) else "", source if isinstance(source, str) else ""


class PolicyHistory(Generic[T]):
    """The policies that served one database, each compiled and made into something by `build` when first needed.

    Those that were used last are kept.
    """

    def __init__(self, database: Database, build: Callable[[CompiledPolicy], T]) -> None:
        self._database = database
        self._build = build
        self._lock = threading.Lock()
        self._remembered = lru_cache(maxsize=_MOST_COMPILED)(self._build_version)

    def version_at(self, at: datetime) -> str | None:
        """Return the version in force at an instant; None if no service had begun. Raises `PolicyUnknown`."""
        with database_connection(self._database):
            row = run(self._database, _IN_FORCE, to_micros(at)).fetchone()
        if row is None:
            return None
        version, _ = version_loaded(orjson.loads(row[0]) if isinstance(row[0], str) else row[0])
        if not version:
            raise PolicyUnknown("its event names no version")
        return version

    def of_version(self, version: str) -> T:
        """Return what `build` made of the policy of a version. Raises `PolicyUnknown`."""
        with self._lock:
            built = self._remembered(version)
        if isinstance(built, PolicyRefused):
            why = "; ".join(map(str, built.faults[:_MOST_FAULTS]))
            raise PolicyUnknown(f"this release does not compile the text of version {version[:12]}: {why}")
        return built

    def _build_version(self, version: str) -> T | PolicyRefused:
        """Build a policy, or return why this release cannot compile it; both are kept."""
        texts = kept_texts(self._database, version)
        if texts is None:
            raise PolicyUnknown(f"its version {version[:12]} served before policies were kept")
        try:
            return self._build(compile_texts(texts))
        except PolicyRefused as refused:
            return refused
