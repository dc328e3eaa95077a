"""Three years of three clinics, made by the real operations at past instants, with a ledger.

The ledger is kept by hand, in plain Python without SQL or Polar, and says what each question of the audit must find.
At the end two abuses are planted: a leaver's last days (mallory), and rows written past the service.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from authz.callers.clients import add_client
from authz.database import Database
from authz.domain import FOREVER, to_micros
from authz.errors import NotEligible
from authz.models import Event, Grant, Membership, RecordedDecision, Review
from authz.operations import (
    ReviewVerdict,
    add_patient,
    end_membership,
    end_share,
    end_standing_share,
    put_membership,
    put_practitioner,
    put_subscription,
    review,
    share,
    share_all,
    transfer,
)
from authz.policy.compiler import compile_texts, load
from authz.policy.decision import Decision
from authz.policy.pdp import PDP
from authz.record import Actor, RecordedQuestion, record_decisions
from authz.record.policies import record_policy_loaded
from authz.settings import shipped_folder

BEGIN = datetime(2023, 6, 1, 8, tzinfo=UTC)
END = datetime(2026, 6, 1, 12, tzinfo=UTC)
WEEKS = 156
STRICT = range(80, 86)
"""The weeks in which another policy was in force: the shipped one without the standing share (R4)."""

MEMBERS = {
    "north": ("alice", "bob", "carol", "ivan", "mallory", "erin"),
    "city": ("frank", "mia"),
    "harbour": ("grace", "gus"),
}
MANAGERS = {"north": "dan", "city": "amira", "harbour": "greta"}


@dataclass
class Span:
    """A membership, licence, grant or standing share from `began` until `ended`; `number` is the id of its row."""

    who: str
    began: datetime
    ended: datetime = FOREVER
    number: int = 0
    by: str = ""
    to: str = ""
    has_event: bool = True

    def live(self, at: datetime) -> bool:
        return self.began <= at < self.ended


@dataclass(frozen=True)
class LedgerDecision:
    """A decision that was given and recorded."""

    at: datetime
    who: str
    patient: str
    allowed: bool
    purpose: str
    request_id: str
    strict: bool
    forged: bool = False


@dataclass
class Ledger:
    """The rows that the audit must find."""

    members: dict[tuple[str, str], list[Span]] = field(default_factory=dict)
    licences: dict[str, list[Span]] = field(default_factory=dict)
    clinic: dict[str, str] = field(default_factory=dict)
    added: dict[str, datetime] = field(default_factory=dict)
    owners: dict[str, list[Span]] = field(default_factory=dict)
    shares: dict[str, list[Span]] = field(default_factory=dict)
    standing: list[tuple[str, Span]] = field(default_factory=list)
    decisions: list[LedgerDecision] = field(default_factory=list)
    planted: dict[str, int] = field(default_factory=dict)
    reviewed: dict[int, str] = field(default_factory=dict)
    kept_standing: set[int] = field(default_factory=set)

    def works(self, who: str, clinic: str, at: datetime) -> bool:
        here = any(span.live(at) for span in self.members.get((who, clinic), ()))
        return here and any(span.live(at) for span in self.licences[clinic])

    def owner(self, patient: str, at: datetime) -> str:
        return next(span.who for span in self.owners[patient] if span.live(at))

    def could(self, patient: str, at: datetime, *, strict: bool = False) -> dict[str, str]:
        """Return who could see a patient, and how: as owner, by a share, or by a working owner's standing share."""
        clinic = self.clinic[patient]
        if at < self.added[patient]:
            return {}
        owner = self.owner(patient, at)
        holders = {span.who: "share" for span in self.shares.get(patient, ()) if span.live(at)}
        for where, span in () if strict or not self.works(owner, clinic, at) else self.standing:
            if where == clinic and span.live(at) and span.who == owner:
                holders[span.to] = "standing share"
        holders[owner] = "owner"
        return {who: how for who, how in holders.items() if self.works(who, clinic, at)}

    def live_shares(self, at: datetime) -> Iterator[tuple[str, Span]]:
        for patient, spans in self.shares.items():
            for span in spans:
                if span.live(at):
                    yield patient, span


class History:
    """Make the three years in an empty database. `ledger` is what happened, `pdp` the PDP of today."""

    def __init__(self, database: Database, seed: int = 6) -> None:
        self.database = database
        self.dice = random.Random(seed)
        self.ledger = Ledger()
        self.now = BEGIN
        self._requests = 0
        self.pdp = PDP(database, load(shipped_folder("policies")))
        texts = {
            path.name: path.read_text()
            for path in sorted(shipped_folder("policies").glob("*.*"))
            if path.suffix in (".polar", ".toml")
        }
        texts["patient.polar"] = texts["patient.polar"].replace(
            "shared_by_owner(practitioner, patient) and", "false and"
        )
        self.strict = PDP(database, compile_texts(texts))
        add_client(database, name="records", scopes=("decide", "act"), subscription=None, now=BEGIN)
        record_policy_loaded(database, Actor("", BEGIN), self.pdp.policy, "policies")
        self._open_clinics()
        for week in range(WEEKS):
            with database.atomic():
                self._week(week)
        with database.atomic():
            self._last_days()
        with database.atomic():  # after the events of before, which on PostgreSQL come with their COMMIT
            self._plant()
        self.now = END

    # Who works where.

    def _open_clinics(self) -> None:
        for clinic, people in MEMBERS.items():
            put_subscription(self.pdp, actor=self.by(""), subscription=clinic, name=clinic.title())
            self.ledger.licences[clinic] = [Span(clinic, self.now)]
            for who in (*people, MANAGERS[clinic]):
                put_practitioner(self.pdp, actor=self.by(""), practitioner=who, login=login(who), name=who.title())
                self.join(who, clinic, "manager" if who == MANAGERS[clinic] else "member")
        put_practitioner(self.pdp, actor=self.by(""), practitioner="heidi", login=login("heidi"), name="Heidi")
        put_membership(self.pdp, actor=self.by(""), subscription="north", practitioner="heidi", role="auditor")

    def by(self, who: str) -> Actor:
        """Return an actor some minutes after the last change."""
        self.now += timedelta(minutes=7, microseconds=self.dice.randrange(1000))
        self._requests += 1
        return Actor(who, self.now, 1 if who else None, request_id=f"op-{self._requests}", address="192.0.2.7")

    def join(self, who: str, clinic: str, role: str) -> None:
        put_membership(self.pdp, actor=self.by(""), subscription=clinic, practitioner=who, role=role)
        self.ledger.members.setdefault((who, clinic), []).append(Span(who, self.now, by=role))

    def leave(self, who: str, clinic: str) -> None:
        end_membership(self.pdp, actor=self.by(MANAGERS[clinic]), subscription=clinic, practitioner=who)
        self.ledger.members[who, clinic][-1].ended = self.now
        for patient, span in self.ledger.live_shares(self.now):
            if span.who == who and self.ledger.clinic[patient] == clinic:
                span.ended = self.now
        for where, span in self.ledger.standing:
            if where == clinic and who in (span.who, span.to) and span.live(self.now):
                span.ended = self.now

    def lapse(self, clinic: str, *, live: bool) -> None:
        put_subscription(self.pdp, actor=self.by(""), subscription=clinic, name=clinic.title(), live=live)
        if live:
            self.ledger.licences[clinic].append(Span(clinic, self.now))
        else:
            self.ledger.licences[clinic][-1].ended = self.now

    # What is done with patients.

    def add(self, who: str, clinic: str) -> str:
        patient = f"p-{len(self.ledger.clinic) + 1}"
        made = add_patient(self.pdp, actor=self.by(who), name=f"Pat {patient}", patient=patient, subscription=clinic)
        self.ledger.clinic[patient], self.ledger.added[patient] = clinic, self.now
        self.ledger.owners[patient] = [Span(who, self.now, number=made.grant, by=who)]
        return patient

    def share(self, patients: list[str], colleague: str, until: datetime | None = None) -> None:
        owner = self.ledger.owner(patients[0], self.now)
        made = share(self.pdp, actor=self.by(owner), patients=patients, colleague=login(colleague), until=until)
        for result in made:
            span = Span(colleague, self.now, until or FOREVER, result.grant["id"], by=owner)
            self.ledger.shares.setdefault(result.patient, []).append(span)

    def end(self, patient: str, span: Span) -> None:
        end_share(self.pdp, actor=self.by(self.ledger.owner(patient, self.now)), patient=patient, grant=span.number)
        span.ended = self.now

    def transfer(self, patient: str, colleague: str, by: str | None = None) -> None:
        sender = self.ledger.owners[patient][-1]
        transfer(self.pdp, actor=self.by(by or sender.who), patients=[patient], colleague=login(colleague))
        sender.ended = self.now
        for span in self.ledger.shares.get(patient, ()):
            if span.who == colleague and span.live(self.now):
                span.ended = self.now
        number = Grant.select().where(Grant.patient == patient).order_by(Grant.id.desc()).limit(1)
        grant = number.execute(self.database)[0].id
        self.ledger.owners[patient].append(Span(colleague, self.now, number=grant, by=by or sender.who))

    def share_all(self, owner: str, colleague: str, clinic: str, *, content: bool = False) -> Span:
        row = share_all(
            self.pdp, actor=self.by(owner), colleague=login(colleague), subscription=clinic, content=content
        )
        span = Span(owner, self.now, number=row["id"], by=owner, to=colleague)
        self.ledger.standing.append((clinic, span))
        return span

    def end_all(self, span: Span) -> None:
        end_standing_share(self.pdp, actor=self.by(span.who), standing_share=span.number)
        span.ended = self.now

    def view(self, who: str, patient: str, purpose: str = "TREAT") -> bool:
        """Decide and record whether somebody may see a patient."""
        strict = week_of(self.now) in STRICT
        actor = self.by(who)
        pdp = self.strict if strict else self.pdp
        decision = pdp.evaluate(("practitioner", who), "view", ("patient", patient), now=actor.now)
        question = RecordedQuestion(("practitioner", who), "view", ("patient", patient), purpose=purpose)
        record_decisions(self.database, actor, [(question, decision)])
        self.ledger.decisions.append(
            LedgerDecision(actor.now, who, patient, decision.allowed, purpose, actor.request_id, strict)
        )
        return decision.allowed

    # The years.

    def _week(self, week: int) -> None:
        self.now = max(self.now, BEGIN + timedelta(weeks=week))
        for clinic, people in MEMBERS.items():
            working = [who for who in people if self.ledger.works(who, clinic, self.now)]
            if len(working) > 1:
                self._ordinary(clinic, working)
        match week:
            case 20:
                self.share_all("alice", "carol", "north", content=True)
            case 30:
                self.share_all("ivan", "bob", "north")
            case 60:
                self.lapse("harbour", live=False)
            case 80:
                record_policy_loaded(self.database, self.by(""), self.strict.policy, "strict")
            case 82:
                self.lapse("harbour", live=True)
            case 86:
                record_policy_loaded(self.database, Actor("", self.now), self.pdp.policy, "policies")
            case 90:
                self.leave("erin", "north")
            case 95:
                orphaned = [patient for patient in self.ledger.clinic if self.ledger.owner(patient, self.now) == "erin"]
                self.transfer(orphaned[0], "alice", by="dan")
            case 100:
                self.end_all(next(span for _, span in self.ledger.standing if span.who == "ivan"))
            case 130:
                self.share_all("frank", "mia", "city")
            case 140:
                self._review()

    def _ordinary(self, clinic: str, working: list[str]) -> None:
        dice, ledger = self.dice, self.ledger
        mine = [patient for patient, where in ledger.clinic.items() if where == clinic]
        if len(mine) < (40 if clinic == "north" else 6) and dice.random() < 0.6:
            mine.append(self.add(dice.choice(working), clinic))
        owned = [patient for patient in mine if ledger.owner(patient, self.now) in working]
        if owned and dice.random() < 0.5:
            patient = dice.choice(owned)
            held = {ledger.owner(patient, self.now)} | {
                s.who for s in ledger.shares.get(patient, ()) if s.live(self.now)
            }
            rest = [who for who in working if who not in held]
            if rest:
                until = self.now + timedelta(days=dice.randrange(30, 300)) if dice.random() < 0.4 else None
                self.share([patient], dice.choice(rest), until)
        live = [(patient, span) for patient, span in ledger.live_shares(self.now) if patient in owned]
        if live and dice.random() < 0.2:
            self.end(*dice.choice(live))
        if owned and dice.random() < 0.15:
            patient = dice.choice(owned)
            self.transfer(patient, dice.choice([who for who in working if who != ledger.owner(patient, self.now)]))
        for patient in dice.sample(mine, min(len(mine), 5)):
            could = sorted(ledger.could(patient, self.now)) or working
            purpose = "PUBHLTH" if dice.random() < 0.03 else "TREAT"
            self.view(dice.choice(could if dice.random() < 0.85 else working), patient, purpose)

    def _review(self) -> None:
        """Review every share of North but Dan's own: each third is revoked; standing shares are kept."""
        shares = [
            (patient, span)
            for patient, span in self.ledger.live_shares(self.now)
            if self.ledger.clinic[patient] == "north"
        ]
        verdicts = [
            ReviewVerdict(at + 2, "grant", span.number, patient, span.who, "revoke" if at % 3 == 0 else "keep")
            for at, (patient, span) in enumerate(shares)
        ]
        for clinic, span in self.ledger.standing:
            if clinic == "north" and span.live(self.now):
                verdicts.append(ReviewVerdict(len(verdicts) + 2, "standing_share", span.number, "", span.to, "keep"))
                self.ledger.kept_standing.add(span.number)
        actor = self.by("dan")
        due = actor.now + timedelta(days=14)
        review(self.pdp, actor=actor, campaign="north-2026", due=due, verdicts=verdicts)
        for (_, span), verdict in zip(shares, verdicts, strict=False):
            self.ledger.reviewed[span.number] = verdict.verdict
            if verdict.verdict == "revoke":
                span.ended = self.now

    # The first abuse: a leaver's last days.

    def _last_days(self) -> None:
        """Let mallory try others' patients, guess e-mails, share all patients with ivan, and leave."""
        self.now = END - timedelta(days=10)
        self.now = self.now.replace(hour=9, minute=0)
        for _ in range(12):
            self.add("mallory", "north")
        others = [patient for patient in self.ledger.clinic if "mallory" not in self.ledger.could(patient, self.now)]
        north = [patient for patient in others if self.ledger.clinic[patient] == "north"]
        self.now += timedelta(days=1) - timedelta(hours=2)
        for patient in north[:24]:
            self.view("mallory", patient, "")
        self.now += timedelta(days=1) - timedelta(hours=2)
        for number in range(21):
            try:
                share(
                    self.pdp,
                    actor=self.by("mallory"),
                    patients=[self._mallorys()[0]],
                    colleague=f"guess{number}@x.example",
                )
            except NotEligible:
                continue
        self.now += timedelta(days=1) - timedelta(hours=3)
        self.share([patient for patient in self._mallorys() if not self._shared(patient, "ivan")], "ivan")
        self.now += timedelta(days=2)
        self.leave("mallory", "north")

    def _mallorys(self) -> list[str]:
        return [patient for patient in self.ledger.clinic if self.ledger.owner(patient, self.now) == "mallory"]

    def _shared(self, patient: str, who: str) -> bool:
        return any(span.who == who and span.live(self.now) for span in self.ledger.shares.get(patient, ()))

    # The second abuse: rows written behind the service's back.

    def _plant(self) -> None:
        self.now = END - timedelta(days=3)
        quiet = [
            patient
            for patient, where in self.ledger.clinic.items()
            if where == "north" and len(self.could(patient)) == 1
        ]
        bobs = next(patient for patient in quiet if self.ledger.owner(patient, self.now) == "bob")
        carols = next(patient for patient in quiet if self.ledger.owner(patient, self.now) == "carol")
        self._grant("carol shares bob's", bobs, "carol", "carol")  # to themselves, and not theirs to give
        self._grant("to a leaver", carols, "erin", "carol")
        former, patient = self._former_owner()
        self._forge("a leaver sees", "erin", carols)
        self._forge("a former owner sees", former, patient)
        Membership.insert(
            practitioner="heidi", subscription="north", role="member", started_at=self.now, ended_at=FOREVER
        ).execute(self.database)
        self.ledger.members["heidi", "north"] = [Span("heidi", self.now)]
        kept = next(
            number for number, verdict in self.ledger.reviewed.items() if verdict == "keep" and self._live(number)
        )
        row = {"campaign": "behind", "grant": kept, "reviewer": "dan", "verdict": "revoke", "due_at": self.now}
        Review.insert(at=self.now, subscription="north", **row).execute(self.database)
        self.ledger.planted["revoke not carried out"] = kept
        back = to_micros(self.ledger.members["mallory", "north"][-1].ended - timedelta(hours=5))
        self.ledger.planted["clock set back"] = Event.insert(
            at=back,
            kind="practitioner:changed",
            subscription="north",
            body={"practitioner": "bob", "changed": ["name"]},
        ).execute(self.database)

    def could(self, patient: str) -> dict[str, str]:
        return self.ledger.could(patient, self.now)

    def _live(self, number: int) -> bool:
        return any(span.number == number for _, span in self.ledger.live_shares(END))

    def _former_owner(self) -> tuple[str, str]:
        """Return a former owner who still works there, and a patient that they cannot see any more."""
        for patient, spans in self.ledger.owners.items():
            for span in spans[:-1]:
                can = self.ledger.could(patient, self.now)
                if self.ledger.works(span.who, self.ledger.clinic[patient], self.now) and span.who not in can:
                    return span.who, patient
        raise AssertionError

    def _grant(self, name: str, patient: str, who: str, by: str) -> None:
        self.now += timedelta(minutes=7)
        number = Grant.insert(
            patient=patient, practitioner=who, role="viewer", origin="share", given_by=by, started_at=self.now
        ).execute(self.database)
        span = Span(who, self.now, number=number, by=by, has_event=False)
        self.ledger.shares.setdefault(patient, []).append(span)
        self.ledger.planted[name] = number

    def _forge(self, name: str, who: str, patient: str) -> None:
        """Record a permit that no policy gave."""
        actor = self.by(who)
        decided = Decision(True, "permitted", self.pdp.version, to_micros(actor.now), ("R5",))
        question = RecordedQuestion(("practitioner", who), "view", ("patient", patient), purpose="TREAT")
        record_decisions(self.database, actor, [(question, decided)])
        self.ledger.decisions.append(
            LedgerDecision(actor.now, who, patient, True, "TREAT", actor.request_id, False, forged=True)
        )
        number = RecordedDecision.select(RecordedDecision.id).order_by(RecordedDecision.id.desc()).limit(1)
        self.ledger.planted[name] = number.execute(self.database)[0].id


def login(who: str) -> str:
    return f"{who}@clinic.example"


def week_of(at: datetime) -> int:
    return (at - BEGIN) // timedelta(weeks=1)
