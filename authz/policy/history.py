"""The policies that served this database: the text of each, and since when each was in force.

Two kinds of events (`authz.record.policies`) begin the time of a version, which is in force until the next of them.
`policy:activated`: an operator activated the version, and every service takes it (`served`). `policy:loaded`: a service
began to decide by another version than the last service did, read from its folder because none was ever activated. The
text is kept under its version, which is the hash of the text: a text of another hash is refused.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

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

LOADED, ACTIVATED = "policy:loaded", "policy:activated"
IN_FORCE = f"kind IN ('{LOADED}', '{ACTIVATED}')"
"""The condition on an event that begins the time of a policy, as the index has it."""

_IN_FORCE = f"SELECT body FROM event WHERE {IN_FORCE} AND at <= {{}} ORDER BY at DESC, id DESC LIMIT 1"
_LAST_ACTIVATION = f"SELECT id, body FROM event WHERE kind = '{ACTIVATED}' ORDER BY id DESC LIMIT 1"


class ActiveVersion(NamedTuple):
    """The version that was activated last, and the id of its event: a number that grows with each activation."""

    number: int
    version: str


def last_activation(database: Database) -> ActiveVersion | None:
    """Return the last activation; None if no policy was ever activated here. Raises `Unavailable`."""
    with database_connection(database):
        row = run(database, _LAST_ACTIVATION).fetchone()
    if row is None:
        return None
    return ActiveVersion(row[0], version_loaded(_parse_body(row[1]))[0])


def compile_version(database: Database, version: str) -> CompiledPolicy:
    """Return the policy of a version that is kept here. Raises `PolicyUnknown`."""
    texts = kept_texts(database, version)
    if texts is None:
        raise PolicyUnknown(f"its version {version[:12]} served before policies were kept")
    try:
        return compile_texts(texts)
    except PolicyRefused as refused:
        raise PolicyUnknown(_describe_refusal(version, refused)) from refused


def _describe_refusal(version: str, refused: PolicyRefused) -> str:
    why = "; ".join(map(str, refused.faults[:_MOST_FAULTS]))
    return f"this release does not compile the text of version {version[:12]}: {why}"


def _parse_body(body: object) -> object:
    """Return the body of an event, which SQLite stores as text."""
    return orjson.loads(body) if isinstance(body, str) else body


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
    """Return the version and the source that an event of a policy names; empty texts if a forged event has none."""
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
        version, _ = version_loaded(_parse_body(row[0]))
        if not version:
            raise PolicyUnknown("its event names no version")
        return version

    def of_version(self, version: str) -> T:
        """Return what `build` made of the policy of a version. Raises `PolicyUnknown`."""
        with self._lock:
            built = self._remembered(version)
        if isinstance(built, PolicyRefused):
            raise PolicyUnknown(_describe_refusal(version, built))
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
