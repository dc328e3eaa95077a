"""The schema: the same on both databases, and unable to hold what must never be."""

from collections.abc import Callable

import peewee
import pytest
from playhouse.schema_diff import diff_models

from authz import models
from authz.database import Database, close_all, connect, migrate, pending_migrations, pipelined
from authz.database.statements import insert_rows
from authz.domain import FOREVER_MICROS
from authz.models import Event, Grant, Membership, Patient, Practitioner, StandingShare, Subscription

T = 1_700_000_000_000_000
HOUR = 3_600_000_000


@pytest.fixture
def clinic(database: Database) -> Database:
    """Owner alice and colleague bob at one clinic, frank at another, and alice's patient."""
    for name in ("north", "city"):
        Subscription.insert(id=name, name=name).execute(database)
    for name, where in (("alice", "north"), ("bob", "north"), ("frank", "city")):
        Practitioner.insert(id=name, login=f"{name}@{where}.example", name=name).execute(database)
        Membership.insert(practitioner=name, subscription=where, role="member", started_at=T).execute(database)
    Patient.insert(id="p-1", subscription="north", name="Pat", started_at=T).execute(database)
    grant(database, "alice", "owner")
    return database


def grant(database: Database, who: str, role: str, start: int = T, end: int = FOREVER_MICROS) -> None:
    Grant.insert(patient="p-1", practitioner=who, role=role, origin="share", started_at=start, ended_at=end).execute(
        database
    )


def test_migrations_make_what_the_models_say(database: Database) -> None:
    """The frozen migrations and the models describe one schema, and nothing is pending after them."""
    with database.bind_ctx(models.MODELS):
        different = diff_models(database, models.MODELS)
    # Peewee does not see the indexes of a partitioned table; its partitions have them.
    partitioned = [one for one in different.add_indexes if database.dialect == "postgresql" and one.table == "decision"]
    assert not [one for part in different for one in part if one not in partitioned]
    there = database.get_indexes("decision_rest") if partitioned else []
    assert {one.columns for one in partitioned if one.columns} <= {tuple(index.columns) for index in there}
    if partitioned:
        assert "decision_rest_standing_share_at_idx" in {index.name for index in there}
    assert pending_migrations(database) == []
    assert migrate(database) == []


def test_columns_that_policies_read_are_never_null(database: Database) -> None:
    """`None = None` would let an ownerless thing through, so that no column of a fact may be null."""
    for model in models.FACTS:
        for column in database.get_columns(model._meta.table_name):
            assert not column.null, f"{model.__name__}.{column.name}"


@pytest.mark.parametrize(
    ("who", "role", "start", "end", "why"),
    [
        ("bob", "owner", T, FOREVER_MICROS, "overlaps another"),
        ("bob", "owner", T + HOUR, T + 2 * HOUR, "overlaps another"),
        ("alice", "viewer", T + HOUR, FOREVER_MICROS, "overlaps another"),
        ("frank", "viewer", T, FOREVER_MICROS, "crosses subscriptions"),
        ("bob", "viewer", T + HOUR, T, ""),
        ("bob", "guest", T, FOREVER_MICROS, ""),
    ],
)
def test_no_grant_that_must_not_be(clinic: Database, who: str, role: str, start: int, end: int, why: str) -> None:
    """Two owners, an owner who also views, another clinic's viewer, an end before the start: the database refuses."""
    with pytest.raises(peewee.IntegrityError, match=why or None):
        grant(clinic, who, role, start, end)


def test_one_viewer_grant_at_a_time(clinic: Database) -> None:
    """A second share to one colleague may follow the first, and may not overlap it by a microsecond."""
    grant(clinic, "bob", "viewer", T, T + HOUR)
    with pytest.raises(peewee.IntegrityError):
        grant(clinic, "bob", "viewer", T + HOUR - 1)
    grant(clinic, "bob", "viewer", T + HOUR)
    assert Grant.select().where(Grant.practitioner == "bob").count(clinic) == 2


def test_an_ended_grant_may_not_be_stretched_over_another(clinic: Database) -> None:
    """The overlap is refused on an update too."""
    grant(clinic, "bob", "viewer", T, T + HOUR)
    grant(clinic, "bob", "viewer", T + HOUR)
    with pytest.raises(peewee.IntegrityError, match="overlaps"):
        Grant.update(ended_at=T + 2 * HOUR).where(Grant.ended_at == T + HOUR).execute(clinic)


def test_nobody_shares_everything_with_themselves(clinic: Database) -> None:
    """A standing share has two ends."""
    with pytest.raises(peewee.IntegrityError):
        StandingShare.insert(owner="bob", colleague="bob", subscription="north", started_at=T).execute(clinic)


def test_the_record_is_append_only(database: Database) -> None:
    """An event, once written, can be neither changed nor deleted."""
    Event.insert(at=T, kind="patient:imported", body={"patient": "p-1"}).execute(database)
    for change in (Event.update(kind="x"), Event.delete()):
        with pytest.raises(peewee.IntegrityError, match="append-only"):
            change.execute(database)


# Transactions that do not wait.


def test_a_pipelined_transaction_reads_what_it_wrote(database: Database) -> None:
    with pipelined(database):
        insert_rows(database, Subscription, ("id", "name"), [("north", "North"), ("city", "City")])
        asked = database.execute_sql("SELECT count(*) FROM subscription")
        assert [row.id for row in Subscription.select().order_by(Subscription.id).execute(database)] == [
            "city",
            "north",
        ]
        assert asked.fetchone() == (2,)
        assert Subscription.update(name="N").where(Subscription.id == "north").execute(database) == 1
    assert Subscription.select().where(Subscription.name == "N").exists(database)


def add(database: Database, *subscriptions: str, then: Callable[[], object] = bool) -> None:
    """Add subscriptions, each by a statement of its own, that nobody waits for."""
    with pipelined(database):
        for one in subscriptions:
            insert_rows(database, Subscription, ("id", "name"), [(one, one)])
        then()


def test_what_a_pipelined_transaction_did_not_wait_for_undoes_it(database: Database) -> None:
    """It fails at the end at the latest: then nothing of it is there, and the connection answers again."""
    add(database, "north")
    with pytest.raises(peewee.IntegrityError):
        add(database, "city", "north")
    assert not database.in_transaction()
    assert [row.id for row in Subscription.select().execute(database)] == ["north"]
    with pytest.raises(peewee.IntegrityError):
        add(database, "city", "north", then=lambda: database.execute_sql("SELECT 1").fetchone())
    with pytest.raises(ZeroDivisionError):
        add(database, "city", then=lambda: 1 // 0)
    with pytest.raises((ZeroDivisionError, peewee.IntegrityError)):  # the second where it waits
        add(database, "city", "north", then=lambda: 1 // 0)
    add(database, "lake")
    assert {row.id for row in Subscription.select().execute(database)} == {"north", "lake"}


def test_a_transaction_that_failed_leaves_no_statement_behind(postgresql_url: str) -> None:
    """The driver prepares what it sends often; what a failed pipeline never prepared is not asked for afterwards."""
    database = connect(postgresql_url)
    asked = "SELECT count(*) FROM subscription WHERE id = %s"
    add(database, "north")
    with pytest.raises(ZeroDivisionError):
        add(database, "city", then=lambda: 1 // 0)
    for _ in range(5):
        database.execute_sql(asked, ("north",)).fetchone()
    with pytest.raises(peewee.IntegrityError):
        add(database, "north", then=lambda: database.execute_sql(asked, ("north",)).fetchone())
    assert database.execute_sql(asked, ("north",)).fetchone() == (1,)
    close_all(database)


def test_a_connection_that_was_lost_is_found_out(postgresql_url: str) -> None:
    """One that the server ended while nobody used it is left, and costs no answer; others are used again."""
    database, other = connect(postgresql_url), connect(postgresql_url)

    def one() -> int:
        with database.connection_context():
            found: tuple[int] = database.execute_sql("SELECT pg_backend_pid()").fetchone()
        return found[0]

    lost = one()
    assert one() == lost
    assert other.execute_sql("SELECT pg_terminate_backend(%s, 5000)", (lost,)).fetchone() == (True,)
    again = one()
    assert again != lost
    assert one() == again
    close_all(database)
    close_all(other)


def test_a_pipelined_transaction_on_a_connection_that_is_lost_says_so(postgresql_url: str) -> None:
    database, other = connect(postgresql_url), connect(postgresql_url)

    def lose() -> None:
        found: tuple[int] = database.execute_sql("SELECT pg_backend_pid()").fetchone()
        other.execute_sql("SELECT pg_terminate_backend(%s)", found).fetchone()

    with pytest.raises(peewee.OperationalError):
        add(database, "north", then=lose)
    assert not database.in_transaction()
    database.close()
    assert list(Subscription.select().execute(database)) == []
    close_all(database)
    close_all(other)
