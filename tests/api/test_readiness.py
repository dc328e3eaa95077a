"""`/readyz` says whether this process can work now; the database refuses what another release would write."""

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask

from api.ops.readiness import CHECKS, CLOCK_TOLERANCE, SEALER_PATIENCE, Readiness
from authz.callers.clients import add_client
from authz.database import Database, close_all, connect, database_connection, known_version, migrate, pending_migrations
from authz.errors import Unavailable
from authz.importing import demo
from authz.models import RecordedDecision
from authz.policy.compiler import compile_texts, load
from authz.policy.pdp import PDP
from authz.policy.served import ServedPolicy
from authz.record import Actor
from authz.record.policies import Activation, activate_policy
from authz.settings import shipped_folder
from tests.support.acting import POLICY
from tests.support.documents import page
from tests.support.http import App, assert_problem, question
from tests.support.people import NOW
from tests.support.server import free_port, get, send, serving

OTHER = compile_texts({"p.polar": 'allow(p: Practitioner, "view", _: Patient) if p.id = "oscar";'})
Break = Callable[[Readiness, Database, Path], None]


def another_schema(_: Readiness, database: Database, __: Path) -> None:
    database.execute_sql("INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01')")


def another_file(_: Readiness, database: Database, __: Path) -> None:
    file = Path(str(database.database))
    shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def refused_writes(_: Readiness, database: Database, __: Path) -> None:
    if database.dialect == "sqlite":
        database.execute_sql("CREATE TRIGGER full BEFORE INSERT ON spent BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    else:
        database.execute_sql("SET default_transaction_read_only = on")


def another_clock(readiness: Readiness, _: Database, __: Path) -> None:
    readiness.clock = lambda: datetime.now(UTC) + timedelta(seconds=2 * CLOCK_TOLERANCE)


def another_policy(readiness: Readiness, database: Database, __: Path) -> None:
    readiness.served = ServedPolicy(PDP(database, POLICY), only=POLICY.version)
    activate_policy(database, Actor("", NOW), OTHER, Activation("folder", "Olga", "A test."), before=None)
    readiness.served.follow()


def no_sealer(_: Readiness, __: Database, heartbeat: Path) -> None:
    late = time.time() - 2 * SEALER_PATIENCE
    os.utime(heartbeat, (late, late))


BREAKS: dict[str, Break] = {
    "schema": another_schema,
    "file": another_file,
    "database": refused_writes,
    "clock": another_clock,
    "policy": another_policy,
    "sealer": no_sealer,
}


def test_every_check_is_documented_and_tried() -> None:
    """Each readiness check stands in docs/reference/serving.md and has a fault below."""
    text = page("docs/reference/serving.md")
    assert list(BREAKS) == list(CHECKS)
    for name, sentence in CHECKS.items():
        assert f"| `{name}` | {sentence} |" in text


@pytest.mark.parametrize("name", list(BREAKS))
def test_each_check_fails_alone(database: Database, tmp_path: Path, name: str) -> None:
    """After one fault the process is not ready, and `/readyz` names exactly that check."""
    if (name, database.dialect) in {("file", "postgresql"), ("clock", "sqlite")}:
        name = "sealer"  # that database has no such check
    (tmp_path / "sealing").touch()
    readiness = Readiness(database, lambda: datetime.now(UTC), tmp_path / "sealing")
    assert readiness.failures() == []
    BREAKS[name](readiness, database, tmp_path / "sealing")
    readiness._written = float("-inf")
    failed = dict(readiness.failures())
    assert name in failed
    assert name == "file" or set(failed) == {name}  # another file is asked for nothing, and written to by nobody


def test_an_import_leaves_it_ready(sqlite_database: Database) -> None:
    """While another connection holds SQLite's write lock, decisions go on and the process is ready."""
    sqlite_database.execute_sql("PRAGMA busy_timeout = 10")
    with sqlite3.connect(str(sqlite_database.database), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert Readiness(sqlite_database, lambda: datetime.now(UTC)).failures() == []
        other.execute("ROLLBACK")


def test_a_newer_schema_stops_the_service(flask: Flask, database: Database) -> None:
    """Within a second of a newer migration the service answers nothing, and no other service starts."""
    app = App(flask, database)
    assert app.ask(question()).status_code == 200
    another_schema(flask.extensions["caregrant.readiness"], database, Path())
    flask.extensions["caregrant.readiness"]._schema_checked = float("-inf")
    before = RecordedDecision.select().count(database)
    assert_problem(app.ask(question()), 503, "unavailable")
    assert app.client.get("/patients").status_code == 503
    assert_problem(app.client.get("/readyz"), 503, "unavailable", "schema")
    assert app.client.get("/healthz").status_code == 200
    assert RecordedDecision.select().count(database) == before
    for starts in (pending_migrations, migrate):
        with pytest.raises(Unavailable, match="9999_later"):
            starts(database)


INSERTS = {
    "event": "INSERT INTO event (id, at, kind, subscription, body) VALUES (1, 1, 'grant:ended', 'north', '{}')",
    "decision": "INSERT INTO decision (id, at, asked_at, request_id, subject_type, subject, action, resource_type, "
    "resource, allowed, reason, rule, policy_version, subscription) VALUES "
    "(1, 3, 3, 'r', 'practitioner', 'eve', 'view', 'patient', 'p-1', true, 'permitted', 'R3', 'f', 'nowhere')",
    "seal": "INSERT INTO seal (id, at, subscription, month, first, last, upto, count, root) "
    "VALUES (1, 1, '', '2026-01', 1, 1, 1, 1, '')",
    "checkpoint": "INSERT INTO checkpoint (id, at, tree, size, root, note) VALUES (1, 1, '', 1, '', '')",
}


@pytest.mark.parametrize("table", list(INSERTS))
def test_the_database_refuses_an_older_release(database: Database, table: str) -> None:
    """A connection that does not know the schema cannot append to the record."""
    if database.dialect == "sqlite":
        with (
            sqlite3.connect(str(database.database)) as plain,
            pytest.raises(sqlite3.OperationalError, match="caregrant_schema"),
        ):
            plain.execute(INSERTS[table])
    else:
        url = str(database.connect_params["dsn"]) if "dsn" in database.connect_params else ""
        plain_url = url or _url_of(database)
        with psycopg.connect(plain_url) as other, pytest.raises(psycopg.Error, match="does not know the schema"):
            other.execute(INSERTS[table].encode())
    another_schema(Readiness(database, lambda: datetime.now(UTC)), database, Path())
    with pytest.raises(Unavailable, match="does not know the schema"), database_connection(database), database.atomic():
        database.execute_sql(INSERTS[table])


def _url_of(database: Any) -> str:
    with database_connection(database) as connection:
        return f"postgresql://caregrant@{connection.info.host}:{connection.info.port}/{connection.info.dbname}"


def test_the_version_is_the_last_migration(database: Database) -> None:
    """A database that was migrated has the schema that this release knows."""
    assert database.execute_sql("SELECT max(name) FROM schema_migration").fetchone() == (known_version(),)


@pytest.fixture
def served(sqlite_url: str) -> str:
    """Return the key of an app of the demonstration clinic."""
    database, began = connect(sqlite_url), datetime.now(UTC) - timedelta(hours=1)
    demo.fill(database, load(shipped_folder("policies")).types, began)
    key = add_client(database, name="app", scopes=("decide",), now=began)
    close_all(database)
    return key


@pytest.mark.parametrize("fault", ["deleted", "replaced"])
def test_a_file_that_is_gone_takes_no_answer(sqlite_url: str, served: str, tmp_path: Path, fault: str) -> None:
    """A service whose database file is missing or replaced answers nothing; with the file back it goes on."""
    port, file, aside = free_port(), Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "aside.db"
    headers = {"Authorization": f"Bearer {served}"}

    def status(path: str = "/access/v1/evaluation") -> int:
        body = question("bob") if path.startswith("/access") else None
        return send(port, "POST" if body else "GET", path, body, headers)[0]

    with serving("serve", "--database", sqlite_url, port=port):
        assert status() == 200
        shutil.copy(file, aside.with_suffix(".copy"))
        file.rename(aside)
        if fault == "replaced":
            aside.with_suffix(".copy").rename(file)
        assert [status(), status("/readyz")] == [503, 503]
        aside.rename(file)
        assert [status(), get(port, "/readyz")["status"]] == [200, "ready"]
    database = connect(sqlite_url)
    assert RecordedDecision.select().count(database) == 2
    close_all(database)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    """A new SQLite file and the files beside it are readable by their owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        database = connect(f"sqlite:///{tmp_path}/new.db")
        migrate(database)
        database.connect()
        database.execute_sql("INSERT INTO spent (caller, minute, requests) VALUES ('x', 1, 1)")
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) > 1
    assert set(modes.values()) == {0o600}
    close_all(database)
