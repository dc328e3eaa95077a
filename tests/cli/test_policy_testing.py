"""`caregrant policy test` and `policy format`: exit codes, files, and what is printed."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

from authz.policy.compiler.formatting import format_text
from authz.settings import shipped_folder
from tests.support.cli import run
from tests.support.server import COMMAND
from tests.support.stories import POLICY, STORY, write_folder


def test_the_shipped_policies_pass() -> None:
    """Without a folder the shipped policies are tested, in several processes as in one."""
    assert re.fullmatch(r"\d+ questions in \d files, all as expected\n", run("policy", "test"))
    assert run("policy", "test") == run("policy", "test", "--jobs", "2")


def test_a_difference_is_exit_1(tmp_path: Path) -> None:
    """A difference is printed with its place and the reason, stands in the JUnit file, and exits with 1."""
    folder = write_folder(tmp_path, STORY.replace("deny: {share: R1}", "deny: {share: R2}"))
    junit = tmp_path / "results.xml"
    command = ("policy", "test", folder, "--junit", str(junit))
    assert json.loads(_out(*command, "--json"))["failures"][0]["answer"] == {
        "decision": False,
        "reason": "denied",
        "rule": "R1",
    }
    output = _out(*command)
    assert f"{folder}/clinic_test.yaml:17:12: practitioner:bob share patient:p-1 at 2026-06-01T12:00:00Z\n" in output
    assert "    expected: deny by R2\n    answered: deny by R1\n    the nearest derivation, R1: The owner" in output
    assert output.endswith("4 questions in 1 file, 1 not as expected\n")
    assert ET.parse(junit).getroot().attrib["failures"] == "1"  # noqa: S314 - it is ours
    assert "no mutant is tried before" in _out(*command, "--mutate")


def _out(*arguments: str) -> str:
    """Run a command that must exit with 1; return its standard output."""
    out = run(*arguments, exit_code=1)
    assert "caregrant:" not in out
    return out


def test_what_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    """A policy that does not compile, a story with a fault and a folder without stories exit with 2, never 0."""
    folder = write_folder(tmp_path, STORY.replace("view: R1", "vew: R1"))
    assert "clinic_test.yaml:13:14: no rule names the action 'vew'" in run("policy", "test", folder, exit_code=2)
    folder = write_folder(tmp_path, policy=POLICY.replace("live(g)", "alive(g)"))
    assert "clinic.polar:20:5: " in run("policy", "test", folder, exit_code=2)
    write_folder(tmp_path)
    (tmp_path / "clinic_test.yaml").unlink()
    assert "has 0 files *_test.yaml" in run("policy", "test", folder, exit_code=2)


def test_coverage_is_listed_and_required(tmp_path: Path) -> None:
    """The listing has no colour where nobody sees it; a threshold above the coverage exits with 1."""
    folder, page = write_folder(tmp_path), tmp_path / "coverage.html"
    output = run("policy", "test", folder, "--coverage", "--html", str(page))
    assert "\n  20 ~     live(g);\n" in output
    assert "\x1b" not in output
    assert "clinic.polar:27:27: no question is permitted by this alternative\n" in output
    percent = float(re.findall(r"coverage ([\d.]+) %", output)[0])
    assert f"coverage {percent} %" in page.read_text()
    assert "~" not in run("policy", "test", folder, "--fail-under", str(percent - 1))
    assert "coverage" in _out("policy", "test", folder, "--fail-under", str(percent + 1), "--jobs", "2")


def test_the_listing_has_colours_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal what is covered is green, and what is not is red."""
    reader, writer = pty.openpty()
    command = [str(COMMAND), "policy", "test", write_folder(tmp_path), "--coverage"]
    subprocess.run(command, stdout=writer, check=True, timeout=60)
    os.close(writer)
    shown = b"".join(iter(lambda: _read(reader), b"")).decode()
    os.close(reader)
    assert '\x1b[32mg.role = "owner"\x1b[0m' in shown
    assert "\x1b[31mp.request.context.emergency = true\x1b[0m" in shown


def _read(reader: int) -> bytes:
    """Return what is there to read; nothing after the end, which Linux reports as an error."""
    try:
        return os.read(reader, 10_000)
    except OSError:
        return b""


def test_an_unnoticed_mutant_is_exit_1_unless_listed(tmp_path: Path) -> None:
    """A mutant that no question notices is printed and exits with 1, until a story lists it with a reason."""
    folder = write_folder(tmp_path)
    result = json.loads(_out("policy", "test", folder, "--mutate", "--json"))
    unnoticed = [mutant["name"] for mutant in result["mutants"] if mutant["verdict"] == "unnoticed"]
    output = _out("policy", "test", folder, "--mutate", "--jobs", "2")
    assert [line for line in output.splitlines() if f"no question notices {unnoticed[0]}" in line]
    listed = "".join(f"  {json.dumps(name)}: it is only an example\n" for name in unnoticed)
    write_folder(tmp_path, f"{STORY}unnoticed_mutants:\n{listed}")
    assert run("policy", "test", folder, "--mutate").endswith(f" {len(unnoticed)} unnoticed\n")
    write_folder(tmp_path, f"{STORY}unnoticed_mutants:\n{listed}  no such mutant: it is not there\n")
    assert "no such mutant" in _out("policy", "test", folder, "--mutate")


def test_format(tmp_path: Path) -> None:
    """`policy format` writes the style once; with --check it writes nothing, and exits with 1 for a file to change."""
    assert run("policy", "format", "--check", str(shipped_folder("policies"))) == ""
    folder = write_folder(tmp_path, policy=POLICY.replace(" and\n    live(g)", "   and live( g )"))
    file = tmp_path / "clinic.polar"
    assert _out("policy", "format", "--check", folder) == f"would change {file}\n"
    assert file.read_text() != POLICY
    assert run("policy", "format", folder) == f"changed {file}\n"
    assert file.read_text() == format_text(POLICY, "clinic.polar")
    assert run("policy", "format", folder) == ""
    file.write_text("live(")
    assert "clinic.polar:1:" in run("policy", "format", folder, exit_code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clinic.polar", "clinic_test.yaml"]
