"""Nightly imports: each kind of difference is a change with an event, and a repeated export changes nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from authz.database import Database
from authz.domain import FOREVER, format_instant
from authz.errors import ImportRefused
from authz.importing import ImportReport
from authz.models import Event, Grant, Membership, Patient, Practitioner, StandingShare, Subscription
from authz.operations import change_share, end_membership, end_patient, put_membership
from authz.record import replay_facts
from tests.support.acting import by, login, pdp_of
from tests.support.lines import BEFORE, CLINIC, LATER, SINCE, import_lines, line
from tests.support.people import NOW

MORE: list[Any] = [
    line("practitioner", id="carol", login=login("carol"), name="Carol"),
    line("membership", practitioner="carol", subscription="north", role="manager"),
    line("patient", id="p-2", subscription="north", name="Pat Two", owner="bob"),
    line("grant", patient="p-2", practitioner="carol", role="viewer"),
]
PAST = format_instant(NOW - timedelta(days=1))
SOON = format_instant(NOW + timedelta(days=2))
SHARE = {"owner": "alice", "colleague": "bob", "subscription": "north"}
P1 = {"id": "p-1", "subscription": "north", "name": "Pat One", "owner": "alice"}

Expected = list[str]
DIFFERENT: dict[str, tuple[Any, Expected]] = {
    "subscription name": (line("subscription", id="city", name="Town Clinic"), ["subscription:renamed"]),
    "subscription time zone": (
        line("subscription", id="city", name="City Clinic", time_zone="America/Los_Angeles"),
        ["subscription:changed"],
    ),
    "subscription until": (
        line("subscription", id="city", name="City Clinic", until=LATER),
        ["licence:changed"],
    ),
    "subscription lapses": (line("subscription", id="city", name="City Clinic", until=PAST), ["licence:ended"]),
    "practitioner name": (
        line("practitioner", id="frank", login="frank@city.example", name="Frank"),
        ["practitioner:changed"],
    ),
    "practitioner login": (
        line("practitioner", id="frank", login="f@city.example", name="נועה"),
        ["practitioner:changed"],
    ),
    "membership until": (
        line("membership", practitioner="frank", subscription="city", role="member", until=SOON),
        ["membership:changed"],
    ),
    "membership ends": (
        line("membership", practitioner="bob", subscription="north", role="member", until=PAST),
        ["membership:ended", "standing_share:ended", "grant:ended"],
    ),
    "another role": (
        line("membership", practitioner="bob", subscription="north", role="manager"),
        ["membership:ended", "membership:imported"],
    ),
    "another role, since": (
        line("membership", practitioner="bob", subscription="north", role="manager", started_at=SINCE),
        ["membership:ended", "membership:imported"],
    ),
    "auditor": (
        line("membership", practitioner="carol", subscription="north", role="auditor"),
        ["membership:ended", "membership:imported", "grant:ended"],
    ),
    "patient name": (line("patient", **{**P1, "name": "Pat Renamed"}), ["patient:changed"]),
    "patient until": (line("patient", **P1, until=SOON), ["patient:changed"]),
    "patient ends": (
        line("patient", **P1, until=PAST, started_at=BEFORE),
        ["patient:ended", "grant:ended", "grant:ended"],
    ),
    "grant later": (
        line("grant", patient="p-1", practitioner="bob", role="viewer"),
        ["grant:changed"],
    ),
    "grant sooner": (
        line("grant", patient="p-1", practitioner="bob", role="viewer", until=SOON),
        ["grant:changed"],
    ),
    "grant ends": (line("grant", patient="p-1", practitioner="bob", role="viewer", until=PAST), ["grant:ended"]),
    "transfer": (
        line("grant", patient="p-2", practitioner="alice", role="owner"),
        ["grant:ended", "grant:imported"],
    ),
    "standing share until": (line("standing_share", **SHARE, content=True, until=SOON), ["standing_share:changed"]),
    "standing share ends": (line("standing_share", **SHARE, content=True, until=PAST), ["standing_share:ended"]),
    "standing share content": (
        line("standing_share", **SHARE, content=False),
        ["standing_share:ended", "standing_share:imported"],
    ),
    "entity": (
        line("entity", type="document", id="d-1", properties={"patient": "p-1", "author": "alice", "title": "Hip"}),
        ["entity:ended", "entity:imported"],
    ),
}


def _kinds(database: Database, after: int) -> list[str]:
    return [event.kind for event in Event.select().where(Event.id > after).order_by(Event.id).execute(database)]


def _last(database: Database) -> int:
    number: int = Event.select().count(database)
    return number


def _total(report: ImportReport) -> dict[str, int]:
    return {name: getattr(report, name).total() for name in ("new", "changed", "ended")}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_an_event_and_the_second_time_nothing(database: Database, name: str) -> None:
    """Each kind of difference changes a fact, is counted and has its event; the second import changes nothing."""
    import_lines(database, *CLINIC, *MORE)
    different, kinds = DIFFERENT[name]
    before = _last(database)
    report = import_lines(database, different, later=5)
    assert sorted(_kinds(database, before)) == sorted(kinds)
    assert _total(report)["new" if name == "transfer" else "changed"] == 1
    assert replay_facts(database)[1] == []
    again = _last(database)
    report = import_lines(database, different, later=10)
    assert (_kinds(database, again), report.new.total(), report.changed.total()) == ([], 0, 0)
    _nobody_has_two_roles(database)


def _nobody_has_two_roles(database: Database) -> None:
    now = NOW + timedelta(minutes=20)
    live = Membership.select().where(Membership.started_at <= now, Membership.ended_at > now).execute(database)
    pairs = [(row.practitioner_id, row.subscription_id) for row in live]
    assert len(pairs) == len(set(pairs))


def test_a_whole_export_with_every_difference_twice(database: Database) -> None:
    """All differences that fit in one file are imported one night, and change nothing the next night."""
    import_lines(database, *CLINIC, *MORE)
    names = (
        "subscription name",
        "practitioner login",
        "membership until",
        "another role",
        "auditor",
        "patient name",
        "grant sooner",
        "transfer",
        "standing share content",
        "entity",
    )
    lines = [DIFFERENT[name][0] for name in names]
    before = _last(database)
    import_lines(database, *lines, later=5)
    assert sorted(_kinds(database, before)) == sorted(kind for name in names for kind in DIFFERENT[name][1])
    again = _last(database)
    report = import_lines(database, *lines, later=10)
    assert (_kinds(database, again), report.new.total(), report.changed.total()) == ([], 0, 0)
    assert replay_facts(database)[1] == []
    assert Subscription.select().where(Subscription.name == "Town Clinic").count(database) == 1
    assert Practitioner.select().where(Practitioner.login == "f@city.example").count(database) == 1


ENDED: dict[str, tuple[Callable[..., Any], Any]] = {
    "membership": (
        lambda pdp: end_membership(pdp, actor=by("", 60), subscription="north", practitioner="carol"),
        MORE[1],
    ),
    "share of a leaver": (
        lambda pdp: end_membership(pdp, actor=by("", 60), subscription="north", practitioner="carol"),
        MORE[3],
    ),
    "patient": (lambda pdp: end_patient(pdp, actor=by("bob", 60), patient="p-2"), MORE[2]),
    "share of an ended patient": (lambda pdp: end_patient(pdp, actor=by("bob", 60), patient="p-2"), MORE[3]),
}


@pytest.mark.parametrize("name", ENDED)
def test_what_has_ended_here_stays_ended(database: Database, name: str) -> None:
    """An import of an old file revives no fact that a person ended."""
    import_lines(database, *CLINIC, *MORE)
    end, line_again = ENDED[name]
    end(pdp_of(database))
    before = _last(database)
    report = import_lines(database, line_again, later=5)
    assert (_kinds(database, before), report.ended.total()) == ([], 1)


def test_an_end_that_was_changed_here_is_not_moved_on(database: Database) -> None:
    """An import of an old file makes no share longer whose end the owner has brought forward; it may end it earlier."""
    import_lines(database, *CLINIC, *MORE)
    (grant,) = Grant.select().where(Grant.patient == "p-2", Grant.role == "viewer").execute(database)
    soon = NOW + timedelta(days=2)
    change_share(pdp_of(database), actor=by("bob", 60), patient="p-2", grant=grant.id, until=soon)
    share = {"patient": "p-2", "practitioner": "carol", "role": "viewer"}
    for until in ({}, {"until": LATER}):
        assert import_lines(database, line("grant", **share, **until), later=5).ended.total() == 1
        assert _end_of(database, grant.id) == soon
    import_lines(database, line("grant", **share, until=format_instant(NOW + timedelta(days=1))), later=5)
    assert _end_of(database, grant.id) == NOW + timedelta(days=1)


def _end_of(database: Database, grant: int) -> Any:
    (row,) = Grant.select().where(Grant.id == grant).execute(database)
    return row.ended_at


def test_a_rejoin_by_import_revives_nothing(database: Database) -> None:
    """A membership that an import begins again ends the shares of the membership before (R11)."""
    import_lines(database, *CLINIC, *MORE)
    pdp = pdp_of(database)
    put_membership(
        pdp, actor=by("", 60), subscription="north", practitioner="bob", role="member", until=NOW + timedelta(minutes=2)
    )
    start = format_instant(NOW + timedelta(minutes=3))
    import_lines(
        database, line("membership", practitioner="bob", subscription="north", role="member", started_at=start), later=5
    )
    at = NOW + timedelta(minutes=6)
    assert not pdp.evaluate(("practitioner", "bob"), "view", ("patient", "p-1"), now=at).allowed
    assert (
        Grant.select().where(Grant.practitioner == "bob", Grant.role == "viewer", Grant.ended_at > at).count(database)
        == 0
    )
    assert (
        StandingShare.select().where(StandingShare.colleague == "bob", StandingShare.ended_at > at).count(database) == 0
    )
    assert pdp.evaluate(("practitioner", "bob"), "view", ("patient", "p-2"), now=at).allowed


def test_a_patients_end_to_come_counts_when_it_comes(database: Database) -> None:
    """A patient with a future end is seen until the end, and by nobody from it on."""
    import_lines(database, *CLINIC, *MORE)
    import_lines(database, line("patient", **P1, until=SOON), later=5)
    (row,) = Patient.select().where(Patient.id == "p-1").execute(database)
    assert row.ended_at < FOREVER
    pdp, alice = pdp_of(database), ("practitioner", "alice")
    assert pdp.evaluate(alice, "view", ("patient", "p-1"), now=row.ended_at - timedelta(seconds=1)).allowed
    assert not pdp.evaluate(alice, "view", ("patient", "p-1"), now=row.ended_at).allowed


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (line("patient", **{**P1, "owner": "bob"}), "another owner"),
        (line("patient", **{**P1, "subscription": "city"}), "another subscription"),
        (line("practitioner", id="bob", login="alice@north.example", name="Bob"), "that of alice"),
        (
            line("membership", practitioner="bob", subscription="north", role="member", started_at=SINCE),
            "contradicts one that exists",
        ),
    ],
)
def test_what_contradicts_is_an_error_with_its_line(database: Database, bad: Any, why: str) -> None:
    """A contradictory owner, clinic or start, or somebody else's login, is an error with its line."""
    import_lines(database, *CLINIC, *MORE)
    with pytest.raises(ImportRefused, match=f"line 1: .*{why}"):
        import_lines(database, bad, later=5)


def test_a_file_that_says_two_things_is_refused(database: Database) -> None:
    """A file with two contradictory lines is refused, because each night would change the fact to and fro."""
    import_lines(database, *CLINIC, *MORE)
    names = [line("subscription", id="city", name=name) for name in ("One", "Two")]
    with pytest.raises(ImportRefused, match="line 2: contradicts"):
        import_lines(database, *names, later=5)
    roles = [line("membership", practitioner="bob", subscription="north", role=role) for role in ("manager", "auditor")]
    with pytest.raises(ImportRefused, match="line 2: "):
        import_lines(database, *roles, later=5)
