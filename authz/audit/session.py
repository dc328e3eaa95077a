"""The auditor's door: one database, read only, at one instant; and the record of having read it.

An `Audit` runs the SQL of the questions and hands out what they share: the instant and the time zone, the PDP, the
header of a report. What it reads goes through a connection that cannot write. That something was read is itself an
event (AUDIT.md Q24), written by a connection of its own before the answer is given; unrecorded, nothing is answered.
"""

import getpass
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from authz.audit.exported_decisions import DecisionLog
from authz.audit.integrity.checkpoints import trusted
from authz.audit.integrity.verification import Verification, verification
from authz.audit.permissions import fence, names_readable
from authz.database import Database, close_all, connect, database_connection, masked_url, pending_migrations
from authz.domain import from_micros, parse_instant, to_micros
from authz.errors import InvalidInput, PolicyRefused, PolicyUnknown, Unavailable
from authz.models import PolicyText
from authz.policy.compiler import Schema, load, read_schema
from authz.policy.pdp import PDP
from authz.record import Actor, NewEvent, append, drain_or_count
from authz.settings import Settings
from authz.texts import quote_value

When = datetime | str | None
"""An instant: aware, RFC 3339, or a plain date such as ``2026-03-01``, which begins at midnight of the time zone."""

TODAY = "today"
"""Names the policies of the settings, for a question that need not be asked of the policy that was in force."""

MOST_ROWS = 100_000
"""The most rows of one answer; one that has more says so."""

_DAY = 86_400_000_000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAMED = re.compile(r"(?<![\w:]):([a-z_]+)")


@dataclass(frozen=True)
class Audit:
    """A database as it is read: at `now`, in the time zone `tz`, by `reader`, who opened it at `opened`.

    `open_audit` makes one. `pdp` decides by the policies of the settings, `decider` by those in force at `now`.
    `present`: `now` is the instant at which the audit was opened.
    """

    database: Database
    writing: Database
    pdp: PDP
    url: str
    now: datetime
    tz: ZoneInfo
    reader: str
    decision_log: DecisionLog | None = None
    checkpoint_key: str = ""
    present: bool = True
    letters: str = ""
    opened: datetime = field(default_factory=lambda: datetime.now(UTC))
    known: dict[str, Any] = field(default_factory=dict)

    def at(self, as_of: When = None, tz: str | None = None) -> "Audit":
        """The same, at another instant or in another time zone. Raises `InvalidInput`."""
        zone = self.tz if tz is None else time_zone(tz)
        if as_of is None:
            return replace(self, tz=zone)
        return replace(self, now=instant("as_of", as_of, zone), tz=zone, present=False)

    @property
    def micros(self) -> int:
        return to_micros(self.now)

    def period(self, since: When, until: When, days: int = 365) -> tuple[int, int]:
        """``[since, until)`` in microseconds; until now, since so many days before. Raises `InvalidInput`."""
        end = self.now if until in (None, "") else instant("until", until, self.tz)
        begin = min(end, self.now) - timedelta(days=days) if since in (None, "") else instant("since", since, self.tz)
        if begin > end:
            raise InvalidInput("since: lies after until")
        return to_micros(begin), to_micros(end)

    def decider(self, policy: str = "") -> PDP:
        """The PDP by the policy in force at `now`; by `TODAY` or the version of another policy if `policy` names it.

        In a database where no service has begun yet, the policies of the settings answer about the present. Raises
        `PolicyUnknown`.
        """
        if policy:
            return self.pdp if policy == TODAY else self.pdp.of_version(policy)
        if self.present and self.pdp.version_at(self.now) is None:
            return self.pdp
        return self.pdp.in_force(self.now)

    @property
    def vocabularies(self) -> list[Schema]:
        """The types of today's policy, and of each that served and is kept: the record speaks of all of them."""
        if "vocabularies" not in self.known:
            kept = PolicyText.select(PolicyText.files).tuples().iterator(self.database)
            declared = {str(files.get("types.toml", "")) for (files,) in kept if isinstance(files, dict)}
            self.known["vocabularies"] = [self.pdp.policy.types, *_understood(sorted(declared))]
        vocabularies: list[Schema] = self.known["vocabularies"]
        return vocabularies

    @property
    def policy_described(self) -> str:
        """The policy in force at `now`, for a report."""
        try:
            return self.decider().version[:12]
        except PolicyUnknown as unknown:
            return str(unknown)

    # Reading.

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One state of the database, whatever others write meanwhile."""
        with database_connection(self.database), self.database.atomic():
            yield

    def rows(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement; ``:name`` in it stands for a value."""
        text, given = _bound(sql, self.database.dialect, values)
        return list(self.database.execute_sql(text, given).fetchall())

    def number(self, sql: str, /, **values: Any) -> int:
        """The one number of a statement."""
        return int(self.rows(sql, **values)[0][0] or 0)

    def decided(self, sql: str, /, **values: Any) -> list[tuple[Any, ...]]:
        """As `rows`, for SQL over the decisions: from the Parquet export where the audit was opened on one."""
        if self.decision_log is None:
            return self.rows(sql, **values)
        return self.decision_log.rows(self.database, sql, values)

    def recorded(self) -> int:
        """How many events and decisions the record holds."""
        return self.number("SELECT COUNT(*) FROM event") + int(self.decided("SELECT COUNT(*) FROM decision")[0][0])

    @staticmethod
    def json(body: Any) -> dict[str, Any]:
        """The body of an event, which is text on SQLite."""
        told: dict[str, Any] = orjson.loads(body) if isinstance(body, str) else body
        return told

    # The record, and the record of reading.

    @property
    def verification(self) -> Verification:
        """Whether the record is whole, verified once for this audit."""
        if "verification" not in self.known:
            known = trusted(self.checkpoint_key)
            with database_connection(self.database), names_readable(self.database):  # only hashed
                self.known["verification"] = verification(self.database, *known, self.url, datetime.now(UTC))
        found: Verification = self.known["verification"]
        return found

    def record(self, kind: str, body: Mapping[str, Any], *, patient: str = "", reason: str = "") -> None:
        """Record that something was read, before it is given. Raises `Unavailable`."""
        told = NewEvent(kind, "", {"reader": self.reader, **body}, patient, reason)
        with database_connection(self.writing), self.writing.atomic():
            append(self.writing, Actor("", datetime.now(UTC)), [told])

    def local(self, at: datetime) -> str:
        """An instant in the time zone, to the second, with its offset."""
        return at.astimezone(self.tz).isoformat(sep=" ", timespec="seconds")

    @property
    def shown_url(self) -> str:
        """The database without a password."""
        return masked_url(self.url).replace(":***@", "@").partition("?")[0]

    def close(self) -> None:
        close_all(self.database)
        close_all(self.writing)


def open_audit(
    database: str | None = None,
    *,
    as_of: When = None,
    tz: str = "UTC",
    policies: str | Path | None = None,
    parquet: str | Path | None = None,
    reader: str | None = None,
) -> Audit:
    """Open a database for reading: the one of the settings, now, unless said otherwise.

    `parquet` is the directory of an export (``caregrant audit export``), from which the questions about decisions are
    then answered; `reader` is who is recorded as reading, by default the account. Raises `InvalidInput`, and
    `Unavailable` for a database that is missing or lacks a migration.
    """
    chosen = Settings.from_environment(
        database=database or None, policies=None if policies is None else str(policies), reader=reader
    )
    zone = time_zone(tz)
    present = as_of is None or as_of in ("", "now")
    now = datetime.now(UTC) if present else instant("as_of", as_of, zone)
    log = None if parquet is None or not str(parquet) else DecisionLog(Path(parquet))
    policy = load(chosen.policies)
    writing = connect(chosen.database)
    if writing.dialect == "sqlite" and not Path(str(writing.database)).is_file():
        raise Unavailable(f"there is no database at {writing.database}; make one with: caregrant migrate")
    lacking = pending_migrations(writing)
    if lacking:
        close_all(writing)
        raise Unavailable(f"the database lacks {', '.join(lacking)}; bring it up to date with: caregrant migrate")
    waiting = drain_or_count(writing)
    if waiting:
        raise Unavailable(f"{waiting} answers wait in {writing.database}-answers: another process holds the database")
    close_all(writing)
    reading = connect(chosen.database, read_only=True)
    fence(reading, writing)
    who = chosen.reader or getpass.getuser()
    pdp, key = PDP(reading, policy), chosen.checkpoint_key
    return Audit(reading, writing, pdp, chosen.database, now, zone, who, log, key, present, chosen.letters)


def _understood(declarations: Iterable[str]) -> Iterator[Schema]:
    """The vocabularies of declarations, without those that this release does not understand any more."""
    for text in declarations:
        with suppress(PolicyRefused):
            yield read_schema(text)


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its name, such as ``Europe/Helsinki``. Raises `InvalidInput`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError) as error:
        raise InvalidInput(f"tz: {quote_value(name)} is not a time zone such as UTC or Europe/Helsinki") from error


def instant(name: str, value: object, tz: ZoneInfo) -> datetime:
    """An instant in UTC, as `When` says; `name` is the parameter that has it. Raises `InvalidInput`."""
    if isinstance(value, datetime):
        to_micros(value)
        return value.astimezone(UTC)
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=tz).astimezone(UTC)
        return parse_instant(value)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}, nor a day such as 2026-03-01") from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: {quote_value(value)} is not a day that exists") from error


def offset_spans(begin: int, end: int, tz: ZoneInfo) -> Iterator[tuple[int, int, int]]:
    """A period in parts of one offset from UTC each, as ``(begin, end, offset)`` in microseconds: SQL finds days."""
    at = begin
    while at < end:
        here, to = offset(at, tz), at
        while to < end and offset(to, tz) == here:
            to = min(to + _DAY, end)
        if offset(to, tz) != here:  # the clock changed within that last day
            low = max(at, to - _DAY)
            while to - low > 1:
                middle = (low + to) // 2
                low, to = (middle, to) if offset(middle, tz) == here else (low, middle)
        yield at, to, here
        at = to


def offset(micros: int, tz: ZoneInfo) -> int:
    """How far a time zone is from UTC at an instant, in microseconds."""
    found = from_micros(micros).astimezone(tz).utcoffset() or timedelta()
    return found // timedelta(microseconds=1)


def _bound(sql: str, dialect: str, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | Sequence[Any]]:
    """A statement and its values as the driver wants them."""
    given = {name: values[name] for name in _NAMED.findall(sql)}
    if dialect == "postgresql":
        return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%")), given
    return sql, given
