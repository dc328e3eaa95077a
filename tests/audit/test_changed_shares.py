"""The audit of a share that was lengthened and shortened in place: each past day is answered as it was."""

from contextlib import closing
from datetime import timedelta

from authz.audit import questions as ask
from authz.audit.session import open_audit
from authz.database import Database
from authz.models import Event
from authz.operations import change_share, share
from tests.support import people
from tests.support.acting import by, login, pdp_of, served_since
from tests.support.people import LONG_AGO, NOW

DAY = timedelta(days=1)


def test_each_past_day_is_answered_as_it_was(database: Database, database_url: str) -> None:
    """The audit answers for days before, between and after the changes; each change has its author, time and kind."""
    people.fill(database)
    served_since(database, LONG_AGO)
    pdp, seconds = pdp_of(database), DAY.total_seconds()
    (shared,) = share(
        pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), until=NOW + 10 * DAY, reason="leave"
    )
    for day, end in ((5, 30), (20, 22)):  # lengthened on the fifth day, shortened on the twentieth
        until = NOW + end * DAY
        change_share(
            pdp, actor=by("alice", day * seconds), patient="p-1", grant=shared.grant["id"], until=until, reason=f"{day}"
        )
    last = timedelta(microseconds=1)
    for passed, sees in (
        (0 * DAY, True),
        (9 * DAY, True),
        (21 * DAY, True),
        (22 * DAY - last, True),
        (22 * DAY, False),
    ):
        with closing(open_audit(database_url, as_of=NOW + passed, reader="compliance")) as audit:
            assert ("oscar" in set(ask.who_could(audit, patient="p-1").frame["practitioner"])) == sees, passed
    with closing(open_audit(database_url, as_of=NOW + 40 * DAY, reader="compliance")) as audit:
        frame = ask.access_over_time(audit, patient="p-1").frame
        (row,) = frame[frame["practitioner"] == "oscar"].itertuples()
        assert (row.since, row.until) == (NOW, NOW + 22 * DAY)
        changes = ask.what_did(audit, practitioner="alice", since=NOW, until=NOW + 40 * DAY).frame
        assert list(changes["action"]).count("grant:changed") == 2
    events = Event.select().where(Event.kind == "grant:changed").order_by(Event.id).execute(database)
    ends = [(event.at - NOW, event.body["before"]["ended_at"], event.reason) for event in events]
    assert ends == [(5 * DAY, "2026-06-11T12:00:00Z", "5"), (20 * DAY, "2026-07-01T12:00:00Z", "20")]
