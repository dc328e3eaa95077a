"""The access review: somebody else decides on each share, keep or revoke, and it is carried out (AUDIT.md Q16)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.database.statements import in_condition
from authz.domain import VERDICTS, Row
from authz.errors import CaregrantError, ImportRefused
from authz.models import Grant, Review, StandingShare
from authz.operations.share import end_one
from authz.operations.standing_share import end_standing
from authz.operations.transaction import EXCLUSIVE, Change, perform
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import parse_id


@dataclass(frozen=True)
class ReviewVerdict:
    """One line of a decided sheet: the share, as the reviewer saw it, and keep or revoke.

    `noun` says what `number` is: ``grant`` or ``standing_share``, which is of no one patient.
    """

    line: int
    noun: str
    number: int
    patient: str
    practitioner: str
    verdict: str

    @property
    def share(self) -> str:
        return f"{self.noun.replace('_', ' ')} {self.number}"


@dataclass(frozen=True)
class Reviewed:
    """How many shares were kept and how many revoked."""

    kept: int
    revoked: int


@dataclass(frozen=True)
class SheetSource:
    """Where verdicts come from: the SHA-256 of the sheet's file, and the account that ran the command."""

    sheet: str = ""
    ran_by: str = ""


def review(
    pdp: PDP,
    *,
    actor: Actor,
    campaign: str,
    due: datetime,
    verdicts: Sequence[ReviewVerdict],
    source: SheetSource = SheetSource(),
) -> Reviewed:
    """Carry out a decided sheet: all of it or nothing, each line recorded with its reviewer (who acts), verdict and
    `source`.

    The reviewer must be permitted `audit` on the clinic and, to revoke, `end_share` on the patient or, for a standing
    share, `manage` on the clinic; nobody decides on a share that they hold, gave, or give as the owner. Raises
    `ImportRefused` with the first line at fault.
    """
    parse_id(campaign)

    def work(change: Change) -> Reviewed:
        standing = _standing(change, verdicts)
        change.lock(sorted({one.patient for one in verdicts if one.noun == "grant"}))
        for where in sorted({row["subscription"] for row in standing.values()}):
            change.enter(where)
        for one in verdicts:
            try:
                _decide(change, one, standing, campaign, due, source)
            except ImportRefused:
                raise
            except CaregrantError as error:
                raise ImportRefused(one.line, str(error)) from error
        revoked = sum(one.verdict == "revoke" for one in verdicts)
        return Reviewed(len(verdicts) - revoked, revoked)

    return perform(pdp, actor, work)


def _standing(change: Change, verdicts: Sequence[ReviewVerdict]) -> dict[int, Row]:
    """The standing shares that are spoken of, locked before their subscriptions, as those who end them do."""
    numbers = [one.number for one in verdicts if one.noun == "standing_share"]
    found = (
        StandingShare.select()
        .where(in_condition(change.database, StandingShare.id, numbers))
        .order_by(StandingShare.id)
    )
    return {row["id"]: row for row in change.rows(found, lock=EXCLUSIVE)}


def _decide(
    change: Change, one: ReviewVerdict, standing: dict[int, Row], campaign: str, due: datetime, source: SheetSource
) -> None:
    if one.verdict not in VERDICTS:
        raise ImportRefused(one.line, f"the verdict is keep or revoke, not {one.verdict!r}")
    row, where = _share(change, one, standing)
    change.permit("audit", ("subscription", where))
    owner = row["owner"] if one.noun == "standing_share" else change.live_grants(one.patient)[0]["practitioner"]
    if change.actor.practitioner in (one.practitioner, row["given_by"], owner):
        raise ImportRefused(one.line, f"{change.actor.practitioner} holds or gave this share; somebody else reviews it")
    which = Review.grant if one.noun == "grant" else Review.standing_share
    if change.row(Review.select().where(Review.campaign == campaign, which == one.number)):
        raise ImportRefused(one.line, f"{one.share} was decided on in {campaign} already")
    told = {"campaign": campaign, one.noun: one.number, "reviewer": change.actor.practitioner, "verdict": one.verdict}
    number = Review.insert(at=change.now, subscription=where, due_at=due, **told).execute(change.database)
    whence = {name: value for name, value in vars(source).items() if value}
    body = {**told, "review": str(number), one.noun: str(one.number), **whence}
    change.happened("review:given", where, body, one.patient)
    if one.verdict == "revoke":
        _revoke(change, one, row, where)


def _share(change: Change, one: ReviewVerdict, standing: dict[int, Row]) -> tuple[Row, str]:
    """The live share that a line speaks of, and its subscription."""
    if one.noun == "standing_share":
        row = standing.get(one.number)
        where, holder = (row["subscription"], row["colleague"]) if row else ("", "")
    else:
        row = change.row(
            Grant.select().where(Grant.id == one.number, Grant.patient == one.patient, Grant.role == "viewer")
        )
        where, holder = change.subscriptions.get(one.patient, ""), row["practitioner"] if row else ""
    live = row is not None and not change.has_ended(row)
    if row is None or not live or not where or holder != one.practitioner:
        of = f" of {one.patient}" if one.patient else ""
        raise ImportRefused(one.line, f"{one.share} is no live share{of} with {one.practitioner}")
    return row, where


def _revoke(change: Change, one: ReviewVerdict, row: Row, where: str) -> None:
    standing = one.noun == "standing_share"
    asked = ("manage", ("subscription", where)) if standing else ("end_share", ("patient", one.patient))
    if not change.ask(change.actor.practitioner, *asked).allowed:
        raise ImportRefused(
            one.line, f"{change.actor.practitioner} may audit here, but not end this share; a manager may"
        )
    (end_standing if standing else end_one)(change, row, "ended")
