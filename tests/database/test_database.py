"""The schema is the same on both databases, and refuses facts that must never be."""

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
    """Return a database with alice and her patient, bob of her clinic, and frank of another clinic."""
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
    """The frozen migrations and the models describe the same schema, and no migration is pending."""
    with database.bind_ctx(models.MODELS):
        different = diff_models(database, models.MODELS)
    # Peewee does not see the indexes of a partitioned table; its partitions have them.
    partitioned = [
        index for index in different.add_indexes if database.dialect == "postgresql" and index.table == "decision"
    ]
    assert not [change for part in different for change in part if change not in partitioned]
    partition_indexes = database.get_indexes("decision_rest") if partitioned else []
    assert {index.columns for index in partitioned if index.columns} <= {
        tuple(index.columns) for index in partition_indexes
    }
    if partitioned:
        assert "decision_rest_standing_share_at_idx" in {index.name for index in partition_indexes}
    assert pending_migrations(database) == []
    assert migrate(database) == []


def test_columns_that_policies_read_are_never_null(database: Database) -> None:
    """No column of a fact may be null, because `None = None` would permit access to a thing without an owner."""
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
    """The database refuses two owners, an owner who also views, a viewer of another clinic, an end before the start."""
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
    """An update is refused if it makes two grants overlap."""
    grant(clinic, "bob", "viewer", T, T + HOUR)
    grant(clinic, "bob", "viewer", T + HOUR)
    with pytest.raises(peewee.IntegrityError, match="overlaps"):
        Grant.update(ended_at=T + 2 * HOUR).where(Grant.ended_at == T + HOUR).execute(clinic)


def test_nobody_shares_everything_with_themselves(clinic: Database) -> None:
    """A standing share from a practitioner to the same practitioner is refused."""
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
        cursor = database.execute_sql("SELECT count(*) FROM subscription")
        assert [row.id for row in Subscription.select().order_by(Subscription.id).execute(database)] == [
            "city",
            "north",
        ]
        assert cursor.fetchone() == (2,)
        assert Subscription.update(name="N").where(Subscription.id == "north").execute(database) == 1
    assert Subscription.select().where(Subscription.name == "N").exists(database)


def add(database: Database, *subscriptions: str, then: Callable[[], object] = bool) -> None:
    """Add subscriptions, each by a statement of its own, without waiting for its result."""
    with pipelined(database):
        for subscription in subscriptions:
            insert_rows(database, Subscription, ("id", "name"), [(subscription, subscription)])
        then()


def test_what_a_pipelined_transaction_did_not_wait_for_undoes_it(database: Database) -> None:
    """If a statement of a pipeline fails, all of the transaction is undone, and the connection answers again."""
    add(database, "north")
    with pytest.raises(peewee.IntegrityError):
        add(database, "city", "north")
    assert not database.in_transaction()
    assert [row.id for row in Subscription.select().execute(database)] == ["north"]
    with pytest.raises(peewee.IntegrityError):
        add(database, "city", "north", then=lambda: database.execute_sql("SELECT 1").fetchone())
    with pytest.raises(ZeroDivisionError):
        add(database, "city", then=lambda: 1 // 0)
    with pytest.raises((ZeroDivisionError, peewee.IntegrityError)):  # the second if it waits
        add(database, "city", "north", then=lambda: 1 // 0)
    add(database, "lake")
    assert {row.id for row in Subscription.select().execute(database)} == {"north", "lake"}


def test_a_transaction_that_failed_leaves_no_statement_behind(postgresql_url: str) -> None:
    """After a failed pipeline the driver does not use a prepared statement that the server never got."""
    database = connect(postgresql_url)
    sql = "SELECT count(*) FROM subscription WHERE id = %s"
    add(database, "north")
    with pytest.raises(ZeroDivisionError):
        add(database, "city", then=lambda: 1 // 0)
    for _ in range(5):
        database.execute_sql(sql, ("north",)).fetchone()
    with pytest.raises(peewee.IntegrityError):
        add(database, "north", then=lambda: database.execute_sql(sql, ("north",)).fetchone())
    assert database.execute_sql(sql, ("north",)).fetchone() == (1,)
    close_all(database)


def test_a_connection_that_was_lost_is_found_out(postgresql_url: str) -> None:
    """A connection that the server ended is replaced without an error; a good connection is used again."""
    database, other = connect(postgresql_url), connect(postgresql_url)

    def backend_pid() -> int:
        with database.connection_context():
            row: tuple[int] = database.execute_sql("SELECT pg_backend_pid()").fetchone()
        return row[0]

    lost = backend_pid()
    assert backend_pid() == lost
    assert other.execute_sql("SELECT pg_terminate_backend(%s, 5000)", (lost,)).fetchone() == (True,)
    again = backend_pid()
    assert again != lost
    assert backend_pid() == again
    close_all(database)
    close_all(other)


def test_a_pipelined_transaction_on_a_connection_that_is_lost_says_so(postgresql_url: str) -> None:
    database, other = connect(postgresql_url), connect(postgresql_url)

    def lose() -> None:
        row: tuple[int] = database.execute_sql("SELECT pg_backend_pid()").fetchone()
        other.execute_sql("SELECT pg_terminate_backend(%s)", row).fetchone()

    with pytest.raises(peewee.OperationalError):
        add(database, "north", then=lose)
    assert not database.in_transaction()
    database.close()
    assert list(Subscription.select().execute(database)) == []
    close_all(database)
    close_all(other)
