"""Policy history: every interface answers about a past instant by the policy in force then, or refuses."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz import open_pdp
from authz.audit import questions as ask
from authz.audit.session import open_audit
from authz.cli import caregrant
from authz.database import Database, connect, gather_statistics
from authz.domain import FOREVER, format_instant
from authz.errors import CaregrantError, InvalidInput, NotFound, PolicyRefused, PolicyUnknown
from authz.models import Event, Grant, PolicyText, RecordedDecision
from authz.operations import share
from authz.policy.compiler import CompiledPolicy, compile_texts, load, version_of
from authz.policy.compiler.load import LARGEST, MOST_FILES
from authz.policy.history import _IN_FORCE
from authz.policy.pdp import PDP
from authz.record import (
    Actor,
    NewEvent,
    RecordedQuestion,
    append,
    list_served_policies,
    record_decisions,
    record_policy_loaded,
    replay_facts,
)
from tests.support import people
from tests.support.acting import POLICY, by, login, served_since
from tests.support.cli import refused, run
from tests.support.http import App, answered, assert_problem, question, service
from tests.support.people import LAST_YEAR, LONG_AGO, NOW
from tests.support.tampering import put_aside

OPEN = compile_texts({"p.polar": 'allow(p: Practitioner, "view", _: Patient) if p.id = "oscar";'})
OSCAR, PATIENT = ("practitioner", "oscar"), ("patient", "p-1")
OPEN_DAY, CLOSED_DAY = LAST_YEAR - timedelta(days=9), LAST_YEAR + timedelta(days=9)
UNSERVED_DAY = LONG_AGO - timedelta(days=9)


@pytest.fixture
def clinic(database: Database) -> Database:
    """Return the cast after two policies: until last year one that let Oscar see everybody, then the shipped one."""
    people.fill(database)
    served_since(database, LONG_AGO, OPEN)
    served_since(database, LAST_YEAR)
    return database


def of_python(database: Database, _: str, at: datetime) -> list[bool]:
    pdp = PDP(database, POLICY)
    return [
        pdp.evaluate(OSCAR, "view", PATIENT, at=at).allowed,
        pdp.evaluate_many([(OSCAR, "view", PATIENT)] * 2, at=at)[1].allowed,
        "p-1" in pdp.search_resources(OSCAR, "view", "patient", at=at),
        "oscar" in pdp.search_subjects("practitioner", "view", PATIENT, at=at),
        "view" in pdp.search_actions(OSCAR, PATIENT, at=at),
        any(entry[:2] == ("oscar", "p-1") for entry in pdp.matrix("practitioner", "view", "patient", at=at)),
        pdp.explain(OSCAR, "view", PATIENT, at=at).decision.allowed,
    ]


def of_http(database: Database, _: str, at: datetime) -> list[bool]:
    auditor = App(service(database), database, "decide", "audit")
    about = question("oscar", context={"at": format_instant(at), "explain": True})
    shown = {"at": format_instant(at)}
    single = answered(auditor.ask(about))
    (item,) = answered(auditor.ask({**about, "evaluations": [{}]}, "/access/v1/evaluations"))["evaluations"]

    def search(part: str) -> list[Any]:
        body = {**about, "context": shown, part: {"type": about.get(part, {}).get("type")}}
        return [result.get("id") for result in answered(auditor.ask(body, f"/access/v1/search/{part}"))["results"]]

    actions = answered(auditor.ask({**about, "context": shown}, "/access/v1/search/action"))["results"]
    explained = [any(not derivation["unmet"] for derivation in body["context"]["ways"]) for body in (single, item)]
    rows = RecordedDecision.select(RecordedDecision.policy_version, RecordedDecision.at).tuples().execute(database)
    assert set(rows) == {(single["context"]["policy_version"], at)}, "the record names the policy and the instant"
    in_lists = ["oscar" in search("subject"), "p-1" in search("resource"), {"name": "view"} in actions]
    return [single["decision"], item["decision"], *explained, *in_lists]


def of_commands(_: Database, url: str, at: datetime) -> list[bool]:
    then = ("--at", format_instant(at), "--json")
    return [
        json.loads(command("check", "practitioner:oscar", "view", "patient:p-1", *then, url=url))["decision"],
        "oscar" in json.loads(command("who", "view", "patient:p-1", *then, url=url)),
        "p-1" in json.loads(command("what", "practitioner:oscar", "view", "patient", *then, url=url)),
    ]


def command(*arguments: str, url: str) -> str:
    """Run a command in this process and return its output; raise what it raises."""
    done = CliRunner().invoke(caregrant, [*arguments, "--database", url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def of_notebooks(_: Database, url: str, at: datetime) -> list[bool]:
    audit = open_audit(url, as_of=at)
    could = ask.who_could(audit, patient="p-1").frame
    reach = ask.what_could_reach(audit, practitioner="oscar").frame
    version = (OPEN if at < LAST_YEAR else POLICY).version
    assert set(could.policy_version) | set(reach.policy_version) == {version}
    assert audit.policy_described == version[:12]
    audit.close()
    return ["oscar" in set(could.practitioner), "p-1" in set(reach.patient)]


DOORS: list[Callable[[Database, str, datetime], list[bool]]] = [of_python, of_http, of_commands, of_notebooks]


@pytest.mark.parametrize("door", DOORS)
def test_the_past_is_answered_by_the_policy_of_then(
    clinic: Database, database_url: str, door: Callable[[Database, str, datetime], list[bool]]
) -> None:
    """Every interface answers by the old policy until its last microsecond, and from then on by the new one."""
    assert set(door(clinic, database_url, LAST_YEAR - timedelta(microseconds=1))) == {True}
    if clinic.dialect == "sqlite":  # answers of the second instant would mix with those of the first in the record
        other = connect(database_url)
        for statement in ("DROP TRIGGER decision_delete", "DELETE FROM decision"):
            other.execute_sql(statement)
    else:
        clinic.execute_sql("ALTER TABLE decision DISABLE TRIGGER decision_append_only")
        clinic.execute_sql("DELETE FROM decision")
    assert set(door(clinic, database_url, LAST_YEAR)) == {False}


def test_now_is_answered_by_the_policy_that_decides(clinic: Database, database_url: str) -> None:
    """Without `at`, also with `now` for the instant of the facts, a PDP answers by its own policy."""
    opened = PDP(clinic, OPEN)
    assert opened.evaluate(OSCAR, "view", PATIENT).allowed
    assert opened.evaluate(OSCAR, "view", PATIENT, now=CLOSED_DAY).allowed
    assert not opened.evaluate(OSCAR, "view", PATIENT, at=CLOSED_DAY).allowed
    with pytest.raises(InvalidInput, match="not about both"):
        opened.evaluate(OSCAR, "view", PATIENT, at=NOW, now=NOW)
    arguments = ("check", "practitioner:oscar", "view", "patient:p-1", "--at", format_instant(OPEN_DAY))
    assert run(*arguments, "--todays-policy", url=database_url, exit_code=1).startswith("denied")
    audit = open_audit(database_url, as_of=OPEN_DAY)
    assert "oscar" not in set(ask.who_could(audit, patient="p-1", policy="today").frame.practitioner)
    assert "oscar" in set(ask.who_could(audit.at(NOW), patient="p-1", policy=OPEN.version).frame.practitioner)
    audit.close()


def test_a_change_asks_the_policy_of_its_service_whatever_the_clock_says(clinic: Database) -> None:
    """An operation asks the policy of its service, also if its clock is set back to the time of another policy."""
    with pytest.raises(NotFound):
        share(PDP(clinic, POLICY), actor=Actor("oscar", OPEN_DAY), patients=["p-1"], colleague=login("dan"))


# Policies that are not known.


def unserved(_: Database) -> datetime:
    return UNSERVED_DAY


def not_kept(database: Database) -> datetime:
    """Delete the kept policies, as if the release before had served."""
    put_aside(database, "DELETE FROM policy_text")
    return OPEN_DAY


def changed_text(database: Database) -> datetime:
    """Store another text under the version of the policy that served."""
    texts = json.dumps({"p.polar": 'allow(_: Practitioner, "view", _: Patient);'})
    put_aside(database, f"UPDATE policy_text SET files = '{texts}' WHERE version = '{OPEN.version}'")
    return OPEN_DAY


def no_text_at_all(database: Database) -> datetime:
    put_aside(database, f"UPDATE policy_text SET files = '[1]' WHERE version = '{OPEN.version}'")
    return OPEN_DAY


def outgrown(database: Database) -> datetime:
    """Add a past policy that names a field which this release does not have."""
    return served_before(database, 'allow(p: Practitioner, "view", _: Patient) if p.nickname = "x";')


def number_within_a_condition(database: Database) -> datetime:
    """Add a past policy with a rule number in the old form that is not the first condition."""
    return served_before(database, 'allow(p: Practitioner, "view", _: Patient) if p.id = "x" or "R1" in p.rules;')


def served_before(database: Database, text: str) -> datetime:
    texts = {"p.polar": text}
    version = version_of(texts)
    PolicyText.insert(version=version, files=texts).execute(database)
    Event.insert(at=LAST_YEAR, kind="policy:loaded", body={"policy_version": version, "source": "before"}).execute(
        database
    )
    return CLOSED_DAY


def forged(database: Database) -> datetime:
    """Add events that name no version."""
    bodies: list[Any] = [{}, [], {"policy_version": 1, "source": 2}]
    for number, body in enumerate(bodies):
        Event.insert(at=LAST_YEAR + timedelta(days=number), kind="policy:loaded", body=body).execute(database)
    assert [period.version for period in list_served_policies(database)][2:] == ["", "", ""]
    return CLOSED_DAY


UNKNOWN: dict[Callable[[Database], datetime], str] = {
    unserved: "no service had begun here by then",
    not_kept: "served before policies were kept",
    changed_text: f"the text that is kept of version {OPEN.version[:12]} was changed",
    no_text_at_all: f"the text that is kept of version {OPEN.version[:12]} was changed",
    forged: "its event names no version",
    outgrown: "no type has a field 'nickname'",
    number_within_a_condition: "the number of a rule is a comment directly above it",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_policy_that_is_not_known_answers_nothing(
    clinic: Database, database_url: str, case: Callable[[Database], datetime]
) -> None:
    """If the policy of an instant is not known, every interface refuses with the reason, and records no decision."""
    at, why = case(clinic), UNKNOWN[case]
    message = f"the policy of {format_instant(at)} is not known: "
    pdp = PDP(clinic, POLICY)
    calls: list[Callable[[], object]] = [
        lambda: pdp.evaluate(OSCAR, "view", PATIENT, at=at),
        lambda: pdp.evaluate_many([(OSCAR, "view", PATIENT)], at=at),
        lambda: pdp.search_resources(OSCAR, "view", "patient", at=at),
        lambda: pdp.search_subjects("practitioner", "view", PATIENT, at=at),
        lambda: pdp.search_actions(OSCAR, PATIENT, at=at),
        lambda: list(pdp.matrix("practitioner", "view", "patient", at=at)),
        lambda: pdp.explain(OSCAR, "view", PATIENT, at=at),
    ]
    for call in calls:
        with pytest.raises(PolicyUnknown) as unknown:
            call()
        assert str(unknown.value).startswith(message)
        assert why in str(unknown.value)
    auditor = App(service(clinic), clinic, "decide", "audit")
    about = question("oscar", context={"at": format_instant(at)})
    paths = ("evaluation", "search/subject", "search/resource", "search/action")
    for path in paths:
        assert_problem(auditor.ask(about, f"/access/v1/{path}"), 422, "policy-unknown", why)
    many = {**about, "evaluations": [{"context": {}}, {}]}
    assert_problem(auditor.ask(many, "/access/v1/evaluations"), 422, "policy-unknown", why)
    assert RecordedDecision.select().count(clinic) == 0
    then = ("--at", format_instant(at))
    commands = (("check", "practitioner:oscar", "view", "patient:p-1"), ("who", "view", "patient:p-1"))
    for arguments in (*commands, ("what", "practitioner:oscar", "view", "patient")):
        with pytest.raises(PolicyUnknown, match="is not known"):
            command(*arguments, *then, url=database_url)
    audit = open_audit(database_url, as_of=at)
    with pytest.raises(PolicyUnknown, match="is not known"):
        ask.who_could(audit, patient="p-1")
    assert why in audit.policy_described
    audit.close()


def test_the_present_of_a_database_that_no_service_used(sqlite_database: Database, sqlite_url: str) -> None:
    """Before the first service the policies of the settings answer about the present, but not about the past."""
    people.fill(sqlite_database)
    with open_pdp(sqlite_url) as pdp:
        assert pdp.evaluate(("practitioner", "alice"), "view", PATIENT).allowed
    audit = open_audit(sqlite_url)
    assert "alice" in set(ask.who_could(audit, patient="p-1").frame.practitioner)
    with pytest.raises(PolicyUnknown):
        ask.who_could(audit, patient="p-1", as_of=NOW)
    audit.close()


def test_a_report_of_now_names_the_policy_in_force(clinic: Database, database_url: str, tmp_path: Path) -> None:
    """A notebook that was opened with another directory answers by the policy that is in force."""
    (tmp_path / "p.polar").write_text(OPEN.texts["p.polar"])
    audit = open_audit(database_url, policies=tmp_path)
    assert audit.pdp.version == OPEN.version
    assert audit.policy_described == POLICY.version[:12]
    assert "oscar" not in set(ask.who_could(audit, patient="p-1").frame.practitioner)
    audit.close()


def test_the_policy_of_an_instant_is_read_by_an_index(clinic: Database) -> None:
    """The policy in force at an instant is looked up by an index, however many events there are."""
    actor = Actor("", NOW)
    for _ in range(20):
        append(clinic, actor, [NewEvent("audit:exported", "", {"file": "x"})] * 100)
    explain = "EXPLAIN QUERY PLAN " if clinic.dialect == "sqlite" else "EXPLAIN "
    for gather in (lambda: None, lambda: gather_statistics(clinic)):
        gather()
        plan = clinic.execute_sql(explain + _IN_FORCE.format(str(1_800_000_000_000_000))).fetchall()
        assert "event_policy_in_force" in str(plan), plan


# How policies are kept.


def test_a_text_is_kept_once_and_cannot_change(clinic: Database) -> None:
    """The first service of a version keeps its text, with an event, and the database refuses a change of the text."""
    served_since(clinic, NOW, OPEN)
    assert {kept.version: kept.files for kept in PolicyText.select().execute(clinic)} == {
        OPEN.version: OPEN.texts,
        POLICY.version: POLICY.texts,
    }
    kept = Event.select(Event.body).where(Event.kind == "policy:kept").order_by(Event.id).tuples().execute(clinic)
    assert [body["after"]["version"] for (body,) in kept] == [OPEN.version, POLICY.version]
    for change in (PolicyText.update(files={}), PolicyText.delete()):
        with pytest.raises(peewee.IntegrityError, match="append-only"):
            change.execute(clinic)
    assert "policy" not in {difference.noun for difference in replay_facts(clinic)[1]}, "every kept text has its event"


NUMBERED = {
    "comments": '# R{}. Oscar views.\nallow(p: Practitioner, "view", _: Patient) if p.id = "oscar";',
    "a first condition": 'allow(p: Practitioner, "view", _: Patient) if "R{}" in p.rules and p.id = "oscar";',
}


@pytest.mark.parametrize("form", NUMBERED)
def test_the_first_derivation_stays_the_first(clinic: Database, tmp_path: Path, form: str) -> None:
    """A kept policy has its files in the directory's order, so that a decision about the past names the same rule."""
    for name, number in (("b", 2), ("aa", 1)):
        (tmp_path / f"{name}.polar").write_text(NUMBERED[form].format(number))
    policy = load(tmp_path)
    served_since(clinic, NOW, policy)
    then = PDP(clinic, policy).evaluate(OSCAR, "view", PATIENT, now=NOW)
    assert then.rule == "R1"
    assert PDP(clinic, POLICY).evaluate(OSCAR, "view", PATIENT, at=NOW) == then


@pytest.mark.parametrize("case", [not_kept, changed_text])
def test_a_text_that_was_changed_or_deleted_shows(
    clinic: Database, database_url: str, case: Callable[[Database], datetime]
) -> None:
    """Replay and reconciliation name the version whose text was changed or deleted."""
    case(clinic)
    differences = [
        (difference.side, json.loads(difference.row))
        for difference in replay_facts(clinic)[1]
        if difference.noun == "policy"
    ]
    assert ("told", {"version": OPEN.version}) in differences
    audit = open_audit(database_url)
    differing = ask.reconciliation(audit).frame
    assert OPEN.version in set(differing.policy_version[differing.noun == "policy"])
    audit.close()


def test_a_service_of_the_same_version_keeps_the_text_after_an_upgrade(clinic: Database) -> None:
    """After an upgrade the next service keeps the text of its version, which then answers about earlier instants."""
    not_kept(clinic)
    assert not record_policy_loaded(clinic, Actor("", NOW), POLICY, "policies")
    assert not PDP(clinic, OPEN).evaluate(OSCAR, "view", PATIENT, at=CLOSED_DAY).allowed
    with pytest.raises(PolicyUnknown):
        PDP(clinic, POLICY).evaluate(OSCAR, "view", PATIENT, at=OPEN_DAY)


def test_the_text_of_before_can_be_brought(clinic: Database, database_url: str, tmp_path: Path) -> None:
    """`policy keep` keeps a directory only if its version served this database; `policy history` shows it as kept."""
    not_kept(clinic)
    (tmp_path / "p.polar").write_text(OPEN.texts["p.polar"])
    assert "NOT KEPT" in run("policy", "history", url=database_url)
    assert run("policy", "keep", str(tmp_path), url=database_url) == f"kept {OPEN.version}\n"
    assert run("policy", "keep", str(tmp_path), url=database_url) == f"kept already: {OPEN.version}\n"
    assert PDP(clinic, POLICY).evaluate(OSCAR, "view", PATIENT, at=OPEN_DAY).allowed
    periods = json.loads(run("policy", "history", "--json", url=database_url))
    began = format_instant(LAST_YEAR)
    assert [(period["version"], period["until"], period["kept"]) for period in periods] == [
        (OPEN.version, began, True),
        (POLICY.version, None, False),
    ]
    shown = run("policy", "show", OPEN.version[:12], "--text", url=database_url)
    assert shown == f"# p.polar\n{OPEN.texts['p.polar']}\n"
    assert "practitioner view patient" in run("policy", "show", OPEN.version, url=database_url)
    assert "served before policies were kept" in refused("policy", "show", POLICY.version, url=database_url)
    assert "no such version served" in refused("policy", "show", "0" * 12, url=database_url)
    (tmp_path / "q.polar").write_text('allow(_: Practitioner, "view", _: Patient);')
    assert "never served this database" in refused("policy", "keep", str(tmp_path), url=database_url)


def test_two_services_at_once(clinic: Database) -> None:
    """The policy of the service that started last is in force; each decision names the version that made it."""
    served_since(clinic, NOW, OPEN)
    older = PDP(clinic, POLICY).evaluate(OSCAR, "view", PATIENT, now=NOW + timedelta(hours=1))
    assert (older.allowed, older.policy_version) == (False, POLICY.version)
    for pdp in (PDP(clinic, POLICY), PDP(clinic, OPEN)):
        assert pdp.evaluate(OSCAR, "view", PATIENT, at=NOW + timedelta(hours=1)).allowed
    assert [period.version for period in list_served_policies(clinic)] == [OPEN.version, POLICY.version, OPEN.version]


def test_few_policies_stay_compiled(clinic: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each past policy is compiled once for many questions, and at most eight stay in memory."""
    names = [f"n-{number}" for number in range(12)]
    for day, name in enumerate(names):
        policy = compile_texts({"p.polar": f'allow(p: Practitioner, "view", _: Patient) if p.id = "{name}";'})
        served_since(clinic, NOW + timedelta(days=day), policy)
    compiled = list[str]()

    def counted(texts: dict[str, str]) -> CompiledPolicy:
        compiled.append(texts["p.polar"])
        return compile_texts(texts)

    monkeypatch.setattr("authz.policy.history.compile_texts", counted)
    pdp = PDP(clinic, POLICY)
    for day, name in enumerate(names):
        for _ in range(3):
            derivations = pdp.explain(OSCAR, "view", PATIENT, at=NOW + timedelta(days=day, hours=1)).derivations
            assert name in str(derivations)
    assert len(compiled) == len(names)
    assert pdp._history._remembered.cache_info().currsize == 8


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"p.polar": "#" * LARGEST, "q.polar": "##"}, f"the directory has more than {LARGEST} bytes"),
        ({f"{number}.polar": "" for number in range(MOST_FILES + 1)}, f"has {MOST_FILES + 1} files; at most"),
        ({"p.polar": 'allow(_, "view", _); # \0'}, "p.polar: holds a NUL character"),
    ],
)
def test_a_directory_that_cannot_be_kept_is_refused(tmp_path: Path, files: dict[str, str], why: str) -> None:
    """A directory with too many bytes, too many files or a NUL character is refused."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(PolicyRefused, match=why):
        load(tmp_path)


# The record against the policies.


def test_what_an_older_policy_declared_is_told_of_the_patient(
    clinic: Database, database_url: str, tmp_path: Path
) -> None:
    """A decision about a document still counts for its patient after a policy without documents is in force."""
    recorded = RecordedQuestion(("practitioner", "alice"), "view", ("document", "by-alice"))
    decision = PDP(clinic, POLICY).evaluate(recorded.subject, recorded.action, recorded.resource, now=CLOSED_DAY)
    assert decision.allowed
    record_decisions(clinic, Actor("alice", CLOSED_DAY), [(recorded, decision)])
    (tmp_path / "p.polar").write_text(OPEN.texts["p.polar"])
    audit = open_audit(database_url, policies=tmp_path, as_of=NOW)
    years: dict[str, Any] = {"since": LONG_AGO, "until": NOW}
    assert "by-alice" in set(ask.who_did(audit, patient="p-1", **years).frame.resource)
    assert len(ask.subject_access(audit, patient="p-1", **years)) == 1
    audit.close()


def test_decisions_are_replayed_by_their_own_policy(clinic: Database, database_url: str) -> None:
    """Decisions are replayed by their own policy: only the forged one differs, and each other row has its reason."""
    opened, closed = PDP(clinic, OPEN), PDP(clinic, POLICY)
    unknown = compile_texts({"p.polar": 'allow(_: Practitioner, "x", _: Patient);'})
    recorded, actor = RecordedQuestion(OSCAR, "view", PATIENT), by("oscar")
    then = [
        opened.evaluate(OSCAR, "view", PATIENT, now=OPEN_DAY),
        closed.evaluate(OSCAR, "view", PATIENT, now=CLOSED_DAY),
        closed.evaluate(OSCAR, "view", PATIENT, now=CLOSED_DAY + timedelta(days=1))._replace(allowed=True),
        opened.evaluate(OSCAR, "view", PATIENT, now=NOW)._replace(policy_version=unknown.version),
        opened.evaluate(OSCAR, "view", PATIENT, now=NOW)._replace(policy_version=""),
        opened.evaluate(OSCAR, "view", PATIENT, now=NOW)._replace(evaluated_micros=0),
    ]
    record_decisions(clinic, actor, [(recorded, decision) for decision in then])
    audit = open_audit(database_url, as_of=NOW + timedelta(days=1))
    years: dict[str, Any] = {"since": UNSERVED_DAY, "until": NOW + timedelta(days=1)}
    frame = ask.replayed_decisions(audit, **years).frame
    assert list(frame.why) == [
        "no instant is recorded of it",
        "the policy answers differently",
        f"its version {unknown.version[:12]} served before policies were kept",
        "no policy version is recorded of it",
    ]
    assert [missing if missing is True else None for missing in frame.replayed_allowed.isna()] == [
        True,
        None,
        True,
        True,
    ]
    today = ask.replayed_decisions(audit, **years, policy="today").frame
    assert list(today.why)[1:] == ["the policy answers differently"] * 4
    kept = ask.policies_in_force(audit, **years).frame
    assert dict(zip(kept.policy_version.fillna(""), kept.kept, strict=True)) == {
        OPEN.version: True,
        POLICY.version: True,
        unknown.version: False,
        "": False,
    }
    audit.close()


RULES = (
    'p.id = "oscar" and x.id = "p-1"',
    "g in x.grants and g.practitioner = p",
    'g in x.grants and g.practitioner = p and g.role = "owner"',
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("serve"), st.sampled_from(range(3))),
        st.tuples(st.just("ask"), st.sampled_from(["alice", "bob", "oscar"])),
        st.tuples(st.just("end"), st.just("bob")),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_at_is_the_decision_made_then(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, steps: Any
) -> None:
    """A PDP of any policy repeats a past decision with the same rule and witness."""
    path = tmp_path_factory.mktemp("then") / "caregrant.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = connect(f"sqlite:///{path}")
    people.fill(database)
    policies = [compile_texts({"p.polar": f'allow(p: Practitioner, "view", x: Patient) if {rule};'}) for rule in RULES]
    served_since(database, NOW, policies[0])
    pdp, decided = PDP(database, policies[0]), []
    for number, (step, what) in enumerate(steps, 1):
        now = NOW + timedelta(seconds=number)
        if step == "serve":
            served_since(database, now, policies[what])
            pdp = PDP(database, policies[what])
        elif step == "ask":
            who = ("practitioner", what)
            decided.append((who, pdp.evaluate(who, "view", PATIENT, now=now)))
        else:
            live = (Grant.patient == "p-1", Grant.practitioner == what, Grant.ended_at == FOREVER)
            Grant.update(ended_at=now).where(*live).execute(database)
    for who, decision in decided:
        for policy in policies:
            assert PDP(database, policy).evaluate(who, "view", PATIENT, at=decision.evaluated_at) == decision
    database.close()


def test_the_error_is_one_of_ours() -> None:
    """`PolicyUnknown` is one of the package's errors."""
    assert issubclass(PolicyUnknown, CaregrantError)
