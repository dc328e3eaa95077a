"""Behind PgBouncer in transaction mode a service works as without it, or refuses to start."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import peewee
import pytest

from authz.audit.integrity.verification import verification
from authz.database import Limits, close_all, connect, pipelined
from authz.errors import Unavailable
from authz.models import RecordedDecision, Seal, Subscription
from authz.record import create_partitions, seal
from tests.support import pgbouncer
from tests.support.services import Caller, check_nothing_lost, clinic, service


@pytest.fixture(params=["", "options"])
def pooled_url(postgresql_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a pooler before the database; one pooler refuses our options, the other ignores them."""
    if pgbouncer.binary() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PgBouncer is not installed, and CI leaves no test out")
        pytest.skip("PgBouncer is not installed")
    with pgbouncer.pooled(postgresql_url, size=4, ignore=request.param) as url:
        yield url


def test_a_service_behind_it_loses_nothing(postgresql_url: str, pooled_url: str) -> None:
    """Two services with eight apps share four server processes: no request is refused, and the record is whole."""
    key = clinic(pooled_url)
    with (
        service(pooled_url) as (first, _),
        service(pooled_url) as (second, _),
        ThreadPoolExecutor(8) as pool,
    ):
        callers = [Caller((first, second)[number % 2], key, f"c{number}") for number in range(8)]

        def use(caller: Caller) -> None:
            for _ in range(20):
                caller.ask()
                caller.change()
                caller.must_not()

        list(pool.map(use, callers))
    assert {status for caller in callers for status in caller.answers.refused()} == set()
    database = connect(pooled_url)
    check_nothing_lost(database, *callers)
    create_partitions(database, datetime.now(UTC))
    seal(database, datetime.now(UTC))
    assert Seal.select().exists(database)
    close_all(database)
    for url in (pooled_url, postgresql_url):
        reading = connect(url, read_only=True)
        verified = verification(reading)
        assert (verified.ok, verified.problem, verified.report.unsealed) == (True, None, 0)
        close_all(reading)


def test_its_sessions_keep_their_limits(pooled_url: str) -> None:
    """A statement, a transaction and a pipeline end in time, and their limits do not pass to another session."""
    database = connect(pooled_url, limits=Limits(statement=150, lock=100, idle=500))
    plain = connect(pooled_url)
    for _ in range(3):
        with pytest.raises(peewee.OperationalError, match="statement timeout"):
            database.execute_sql("SELECT pg_sleep(5)")
        with pytest.raises(peewee.OperationalError, match="statement timeout"), database.atomic():
            database.execute_sql("SELECT pg_sleep(5)")
        with pytest.raises(peewee.OperationalError, match="statement timeout"), pipelined(database):
            database.execute_sql("SELECT pg_sleep(5)").fetchone()
        assert plain.execute_sql("SELECT 1 FROM pg_sleep(0.2)").fetchone() == (1,)
    with plain.atomic():
        plain.execute_sql('LOCK TABLE "grant"')
        with pytest.raises(peewee.OperationalError, match="lock timeout"):
            database.execute_sql('SELECT count(*) FROM "grant"')
    close_all(database)
    close_all(plain)


def test_who_only_reads_cannot_write_through_it(pooled_url: str) -> None:
    reading = connect(pooled_url, read_only=True)
    with pytest.raises(peewee.InternalError, match="read-only"), reading.atomic():
        Subscription.insert(id="north", name="North").execute(reading)
    with pytest.raises(peewee.InternalError, match="read-only"):
        Subscription.insert(id="north", name="North").execute(reading)
    assert RecordedDecision.select().count(reading) == 0
    close_all(reading)


def test_options_that_it_does_not_hand_on_are_refused(pooled_url: str) -> None:
    """A URL with options is refused if the pooler does not pass them on."""
    with pytest.raises(Unavailable, match="does not pass on the options"):
        connect(f"{pooled_url}?options=-c%20statement_timeout%3D7").connect()
