"""The access review: somebody else decides on each share, keep or revoke, and the decision is carried out (Q16)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.database.statements import in_condition
from authz.domain import VERDICTS, Row
from authz.errors import CaregrantError, ImportRefused
from authz.models import Grant, Review, StandingShare
from authz.operations.change import Change
from authz.operations.grants import GrantRow
from authz.operations.locks import EXCLUSIVE
from authz.operations.share import end_viewer_grant
from authz.operations.standing_share import end_standing_share_row
from authz.operations.transaction import run_operation
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
        """Return the share as messages name it: what it is, and its number."""
        return f"{self.noun.replace('_', ' ')} {self.number}"


@dataclass(frozen=True)
class ReviewResult:
    """The numbers of shares that were kept and revoked."""

    kept: int
    revoked: int


@dataclass(frozen=True)
class SheetSource:
    """The source of verdicts: the SHA-256 of the sheet's file, and the account that ran the command."""

    sheet: str = ""
    ran_by: str = ""


@dataclass(frozen=True)
class Campaign:
    """A campaign of reviews: its name, until when it is due, and where its verdicts come from."""

    name: str
    due: datetime
    source: SheetSource


def review(
    pdp: PDP,
    *,
    actor: Actor,
    campaign: str,
    due: datetime,
    verdicts: Sequence[ReviewVerdict],
    source: SheetSource = SheetSource(),
) -> ReviewResult:
    """Carry out all verdicts of a sheet, or none.

    Each line is recorded with its reviewer (who acts), verdict and `source`. The reviewer must be permitted `audit` on
    the clinic and, to revoke, `end_share` on the patient or, for a standing share, `manage` on the clinic; nobody
    decides on a share that they hold, gave, or give as the owner. Raises `ImportRefused` with the first line at fault.
    """
    parse_id(campaign)
    with run_operation(pdp, actor) as change:
        standing = _lock_shares(change, verdicts)
        for verdict in verdicts:
            try:
                _decide(change, verdict, standing, Campaign(campaign, due, source))
            except ImportRefused:
                raise
            except CaregrantError as error:
                raise ImportRefused(verdict.line, str(error)) from error
        revoked = sum(verdict.verdict == "revoke" for verdict in verdicts)
        return ReviewResult(len(verdicts) - revoked, revoked)


def _lock_shares(change: Change, verdicts: Sequence[ReviewVerdict]) -> dict[int, Row]:
    """Lock the standing shares, then patients and subscriptions, in the order of every operation.

    Return the standing shares by their numbers.
    """
    numbers = [verdict.number for verdict in verdicts if verdict.noun == "standing_share"]
    query = StandingShare.select().where(in_condition(change.database, StandingShare.id, numbers))
    standing = {row["id"]: row for row in change.rows(query.order_by(StandingShare.id), lock=EXCLUSIVE)}
    change.lock_patients(verdict.patient for verdict in verdicts if verdict.noun == "grant")
    for subscription in sorted({row["subscription"] for row in standing.values()}):
        change.lock_subscription(subscription)
    return standing


def _decide(change: Change, verdict: ReviewVerdict, standing: dict[int, Row], campaign: Campaign) -> None:
    """Record one verdict and carry it out. Raises `ImportRefused` and the refusals of an operation."""
    if verdict.verdict not in VERDICTS:
        raise ImportRefused(verdict.line, f"the verdict is keep or revoke, not {verdict.verdict!r}")
    reviewer = change.actor.practitioner
    row, subscription = _require_live_share(change, verdict, standing)
    change.require_permission("audit", ("subscription", subscription))
    is_grant = verdict.noun == "grant"
    owner = change.live_grants(verdict.patient)[0].practitioner if is_grant else row["owner"]
    if reviewer in (verdict.practitioner, row["given_by"], owner):
        raise ImportRefused(verdict.line, f"{reviewer} holds or gave this share; somebody else reviews it")
    number_column = Review.grant if is_grant else Review.standing_share
    if change.row(Review.select().where(Review.campaign == campaign.name, number_column == verdict.number)):
        raise ImportRefused(verdict.line, f"{verdict.share} was decided on in {campaign.name} already")
    _record(change, verdict, subscription, campaign)
    if verdict.verdict == "revoke":
        _revoke(change, verdict, row, subscription)


def _require_live_share(change: Change, verdict: ReviewVerdict, standing: dict[int, Row]) -> tuple[Row, str]:
    """Return the live share that a line names, and its subscription. Raises `ImportRefused` if there is none."""
    if verdict.noun == "standing_share":
        row = standing.get(verdict.number)
        subscription, holder = (row["subscription"], row["colleague"]) if row else ("", "")
    else:
        of_patient = (Grant.id == verdict.number, Grant.patient == verdict.patient, Grant.role == "viewer")
        row = change.row(Grant.select().where(*of_patient))
        subscription, holder = change.subscriptions.get(verdict.patient, ""), row["practitioner"] if row else ""
    if row is None or change.has_ended(row) or not subscription or holder != verdict.practitioner:
        of = f" of {verdict.patient}" if verdict.patient else ""
        raise ImportRefused(verdict.line, f"{verdict.share} is no live share{of} with {verdict.practitioner}")
    return row, subscription


def _record(change: Change, verdict: ReviewVerdict, subscription: str, campaign: Campaign) -> None:
    columns = {
        "campaign": campaign.name,
        verdict.noun: verdict.number,
        "reviewer": change.actor.practitioner,
        "verdict": verdict.verdict,
    }
    insert = Review.insert(at=change.now, subscription=subscription, due_at=campaign.due, **columns)
    number = insert.execute(change.database)
    source = {name: value for name, value in vars(campaign.source).items() if value}
    body = {**columns, "review": str(number), verdict.noun: str(verdict.number), **source}
    change.record_event("review:given", subscription, body, verdict.patient)


def _revoke(change: Change, verdict: ReviewVerdict, row: Row, subscription: str) -> None:
    """End a share. Raises `ImportRefused` unless the reviewer may."""
    is_grant = verdict.noun == "grant"
    action = "end_share" if is_grant else "manage"
    resource = ("patient", verdict.patient) if is_grant else ("subscription", subscription)
    if not change.evaluate(change.actor.practitioner, action, resource).allowed:
        raise ImportRefused(
            verdict.line, f"{change.actor.practitioner} may audit here, but not end this share; a manager may"
        )
    if is_grant:
        end_viewer_grant(change, GrantRow(**row), "ended")
    else:
        end_standing_share_row(change, row, "ended")
