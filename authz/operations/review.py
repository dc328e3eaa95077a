"""The access review: somebody else decides on each share, keep or revoke, and it is carried out (AUDIT.md Q16)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.errors import CaregrantError, ImportRefused
from authz.models import Grant, Review
from authz.operations.change import Change, Row, perform
from authz.operations.share import end_one
from authz.pdp import PDP
from authz.record import Act
from authz.terms import VERDICTS, parse_id


@dataclass(frozen=True)
class Verdict:
    """One line of a decided sheet: the share, as the reviewer saw it, and keep or revoke."""

    line: int
    grant: int
    patient: str
    practitioner: str
    verdict: str


@dataclass(frozen=True)
class Reviewed:
    """How many shares were kept and how many revoked."""

    kept: int
    revoked: int


def review(pdp: PDP, *, act: Act, campaign: str, due: datetime, verdicts: Sequence[Verdict]) -> Reviewed:
    """Carry out a decided sheet: all of it or nothing, each line recorded with its reviewer (who acts) and verdict.

    The reviewer must be permitted `audit` on the clinic and, to revoke, `end_share` on the patient; nobody decides on a
    share that they hold, gave, or give as the owner. Raises `ImportRefused` with the first line at fault.
    """
    parse_id(campaign)

    def work(change: Change) -> Reviewed:
        for one in verdicts:
            try:
                _decide(change, one, campaign, due)
            except ImportRefused:
                raise
            except CaregrantError as error:
                raise ImportRefused(one.line, str(error)) from error
        revoked = sum(one.verdict == "revoke" for one in verdicts)
        return Reviewed(len(verdicts) - revoked, revoked)

    return perform(pdp, act, work, patients=sorted({one.patient for one in verdicts}))


def _decide(change: Change, one: Verdict, campaign: str, due: datetime) -> None:
    row = _share(change, one)
    where = change.subscriptions[one.patient]
    change.permit("audit", ("subscription", where))
    owner = change.live_grants(one.patient)[0]["practitioner"]
    if change.act.by in (row["practitioner"], row["given_by"], owner):
        raise ImportRefused(one.line, f"{change.act.by} holds or gave this share; somebody else reviews it")
    if change.row(Review.select().where(Review.campaign == campaign, Review.grant == one.grant)):
        raise ImportRefused(one.line, f"grant {one.grant} was decided on in {campaign} already")
    told = {"campaign": campaign, "grant": one.grant, "reviewer": change.act.by, "verdict": one.verdict}
    Review.insert(at=change.now, subscription=where, due_at=due, **told).execute(change.database)
    change.happened("review:given", where, {**told, "grant": str(one.grant)}, one.patient)
    if one.verdict == "revoke":
        if not change.ask(change.act.by, "end_share", ("patient", one.patient)).allowed:
            raise ImportRefused(one.line, f"{change.act.by} may audit here, but not end this share; a manager may")
        end_one(change, row, "ended")


def _share(change: Change, one: Verdict) -> Row:
    """The live share that a line speaks of."""
    if one.verdict not in VERDICTS:
        raise ImportRefused(one.line, f"the verdict is keep or revoke, not {one.verdict!r}")
    same = (Grant.id == one.grant, Grant.patient == one.patient, Grant.practitioner == one.practitioner)
    row = change.row(Grant.select().where(*same, Grant.role == "viewer"))
    if row is None or not row["started_at"] <= change.now < row["ended_at"] or one.patient not in change.subscriptions:
        raise ImportRefused(one.line, f"grant {one.grant} is no live share of {one.patient} with {one.practitioner}")
    return row
