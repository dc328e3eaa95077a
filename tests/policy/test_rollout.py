"""Rollout: an operator activates a policy and every process follows; what is unfit is refused, the old one stays."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api import auth, policy_watch
from api.request_group import RequestGroup
from authz import open_pdp
from authz.audit.session import open_audit
from authz.database import Database
from authz.domain import format_instant
from authz.errors import Conflict, PolicyRefused, PolicyUnknown, Unavailable
from authz.models import Event, PolicyText
from authz.policy.compiler import CompiledPolicy, compile_texts, load
from authz.policy.pdp import PDP
from authz.policy.served import ServedPolicy, open_served_policy
from authz.record import Actor, list_served_policies, replay_facts
from authz.record.policies import Activation, activate_policy, record_policy_loaded, version_before
from authz.settings import shipped_folder
from tests.support import people
from tests.support.acting import POLICY, served_since
from tests.support.activations import OSCAR, kill_amid_activation
from tests.support.cli import refused, run
from tests.support.http import App, answered, question
from tests.support.people import LAST_YEAR, NOW
from tests.support.tampering import put_aside

FOLDER = shipped_folder("policies")
MANY_TABLES = 'allow(_: Practitioner, "view", patient: Patient) if ' + " and ".join(
    f'g{number} in patient.grants and g{number}.practitioner = p{number} and p{number}.name = "r{number}"'
    for number in range(70)
)


@pytest.fixture
def clinic(database: Database) -> Database:
    """Return the cast, at whose clinic the shipped policy has served since last year."""
    people.fill(database)
    served_since(database, LAST_YEAR)
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the shipped policy, and a rule by which Oscar views every patient."""
    path = tmp_path / "policies"
    path.mkdir()
    for name, text in POLICY.texts.items():
        (path / name).write_text(text)
    (path / "oscar.polar").write_text(f"# R11. Oscar views.\n{OSCAR}\n")
    return path


@contextmanager
def process(url: str, folder: Path = FOLDER, only: str = "", folder_version: str = "") -> Iterator[ServedPolicy]:
    """Begin a process of a service on a database; close its connections at the end."""
    served = open_served_policy(url, folder, only=only, folder_version=folder_version)
    with served.pdp:
        yield served


def by_operator(*command: str, url: str, **options: Any) -> Any:
    """Run a command of the operator that returns JSON."""
    return json.loads(run("policy", *command, "--author", "Olga", "--reason", "A test.", "--json", url=url, **options))


def version_in_force(database: Database) -> str:
    return list_served_policies(database)[-1].version


def test_activated_followed_and_rolled_back(clinic: Database, database_url: str, folder: Path) -> None:
    """A process follows an activation, a rollback takes it back, and the record says who did it and why."""
    with process(database_url) as served:
        follow_and_return(served, database_url, folder)
    assert "no policy to return to" in refused("policy", "rollback", "--author", "O", "--reason", "x", url=database_url)
    periods = json.loads(run("policy", "history", "--json", url=database_url))
    assert [(period["began"], period["author"], period["reason"], period["version"]) for period in periods] == [
        ("loaded", "", "", POLICY.version),
        ("activated", "Olga", "A test.", load(folder).version),
        ("rolled back", "Olga", "A test.", POLICY.version),
    ]
    assert "activated by Olga: A test." in run("policy", "history", url=database_url)
    assert not [difference for difference in replay_facts(clinic)[1] if difference.noun == "policy"]


def follow_and_return(served: ServedPolicy, database_url: str, folder: Path) -> None:
    """Activate the policy of a folder and roll back; after each a process follows."""
    old = served.pdp
    assert not served.follow()
    assert not served.pdp.evaluate(("practitioner", "oscar"), "view", ("patient", "p-1"), now=NOW).allowed
    done = by_operator("activate", str(folder), "--max-gain", "1000", url=database_url)
    assert (done["previous"], done["activated"], done["lost"]) == (POLICY.version, True, 0)
    assert served.follow()
    decision = served.pdp.evaluate(("practitioner", "oscar"), "view", ("patient", "p-1"), now=NOW)
    assert (decision.allowed, decision.rule, decision.policy_version) == (True, "R11", done["version"])
    pdps = (old, served.pdp)
    before, after = ({entry[:2] for entry in pdp.matrix("practitioner", "view", "patient")} for pdp in pdps)
    assert len(after - before) == done["gained"] > 0
    assert not served.follow()
    assert by_operator("rollback", url=database_url)["version"] == POLICY.version
    assert served.follow()
    assert served.pdp.version == POLICY.version


def test_a_rollback_goes_back_once_more_each_time(clinic: Database) -> None:
    """Each rollback returns through one activation more; after a new activation to the version before that one."""
    versions = [POLICY.version]

    def begin(name: str, rollback: bool = False) -> str:
        policy = compile_texts({"p.polar": OSCAR.replace("oscar", name)}) if name else POLICY
        before = version_in_force(clinic)
        assert activate_policy(clinic, by_olga, policy, Activation(name, "O", "x", rollback=rollback), before=before)
        return policy.version

    by_olga, names = Actor("", NOW), ["", "oscar", "carol", "dan"]
    versions += [begin(name) for name in names[1:]]
    for name, version in reversed(list(zip(names, versions, strict=True))[:-1]):
        assert version_before(list_served_policies(clinic)) == version
        begin(name, rollback=True)
    assert version_before(list_served_policies(clinic)) is None
    begin("oscar")
    assert version_before(list_served_policies(clinic)) == versions[0]


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ("allow(_: Practitioner, ", (), "p.polar:1"),
        (f"{MANY_TABLES};", (), "join"),
        (OSCAR, ("--max-gain", "0"), "more than 0 new permits"),
        (f'{OSCAR[:-1]} or p.request.context.purpose = "x";', ("--max-gain", "1000"), "context.purpose"),
    ],
)
def test_what_is_unfit_is_refused(
    clinic: Database, database_url: str, tmp_path: Path, text: str, options: tuple[str, ...], why: str
) -> None:
    """A policy that does not compile, cannot run, gives too much or cannot be counted is refused; the old one stays."""
    if why == "join" and clinic.dialect == "postgresql":
        why, text = "p.polar:1", "allow("  # PostgreSQL joins as many tables as it takes
    (tmp_path / "p.polar").write_text(text)
    command = ("policy", "activate", str(tmp_path), "--author", "O", "--reason", "x", *options)
    assert why in run(*command, url=database_url, exit_code=1)
    assert version_in_force(clinic) == POLICY.version
    assert not PolicyText.select().where(PolicyText.version != POLICY.version).exists(clinic)


def test_a_policy_that_fails_its_tests_is_refused(sqlite_database: Database, sqlite_url: str, tmp_path: Path) -> None:
    """A folder whose stories are not answered as expected is not activated; with the right expectation it is."""
    people.fill(sqlite_database)
    served_since(sqlite_database, LAST_YEAR)
    (tmp_path / "p.polar").write_text(OSCAR)
    story = "story: Oscar\nnow: 2026-06-01T12:00:00Z\nfacts:\n" + "".join(
        f"  - {fact}\n"
        for fact in (
            "subscription: {id: north, name: North}",
            "practitioner: {id: oscar, login: o@x.example, name: Oscar}",
            "membership: {practitioner: oscar, subscription: north, role: member}",
            "patient: {id: p-1, subscription: north, owner: oscar, name: Pat}",
        )
    )
    question = "questions:\n  - subject: practitioner:oscar\n    resource: patient:p-1\n    "
    command = ("policy", "activate", str(tmp_path), "--author", "O", "--reason", "x")
    (tmp_path / "oscar_test.yaml").write_text(f"{story}{question}deny: [view]\n")
    assert "1 of 1 questions" in run(*command, url=sqlite_url, exit_code=1)
    assert version_in_force(sqlite_database) == POLICY.version
    (tmp_path / "oscar_test.yaml").write_text(f"{story}{question}permit: [view]\n")
    run(*command, url=sqlite_url, exit_code=0)
    assert version_in_force(sqlite_database) != POLICY.version


def test_requests_of_a_context_are_counted(sqlite_database: Database, sqlite_url: str, tmp_path: Path) -> None:
    """With a context the permits of such requests are counted, and a context that is not JSON is refused."""
    people.fill(sqlite_database)
    served_since(sqlite_database, LAST_YEAR)
    (tmp_path / "p.polar").write_text(f'{OSCAR[:-1]} and p.request.context.purpose = "x";')
    command = ("activate", str(tmp_path), "--max-gain", "1000")
    first = by_operator(*command, "--context", '{"purpose": "y"}', url=sqlite_url)
    assert (first["gained"], first["activated"]) == (0, True)
    again = by_operator(*command, "--context", '{"purpose": "x"}', url=sqlite_url)
    assert (again["gained"], again["activated"]) == (0, False), "the same policy is in force"
    by_operator("rollback", url=sqlite_url)
    assert by_operator(*command, "--context", '{"purpose": "x"}', url=sqlite_url)["gained"] > 0
    unfit = ("policy", *command[:2], "--author", "O", "--reason")
    assert "--context: " in refused(*unfit, "x", "--context", "{", url=sqlite_url)
    assert "1 to 500 characters" in refused(*unfit, "", url=sqlite_url)


def test_another_activation_in_the_meantime(clinic: Database) -> None:
    """A policy that was examined against another one than the one in force is not activated."""
    policy = compile_texts({"p.polar": OSCAR})
    with pytest.raises(Conflict, match="in the meantime"):
        activate_policy(clinic, Actor("", NOW), policy, Activation("x", "O", "x"), before=policy.version)
    assert version_in_force(clinic) == POLICY.version


def test_killed_amid_an_activation(clinic: Database, database_url: str, folder: Path) -> None:
    """After kill -9 before the commit nothing was activated or kept, and the next activation works."""
    before = Event.select().count(clinic)
    kill_amid_activation(folder, database_url)
    assert version_in_force(clinic) == POLICY.version
    assert Event.select().count(clinic) == before
    assert not PolicyText.select().where(PolicyText.version != POLICY.version).exists(clinic)
    assert by_operator("activate", str(folder), url=database_url)["version"] == load(folder).version


# What a process does.


def activate(database: Database, texts: dict[str, str] | None = None) -> str:
    """Activate a policy, by default one of Oscar's; return its version."""
    policy = compile_texts(texts or {"p.polar": OSCAR})
    activate_policy(database, Actor("", NOW), policy, Activation("x", "O", "x"), before=POLICY.version)
    return policy.version


def test_the_active_policy_wins_over_the_folder(clinic: Database, database_url: str, tmp_path: Path) -> None:
    """A folder counts until the first activation; afterwards every interface starts with the active policy."""
    with process(database_url) as served:
        assert served.pdp.version == POLICY.version
    version = activate(clinic)
    with process(database_url) as served, process(database_url, tmp_path, folder_version="x") as without_folder:
        assert served.pdp.version == without_folder.pdp.version == version
    with open_pdp(database_url) as pdp, open_pdp(database_url, FOLDER) as other:
        assert (pdp.version, other.version) == (version, POLICY.version)
    audit = open_audit(database_url)
    assert audit.pdp.version == version
    audit.close()
    evaluation = ("check", "practitioner:oscar", "view", "patient:p-1")
    assert "allowed" in run(*evaluation, url=database_url)
    run(*evaluation, "--policies", str(FOLDER), url=database_url, exit_code=1)


def test_only_the_required_version_is_served(clinic: Database, database_url: str) -> None:
    """A service that may serve one version alone keeps it, says so, and does not start with another."""
    with process(database_url, only=POLICY.version) as served:
        version = activate(clinic)
        assert not served.follow()
        assert served.pdp.version == POLICY.version
        assert f"is of version {version}, not {POLICY.version}" in served.fault
    with pytest.raises(PolicyRefused, match="the activated policy"):
        open_served_policy(database_url, FOLDER, only=POLICY.version)


def test_a_changed_text_is_not_taken(clinic: Database, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A process goes on with the old policy if the active one cannot be had, says so once, and takes the next one."""
    served = ServedPolicy(PDP(clinic, POLICY))
    version = activate(clinic)
    put_aside(clinic, f"""UPDATE policy_text SET files = '{{"p.polar": "forged"}}' WHERE version = '{version}'""")
    assert [served.follow(), served.follow()] == [False, False]
    assert served.pdp.version == POLICY.version
    assert "was changed" in served.fault
    assert caplog.text.count("is not taken") == 1
    with pytest.raises(PolicyUnknown, match="was changed"):
        open_served_policy(database_url, FOLDER)
    PolicyText.update(files={"p.polar": OSCAR}).where(PolicyText.version == version).execute(clinic)
    assert served.follow()
    assert (served.pdp.version, served.fault) == (version, "")


def test_a_service_that_begins_during_an_activation(clinic: Database) -> None:
    """A service that read the folder before an activation records nothing of it afterwards: the active one decides."""
    version = activate(clinic)
    assert not record_policy_loaded(clinic, Actor("", NOW), POLICY, "policies")
    assert version_in_force(clinic) == version


def test_a_text_that_cannot_be_read_is_a_fault(clinic: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that knows of an activation and cannot read its policy says so, until it is the active one again."""
    served, version = ServedPolicy(PDP(clinic, POLICY)), activate(clinic)

    def refuse(_texts: object) -> CompiledPolicy:
        raise Unavailable("permission denied")

    with monkeypatch.context() as broken:
        broken.setattr("authz.policy.history.compile_texts", refuse)
        assert not served.follow()
    assert "permission denied" in served.fault
    assert served.follow()
    served.report("a look that failed")
    assert not served.follow()
    assert (served.pdp.version, served.fault) == (version, "")


def test_an_error_ends_no_watch(clinic: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error that nobody expected the old policy decides, the fault shows, and the next look tries again."""
    served, version = ServedPolicy(PDP(clinic, POLICY)), activate(clinic)
    with monkeypatch.context() as broken:
        broken.setattr("authz.policy.history.compile_texts", lambda _: 1 / 0)
        policy_watch.look(served)
    assert (served.pdp.version, served.fault) == (POLICY.version, "an unexpected ZeroDivisionError")
    policy_watch.look(served)
    assert (served.pdp.version, served.fault) == (version, "")


def test_a_request_has_one_policy(flask: Flask, database: Database) -> None:
    """A request that began before an activation is answered by the old policy to its end, the next one by the new."""
    served: ServedPolicy = flask.extensions["caregrant.policy"]
    served_since(database, LAST_YEAR)
    with flask.test_request_context("/v1/me"):
        before = auth.pdp()
        version = activate(database)
        assert served.follow()
        assert auth.pdp() is before
    app = App(flask, database)
    body = answered(app.ask(question("oscar")))
    assert (body["decision"], body["context"]["policy_version"]) == (True, version)
    assert answered(app.client.get("/readyz"))["policy_version"] == version


def test_a_group_asks_each_question_by_its_own_policy(clinic: Database) -> None:
    """Requests of one group that began before and after an activation are each answered by their own policy."""
    old, new = PDP(clinic, POLICY), PDP(clinic, compile_texts({"p.polar": OSCAR}))
    group = RequestGroup()
    evaluation = (("practitioner", "oscar"), "view", ("patient", "p-1"))
    pending = [group.evaluate(pdp, evaluation, {}, None) for pdp in (old, new, old)]
    decisions = [decision.result() for decision in pending]
    assert [decision.policy_version for decision in decisions] == [old.version, new.version, old.version]
    assert [decision.allowed for decision in decisions] == [False, True, False]


def test_the_past_is_asked_of_the_policy_that_was_active(clinic: Database) -> None:
    """An instant after an activation belongs to the activated policy, an instant before it to the one before."""
    version = activate(clinic)
    pdp = PDP(clinic, POLICY)
    assert [pdp.version_at(at) for at in (LAST_YEAR, NOW)] == [POLICY.version, version]
    assert format_instant(NOW) == list_served_policies(clinic)[-1].since
