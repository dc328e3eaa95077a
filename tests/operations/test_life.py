"""Leaving, coming back, lapsing, roles, imports and two clocks, against an oracle in plain Python."""

import os
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from authz.database import Database, close_all, connect
from authz.errors import CaregrantError, ImportRefused
from authz.models import Event, Grant, Membership, StandingShare
from authz.operations import (
    end_membership,
    end_share,
    end_standing_share,
    put_membership,
    put_practitioner,
    put_subscription,
    share,
    share_all,
)
from authz.record import Actor, replay_facts
from tests.support.acting import login, pdp_of
from tests.support.lines import import_lines, line
from tests.support.people import NOW

DAY = timedelta(days=1)
WHO = st.sampled_from(["alice", "bob", "carol"])
ROLES = st.sampled_from(["member", "manager", "auditor"])
OUT = st.sampled_from(["end", "auditor", "import", "expire"])
BACK = st.sampled_from(["put", "import"])
PATIENTS = {"a-1": "alice", "b-1": "bob"}
PRACTISE = ("member", "manager")


class Life(RuleBasedStateMachine):
    """A fresh clinic of three people for each example, and the access that the rules give, computed by hand."""

    database: ClassVar[Database]
    runs: ClassVar[int] = 0

    @initialize(who=WHO, out=OUT, back=BACK)
    def begin(self, who: str, out: str, back: str) -> None:
        type(self).runs += 1
        self.here, self.minutes = f"clinic-{self.runs}", 0
        self.pdp = pdp_of(self.database)
        self.roles: dict[str, str] = {}
        self.shares: set[tuple[str, str]] = set()
        self.standing: set[tuple[str, str]] = set()
        self.expired: set[str] = set()
        self.live = True
        put_subscription(self.pdp, actor=self.actor(""), subscription=self.here, name="Clinic")
        for short in ("alice", "bob", "carol"):
            name = self.id(short)
            put_practitioner(self.pdp, actor=self.actor(""), practitioner=name, login=login(name), name=short)
            self.join(short, "member")
        for patient, owner in PATIENTS.items():
            fact = {"id": self.id(patient), "subscription": self.here, "name": "Pat", "owner": self.id(owner)}
            import_lines(self.database, line("patient", **fact), later=self.minutes)
        for patient, to in (("a-1", "bob"), ("a-1", "carol"), ("b-1", "alice"), ("b-1", "carol")):
            self.share(patient, to, ahead=False)
        for owner, to in (("alice", "bob"), ("bob", "carol"), ("carol", "alice")):
            self.share_all(owner, to, ahead=False)
        self.leave_and_come_back(who, out, back)

    def id(self, name: str) -> str:
        return f"{name}-{self.runs}"

    def actor(self, who: str, ahead: bool = False) -> Actor:
        """Return an actor a minute after the step before; a node with a wrong clock is a day ahead."""
        self.minutes += 2
        now = NOW + timedelta(minutes=self.minutes)
        return Actor(self.id(who) if who else "", now + DAY if ahead else now)

    def practises(self, who: str) -> bool:
        return self.live and self.roles.get(who) in PRACTISE

    def leaves(self, who: str) -> None:
        self.shares = {share for share in self.shares if share[1] != who}
        self.standing = {pair for pair in self.standing if who not in pair}

    def takes(self, who: str, role: str | None) -> None:
        before = self.roles.get(who)
        self.expired.discard(who)
        if before not in PRACTISE or role not in PRACTISE:
            self.leaves(who)
        if role is None:
            self.roles.pop(who, None)
        else:
            self.roles[who] = role

    @rule(who=WHO, role=ROLES)
    def join(self, who: str, role: str) -> None:
        put_membership(self.pdp, actor=self.actor(""), subscription=self.here, practitioner=self.id(who), role=role)
        self.takes(who, role)

    @rule(who=WHO)
    def leave(self, who: str) -> None:
        """End a membership; the operator is never refused, also after events of a clock ahead."""
        if who in self.roles:
            end_membership(self.pdp, actor=self.actor(""), subscription=self.here, practitioner=self.id(who))
            self.takes(who, None)

    @rule(who=WHO, role=ROLES)
    def import_a_role(self, who: str, role: str) -> None:
        fact = {"practitioner": self.id(who), "subscription": self.here, "role": role}
        self.minutes += 2
        try:
            report = import_lines(self.database, line("membership", **fact), later=self.minutes)
        except ImportRefused:
            return
        if report.changed or report.new:
            self.takes(who, role)

    @rule(who=WHO)
    def import_an_end(self, who: str) -> None:
        if who in self.roles:
            until = (NOW - DAY).isoformat()
            fact = {"practitioner": self.id(who), "subscription": self.here, "role": self.roles[who], "until": until}
            self.minutes += 2
            import_lines(self.database, line("membership", **fact), later=self.minutes)
            self.takes(who, None)

    @rule(who=WHO)
    def expire(self, who: str) -> None:
        """Let a membership expire without an operation; its shares count no more, and end with the return."""
        actor = self.actor("")
        member = {"subscription": self.here, "practitioner": self.id(who), "role": "member"}
        put_membership(self.pdp, actor=actor, until=actor.now + timedelta(minutes=1), **member)
        self.takes(who, "member")
        self.minutes += 2
        del self.roles[who]
        self.expired.add(who)

    @rule(who=WHO, out=OUT, back=BACK)
    def leave_and_come_back(self, who: str, out: str, back: str) -> None:
        """Leave and come back in one step, so that the examples have it often."""
        if out == "auditor":
            self.join(who, "auditor")
        elif out == "import":
            self.import_an_end(who)
        elif out == "expire":
            self.expire(who)
        else:
            self.leave(who)
        self.who_sees_is_who_the_rules_give()
        if back == "import":
            self.import_a_role(who, "member")
        else:
            self.join(who, "member")

    @rule(live=st.booleans())
    def lapse_or_resume(self, live: bool) -> None:
        put_subscription(self.pdp, actor=self.actor(""), subscription=self.here, name="Clinic", live=live)
        self.live = live

    @rule(patient=st.sampled_from(sorted(PATIENTS)), to=WHO, ahead=st.booleans())
    def share(self, patient: str, to: str, ahead: bool) -> None:
        actor = self.actor(PATIENTS[patient], ahead)
        try:
            share(self.pdp, actor=actor, patients=[self.id(patient)], colleague=login(self.id(to)))
        except CaregrantError:
            return
        assert self.practises(PATIENTS[patient])
        assert self.practises(to)
        if not ahead:
            self.shares.add((patient, to))

    @rule(owner=WHO, to=WHO, ahead=st.booleans())
    def share_all(self, owner: str, to: str, ahead: bool) -> None:
        try:
            share_all(self.pdp, actor=self.actor(owner, ahead), colleague=login(self.id(to)), subscription=self.here)
        except CaregrantError:
            return
        if not ahead:
            self.standing.add((owner, to))

    @rule(patient=st.sampled_from(sorted(PATIENTS)), to=WHO)
    def end_share(self, patient: str, to: str) -> None:
        """End a share that has not ended, also one that begins tomorrow, as an owner who practises."""
        actor = self.actor(PATIENTS[patient])
        same = (Grant.patient == self.id(patient), Grant.practitioner == self.id(to), Grant.role == "viewer")
        lasting = (Grant.ended_at > actor.now, Grant.ended_at > Grant.started_at)
        rows = list(Grant.select().where(*same, *lasting).execute(self.database))
        if not self.practises(PATIENTS[patient]):
            return
        for row in rows:
            end_share(self.pdp, actor=actor, patient=self.id(patient), grant=row.id)
        self.shares.discard((patient, to))

    @rule(owner=WHO)
    def end_all(self, owner: str) -> None:
        actor = self.actor(owner)
        lasting = (StandingShare.ended_at > actor.now, StandingShare.ended_at > StandingShare.started_at)
        rows = StandingShare.select().where(StandingShare.owner == self.id(owner), *lasting)
        if self.practises(owner):
            for row in list(rows.execute(self.database)):
                end_standing_share(self.pdp, actor=actor, standing_share=row.id)
            self.standing = {pair for pair in self.standing if pair[0] != owner}

    @invariant()
    def who_sees_is_who_the_rules_give(self) -> None:
        at = NOW + timedelta(minutes=self.minutes)
        for patient, owner in PATIENTS.items():
            viewers = {owner} | {who for shared, who in self.shares if shared == patient}
            if self.practises(owner):
                viewers |= {who for giver, who in self.standing if giver == owner}
            seen = self.pdp.search_subjects("practitioner", "view", ("patient", self.id(patient)), now=at)
            assert sorted(seen) == sorted(self.id(who) for who in viewers if self.practises(who))

    @invariant()
    def who_left_holds_nothing(self) -> None:
        """R11: a leaver holds no share from the instant of the leave on, not only after the return."""
        at = NOW + timedelta(minutes=self.minutes)
        gone = {"alice", "bob", "carol"} - {who for who, role in self.roles.items() if role in PRACTISE} - self.expired
        for who in map(self.id, gone):
            held = (Grant.practitioner == who, Grant.role == "viewer")
            standing = (StandingShare.owner == who) | (StandingShare.colleague == who)
            for model, conditions in ((Grant, held), (StandingShare, (standing,))):
                lasting = (model.ended_at > at, model.ended_at > model.started_at)
                assert not model.select().where(*conditions, *lasting).exists(self.database)

    @invariant()
    def one_role_each(self) -> None:
        at = NOW + timedelta(minutes=self.minutes)
        live = Membership.select().where(
            Membership.subscription == self.here, Membership.started_at <= at, Membership.ended_at > at
        )
        rows = {row.practitioner_id: row.role for row in live.execute(self.database)}
        assert rows == {self.id(who): role for who, role in self.roles.items()}
        assert live.count(self.database) == len(rows)

    @invariant()
    def events_go_forward_within_the_clinic(self) -> None:
        rows = Event.select(Event.at).where(Event.subscription == self.here).order_by(Event.id)
        instants = [row.at for row in rows.execute(self.database)]
        assert instants == sorted(instants)

    @invariant()
    def the_events_tell_the_facts(self) -> None:
        assert replay_facts(self.database)[1] == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_life(kind: str, request: pytest.FixtureRequest) -> None:
    """In any life people have exactly the access that the rules give, no end is refused, and replay gives the facts."""
    database = connect(request.getfixturevalue(f"{kind}_url"))
    database.connect()
    machine = type("LifeOn", (Life,), {"database": database})
    examples = int(os.environ.get("CAREGRANT_EXAMPLES", "120")) // (6 if kind == "sqlite" else 15)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        close_all(database)
