"""End the shares of a practitioner who leaves practice in a clinic (R11).

Practice is a membership as member or manager. A practitioner leaves it when that membership ends, or becomes an
auditor's. Nobody acts at the moment when a membership expires: what is left over then counts for nothing, and ends when
the practitioner comes back. Ownership stays, for a manager to hand over. A lapse of the clinic ends no membership.
"""

from collections.abc import Iterator

from authz.database import Database
from authz.database.statements import in_condition
from authz.domain import Row, to_micros
from authz.errors import CaregrantError
from authz.models import Grant, StandingShare
from authz.operations.transaction import EXCLUSIVE, Change

PRACTISING = ("member", "manager")
"""The roles of those who practise; an auditor does not."""
_SHARES = """SELECT g.id, g.patient_id FROM "grant" g JOIN patient p ON p.id = g.patient_id
    WHERE g.practitioner_id = {0} AND g.role = 'viewer' AND g.ended_at > {0} AND g.ended_at > g.started_at
    AND p.subscription_id = {0}
    ORDER BY g.id"""
_AT_ONCE = 500


class SharesAdded(CaregrantError):
    """The practitioner got a share between the look at the patients and the lock on the clinic: try again."""


def held_shares(database: Database, practitioner: str, subscription: str, now: int) -> list[tuple[int, str]]:
    """The viewer grants, each its number and its patient, that a practitioner holds in a clinic and that have not ended
    at `now` (microseconds).
    """
    sql = _SHARES.format(database.param)
    return list(database.execute_sql(sql, (practitioner, now, subscription)).fetchall())


def end_shares(change: Change, practitioner: str, subscription: str) -> None:
    """End what a practitioner holds or gives in a clinic: shares, and standing shares in both directions.

    The clinic is held alone, and the patients of the shares are locked. Raises `SharesAdded` if some are not.
    """
    held = held_shares(change.database, practitioner, subscription, to_micros(change.now))
    if any(patient not in change.subscriptions for _, patient in held):
        raise SharesAdded
    for begin in range(0, len(held), _AT_ONCE):
        for row, owner in _with_owners(change, held[begin : begin + _AT_ONCE]):
            change.end("grant", subscription, row, "ended")
            change.notify("share:ended", practitioner, owner, subscription, row["patient"])
            change.notify("share:ended", owner, practitioner, subscription, row["patient"])
    for row in _standing(change, practitioner, subscription):
        change.end("standing_share", subscription, row, "ended")
        change.notify("standing_share:ended", row["colleague"], row["owner"], subscription)
        change.notify("standing_share:ended", row["owner"], row["colleague"], subscription)


def _with_owners(change: Change, held: list[tuple[int, str]]) -> Iterator[tuple[Row, str]]:
    """Some grants, each with the owner of its patient: the last one, who is told."""
    database = change.database
    grants = change.rows(Grant.select().where(in_condition(database, Grant.id, [number for number, _ in held])))
    owned = Grant.select(Grant.patient, Grant.practitioner).where(
        in_condition(database, Grant.patient, [patient for _, patient in held]),
        Grant.role == "owner",
        Grant.ended_at > change.now,
    )
    owners = {row["patient"]: row["practitioner"] for row in change.rows(owned.order_by(Grant.started_at))}
    for row in sorted(grants, key=lambda grant: int(grant["id"])):
        yield row, str(owners.get(row["patient"], row["given_by"]))


def _standing(change: Change, practitioner: str, subscription: str) -> list[Row]:
    mine = (StandingShare.owner == practitioner) | (StandingShare.colleague == practitioner)
    here = (StandingShare.subscription == subscription, StandingShare.ended_at > change.now)
    lasting = StandingShare.ended_at > StandingShare.started_at
    return change.rows(StandingShare.select().where(mine, lasting, *here).order_by(StandingShare.id), lock=EXCLUSIVE)
