"""Operations over HTTP beside bare transactions that write the same rows; and how long each refusal takes.

The server is the real one. Both sides have as many callers at once, each a thread, and fresh patients in each round.
"""

import http.client
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from authz.callers.clients import add_client
from authz.database import Database, close_all, connect, migrate
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import (
    Event,
    Grant,
    Licence,
    Membership,
    MerkleLeaf,
    Notification,
    Patient,
    Practitioner,
    RecordedDecision,
    Subscription,
)
from authz.record.leaves import DECISION_FIELDS
from benchmarks.measures import Result
from tests.support.server import free_port, serving

_CALLERS = (4, 16)
"""The numbers of callers that act at once; the tests of races have sixteen."""
_BEGAN = datetime.now(UTC) - timedelta(days=30)
_PEOPLE = {"alice": "north", "bob": "north", "carol": "north", "frank": "city", "lara": "lapsed", "erin": "north"}
Do = Callable[[str], None]


class Service:
    """A server on a filled database, asked over HTTP; each thread has its own connection."""

    def __init__(self, url: str, patients: int) -> None:
        self.database = connect(url)
        migrate(self.database)
        self.database.connect(reuse_if_open=True)
        _fill(self.database, patients)
        key = add_client(self.database, name="bench", scopes=("act",), now=_BEGAN)
        self.headers = {
            "Authorization": f"Bearer {key}",
            "X-On-Behalf-Of": "alice@x.example",
            "Content-Type": "application/json",
        }
        self.port, self._own = free_port(), threading.local()

    def post(self, path: str, arguments: Any, status: int) -> None:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self._own.connection.request("POST", path, orjson.dumps(arguments), self.headers)
        answer = self._own.connection.getresponse()
        body = answer.read()
        if answer.status != status:
            raise SystemExit(f"{path}: {answer.status} {body.decode()}")

    def share(self, patient: str) -> None:
        self.post(f"/v1/patients/{patient}/shares", {"colleague": "bob@x.example"}, 201)

    def transfer(self, patient: str) -> None:
        self.post(f"/v1/patients/{patient}/transfer", {"colleague": "carol@x.example"}, 200)

    def refused(self, who: str) -> None:
        self.post("/v1/patients/p-0/shares", {"colleague": f"{who}@x.example"}, 422)


def _fill(database: Database, patients: int) -> None:
    life = (to_micros(_BEGAN), FOREVER_MICROS)
    ended = (to_micros(_BEGAN), to_micros(_BEGAN) + 1)
    clinics = ("north", "city", "lapsed")
    with database.atomic():
        insert_rows(database, Subscription, ("id", "name"), [(clinic, clinic) for clinic in clinics])
        lives = [(clinic, *(ended if clinic == "lapsed" else life)) for clinic in clinics]
        insert_rows(database, Licence, ("subscription", "started_at", "ended_at"), lives)
        insert_rows(
            database, Practitioner, ("id", "login", "name"), [(who, f"{who}@x.example", who) for who in _PEOPLE]
        )
        works = [(who, where, "member", *(ended if who == "erin" else life)) for who, where in _PEOPLE.items()]
        insert_rows(
            database, Membership, ("practitioner", "subscription", "role", "started_at", "ended_at"), list(works)
        )
        ids = [f"p-{number}" for number in range(patients)]
        rows: list[tuple[Any, ...]] = [(patient, "north", "Pat", *life) for patient in ids]
        insert_rows(database, Patient, ("id", "subscription", "name", "started_at", "ended_at"), rows)
        rows = [(patient, "alice", "owner", "created", "alice", "", "", "", *life) for patient in ids]
        insert_rows(database, Grant, _GRANT, rows)


_GRANT = (
    "patient",
    "practitioner",
    "role",
    "origin",
    "given_by",
    "reason",
    "ended_by",
    "end_cause",
    "started_at",
    "ended_at",
)
_DECISION = DECISION_FIELDS[1:]
_NOTICE = ("at", "practitioner", "kind", "patient", "colleague", "actor", "read_at", "subscription")
_GROW = """INSERT INTO tree (name, size, edge) VALUES ('bare', {}, {})
    ON CONFLICT (name) DO UPDATE SET size = tree.size + {} RETURNING size"""
_EVENT = ("at", "kind", "subscription", "patient", "actor", "client", "request_id", "address", "body")


def _bare(database: Database, patient: str, action: str, colleague: str) -> None:
    """Write the rows of one share or transfer in a transaction of their own, without a question or a hash.

    As for the operations, all share one row of the tree: while a transaction writes it, the others wait.
    """
    now, hold = to_micros(datetime.now(UTC)), " FOR UPDATE" if database.dialect == "postgresql" else ""
    role, origin = ("viewer", "share") if action == "share" else ("owner", "transfer")
    with database.atomic():
        lock = f"SELECT id FROM patient WHERE id = {database.param}{hold}"
        database.execute_sql(lock, (patient,)).fetchone()
        context = (None, "v" * 64, "alice", "127.0.0.1", "", None, "north", "member")
        decisions = [
            (now, now, 1, "r" * 32, "practitioner", who, what, "patient", patient, True, "permitted", "R3", 1, *context)
            for who, what in (("alice", action), (colleague, "receive"))
        ]
        insert_rows(database, RecordedDecision, _DECISION, list(decisions))
        body = {"grant": "1", "before": None, "after": {"practitioner": colleague, "role": role, "patient": patient}}
        if action == "transfer":
            ended = Grant.update(ended_at=now, ended_by="alice", end_cause="transfer")
            ended.where(Grant.patient == patient, Grant.practitioner == "alice").execute(database)
        grant = (patient, colleague, role, origin, "alice", "", "", "", now, FOREVER_MICROS)
        insert_rows(database, Grant, _GRANT, [grant])
        notices = [
            (now, who, f"{action}:given", patient, other, "alice", FOREVER_MICROS, "north")
            for who, other in (("alice", colleague), (colleague, "alice"))
        ]
        insert_rows(database, Notification, _NOTICE, list(notices))
        count = 2 if action == "transfer" else 1
        event = (now, "grant:started", "north", patient, "alice", 1, "r" * 32, "127.0.0.1", orjson.dumps(body).decode())
        insert_rows(database, Event, _EVENT, [event] * count)
        grow = _GROW.format(*[database.param] * 3)
        (size,) = database.execute_sql(grow, (count, b"e" * 256, count)).fetchone()
        leaves = [("bare", size - at, 1, b"h" * 32) for at in range(count)]
        insert_rows(database, MerkleLeaf, ("tree", "number", "event", "hash"), leaves)


class Callers:
    """Callers at once: threads with connections of their own, which stay from round to round."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count)
        self._all_there = threading.Barrier(count)

    def each(self, do: Callable[[int], object]) -> None:
        """Call a function once in each thread, in all at the same moment, with the thread's number."""

        def call_with_all(at: int) -> None:
            self._all_there.wait()
            do(at)

        list(self._pool.map(call_with_all, range(self.count)))

    def spend(self, do: Do, patients: list[str]) -> float:
        """Return the seconds that all patients take together."""

        def some(at: int) -> None:
            for patient in patients[at :: self.count]:
                do(patient)

        began = time.perf_counter()
        self.each(some)
        return time.perf_counter() - began

    def end(self, database: Database) -> None:
        self.each(lambda _: database.close())
        self._pool.shutdown()


def writes(url: str, name: str, rounds: int, count: int) -> Iterator[Result]:
    """Measure shares and transfers a second, with few callers and with many, and the time of each refusal."""
    service = Service(url, 2 * len(_CALLERS) * (rounds + 1) * count + 1)
    fresh = (f"p-{number}" for number in itertools.count(1))
    with serving("serve", "--database", url, port=service.port):
        for callers in map(Callers, _CALLERS):
            for action, colleague in (("share", "bob"), ("transfer", "carol")):
                timed = _rounds(
                    service, callers, action, colleague, [list(islice(fresh, count)) for _ in range(rounds + 1)]
                )
                yield _result(f"{action} over HTTP, {name}, {callers.count} callers", timed[1:], count // 2)
            callers.end(service.database)
        yield from _refusals(service, name, rounds * 20)
    close_all(service.database)


def _rounds(
    service: Service, callers: Callers, action: str, colleague: str, rounds: list[list[str]]
) -> list[tuple[float, float]]:
    """Return the seconds of each round over HTTP and as bare transactions; each side gets half of the patients."""
    over_http: Do = getattr(service, action)

    def bare(patient: str) -> None:
        _bare(service.database, patient, action, colleague)

    return [(callers.spend(over_http, some[::2]), callers.spend(bare, some[1::2])) for some in rounds]


def _result(what: str, timed: list[tuple[float, float]], count: int) -> Result:
    mine, other = (statistics.median(side) for side in zip(*timed, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in timed)
    return Result(what, f"{count / mine:,.0f}/s", "a bare transaction", f"{count / other:,.0f}/s", ratio, 1 / 3)


def _refusals(service: Service, name: str, count: int) -> Iterator[Result]:
    """Time the refusal of an unknown colleague beside the other refusals: the time must not tell which it was."""
    kinds = ("unknown", "frank", "lara", "erin")
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(count):
        for kind in kinds[turn % 4 :] + kinds[: turn % 4]:
            began = time.perf_counter()
            service.refused(kind)
            spent[kind].append(time.perf_counter() - began)
    unknown = statistics.median(spent["unknown"])
    for kind, colleague in (("frank", "another clinic's"), ("lara", "of a lapsed clinic"), ("erin", "a leaver")):
        other = statistics.median(spent[kind])
        ratio = min(unknown, other) / max(unknown, other)
        yield Result(
            f"refusal of an unknown colleague, {name}",
            f"{unknown * 1e3:.2f} ms",
            colleague,
            f"{other * 1e3:.2f} ms",
            ratio,
            0.9,
        )
