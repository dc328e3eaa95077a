"""The record at the command line: key, checkpoint, verify, prove, export, drop and erase."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from authz.audit import verify
from authz.cli import caregrant
from authz.database import close_all, connect
from authz.errors import CaregrantError
from tests.support.sample_record import ANSWERS, VIEWS, answer, record


def run(*arguments: str, url: str = "", exit_code: int = 0, env: dict[str, str] | None = None) -> str:
    """Run a command in this process; return its output, or the error with which it was refused."""
    options = [*arguments, *(("--database", url) if url else ())]
    done = CliRunner().invoke(caregrant, options, env=env, standalone_mode=False)
    error = done.exception
    assert error is None or isinstance(error, CaregrantError | SystemExit), error
    code = 1 if isinstance(error, CaregrantError) else done.exit_code
    assert code == exit_code, (done.output, error)
    return str(error) if isinstance(error, CaregrantError) else done.stdout


def refused(*arguments: str, url: str = "", env: dict[str, str] | None = None) -> str:
    return run(*arguments, url=url, exit_code=1, env=env)


@pytest.fixture
def recorded(sqlite_url: str) -> str:
    """Return the URL of a clinic with a record of two months, an hour old."""
    database = connect(sqlite_url)
    database.connect()
    record(database, datetime.now(UTC) - timedelta(hours=1))
    close_all(database)
    return sqlite_url


def run_verifier(*arguments: str) -> str:
    """Run the verifier as a script and return its output."""
    done = subprocess.run([sys.executable, verify.__file__, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_from_a_key_to_an_outside_verifier(recorded: str, tmp_path: Path) -> None:
    """The verifier alone accepts the signed, exported log and its proofs, and finds a change."""
    key, log, kept, proof = (tmp_path / name for name in ("key", "log", "kept", "proof"))
    env = {"CAREGRANT_CHECKPOINT_KEY": str(key)}
    public = run("audit", "key", "--new", "clinic.example/log", env=env).strip()
    assert run("audit", "key", env=env).strip() == public
    assert "never written over" in refused("audit", "key", "--new", "other", env=env)
    keys = run("audit", "key", "--trees", url=recorded, env=env).splitlines()
    assert [key.partition("+")[0] for key in keys] == [
        f"clinic.example/log/{name}" for name in "- city harbour north".split()
    ]
    assert all(str(verify.VerifierKey.parse(key)) == key for key in keys)
    kept.write_text(run("audit", "checkpoint", url=recorded, env=env))
    assert run("audit", "checkpoint", url=recorded, env=env) == kept.read_text()
    assert f"leaves in {kept.read_text().count('—')} trees" in run("audit", "verify", url=recorded, env=env)
    run("audit", "export", "--format", "log", "-o", str(log), url=recorded, env=env)
    assert "\nVERIFIED: " in run_verifier(str(log), "--checkpoint", str(kept), "--key", public)
    assert "\nVERIFIED: " in run_verifier(str(log), "--checkpoint", str(kept))
    assert "\nPARTLY VERIFIED: 0 of " in run_verifier(str(log))
    proof.write_text(
        run("audit", "prove", "event:200", url=recorded) + run("audit", "prove", "decision:9", url=recorded)
    )
    assert run_verifier("--proof", str(proof), "--key", public).count(" is ") == 2
    with sqlite3.connect(recorded.removeprefix("sqlite:///")) as database:
        database.execute("DROP TRIGGER event_update")
        database.execute("UPDATE event SET actor = 'mallory' WHERE id = 200")
    output = run("audit", "verify", "--json", url=recorded, exit_code=1, env=env)
    assert json.loads(output)["findings"][0]["kind"] == "changed row"
    assert "NOT VERIFIED: changed row: event 200 " in run(
        "audit", "verify", "--checkpoint", str(kept), "--key", public, url=recorded, exit_code=1
    )


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a byte-order mark", lambda text: b"\xef\xbb\xbf" + text.encode()),
        ("CRLF", lambda text: text.replace("\n", "\r\n").encode()),
        ("UTF-16", lambda text: text.encode("utf-16")),
        ("UTF-16 without a mark", lambda text: text.encode("utf-16-le")),
        ("blanks at the ends of lines", lambda text: text.replace("\n", "  \n").encode()),
    ],
)
def test_kept_checkpoints_are_read_as_people_send_them(
    recorded: str, tmp_path: Path, name: str, sent: Callable[[str], bytes]
) -> None:
    """Checkpoints rewritten by a mail program or an editor prove the same to both verifiers."""
    kept, log = tmp_path / "kept.txt", tmp_path / "log.ndjson"
    env = {"CAREGRANT_CHECKPOINT_KEY": str(tmp_path / "key")}
    public = run("audit", "key", "--new", "clinic.example/log", env=env).strip()
    kept.write_bytes(sent(run("audit", "checkpoint", url=recorded, env=env)))
    run("audit", "export", "--format", "log", "-o", str(log), url=recorded, env=env)
    output = run("audit", "verify", "--checkpoint", str(kept), "--key", public, url=recorded)
    assert "\nVERIFIED: " in output, name
    assert "\nVERIFIED: " in run_verifier(str(log), "--checkpoint", str(kept), "--key", public)
    assert "begins with" in prove_since(recorded, kept, tmp_path, public)


def prove_since(recorded: str, kept: Path, tmp_path: Path, public: str) -> str:
    """Return the verifier's output on the proofs that the trees extend those of a kept file."""
    proof = tmp_path / "proof"
    proof.write_text(run("audit", "prove", "--since", str(kept), url=recorded))
    return run_verifier("--proof", str(proof), "--key", public)


@pytest.mark.parametrize(
    "data", [b"\xff\x00\x01", b"\xe2\x80", b"PK\x03\x04 nonsense", b"clinic.example/log/north\n5\n"]
)
def test_a_damaged_file_is_called_damaged(recorded: str, tmp_path: Path, data: bytes) -> None:
    """A damaged file is reported as damaged, and not as tampered with."""
    (tmp_path / "kept.txt").write_bytes(data)
    output = refused("audit", "verify", "--checkpoint", str(tmp_path / "kept.txt"), url=recorded)
    assert "damaged" in output
    assert "tail" not in output


def test_the_record_carried_out(recorded: str, tmp_path: Path) -> None:
    """Months export to Parquet, the record to FHIR; a month is dropped only after its time; a person is erased."""
    output = run("audit", "export", "--format", "parquet", "-o", str(tmp_path / "months"), url=recorded)
    assert f": {VIEWS // 2} decisions of 3 subscriptions" in output
    assert output.endswith(f" in {tmp_path / 'months'}/month={output[:7]}\n")
    month = output[:7]
    again = run("audit", "export", "--format", "parquet", "-o", str(tmp_path / "months"), url=recorded)
    assert again == f"nothing written: {month} to {month} are in {tmp_path / 'months'} already\n"
    lines = run("audit", "export", "--format", "fhir-r4", url=recorded).splitlines()
    assert sum('"decision-' in line for line in lines) == ANSWERS
    assert "are kept until" in refused("audit", "drop", month, "--exported", str(tmp_path / "months"), url=recorded)
    output = run("audit", "erase", "patient:p-5", url=recorded)
    assert output == "1 fields of events, 0 of decisions and 1 of the patient erased\n"
    assert "\nPARTLY VERIFIED: 0 of " in run("audit", "verify", url=recorded, exit_code=3)


def test_an_export_of_nothing_says_why(sqlite_url: str, tmp_path: Path) -> None:
    """The Parquet export of a record without past months writes nothing and gives the reason."""
    arguments = ("audit", "export", "--format", "parquet", "-o", str(tmp_path / "months"))
    nothing = "nothing written: the record holds no decisions of a month past"
    assert run(*arguments, url=sqlite_url) == f"{nothing}\n"
    database = connect(sqlite_url)
    database.connect()
    at = datetime.now(UTC)
    answer(database, at, range(3))
    close_all(database)
    assert run(*arguments, url=sqlite_url) == f"{nothing}; the 3 of {at:%Y-%m} are written when the month is over\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("audit", "checkpoint"), "CAREGRANT_CHECKPOINT_KEY"),
        (("audit", "key", "--new", "x"), "say where"),
        (("audit", "prove", "event:200"), "no checkpoint covers this yet"),
        (("audit", "prove", "event:100000"), "This does not exist"),
        (("audit", "verify", "--key", "nonsense"), "no verifier key"),
        (("audit", "erase", "somebody"), "is not practitioner:ID"),
        (("audit", "drop", "yesterday", "--exported", "x"), "no month"),
    ],
)
def test_what_is_refused_in_a_line(recorded: str, arguments: tuple[str, ...], why: str) -> None:
    """A command that cannot be carried out is refused in one line with its reason."""
    assert why in refused(*arguments, env={"CAREGRANT_DATABASE": recorded})
