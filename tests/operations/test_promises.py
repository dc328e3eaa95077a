"""The invariants hold after each step of any sequence of operations."""

import itertools
import os
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from authz.database import Database, close_all, connect
from authz.domain import EMERGENCY_VERDICTS, FOREVER
from authz.errors import CaregrantError
from authz.models import MODELS, Grant, Membership, Patient
from authz.operations import (
    add_patient,
    break_glass,
    change_share,
    end_membership,
    end_share,
    end_standing_share,
    put_membership,
    put_practitioner,
    put_subscription,
    review_emergency,
    share,
    share_all,
    transfer,
    undo_transfer,
)
from authz.policy.pdp import PDP
from authz.record import Actor, replay_facts
from tests.support.acting import login
from tests.support.emergency import EMERGENCY_POLICY
from tests.support.people import NOW

CLINICS = {"alice": "north", "bob": "north", "dan": "north", "frank": "city", "mia": "city"}
PEOPLE = st.sampled_from([*CLINICS, "gus"])
PATIENTS = st.sampled_from([f"p-{number}" for number in range(4)])

RECORD = ("policy_text", "event", "decision", "leaf", "seal", "checkpoint", "erased", "review", "emergency")


class Machine(RuleBasedStateMachine):
    """A state machine: any operations by anybody on few people and patients, a second apart or at one instant."""

    database: ClassVar[Database]

    @initialize()
    def begin(self) -> None:
        self._forget_record()
        for model in reversed(MODELS):
            if model._meta.table_name not in (*RECORD, "spool_position"):
                model.delete().execute(self.database)
        self.later = 0
        self.pdp = PDP(self.database, EMERGENCY_POLICY)
        for clinic in ("north", "city"):
            put_subscription(self.pdp, actor=self.by(""), subscription=clinic, name=clinic)
        for who in (*CLINICS, "gus"):
            put_practitioner(self.pdp, actor=self.by(""), practitioner=who, login=login(who), name=who)
        for who, clinic in CLINICS.items():
            role = "manager" if who == "dan" else "member"
            put_membership(self.pdp, actor=self.by(""), subscription=clinic, practitioner=who, role=role)
        for number, owner in enumerate(("alice", "alice", "bob")):
            add_patient(self.pdp, actor=self.by(owner), patient=f"p-{number}", name="Pat", subscription="north")

    def _forget_record(self) -> None:
        """Empty the record without its triggers, as only a test may, and put the triggers back."""
        for table in RECORD:
            if self.database.dialect == "postgresql":
                self.database.execute_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
                self.database.execute_sql(f"DELETE FROM {table}")
                self.database.execute_sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
                continue
            sql = self.database.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (f"{table}_delete",))
            (made,) = sql.fetchone()
            self.database.execute_sql(f"DROP TRIGGER {table}_delete")
            self.database.execute_sql(f"DELETE FROM {table}")
            self.database.execute_sql(made)

    def by(self, who: str) -> Actor:
        return Actor(who, NOW + timedelta(seconds=self.later))

    def _try(self, operation: Any, who: str, ends: str | None = None, **arguments: Any) -> None:
        """Try an operation: a refusal changes no access, and an operation that ends access gives nobody more."""
        before = self._seen()
        try:
            operation(self.pdp, actor=self.by(who), **arguments)
        except CaregrantError:
            assert self._seen() == before
        else:
            gained = self._seen() - before
            assert not ends or not gained
            if operation is transfer:
                taker = arguments["colleague"].split("@")[0]
                assert (who, arguments["patients"][0]) not in gained
                assert all((taker, patient) in self._seen() for patient in arguments["patients"])

    def _seen(self) -> set[tuple[str, str]]:
        held = self.pdp.matrix("practitioner", "view", "patient", now=NOW + timedelta(seconds=self.later))
        return {(entry.subject, entry.resource) for entry in held}

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.later += seconds

    @rule(who=PEOPLE, patient=PATIENTS, to=PEOPLE, until=st.sampled_from([None, 1, 3]))
    def share(self, who: str, patient: str, to: str, until: int | None) -> None:
        end = None if until is None else self.by(who).now + timedelta(seconds=until)
        self._try(share, who, patients=[patient], colleague=login(to), until=end)

    def _share(self, number: int) -> Any:
        """Return the share with this number, the newest first."""
        grants = list(Grant.select().where(Grant.role == "viewer").order_by(Grant.id.desc()).execute(self.database))
        return grants[number] if number < len(grants) else None

    @rule(who=PEOPLE, number=st.integers(0, 6))
    def end_share(self, who: str, number: int) -> None:
        if grant := self._share(number):
            self._try(end_share, who, ends="share", patient=grant.patient_id, grant=grant.id)

    @rule(who=PEOPLE, number=st.integers(0, 6), until=st.sampled_from([None, 1, 3, 10**6]))
    def change_share(self, who: str, number: int, until: int | None) -> None:
        if grant := self._share(number):
            end = FOREVER if until is None else self.by(who).now + timedelta(seconds=until)
            before = self._seen()
            reason = {"reason": str(until)} if until == 1 else {}
            self._try(change_share, who, ends="share", patient=grant.patient_id, grant=grant.id, until=end, **reason)
            assert self._seen() == before  # another end changes nothing before it comes

    @rule(who=PEOPLE, patients=st.lists(PATIENTS, min_size=1, max_size=2, unique=True), to=PEOPLE, end=st.booleans())
    def transfer(self, who: str, patients: list[str], to: str, end: bool) -> None:
        self._try(transfer, who, patients=patients, colleague=login(to), end_shares=end)

    @rule(who=PEOPLE, patients=st.lists(PATIENTS, min_size=1, max_size=2, unique=True))
    def undo_transfer(self, who: str, patients: list[str]) -> None:
        self._try(undo_transfer, who, patients=patients)

    @rule(who=PEOPLE, patient=PATIENTS, to=PEOPLE, end=st.booleans(), seconds=st.integers(0, 2))
    def transfer_and_undo(self, who: str, patient: str, to: str, end: bool, seconds: int) -> None:
        """Undo a transfer: everybody but leavers has the access of before, and nobody has more."""
        before = self._seen()
        try:
            transfer(self.pdp, actor=self.by(who), patients=[patient], colleague=login(to), end_shares=end)
            self.later += seconds
            undo_transfer(self.pdp, actor=self.by(who), patients=[patient])
        except CaregrantError:
            return
        assert self._seen() <= before
        assert seconds or self._seen() == before

    @rule(who=PEOPLE, patient=PATIENTS, seconds=st.integers(1, 4), reason=st.sampled_from("abc"))
    def break_glass(self, who: str, patient: str, seconds: int, reason: str) -> None:
        stated = {"patient": patient, "purpose": "BTG", "reason": reason}
        self._try(break_glass, who, lasts=timedelta(seconds=seconds), **stated)

    @rule(who=PEOPLE, number=st.integers(1, 3), verdict=st.sampled_from(EMERGENCY_VERDICTS))
    def review_emergency(self, who: str, number: int, verdict: str) -> None:
        self._try(review_emergency, who, ends="review", emergency=number, verdict=verdict)

    @rule(who=PEOPLE, to=PEOPLE, content=st.booleans())
    def share_all(self, who: str, to: str, content: bool) -> None:
        self._try(share_all, who, colleague=login(to), content=content)

    @rule(who=PEOPLE, number=st.integers(1, 6))
    def end_standing_share(self, who: str, number: int) -> None:
        self._try(end_standing_share, who, ends="share", standing_share=number)

    @rule(who=PEOPLE, patient=PATIENTS)
    def add_patient(self, who: str, patient: str) -> None:
        self._try(add_patient, who, patient=patient, name="Pat")

    @rule(by=st.sampled_from(["", "dan", "alice"]), who=PEOPLE, role=st.sampled_from(["member", "manager", "auditor"]))
    def join(self, by: str, who: str, role: str) -> None:
        clinic = CLINICS.get(who, "north")
        self._try(put_membership, by, subscription=clinic, practitioner=who, role=role)

    @rule(by=st.sampled_from(["", "dan", "alice"]), who=PEOPLE)
    def leave(self, by: str, who: str) -> None:
        clinic = CLINICS.get(who, "north")
        self._try(end_membership, by, ends="membership", subscription=clinic, practitioner=who)

    @rule(live=st.booleans())
    def lapse_or_resume(self, live: bool) -> None:
        self._try(put_subscription, "", subscription="north", name="north", live=live)

    @invariant()
    def one_owner_at_every_instant(self) -> None:
        for patient in Patient.select().execute(self.database):
            owned = Grant.select().where(
                Grant.patient == patient.id, Grant.role == "owner", Grant.ended_at > Grant.started_at
            )
            lives = sorted((grant.started_at, grant.ended_at) for grant in owned.execute(self.database))
            assert lives[0][0] == patient.started_at
            assert lives[-1][1].year == 9999
            assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(lives))

    @invariant()
    def nobody_sees_without_a_grant_and_a_membership(self) -> None:
        at = NOW + timedelta(seconds=self.later)
        works = {
            (membership.practitioner_id, membership.subscription_id)
            for membership in Membership.select()
            .where(Membership.started_at <= at, Membership.ended_at > at, Membership.role != "auditor")
            .execute(self.database)
        }
        clinics = {patient.id: patient.subscription_id for patient in Patient.select().execute(self.database)}
        for who, patient in self._seen():
            assert (who, clinics[patient]) in works

    @invariant()
    def searches_agree_with_evaluations(self) -> None:
        at = NOW + timedelta(seconds=self.later)
        seen = self._seen()
        patients = [patient.id for patient in Patient.select().execute(self.database)]
        for patient in patients:
            listed = self.pdp.search_subjects("practitioner", "view", ("patient", patient), now=at)
            assert listed == sorted(who for who, seen_patient in seen if seen_patient == patient)
        pairs = [(who, patient) for patient in patients for who in (*CLINICS, "gus")]
        questions = [(("practitioner", who), "view", ("patient", patient)) for who, patient in pairs]
        allowed = [decision.allowed for decision in self.pdp.evaluate_many(questions, now=at)]
        assert allowed == [pair in seen for pair in pairs]

    @invariant()
    def the_events_tell_all(self) -> None:
        assert replay_facts(self.database)[1] == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_promises(kind: str, request: pytest.FixtureRequest) -> None:
    """After any operations each patient has one owner, access needs grant and membership, and events agree."""
    database = connect(request.getfixturevalue(f"{kind}_url"))
    database.connect()
    machine = type("MachineOn", (Machine,), {"database": database})
    examples = int(os.environ.get("CAREGRANT_EXAMPLES", "120")) // (4 if kind == "sqlite" else 12)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        close_all(database)
