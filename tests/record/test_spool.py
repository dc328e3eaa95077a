"""The spool: answers of a service, and answers while another process holds SQLite's write lock, drained once."""

import errno
import io
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from multiprocessing import Process
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import peewee
import pytest

from authz.callers.rates import Rates
from authz.database import Database, SqliteDatabase, WriteLocked, close_all, connect
from authz.errors import TooMany, Unavailable
from authz.importing import import_facts
from authz.models import Patient, RecordedDecision
from authz.record import decision_log, drain_or_count, drain_spool, seal, set_decision_log
from authz.record import spool as spool_module
from authz.record.sealing import count_unsealed
from authz.record.spool import Spool, open_spool
from tests.support.decision_records import record_denial, recorded_requests
from tests.support.http import POLICY
from tests.support.import_measurement import fill, measure, recorded, start_callers, write_patients
from tests.support.people import NOW
from tests.support.server import COMMAND, free_port, wait_until_nobody_listens


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the write lock by another connection, as an import does."""
    other = connect(url)
    with other.atomic():
        yield
    close_all(other)


@pytest.fixture
def lock_timeouts(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the limits, in seconds, of the waits for the write lock in this test."""
    assert isinstance(sqlite_database, SqliteDatabase)
    timeouts: list[float] = []
    write_lock_timeout = sqlite_database.write_lock_timeout

    def record_timeout(seconds: float) -> AbstractContextManager[None]:
        timeouts.append(seconds)
        return write_lock_timeout(seconds)

    monkeypatch.setattr(sqlite_database, "write_lock_timeout", record_timeout)
    return timeouts


def spool_of(database: Database) -> Spool:
    assert isinstance(database, SqliteDatabase)
    return open_spool(database)


def test_answers_are_recorded_while_the_lock_is_taken(
    sqlite_url: str, sqlite_database: Database, lock_timeouts: list[float]
) -> None:
    """The first answer waits for the lock, the others do not; a later answer drains the spool, in order and once."""
    with locked(sqlite_url):
        for number in range(50):
            record_denial(sqlite_database, f"r-{number}")
        first, *others = lock_timeouts
        assert first == 0.2
        assert set(others) <= {0}
        assert recorded_requests(sqlite_database) == []
        assert Path(spool_of(sqlite_database).path).stat().st_mode & 0o777 == 0o600
    time_of_retry = sqlite_database.decision_log._retry_at
    while time.monotonic() < time_of_retry:
        time.sleep(0.01)
    record_denial(sqlite_database, "r-50")
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(51)]
    assert spool_of(sqlite_database).size() == 0
    assert drain_spool(sqlite_database) == 0


def test_a_seal_covers_what_waited(sqlite_url: str, sqlite_database: Database) -> None:
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
        with pytest.raises(Unavailable, match="locked"):
            seal(sqlite_database, NOW)
        assert drain_or_count(sqlite_database) == 1
    assert seal(sqlite_database, NOW) == 1
    assert (recorded_requests(sqlite_database), count_unsealed(sqlite_database)) == (["r-1"], 0)


def test_killed_between_commit_and_emptying(
    sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are in the database already are not drained again, though the spool still holds them."""
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "empty", lambda *_: None)
        assert drain_spool(sqlite_database) == 1
    spool = spool_of(sqlite_database)
    assert spool.size()
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-2")
    assert drain_spool(sqlite_database) == 1
    assert (recorded_requests(sqlite_database), spool.size()) == (["r-1", "r-2"], 0)


def test_killed_before_the_commit(sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If draining fails before its commit, the answers are still in the spool."""
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
    with monkeypatch.context() as patched:
        patched.setattr(spool_module, "insert_decisions", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drain_spool(sqlite_database)
    assert drain_spool(sqlite_database) == 1
    assert recorded_requests(sqlite_database) == ["r-1"]


def test_many_portions(sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "PORTION", 3)
    with locked(sqlite_url):
        for number in range(10):
            record_denial(sqlite_database, f"r-{number}")
    assert drain_spool(sqlite_database) == 10
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(10)]


@pytest.mark.parametrize("cut", [1, 8, 20, 100])
def test_an_entry_that_was_cut_off_is_dropped(sqlite_url: str, sqlite_database: Database, cut: int) -> None:
    """After kill -9 amid a write, the half entry is dropped, and the answers before and after it are recorded."""
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
        spool = spool_of(sqlite_database)
        whole = spool.size()
        record_denial(sqlite_database, "cut")
        os.truncate(spool.path, whole + cut)
        set_decision_log(sqlite_database, "durable", fsync=True)  # another process
        record_denial(sqlite_database, "r-2")
    assert drain_spool(sqlite_database) == 2
    assert recorded_requests(sqlite_database) == ["r-1", "r-2"]


def test_a_power_loss_that_left_zeros(sqlite_url: str, sqlite_database: Database) -> None:
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
    spool = spool_of(sqlite_database)
    os.truncate(spool.path, spool.size() + 500)
    assert drain_spool(sqlite_database) == 1


@pytest.mark.parametrize("at", [0, 5, 10, 40])
def test_a_damaged_entry_is_not_passed_over(sqlite_url: str, sqlite_database: Database, at: int) -> None:
    """If a byte of the spool has changed, draining stops and says at which byte."""
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
        record_denial(sqlite_database, "r-2")
    spool = spool_of(sqlite_database)
    with Path(spool.path).open("r+b") as file:
        file.seek(spool_module._HEAD.size + at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))
    with pytest.raises(Unavailable, match="damaged at byte"):
        drain_spool(sqlite_database)
    assert recorded_requests(sqlite_database) == []


def test_the_spool_of_another_database_is_refused(sqlite_url: str, sqlite_database: Database) -> None:
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
    sqlite_database.execute_sql("UPDATE spool_position SET owner = ?", ("0" * 32,))
    with pytest.raises(Unavailable, match="another database"):
        drain_spool(sqlite_database)
    set_decision_log(sqlite_database, "durable", fsync=True)
    with pytest.raises(Unavailable, match="another database"):
        record_denial(sqlite_database, "r-2")


def test_a_full_spool_refuses(sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full spool refuses further answers and keeps those that it holds."""
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
        monkeypatch.setattr(spool_module, "MOST_BYTES", spool_of(sqlite_database).size())
        with pytest.raises(Unavailable, match="is full"):
            record_denial(sqlite_database, "r-2")
    assert drain_spool(sqlite_database) == 1


def test_a_file_that_cannot_be_replaced_is_drained(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no room for a file without the drained entries, draining goes on."""
    monkeypatch.setattr(spool_module, "LARGEST_DRAINED", 0)
    monkeypatch.setattr(spool_module, "PORTION", 3)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    for number in range(10):
        record_denial(sqlite_database, f"r-{number}")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fails)
    assert drain_spool(sqlite_database) == 10
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(10)]


def test_a_disk_that_is_full_leaves_no_half_entry(
    sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    with locked(sqlite_url):
        record_denial(sqlite_database, "r-1")
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", lambda file, data, at: write(file, data[:30], at))
            with pytest.raises(Unavailable, match="No space left"):
                record_denial(sqlite_database, "r-2")
        record_denial(sqlite_database, "r-3")
    assert drain_spool(sqlite_database) == 2
    assert recorded_requests(sqlite_database) == ["r-1", "r-3"]


def test_other_faults_do_not_go_to_the_spool(sqlite_database: Database) -> None:
    """Only a lock that another holds sends answers to the spool; other faults of the database are refusals."""
    sqlite_database.execute_sql("PRAGMA query_only = 1")
    with pytest.raises(Unavailable):
        record_denial(sqlite_database, "r-1")
    assert spool_of(sqlite_database).size() == 0


def test_rates_neither_fail_nor_wait(sqlite_url: str, sqlite_database: Database, lock_timeouts: list[float]) -> None:
    """While the lock is taken, a process counts its callers up to their rate; afterwards it stores the counts."""
    rates = Rates(sqlite_database, 100)
    with locked(sqlite_url):
        for _ in range(100):
            rates.spend("app", NOW)
        with pytest.raises(TooMany):
            rates.spend("app", NOW)
    assert lock_timeouts == [0.02]
    rates.spend("other", NOW)
    with pytest.raises(TooMany):
        rates.spend("app", NOW + timedelta(seconds=1))


def test_a_change_waits_for_a_bounded_time(sqlite_url: str, sqlite_database: Database) -> None:
    """A change fails while another connection still holds the lock; afterwards changes succeed."""
    with locked(sqlite_url), pytest.raises(WriteLocked), sqlite_database.atomic():
        pass
    with sqlite_database.atomic():
        pass
    assert isinstance(WriteLocked("x"), peewee.OperationalError)


# The log of a service: the spool comes first.


def test_a_service_records_in_the_spool(sqlite_database: Database) -> None:
    """A spooled log commits to the spool also while the write lock is free; draining keeps the order."""
    set_decision_log(sqlite_database, "durable", fsync=True, spooled=True)
    for number in range(5):
        record_denial(sqlite_database, f"r-{number}")
    assert recorded_requests(sqlite_database) == []
    assert drain_spool(sqlite_database) == 5
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(5)]
    assert spool_of(sqlite_database).size() == 0


def test_a_change_keeps_the_order_of_the_answers(sqlite_database: Database) -> None:
    """The decisions of a change come after the answers that were given before it."""
    set_decision_log(sqlite_database, "durable", fsync=True, spooled=True)
    record_denial(sqlite_database, "before")
    with sqlite_database.atomic():
        record_denial(sqlite_database, "change")
    record_denial(sqlite_database, "after")
    assert drain_spool(sqlite_database) == 1
    assert recorded_requests(sqlite_database) == ["before", "change", "after"]
    with sqlite_database.atomic() as transaction:
        record_denial(sqlite_database, "undone")
        transaction.rollback()
    record_denial(sqlite_database, "last")
    assert drain_spool(sqlite_database) == 1
    assert recorded_requests(sqlite_database) == ["before", "change", "after", "last"]


def test_a_damaged_spool_stops_no_change(sqlite_database: Database) -> None:
    """Answers stop, because an entry is damaged; a change, which may take access away, does not."""
    set_decision_log(sqlite_database, "durable", fsync=True, spooled=True)
    record_denial(sqlite_database, "r-1")
    with Path(spool_of(sqlite_database).path).open("r+b") as file:
        file.seek(spool_module._HEAD.size + 20)
        file.write(b"~~~")
    set_decision_log(sqlite_database, "durable", fsync=True, spooled=True)  # another process
    with pytest.raises(Unavailable, match="damaged"):
        record_denial(sqlite_database, "r-2")
    with sqlite_database.atomic():
        record_denial(sqlite_database, "change")
    assert recorded_requests(sqlite_database) == ["change"]


def test_draining_ends_while_answers_keep_coming(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If as many answers come as are drained, draining ends with those that there were at its beginning."""
    monkeypatch.setattr(spool_module, "PORTION", 2)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    for number in range(10):
        record_denial(sqlite_database, f"r-{number}")
    empty = Spool.empty

    def empty_and_record(spool: Spool, batch: str, taken: int) -> None:
        empty(spool, batch, taken)
        for number in range(3):
            record_denial(sqlite_database, f"later-{number}")

    monkeypatch.setattr(Spool, "empty", empty_and_record)
    assert 10 <= drain_spool(sqlite_database) <= 14


def test_a_large_spool_is_drained_by_the_service(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no sealer drains, the service itself does from `MOST_SPOOLED` bytes on."""
    monkeypatch.setattr(decision_log, "MOST_SPOOLED", 1000)
    monkeypatch.setattr(decision_log, "_DRAIN_SECONDS", 0)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    for number in range(20):
        record_denial(sqlite_database, f"r-{number}")
        assert spool_of(sqlite_database).size() < 2000
    drain_spool(sqlite_database)
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(20)]


def test_a_service_records_nothing_beside_a_lost_database(sqlite_database: Database) -> None:
    """If the database file was deleted, its answers are not recorded, and so not given."""
    assert isinstance(sqlite_database, SqliteDatabase)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    record_denial(sqlite_database, "r-1")
    Path(sqlite_database.database).unlink()
    with pytest.raises(Unavailable, match="deleted or replaced"):
        record_denial(sqlite_database, "r-2")


def test_drained_entries_leave_the_file(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are spooled while others are drained stay, in a file without the drained ones."""
    assert isinstance(sqlite_database, SqliteDatabase)
    monkeypatch.setattr(spool_module, "LARGEST_DRAINED", 0)
    set_decision_log(sqlite_database, "durable", fsync=True, spooled=True)
    spool = spool_of(sqlite_database)
    for number in range(50):
        record_denial(sqlite_database, f"r-{number}")
    size = spool.size()
    with sqlite_database.atomic():
        portion = spool_module.drain_portion(sqlite_database, spool)
    record_denial(sqlite_database, "late")
    spool.empty(portion.batch, portion.upto)
    with sqlite_database.atomic() as transaction:
        spool_module.drain_portion(sqlite_database, spool, compact=True)
        assert 0 < spool.size() < size / 10
        transaction.rollback()
    assert Path(spool.path).stat().st_mode & 0o777 == 0o600
    assert drain_spool(sqlite_database) == 1
    assert recorded_requests(sqlite_database) == [*(f"r-{number}" for number in range(50)), "late"]


@pytest.mark.parametrize("replaced", [False, True], ids=["before", "after"])
def test_killed_while_the_file_is_replaced(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """Record each answer once, if the process dies before the file is replaced, and if it dies after."""
    assert isinstance(sqlite_database, SqliteDatabase)
    monkeypatch.setattr(spool_module, "LARGEST_DRAINED", 0)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    replace = os.replace
    for number in range(9):
        record_denial(sqlite_database, f"r-{number}")
    with sqlite_database.atomic():
        spool_module.drain_portion(sqlite_database, spool_of(sqlite_database))
    record_denial(sqlite_database, "r-9")

    def die(source: str, target: str) -> None:
        if replaced:
            replace(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            drain_spool(sqlite_database)
    record_denial(sqlite_database, "r-10")
    assert drain_spool(sqlite_database) == 2
    assert recorded_requests(sqlite_database) == [f"r-{number}" for number in range(11)]


def test_many_processes_append_while_one_drains(
    sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes append while the file is replaced again and again: each answer is recorded once, in order."""
    assert isinstance(sqlite_database, SqliteDatabase)
    monkeypatch.setattr(spool_module, "LARGEST_DRAINED", 0)
    writers = [Process(target=append_answers, args=(sqlite_url, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        drain_spool(sqlite_database)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    drain_spool(sqlite_database)
    stored = recorded_requests(sqlite_database)
    for name in "abcd":
        assert [request for request in stored if request[0] == name] == [f"{name}-{number}" for number in range(300)]
    assert len(stored) == 1200


def test_another_drains_between_commit_and_emptying(
    sqlite_url: str, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one process has drained and not yet emptied, a change reads what follows: no answer is recorded twice."""
    assert isinstance(sqlite_database, SqliteDatabase)
    monkeypatch.setattr(spool_module, "LARGEST_DRAINED", 0)
    log = set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    for number in range(20):
        record_denial(sqlite_database, f"r-{number}")
    other = connect(sqlite_url)
    assert isinstance(other, SqliteDatabase)
    empty = Spool.empty

    def empty_while_another_reads(spool: Spool, batch: str, taken: int) -> None:
        """Drain what came later by another connection, and empty the spool before that connection commits."""
        monkeypatch.setattr(Spool, "empty", empty)
        record_denial(sqlite_database, "later")
        with other.atomic():
            spool_module.drain_portion(other, open_spool(other))
            empty(spool, batch, taken)

    monkeypatch.setattr(Spool, "empty", empty_while_another_reads)
    assert drain_spool(sqlite_database) == 20
    record_denial(sqlite_database, "last")
    while drain_spool(sqlite_database):
        pass
    assert recorded_requests(sqlite_database) == [*(f"r-{number}" for number in range(20)), "later", "last"]
    assert log.spooled
    close_all(other)


def test_the_file_is_not_locked_while_entries_are_parsed(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer can be recorded while another process parses what it has read."""
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    record_denial(sqlite_database, "r-1")
    reader, writer = spool_of(sqlite_database), spool_of(sqlite_database)
    loads, locked = orjson.loads, list[bool]()

    def load(text: bytes) -> object:
        with writer._locked():
            locked.append(True)
        return loads(text)

    monkeypatch.setattr(orjson, "loads", load)
    assert len(reader.read("", 0, 10).rows) == 1
    assert locked == [True]


def test_an_entry_larger_than_a_read(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is larger than what is read at once is read nevertheless."""
    monkeypatch.setattr(spool_module, "_READ_BYTES", 50)
    set_decision_log(sqlite_database, "durable", fsync=False, spooled=True)
    for number in range(3):
        record_denial(sqlite_database, f"r-{number}")
    assert drain_spool(sqlite_database) == 3
    assert recorded_requests(sqlite_database) == ["r-0", "r-1", "r-2"]


def append_answers(url: str, name: str) -> None:
    """Record some answers as a service does, in a process of its own."""
    database = connect(url)
    set_decision_log(database, "durable", fsync=False, spooled=True)
    for number in range(300):
        record_denial(database, f"{name}-{number}")
    close_all(database)


class Pipe(io.RawIOBase):
    """A pipe of lines; reading each line requires that the write lock is free."""

    def __init__(self, database: Database, lines: list[bytes]) -> None:
        self.database, self.lines = database, lines

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readline(self, _: int | None = -1) -> bytes:
        with self.database.atomic():
            return self.lines.pop(0) if self.lines else b""


def test_no_lock_is_held_while_a_pipe_is_read(sqlite_url: str, sqlite_database: Database) -> None:
    lines = [b'{"subscription": {"id": "north", "name": "North"}}\n']
    importing = connect(sqlite_url)
    report = import_facts(importing, cast(BinaryIO, Pipe(sqlite_database, lines)), POLICY.types, now=NOW)
    assert report.new.total() == 1
    close_all(importing)


def test_decisions_go_on_beside_an_import(tmp_path: Path) -> None:
    """During a real import a real service refuses no answer, pauses for less than a second, and records each once."""
    measured = measure(tmp_path, 4000)
    assert measured["longest pause in seconds"] < 1
    assert measured["largest spool in bytes"] > 0
    assert [measured[name] for name in ("refused", "answers not in the record", "answers twice in the record")] == [
        0,
        0,
        0,
    ]


def test_everything_is_killed_amid_an_import(tmp_path: Path) -> None:
    """After kill -9 of service and import, no line of the file is stored and every received answer is, once."""
    url, port = f"sqlite:///{tmp_path}/clinic.db", free_port()
    key = fill(url)
    write_patients(tmp_path / "facts.ndjson", 20_000)
    arguments = [str(COMMAND), "serve", "--workers", "2", "--database", url, "--port", str(port)]
    server = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spool = tmp_path / "clinic.db-answers"
    try:
        _wait_until_it_listens(port)
        callers = start_callers(port, key)
        importing = subprocess.Popen(
            [COMMAND, "import", str(tmp_path / "facts.ndjson"), "--database", url], stdout=subprocess.DEVNULL
        )
        while not spool.exists() or spool.stat().st_size < 50_000:
            assert importing.poll() is None
            time.sleep(0.01)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(15)
    assert importing.poll() is None
    importing.kill()
    importing.wait(15)
    wait_until_nobody_listens(port)
    for caller in callers:
        caller.join(30)
    stored = recorded(url)
    answered = {request for caller in callers for request in caller.answered}
    assert answered
    assert answered <= set(stored)
    assert len(stored) == len(set(stored))
    database = connect(url)
    assert not Patient.select().where(Patient.subscription == "big").exists(database)
    close_all(database)
    assert RecordedDecision.select().count(database) == len(stored)


def _wait_until_it_listens(port: int) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise AssertionError("the service does not listen")
