"""An audit: it reads one database at one instant, and records each reading.

An `Audit` runs the SQL of the questions and holds what all questions share: the instant, the time zone, the policy
decision point, and the verification of the record. It reads through a connection that cannot write. Each reading is
recorded as an event (Q24): a second connection writes the event before the answer is returned. If the event cannot be
written, there is no answer.
"""

import getpass
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from authz.audit.catalog.result import ResultTable
from authz.audit.exported_decisions import ExportedDecisions, bind_values
from authz.audit.integrity.checkpoints import read_trusted
from authz.audit.integrity.verification import Verification, verification
from authz.audit.permissions import names_readable, restrict_connections
from authz.audit.times import When, parse_time, parse_time_zone
from authz.database import Database, close_all, connect, database_connection, masked_url, require_current
from authz.domain import to_micros
from authz.errors import InvalidInput, PolicyRefused, PolicyUnknown, Unavailable
from authz.models import PolicyText
from authz.policy.compiler import Schema, load, read_schema
from authz.policy.pdp import PDP
from authz.policy.served import active_policy
from authz.record import Actor, NewEvent, append, drain_or_count
from authz.settings import Settings

TODAY = "today"
"""The value of a question's parameter `policy` that chooses today's policy: the active one, or that of the settings.

Without it, a question about the past is answered by the policy that was in force then.
"""

MOST_ROWS = 100_000
"""The most rows of one answer. If there are more, the answer is cut and says so."""


@dataclass
class AuditCache:
    """Values that an audit computes once and keeps; they are the same for each instant."""

    verification: Verification | None = None
    schemas: list[Schema] | None = None


@dataclass(frozen=True)
class Audit:
    """One database that the person `reader` reads: at the instant `now`, in the time zone `tz`, since `opened`.

    `open_audit` makes an audit. `database` is the connection that cannot write, `writing` the one for the events. `pdp`
    decides by today's policy, `pdp_in_force` by the policy that was in force at `now`. `present` says
    that `now` is the instant at which the audit was opened.
    """

    database: Database
    writing: Database
    pdp: PDP
    url: str
    now: datetime
    tz: ZoneInfo
    reader: str
    exported: ExportedDecisions | None = None
    checkpoint_key: str = ""
    present: bool = True
    letters: str = ""
    opened: datetime = field(default_factory=lambda: datetime.now(UTC))
    cache: AuditCache = field(default_factory=AuditCache)

    def at(self, as_of: When = None, tz: str | None = None) -> "Audit":
        """Return the same audit at another instant or in another time zone. Raises `InvalidInput`."""
        zone = self.tz if tz is None else parse_time_zone(tz)
        if as_of is None:
            return replace(self, tz=zone)
        return replace(self, now=parse_time("as_of", as_of, zone), tz=zone, present=False)

    @property
    def micros(self) -> int:
        return to_micros(self.now)

    def period(self, since: When, until: When, days: int = 365) -> tuple[int, int]:
        """Return ``[since, until)`` in microseconds. Raises `InvalidInput`.

        By default the period ends at `now`, and begins `days` days before its end.
        """
        end = self.now if until in (None, "") else parse_time("until", until, self.tz)
        if since in (None, ""):
            begin = min(end, self.now) - timedelta(days=days)
        else:
            begin = parse_time("since", since, self.tz)
        if begin > end:
            raise InvalidInput("since: lies after until")
        return to_micros(begin), to_micros(end)

    def pdp_in_force(self, policy: str = "") -> PDP:
        """Return the PDP with the policy that was in force at `now`, or with the policy that `policy` names.

        `policy` is empty, `TODAY`, or a version. If no service has used this database yet, the policies of the settings
        answer questions about the present. Raises `PolicyUnknown`.
        """
        if policy:
            return self.pdp if policy == TODAY else self.pdp.of_version(policy)
        if self.present and self.pdp.version_at(self.now) is None:
            return self.pdp
        return self.pdp.in_force(self.now)

    @property
    def schemas(self) -> list[Schema]:
        """The schema of today's policy, and of each policy that served and whose text is kept."""
        if self.cache.schemas is None:
            stored = PolicyText.select(PolicyText.files).tuples().iterator(self.database)
            declared = {str(files.get("types.toml", "")) for (files,) in stored if isinstance(files, dict)}
            self.cache.schemas = [self.pdp.policy.types, *_parse_schemas(sorted(declared))]
        return self.cache.schemas

    @property
    def policy_described(self) -> str:
        """The version of the policy in force at `now`, or why it is not known."""
        try:
            return self.pdp_in_force().version[:12]
        except PolicyUnknown as unknown:
            return str(unknown)

    # Reading.

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state of the database, even if others write at the same time."""
        with database_connection(self.database), self.database.atomic():
            yield

    def rows(self, sql: str, /, **values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement; ``:name`` in the statement stands for a value."""
        return self._execute(sql, values)[1]

    def table(self, sql: str, /, **values: object) -> ResultTable:
        """Return the rows of a statement under the names of its columns."""
        return ResultTable.from_tuples(*self._execute(sql, values))

    def number(self, sql: str, /, **values: object) -> int:
        """Return the one number of a statement; NULL is 0."""
        return int(self.rows(sql, **values)[0][0] or 0)

    def decision_rows(self, sql: str, /, **values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement over decisions: from the Parquet export, if the audit has one."""
        return self._execute_on_decisions(sql, values)[1]

    def decision_table(self, sql: str, /, **values: object) -> ResultTable:
        """Return a table, as `table` does, for a statement over decisions."""
        return ResultTable.from_tuples(*self._execute_on_decisions(sql, values))

    def decision_number(self, sql: str, /, **values: object) -> int:
        """Return a number, as `number` does, for a statement over decisions."""
        return int(self.decision_rows(sql, **values)[0][0] or 0)

    def count_recorded(self) -> int:
        """Return how many events and decisions the record holds."""
        events = self.number("SELECT COUNT(*) FROM event")
        return events + self.decision_number("SELECT COUNT(*) FROM decision")

    def _execute(self, sql: str, values: Mapping[str, object]) -> tuple[list[str], list[tuple[object, ...]]]:
        style = r"%(\1)s" if self.database.dialect == "postgresql" else r":\1"
        text = sql.replace("%", "%%") if self.database.dialect == "postgresql" else sql
        cursor = self.database.execute_sql(*bind_values(text, values, style))
        return [column[0] for column in cursor.description], list(cursor.fetchall())

    def _execute_on_decisions(
        self, sql: str, values: Mapping[str, object]
    ) -> tuple[list[str], list[tuple[object, ...]]]:
        if self.exported is None:
            return self._execute(sql, values)
        return self.exported.execute(self.database, sql, values)

    @staticmethod
    def parse_body(body: Any) -> dict[str, object]:
        """Return the body of an event; SQLite stores it as text."""
        parsed: dict[str, object] = orjson.loads(body) if isinstance(body, str) else body
        return parsed

    # The record: verify it, and record each reading.

    @property
    def verification(self) -> Verification:
        """The verification of the record, made once for this audit."""
        if self.cache.verification is None:
            checkpoints, key = read_trusted(self.checkpoint_key)
            with database_connection(self.database), names_readable(self.database):  # they are hashed, not shown
                self.cache.verification = verification(self.database, checkpoints, key, self.url, datetime.now(UTC))
        return self.cache.verification

    def record(self, kind: str, body: Mapping[str, object], *, patient: str = "", reason: str = "") -> None:
        """Record a reading as an event, before the rows are returned. Raises `Unavailable`."""
        event = NewEvent(kind, "", {"reader": self.reader, **body}, patient, reason)
        with database_connection(self.writing), self.writing.atomic():
            append(self.writing, Actor("", datetime.now(UTC)), [event])

    def format_local(self, at: datetime) -> str:
        """Return an instant as text in the time zone, to the second, with its offset from UTC."""
        return at.astimezone(self.tz).isoformat(sep=" ", timespec="seconds")

    @property
    def shown_url(self) -> str:
        """The URL of the database without its password."""
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
    """Open an audit of a database; by default of the database of the settings, at the present instant.

    `parquet` is the folder of an export (``caregrant audit export``): questions about decisions then read the export.
    `reader` is the name of the person who reads, as it is recorded; the default is the name of the account. Raises
    `InvalidInput`, and `Unavailable` for a database that is missing or lacks a migration.
    """
    settings = Settings.from_environment(
        database=database or None, policies=None if policies is None else str(policies), reader=reader
    )
    zone = parse_time_zone(tz)
    present = as_of is None or as_of in ("", "now")
    now = datetime.now(UTC) if present else parse_time("as_of", as_of, zone)
    exported = None if parquet is None or not str(parquet) else ExportedDecisions(Path(parquet))
    chosen = None if policies is None else load(settings.policies)
    writing = connect(settings.database)
    _require_complete(writing)
    policy = chosen or active_policy(writing, settings.policies)
    close_all(writing)
    reading = connect(settings.database, read_only=True)
    restrict_connections(reading, writing)
    return Audit(
        reading,
        writing,
        PDP(reading, policy),
        settings.database,
        now,
        zone,
        settings.reader or getpass.getuser(),
        exported,
        settings.checkpoint_key,
        present,
        settings.letters,
    )


def _require_complete(database: Database) -> None:
    """Move spooled answers into the database, so that an audit reads every answer; then close the connection.

    Raises `Unavailable` if the database is missing or lacks a migration, or if answers stay in the spool.
    """
    require_current(database)
    spooled = drain_or_count(database)
    if spooled:
        raise Unavailable(f"{spooled} answers wait in {database.database}-answers: another process holds the database")
    close_all(database)


def _parse_schemas(declarations: Iterable[str]) -> Iterator[Schema]:
    """Yield the schema of each text of a `types.toml`; leave out texts that this release does not understand."""
    for text in declarations:
        with suppress(PolicyRefused):
            yield read_schema(text)
