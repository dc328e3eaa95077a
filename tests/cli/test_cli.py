"""The command line: exit 0 done, 1 refused (one clear line on standard error), 2 usage; JSON where asked."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.database import close_all, connect
from authz.domain import format_instant, parse_instant
from authz.importing import demo
from authz.models import Event
from authz.policy.compiler import load
from authz.settings import shipped_folder
from tests.support.cli import refused, run
from tests.support.server import COMMAND

POLICIES = shipped_folder("policies")


@pytest.fixture
def clinic(sqlite_url: str) -> str:
    """Return the URL of the demonstration clinic, an hour old."""
    database = connect(sqlite_url)
    demo.fill(database, load(POLICIES).types, datetime.now(UTC) - timedelta(hours=1))
    close_all(database)
    return sqlite_url


def test_from_nothing_to_a_decision(tmp_path: Path) -> None:
    """migrate, demo, check, who and what work one after another: a newcomer's first five commands."""
    url = f"sqlite:///{tmp_path}/new.db"
    assert run("migrate", url=url).startswith("applied 0001_initial, 0002_")
    assert run("migrate", url=url) == "the schema is up to date\n"
    assert "demonstration clinic" in run("demo", url=url)
    assert run("check", "practitioner:alice", "view", "patient:p-1", url=url).startswith("allowed: rule R3, grant ")
    assert run("who", "view", "patient:p-1", url=url) == "alice\nbob\ncarol\n"
    assert "p-1\n" in run("what", "practitioner:bob", "view", "patient", url=url)
    assert "not empty" in refused("demo", url=url)


def test_check_says_no_with_exit_1(clinic: str) -> None:
    """A denial exits with 1 and a sentence; --explain adds the conditions that fail, with their rules."""
    command = ("check", "practitioner:bob", "view", "patient:p-3")
    assert run(*command, url=clinic, exit_code=1) == "denied: no rule has all its conditions met\n"
    output = run(*command, "--explain", url=clinic, exit_code=1)
    assert "UNMET  R2: there is no live grant" in output
    assert output.index("R5 (does not permit)") < output.index("R3 (does not permit)"), "the nearest way first"
    assert "has ended" in output


def test_check_in_the_past(clinic: str) -> None:
    """--at asks about another instant, by the policy of then or of today; a time without a zone is a usage error."""
    then = format_instant(datetime.now(UTC) - timedelta(days=60))
    command = ("check", "practitioner:bob", "view", "patient:p-3", "--at", then)
    assert f"the policy of {then} is not known: no service had begun here by then" in refused(*command, url=clinic)
    assert run(*command, "--todays-policy", url=clinic).startswith("allowed")
    output = run("check", "practitioner:bob", "view", "patient:p-3", "--at", "2026-01-01", url=clinic, exit_code=2)
    assert "RFC 3339" in output


def test_json_is_for_programs(clinic: str) -> None:
    """Every command that answers writes one JSON value with --json."""
    output = json.loads(run("check", "practitioner:bob", "view", "patient:p-2", "--json", url=clinic))
    assert (output["decision"], output["rule"], output["rules"]) == (True, "R5", ["R5", "R1", "R2"])
    assert parse_instant(output["until"]) > datetime.now(UTC)
    command = ("check", "practitioner:noa", "view", "patient:p-2", "--explain", "--json")
    denied = json.loads(run(*command, url=clinic, exit_code=1))
    assert denied["ways"][0]["unmet"]
    assert json.loads(run("who", "view", "patient:p-1", "--json", url=clinic)) == ["alice", "bob", "carol"]
    assert "p-1" in json.loads(run("what", "practitioner:bob", "view", "patient", "--json", url=clinic))
    assert json.loads(run("migrate", "--json", url=clinic)) == {"applied": []}
    assert json.loads(run("policy", "check", "--json"))["rules"] > 20
    assert json.loads(run("client", "add", "app", "--json", url=clinic))["key"].startswith("cg_")


def test_import(clinic: str, tmp_path: Path) -> None:
    """An import reads a file or standard input and counts its facts; a fault names its line and keeps nothing."""
    good = b'{"subscription": {"id": "new", "name": "New"}}\n'
    assert run("import", "-", url=clinic, stdin=good) == "imported 1 subscription\n"
    path = tmp_path / "facts.ndjson"
    path.write_bytes(good)
    assert run("import", str(path), url=clinic) == "imported nothing new; 1 unchanged\n"
    assert json.loads(run("import", str(path), "--json", url=clinic))["unchanged"] == {"subscription": 1}
    path.write_bytes(b'{"subscription": {"id": "newer", "name": "Newer"}}\n{"patient": {"id": "p-9\n')
    assert "line 2: is not JSON" in refused("import", str(path), url=clinic)
    assert "unchanged" not in run("import", "-", url=clinic, stdin=b'{"subscription": {"id": "newer", "name": "N"}}')
    assert "No such file" in run("import", str(tmp_path / "none"), url=clinic, exit_code=2)


def test_client_add(clinic: str) -> None:
    """The key is printed alone; an unknown scope is a usage error."""
    assert run("client", "add", "app", "--scope", "decide", "--scope", "audit", url=clinic).startswith("cg_")
    assert "no subscription south" in refused("client", "add", "app", "--subscription", "south", url=clinic)
    assert "root" in run("client", "add", "app", "--scope", "root", url=clinic, exit_code=2)


def test_client_list_rotate_and_revoke(clinic: str) -> None:
    """Apps are listed by number; a key is rotated; a revoked app is listed and cannot be rotated."""
    run("client", "add", "night app", "--subscription", "north", "--rate", "60", url=clinic)
    assert "night app: decide for north, 60 requests a minute\n" in run("client", "list", url=clinic)
    number = str(json.loads(run("client", "list", "--json", url=clinic))[-1]["client"])
    assert run("client", "rotate", number, url=clinic).startswith("cg_")
    assert json.loads(run("client", "rotate", number, "--json", url=clinic))["client"] == int(number)
    assert run("client", "revoke", number, url=clinic) == ""
    assert "night app: decide for north, 60 requests a minute, revoked at " in run("client", "list", url=clinic)
    assert "does not exist" in refused("client", "rotate", number, url=clinic)


def test_policy_check_and_show(tmp_path: Path) -> None:
    """A good policy is counted and shown in sentences; a bad one is refused with every fault and its place."""
    assert "31 ways to a permit" in run("policy", "check")
    shown = run("policy", "show", "--type", "patient", "--action", "give_up", "--sql")
    assert "practitioner give_up patient\n  R5  (R5, R1, R2)\n" in shown
    assert "role is viewer" in shown
    assert 'FROM "membership"' in shown
    assert "[colleague.polar:" in shown
    (tmp_path / "bad.polar").write_text('allow(p: Practitioner, "view", x: Patient) if x.ownr = p;\nfoo(;\n')
    output = run("policy", "check", str(tmp_path), exit_code=1)
    assert output.startswith("caregrant: ")
    assert "bad.polar:2:" in output
    assert "no directory that holds .polar files" in refused("policy", "check", str(tmp_path / "none"))


def test_policy_check_on_a_database(clinic: str, tmp_path: Path) -> None:
    """With `--database` a policy that compiles is refused if the database cannot run it; `serve` refuses it, too."""
    many = " and ".join(
        f'g{number} in patient.grants and g{number}.practitioner = p{number} and p{number}.name = "r{number}"'
        for number in range(70)
    )
    (tmp_path / "many.polar").write_text(f'allow(_: Practitioner, "view", patient: Patient) if {many};')
    assert "1 way" in run("policy", "check", str(tmp_path))
    assert "31 ways" in run("policy", "check", "--database", clinic)
    refusal = "many.polar:1:53: SQLite cannot run the statement for practitioner view patient (evaluation): at most 64"
    assert refusal in run("policy", "check", str(tmp_path), "--database", clinic, exit_code=1)
    assert refusal in run("serve", "--policies", str(tmp_path), "--port", "1", url=clinic, exit_code=1)
    assert "there is no database" in refused("policy", "check", "--database", f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_settings_come_from_the_environment(clinic: str, tmp_path: Path) -> None:
    """CAREGRANT_DATABASE and CAREGRANT_POLICIES set the options; an option on the command line wins."""
    command = ("check", "practitioner:alice", "view", "patient:p-1")
    assert run(*command, CAREGRANT_DATABASE=clinic).startswith("allowed")
    none = f"sqlite:///{tmp_path}/none.db"
    assert run(*command, url=clinic, CAREGRANT_DATABASE=none).startswith("allowed")
    assert "there is no database" in refused(*command, CAREGRANT_DATABASE=none)
    (tmp_path / "open.polar").write_text('allow(_: Practitioner, "view", _: Patient);')
    output = run("check", "practitioner:frank", "view", "patient:p-1", url=clinic, CAREGRANT_POLICIES=str(tmp_path))
    assert output == "allowed: by a rule without a number\n"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://x/y", "is not a database URL"),
        ("sqlite:///", "is not a database URL"),
        ("postgresql://nobody@127.0.0.1:1/none", "refused"),
    ],
)
def test_a_database_that_is_none(url: str, why: str) -> None:
    """A bad database URL or an unreachable server is one line and exit 1."""
    command = ("check", "practitioner:alice", "view", "patient:p-1")
    assert why in run(*command, url=url, exit_code=1)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is no database, or lacks the schema, is refused and not changed."""
    path = tmp_path / "x.db"
    path.write_bytes(b"this is a letter to grandmother, not a database\n" * 100)
    before = path.read_bytes()
    assert "not a database" in refused("check", "a:b", "view", "c:d", url=f"sqlite:///{path}")
    assert "not a database" in refused("migrate", url=f"sqlite:///{path}")
    assert path.read_bytes() == before
    (tmp_path / "empty.db").touch()
    output = refused("check", "a:b", "view", "c:d", url=f"sqlite:///{tmp_path}/empty.db")
    assert "lacks 0001_initial" in output
    assert "caregrant migrate" in output


def test_an_unknown_id_is_refused(clinic: str) -> None:
    """A mistyped id is refused with the most similar id, instead of an empty list or a denial."""
    for arguments, why in (
        (("who", "view", "patient:P1"), "no patient P1; did you mean p-1?"),
        (("what", "practitioner:ailce", "view", "patient"), "no practitioner ailce; did you mean alice?"),
        (("audit", "erase", "patient:p-1000"), "no patient p-1000; did you mean p-100?"),
    ):
        assert why in refused(*arguments, url=clinic)


def test_a_decision_about_an_unknown_id_says_so(clinic: str) -> None:
    """A check of an unknown id is a denial, and a line says that the id does not exist."""
    command: list[str | Path] = [Path(sys.executable).with_name("caregrant"), "check", "--json", "--database", clinic]
    for arguments, why in (
        (("practitioner:alice", "view", "document:d1"), "caregrant: no document d1; did you mean d-1?\n"),
        (("practitioner:bob@north.example", "view", "patient:p-1"), "did you mean bob?"),
        (("practitioner:alice", "view", "patient:p-1"), ""),
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, check=False, text=True)
        assert json.loads(done.stdout)["decision"] is not bool(why)
        assert why in done.stderr
        assert bool(done.stderr) is bool(why)


def test_the_unknown_is_told_apart_from_a_denial(clinic: str) -> None:
    """A check exits with 1 for a denial and with 3 for an unknown type, action or id, also with --explain."""
    questions = (
        (("practitioner:ivan", "view", "patient:p-1"), 1, "denied"),
        (("practitioner:ivan", "fly", "patient:p-1"), 3, "no rule names the action fly of a practitioner on a patient"),
        (("practitione:ivan", "view", "patient:p-1"), 3, "no type practitione; did you mean 'practitioner'?"),
        (("practitioner:ivna", "view", "patient:p-1"), 3, "no practitioner ivna; did you mean ivan?"),
    )
    command = [str(COMMAND), "--database", clinic, "check"]
    for arguments, exit_code, why in questions:
        done = subprocess.run([*command, *arguments, "--explain"], capture_output=True, check=False, text=True)
        assert done.returncode == exit_code
        assert done.stdout.startswith("denied: ")
        assert why in done.stdout + done.stderr
    assert "no rule names the action fly" in refused("who", "fly", "patient:p-1", url=clinic)
    assert "no type robot" in refused("who", "view", "patient:p-1", "--type", "robot", url=clinic)
    assert "did you mean 'patient'?" in refused("what", "practitioner:ivan", "view", "patien", url=clinic)


def test_context_comes_with_a_question(clinic: str, tmp_path: Path) -> None:
    """`check`, `who` and `what` send the context; what is no JSON object is a usage error."""
    rule = 'allow(p: Practitioner, "view", _: Patient) if p.request.context.purpose = "audit";'
    (tmp_path / "purpose.polar").write_text(rule)
    policies = ("--policies", str(tmp_path))
    context = ("--context", '{"purpose": "audit"}')
    check = ("check", "practitioner:ivan", "view", "patient:p-1", *policies)
    assert run(*check, *context, url=clinic).startswith("allowed")
    assert run(*check, url=clinic, exit_code=1).startswith("denied")
    odd = run(*check, "--context", '{"purpose": 5}', url=clinic, exit_code=1)
    assert odd.endswith(": context.purpose is not of the kind string\n")
    assert "ivan\n" in run("who", "view", "patient:p-1", *policies, *context, url=clinic)
    assert run("who", "view", "patient:p-1", *policies, url=clinic) == ""
    assert "p-1\n" in run("what", "practitioner:ivan", "view", "patient", *policies, *context, url=clinic)
    for text in ("[1]", "{", '{"a": 1, "a": 2}'):
        assert "'--context'" in run(*check, "--context", text, url=clinic, exit_code=2)


def test_settings_may_come_before_the_command(clinic: str, tmp_path: Path) -> None:
    """--database and --policies before the command count for it, after the environment; those after it count more."""
    command = ("check", "practitioner:alice", "view", "patient:p-1")
    none = f"sqlite:///{tmp_path}/none.db"
    assert run("--database", clinic, *command, CAREGRANT_DATABASE=none).startswith("allowed")
    assert run("--database", none, *command, "--database", clinic).startswith("allowed")
    (tmp_path / "closed.polar").write_text('allow(_: Practitioner, "share", _: Patient);')
    before = ("--database", clinic, "--policies", str(tmp_path))
    assert "no rule names the action view" in _error(*before, *command)
    assert "1 way to a permit" in run(*before, "policy", "check")
    assert "there is no database" in refused("--database", none, "policy", "check")


def _error(*arguments: str) -> str:
    command = [str(COMMAND), *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True).stderr


def test_shells_complete_commands() -> None:
    """Click's completion knows the commands by the program's name."""
    environment = {"COMP_WORDS": "caregrant policy te", "COMP_CWORD": "2", "_CAREGRANT_COMPLETE": "bash_complete"}
    done = subprocess.run([str(COMMAND)], capture_output=True, check=True, env=environment, text=True)
    assert done.stdout == "plain,test\n"


def test_progress_is_for_a_terminal(clinic: str) -> None:
    """`audit verify` shows its progress on a terminal."""
    reader, writer = pty.openpty()
    command = [str(COMMAND), "audit", "verify", "--database", clinic]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, check=False, text=True)
    os.close(writer)
    shown = os.read(reader, 10_000).decode()
    os.close(reader)
    assert "verifying" in shown
    assert "verifying" not in done.stdout


def test_a_question_at_the_command_line(clinic: str) -> None:
    """`audit ask` lists the questions, answers one as table, CSV or JSON, and refuses bad parameters."""
    assert "Q1  who_could  (patient, policy)\n" in run("audit", "ask")
    output = run("audit", "ask", "who_could", "-p", "patient=p-1", url=clinic)
    assert output.endswith("\nQ1 3 of 14 practitioners checked\n")
    arguments = ("audit", "ask", "stale_shares", "-p", "open_days=1", "--format", "json")
    done = subprocess.run(
        [Path(sys.executable).with_name("caregrant"), *arguments, "--database", clinic], capture_output=True, check=True
    )
    assert {json.loads(line)["patient"] for line in done.stdout.splitlines()} >= {"p-1", "p-2"}
    refusals: tuple[tuple[tuple[str, ...], str], ...] = (
        (("what_dit",), "there is no question 'what_dit'; there are who_could"),
        (("what_did", "-p", "practitioner=bbo"), "no practitioner bbo; did you mean bob?"),
        (("stale_shares", "-p", "open_days=x"), "open_days: a whole number"),
        (("what_did",), "what_did needs practitioner"),
    )
    for command, why in refusals:
        assert why in refused("audit", "ask", *command, url=clinic)


def test_usage_errors_are_exit_2() -> None:
    """A missing argument, an unknown command and a subject without a type exit with 2."""
    for arguments in (("check",), ("fly",), ("check", "alice", "view", "patient:p-1"), ("serve", "--workers", "0")):
        assert "Error" in run(*arguments, exit_code=2)


def test_help_is_help() -> None:
    """Every command has a sentence in the list of commands, and its own help."""
    listed = run("--help")
    for command in ("check", "client", "demo", "import", "migrate", "policy", "serve", "what", "who"):
        assert f"  {command} " in listed
        assert "Usage: caregrant" in run(command, "--help")
    assert run("--version").startswith("caregrant, version ")


def test_check_starts_light() -> None:
    """`caregrant check` imports neither pandas nor Flask nor the web server."""
    code = (
        "import sys; from authz.cli import caregrant; from authz.policy.pdp import open_pdp;"
        "print([name for name in ('pandas', 'flask', 'werkzeug', 'granian', 'api') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_import_leaves_its_events(clinic: str) -> None:
    """The facts that the command imported have events in the record."""
    run("import", "-", url=clinic, stdin=b'{"subscription": {"id": "new", "name": "New"}}')
    database = connect(clinic)
    kinds = [event.kind for event in Event.select().order_by(Event.id).execute(database)]
    close_all(database)
    assert kinds[-2:] == ["subscription:imported", "licence:imported"]


def test_the_same_on_postgresql(postgresql_url: str) -> None:
    """The command line alone makes and asks the demonstration clinic on PostgreSQL."""
    assert "demonstration clinic" in run("demo", url=postgresql_url)
    assert run("who", "view", "patient:p-1", url=postgresql_url) == "alice\nbob\ncarol\n"
    output = run("check", "practitioner:bob", "view", "patient:p-3", "--explain", url=postgresql_url, exit_code=1)
    assert "UNMET  R2" in output
