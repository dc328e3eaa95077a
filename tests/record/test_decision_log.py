"""The decision log: an answer is recorded as the operator chose, also if many threads and services answer at once."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from api import sealer
from authz.database import Database, close_all, connect, migrate, write_back
from authz.domain import to_micros
from authz.errors import InvalidInput, Unavailable
from authz.models import Event, RecordedDecision, Seal
from authz.policy.compiler import compile_texts
from authz.record import (
    Actor,
    create_partitions,
    get_decision_log,
    record_policy_loaded,
    seal,
    set_decision_log,
)
from authz.record import decision_log as log_module
from authz.record.sealing import count_unsealed
from tests.support.decision_records import record_denial, recorded_requests
from tests.support.people import NOW


def test_answers_given_at_the_same_time_share_a_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread writes, the answers of the others wait and share a commit; each returns after its own commit."""
    log = get_decision_log(database)
    begun, go = threading.Event(), threading.Event()
    commits: list[int] = []
    commit = log._commit

    def slow(rows: Any) -> None:
        commits.append(len(rows))
        begun.set()
        go.wait(10)
        commit(rows)

    monkeypatch.setattr(log, "_commit", slow)

    def record_one(number: int) -> bool:
        record_denial(database, f"r-{number}")
        is_stored = f"r-{number}" in recorded_requests(database)
        database.close()
        return is_stored

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(record_one, 0)
        assert begun.wait(10)
        others = [pool.submit(record_one, number) for number in range(1, 5)]
        while len(log._queue) < 4:
            threading.Event().wait(0.01)
        go.set()
        assert all(future.result() for future in (first, *others))
    assert commits == [1, 4]


def test_one_bad_row_fails_alone(database: Database) -> None:
    """If a shared commit fails, each answer is tried by itself: an answer that cannot be recorded spoils no other."""
    log = get_decision_log(database)
    good, bad = (log_module.PendingRows([_row(client)]) for client in (None, 10**6))
    log._queue += [good, bad]
    log._write_queue()
    assert (good.done, good.error) == (True, None)
    assert isinstance(bad.error, Unavailable)
    assert RecordedDecision.select().count(database) == 1


def test_a_fault_of_ours_records_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the thread that writes for all fails in any way, no thread takes its answer for recorded."""
    log = get_decision_log(database)
    waiting = [log_module.PendingRows([_row(None)]) for _ in range(2)]
    log._queue += waiting
    monkeypatch.setattr(log, "_commit", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        log._write_queue()
    assert [type(rows.error) for rows in waiting] == [Unavailable, Unavailable]


def _row(client: int | None) -> tuple[Any, ...]:
    at = to_micros(NOW)
    return (at, at, client, "r", "a", "b", "c", "d", "e", False, "denied", "", None, None, "f", "", "", "", None)


def test_answers_inside_a_change_belong_to_it(database: Database) -> None:
    """An answer inside a transaction is written with the transaction, and undone with it."""
    with database.atomic() as transaction:
        record_denial(database, "undone")
        transaction.rollback()
    assert recorded_requests(database) == []


def test_buffered_answers_come_within_a_second(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """`buffered` answers first and commits soon after; while it cannot commit, it refuses further answers."""
    monkeypatch.setattr(log_module, "BUFFERED_SECONDS", 0.5)
    log = set_decision_log(database, "buffered", fsync=False)
    record_denial(database, "r-1")
    assert recorded_requests(database) == []
    for _ in range(100):
        if recorded_requests(database):
            break
        threading.Event().wait(0.05)
    assert recorded_requests(database) == ["r-1"]
    database.execute_sql("ALTER TABLE decision RENAME TO gone")
    record_denial(database, "r-2")
    with pytest.raises(Unavailable):
        log.flush()
    with pytest.raises(Unavailable):
        record_denial(database, "r-3")
    database.execute_sql("ALTER TABLE gone RENAME TO decision")
    record_denial(database, "r-4")
    assert recorded_requests(database) == ["r-1", "r-2", "r-4"]


def test_off_records_no_answer(database: Database) -> None:
    """`off` keeps answers out of the record, and a mode that does not exist is refused."""
    set_decision_log(database, "off", fsync=True)
    record_denial(database, "r-1")
    assert recorded_requests(database) == []
    with pytest.raises(InvalidInput, match="durable, buffered, off"):
        set_decision_log(database, "perhaps", fsync=True)


def test_fsync_is_for_answers_alone(database: Database) -> None:
    """Without fsync an answer does not wait for the disk, but every other commit still does."""
    set_decision_log(database, "durable", fsync=False)
    record_denial(database, "r-1")
    setting = "PRAGMA synchronous" if database.dialect == "sqlite" else "SHOW synchronous_commit"
    assert database.execute_sql(setting).fetchone()[0] in (2, "on")
    assert recorded_requests(database) == ["r-1"]


def test_no_answer_is_passed_over_by_a_seal(postgresql_url: str) -> None:
    """Sealing waits for a transaction that is still open, so that its answer is sealed too."""
    database, other = connect(postgresql_url), connect(postgresql_url)
    database.connect()
    other.connect()
    transaction = database.atomic()
    transaction.__enter__()
    record_denial(database, "slow")
    record_denial(other, "quick")
    with pytest.raises(Unavailable, match="lock timeout"):
        seal(other, NOW, lock_timeout="50ms")
    assert Seal.select().count(other) == 0
    transaction.__exit__(None, None, None)
    assert seal(other, NOW, lock_timeout="50ms") == 2
    close_all(database)
    close_all(other)


def test_a_service_seals_by_itself(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service seals its answers in a process of its own; if that process dies, another takes its place."""
    monkeypatch.setattr(sealer, "SECONDS", 0.05)
    database = connect(database_url)

    def sealed() -> int:
        for _ in range(400):
            if not count_unsealed(database):
                break
            threading.Event().wait(0.05)
        return Seal.select().count(database)

    record_denial(database, "r-1", datetime.now(UTC))
    end = sealer.start(database_url, tmp_path / "sealing")
    assert sealed() == 1
    (first,) = (process.pid for process in active_children() if process.name == "sealing")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    record_denial(database, "r-2", datetime.now(UTC))
    assert sealed() == 2
    end()
    assert not [process for process in active_children() if process.name == "sealing"]
    close_all(database)


_ORPHAN = """
import os, signal, sys
from pathlib import Path
from multiprocessing import get_context
from api import sealer
process = get_context("spawn").Process(target=sealer._run, args=(sys.argv[1], os.getpid(), Path(sys.argv[2])))
process.start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_seals_ends_with_the_service(sqlite_url: str, tmp_path: Path) -> None:
    """If a service is killed, its sealing process ends too and does not hold the database."""
    service = subprocess.run(
        [sys.executable, "-c", _ORPHAN, sqlite_url, str(tmp_path / "sealing")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    process = Path(f"/proc/{int(service.stdout)}")
    for _ in range(200):
        if not process.exists() or "\nState:\tZ" in (process / "status").read_text():
            break
        threading.Event().wait(0.05)
    else:
        pytest.fail("the sealing process goes on")


def test_a_service_writes_the_log_of_sqlite_back(tmp_path: Path) -> None:
    """`write_back` writes SQLite's log into the database file without waiting, and then the log begins anew."""
    database = connect(f"sqlite:///{tmp_path}/facts.db")
    migrate(database)
    database.connect()  # when the last connection is closed, SQLite does it by itself
    for turn in range(20):
        record_denial(database, f"r-{turn}")
    before = (tmp_path / "facts.db").read_bytes()
    other = connect(f"sqlite:///{tmp_path}/facts.db")
    write_back(other)
    assert (tmp_path / "facts.db").read_bytes() != before
    size = (tmp_path / "facts.db-wal").stat().st_size
    record_denial(database, "r-20")
    assert (tmp_path / "facts.db-wal").stat().st_size == size
    other.connect()
    with other.atomic():
        record_denial(other, "r-21")
        write_back(database)  # somebody writes: no wait, no error
    assert len(recorded_requests(database)) == 22
    close_all(database)
    close_all(other)


def test_a_change_of_policy_is_recorded_once(database: Database) -> None:
    """The first service that loads another policy version, even an older one, records an event; later ones do not."""
    actor = Actor("", NOW)
    first, other = (compile_texts({"p.polar": f'allow(_: Practitioner, "{action}", _: Patient);'}) for action in "ab")
    assert record_policy_loaded(database, actor, first, "policies")
    assert not record_policy_loaded(database, actor, first, "policies")
    assert record_policy_loaded(database, actor, other, "elsewhere")
    assert record_policy_loaded(database, actor, first, "policies")
    loads = Event.select(Event.body).where(Event.kind == "policy:loaded").order_by(Event.id)
    bodies = [body for (body,) in loads.tuples().execute(database)]
    assert bodies[1] == {"policy_version": other.version, "source": "elsewhere"}


def test_months_have_their_partitions(postgresql_url: str) -> None:
    """This month and the next two get partitions, which are append-only; a row of another month goes to the rest."""
    database = connect(postgresql_url)
    database.connect()
    assert create_partitions(database, datetime(2026, 11, 30, tzinfo=UTC)) == ["2026-11", "2026-12", "2027-01"]
    assert create_partitions(database, datetime(2026, 11, 30, tzinfo=UTC)) == []
    for at in (datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), NOW):
        record_denial(database, "r", at)
    tables = database.execute_sql("SELECT tableoid::regclass::text FROM decision ORDER BY id").fetchall()
    assert [name for (name,) in tables] == ["decision_2026_12", "decision_2027_01", "decision_rest"]
    for statement in ("DELETE FROM decision_2026_12", "UPDATE decision SET reason = 'x'", "TRUNCATE decision_2027_01"):
        with pytest.raises(Exception, match="append-only"):
            database.execute_sql(statement)
    assert create_partitions(database, NOW) == ["2026-07", "2026-08"]
    close_all(database)
