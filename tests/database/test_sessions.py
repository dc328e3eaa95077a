"""Sessions of PostgreSQL: their limits, the options of the URL, and sessions that are not used again."""

import threading
import time

import peewee
import psycopg
import pytest

from authz.database import Database, Limits, close_all, connect, database_connection, pipelined
from authz.database.pool import Pool
from authz.database.sessions import Session, open_session
from authz.database.statements import (
    OPERATIONS_LOCK,
    end_frozen_clients,
    insert_rows,
    lock_with_retries,
    take_exclusive_lock,
    take_locks,
)
from authz.errors import InvalidInput, Unavailable
from authz.models import Subscription
from authz.settings import Settings
from tests.support.services import until

SHORT = Limits(statement=200, lock=100, idle=300, connection=600)


def settings_of(database: Database) -> dict[str, str]:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    return {name: database.execute_sql(f"SHOW {name}").fetchone()[0] for name in names}


def process(database: Database) -> int:
    number: int = database.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
    return number


def test_every_session_has_limits(postgresql_url: str) -> None:
    """Sessions of services and of commands have every limit, and libpq keeps the connection alive."""
    for limits in (Limits(), Limits.of_service(Settings())):
        database = connect(postgresql_url, limits=limits)
        assert "0" not in settings_of(database).values()
        parameters = psycopg.conninfo.conninfo_to_dict(database.connection().info.dsn)
        assert parameters["keepalives_idle"] == "10"
        assert parameters["connect_timeout"] == "5"
        close_all(database)
    assert Limits.of_service(Settings()) == Limits(5000, 750, 2000, 10_000)
    with pytest.raises(InvalidInput, match="CAREGRANT_LOCK_TIMEOUT"):
        Settings(lock_timeout=0)


def test_what_the_url_holds_goes_before(postgresql_url: str) -> None:
    options = "options=-c%20statement_timeout%3D7s%20-c%20work_mem%3D5MB&connect_timeout=9&application_name=mine"
    database = connect(f"{postgresql_url}?{options}", limits=SHORT)
    settings = settings_of(database)
    assert (settings["statement_timeout"], settings["lock_timeout"], settings["TimeZone"]) == ("7s", "100ms", "UTC")
    assert database.execute_sql("SHOW work_mem").fetchone()[0] == "5MB"
    assert database.execute_sql("SHOW application_name").fetchone()[0].endswith("; mine")
    assert psycopg.conninfo.conninfo_to_dict(database.connection().info.dsn)["connect_timeout"] == "9"
    close_all(database)


def ask(database: Database, sql: str) -> None:
    with database_connection(database):
        database.execute_sql(sql).fetchone()


def test_a_session_that_became_read_only_is_dropped(postgresql_url: str) -> None:
    """After a refusal as read-only the pool replaces the session; after an ordinary refusal it keeps the session."""
    database = connect(postgresql_url)
    add = "INSERT INTO subscription (id, name) VALUES ('north', 'North') RETURNING id"
    with database.connection_context():
        database.execute_sql("SET default_transaction_read_only = on")
        first = process(database)
    with pytest.raises(Unavailable, match="read-only"):
        ask(database, add)
    ask(database, add)
    second = process(database)
    assert second != first
    database.close()
    with pytest.raises(Unavailable, match="duplicate key"):
        ask(database, add)
    assert process(database) == second
    close_all(database)


@pytest.mark.parametrize("reads", [True, False])
def test_a_pipeline_whose_client_is_frozen_ends(postgresql_url: str, reads: bool) -> None:
    """A frozen client's pipeline is ended, by the server or by a service that seals, and its locks are free."""
    database, other = connect(postgresql_url, limits=SHORT), connect(postgresql_url)
    Subscription.insert(id="north", name="North").execute(other)

    def change() -> None:
        with pipelined(database):
            take_locks(database, OPERATIONS_LOCK)
            cursor = database.execute_sql("UPDATE subscription SET name = 'N' RETURNING id")
            if reads:
                cursor.fetchone()
            until(lambda: _ended(other), 10)

    with pytest.raises(peewee.OperationalError):
        change()
    with other.atomic():
        take_exclusive_lock(other, OPERATIONS_LOCK)
        assert Subscription.update(name="B").execute(other) == 1
    close_all(database)
    close_all(other)


def _ended(other: Database) -> bool:
    """End clients that are frozen amid a pipeline; return whether no other session is in a transaction."""
    end_frozen_clients(other, 200)
    active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return bool(other.execute_sql(f"{active} AND xact_start IS NOT NULL").fetchone() == (0,))


def test_a_connection_that_is_held_too_long_is_cut_off(postgresql_url: str) -> None:
    """A connection that waits too long is cut off with an error, and another connection answers the next question."""
    database = connect(f"{postgresql_url}?options=-c%20statement_timeout%3D60000", limits=SHORT)
    with pytest.raises(Unavailable):
        ask(database, "SELECT pg_sleep(30)")  # without the cut-off it would end without an error
    ask(database, "SELECT 1")
    close_all(database)


def test_a_server_that_does_not_answer_keeps_no_other_thread_waiting(postgresql_url: str) -> None:
    """While a thread tries to connect, other threads are refused at once or go on with the session that they have."""
    url = postgresql_url
    tried, release = threading.Event(), threading.Event()

    def connect_to() -> Session:
        if url.endswith("=1"):  # nobody listens there, and it takes a while
            tried.set()
            release.wait(60)
        return open_session(url, SHORT, read_only=False)

    pool = Pool(connect_to, 4, None)
    ours = pool.take()
    url = "postgresql://127.0.0.1/none?port=1"
    release.set()
    with pytest.raises(psycopg.OperationalError):
        pool.take()
    release.clear()
    tried.clear()
    waiting = threading.Thread(target=lambda: _refused(pool, psycopg.OperationalError))
    waiting.start()
    assert tried.wait(30)
    with pytest.raises(peewee.OperationalError, match="did not answer a moment ago"):
        pool.take()
    ours.execute("SELECT 1")
    pool.give_back(ours)
    assert pool.take() is ours
    assert waiting.is_alive()
    release.set()
    waiting.join()
    pool.close()


def _refused(pool: Pool, error: type[Exception]) -> None:
    with pytest.raises(error):
        pool.take()


def test_an_import_waits_for_operations_in_short_tries(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an import waits for a frozen operation, other operations go on; then the import is carried out."""
    monkeypatch.setattr("authz.database.statements._LOCK_PAUSE_SECONDS", 0.05)
    frozen, importing, other = (connect(postgresql_url) for _ in range(3))
    done = threading.Event()

    def import_facts() -> None:
        with importing.atomic():
            take_exclusive_lock(importing, OPERATIONS_LOCK)
            insert_rows(importing, Subscription, ("id", "name"), [("north", "North")])
        close_all(importing)
        done.set()

    with frozen.atomic():
        take_locks(frozen, OPERATIONS_LOCK)
        thread = threading.Thread(target=import_facts)
        thread.start()
        for _ in range(5):
            with other.atomic():  # would fail after the lock limit of the session if the import waited without end
                take_locks(other, OPERATIONS_LOCK)
            time.sleep(0.05)
        assert not done.is_set()
    assert done.wait(30)
    thread.join()
    close_all(frozen)
    close_all(other)


def test_a_month_is_dropped_in_short_tries(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long read of the decisions makes dropping a month fail after short tries, so that answers do not wait long."""
    monkeypatch.setattr("authz.database.statements._LOCK_TRIES", 3)
    monkeypatch.setattr("authz.database.statements._LOCK_PAUSE_SECONDS", 0.05)
    reading, dropping = connect(postgresql_url), connect(postgresql_url)
    with reading.atomic():
        reading.execute_sql("SELECT count(*) FROM decision")
        with pytest.raises(peewee.OperationalError, match="lock timeout"), dropping.atomic():
            lock_with_retries(dropping, "LOCK TABLE decision IN ACCESS EXCLUSIVE MODE")
    with dropping.atomic():
        lock_with_retries(dropping, "LOCK TABLE decision IN ACCESS EXCLUSIVE MODE")
        assert settings_of(dropping)["idle_in_transaction_session_timeout"] == "10s"
    close_all(reading)
    close_all(dropping)
