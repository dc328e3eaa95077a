"""Dropping a month of decisions whose time is over. The seals stay, so that the trees still say what there was."""

from datetime import UTC, datetime

from authz.database import Database, database_connection
from authz.database.statements import lock_by_moments
from authz.domain import from_micros
from authz.errors import Conflict, InvalidInput
from authz.models import RecordedDecision, Seal
from authz.record.append_only import append_only_disabled
from authz.record.events import Actor, NewEvent, append
from authz.record.partitions import month_bounds, partition
from authz.record.sealing import last_sealed

LEAST_YEARS = 6
"""What HIPAA 164.316(b)(2)(i) asks for; less is said aloud."""


def require_retention_over(month: str, years: int, now: datetime) -> None:
    """Raise `InvalidInput` unless a month ended so many years ago, at least one: verifiers believe no less."""
    if years < 1:
        raise InvalidInput("CAREGRANT_RETENTION: answers are kept for one year at least")
    try:
        end = from_micros(month_bounds(month)[1])
    except ValueError as error:
        raise InvalidInput(f"{month!r} is no month such as 2020-01") from error
    over = end.replace(year=end.year + years)
    if over > now.astimezone(UTC):
        raise InvalidInput(f"the decisions of {month} are kept until {over:%Y-%m-%d} (CAREGRANT_RETENTION)")


def drop_month(database: Database, actor: Actor, month: str, years: int) -> int:
    """Drop the decisions of a month, and record that; how many they were.

    The caller has seen that they are exported. Raises `InvalidInput` before their time is over, `Conflict` for a month
    of which there is nothing, or something that is not sealed.
    """
    require_retention_over(month, years, actor.now)
    begin, end = month_bounds(month)
    with database_connection(database), database.atomic():
        of_month = (RecordedDecision.asked_at >= begin, RecordedDecision.asked_at < end)
        count: int = RecordedDecision.select().where(*of_month).count(database)
        if not count or RecordedDecision.select().where(*of_month, RecordedDecision.id > last_sealed(database)).exists(
            database
        ):
            raise Conflict(f"no decisions of {month} are here" if not count else f"{month} is not sealed")
        if database.dialect == "postgresql" and database.table_exists(partition(month)):
            lock_by_moments(database, "LOCK TABLE decision IN ACCESS EXCLUSIVE MODE")
            database.execute_sql(f"DROP TABLE {partition(month)}")
        else:
            with append_only_disabled(
                database, "decision_rest" if database.dialect == "postgresql" else "decision", "DELETE"
            ):
                RecordedDecision.delete().where(*of_month).execute(database)
        seals: int = Seal.select().where(Seal.month == month).count(database)
        body = {"month": month, "decisions": count, "seals": seals, "retention_years": years}
        append(database, actor, [NewEvent("decisions:dropped", "", body)])
    return count
