"""The difference of two policies on the facts: counted, listed in three forms, with an exit code for a pull request."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from authz.database import Database
from authz.domain import format_instant
from authz.models import Grant, Patient
from authz.policy.compiler import compile_texts
from authz.policy.difference import PolicyDifference, changed_matrices
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.acting import POLICY, served_since
from tests.support.activations import OSCAR
from tests.support.cli import run
from tests.support.people import LAST_YEAR, LONG_AGO, NOW

OWNERS = """# R3. The owner views.
allow(p: Practitioner, "view", x: Patient) if
    g in x.grants and g.practitioner = p and g.role = "owner" and g.started_at <= now and now < g.ended_at;
"""
HOLDERS = OWNERS.replace('and g.role = "owner" ', "").replace("R3. The owner", "R5. Each holder of a grant")
ODD = ("p-\U0001f600", "p-\ufffd", "P-1", "p-10", "p-é", "p-z")
"""Ids that Unicode's code points, UTF-16 and a language order differently."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Return the folders of a policy that lets owners view, and of one that lets each holder of a grant view."""
    for name, text in (("old", OWNERS), ("new", HOLDERS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.polar").write_text(text)
    return str(tmp_path / "old"), str(tmp_path / "new")


@pytest.fixture
def clinic(database: Database) -> Database:
    people.fill(database)
    for name in ODD:
        people.add(database, Patient, id=name, subscription="north", name="Pat")
        people.add(database, Grant, patient=name, practitioner="alice", role="owner", origin="created")
        people.add(database, Grant, patient=name, practitioner="bob", role="viewer", origin="share")
    return database


def lines(*arguments: str, url: str, exit_code: int = 1) -> list[Any]:
    printed = run("policy", "diff", *arguments, "--format", "json", url=url, exit_code=exit_code)
    return [json.loads(line) for line in printed.splitlines()]


def test_the_forms_agree(clinic: Database, database_url: str, folders: tuple[str, str]) -> None:
    """Table, JSON and HTML list the same gains, in order, and count those that a limit leaves out."""
    *changes, totals = lines(*folders, url=database_url)
    viewers = Grant.select(Grant.practitioner, Grant.patient).where(
        Grant.role == "viewer", Grant.started_at <= NOW, Grant.ended_at > NOW
    )
    expected = sorted({(f"practitioner:{who}", f"patient:{what}") for who, what in viewers.tuples().execute(clinic)})
    assert [(change["subject"], change["resource"]) for change in changes] == expected
    assert {(change["change"], change["action"], change["rule"]) for change in changes} == {("gained", "view", "R5")}
    assert (totals["gained"], totals["lost"], totals["depends_on"]) == (len(expected), 0, [])
    assert [(row["rule"], row["permits"]) for row in totals["by_rule"]] == [("R5", len(expected))]
    back = lines(*folders[::-1], "--limit", "1", url=database_url)
    assert ([row.get("change") for row in back], back[-1]["lost"]) == (["lost", None], len(expected))
    table = run("policy", "diff", *folders, "--limit", "2", url=database_url, exit_code=1)
    assert [tuple(line.split("  ")[1:4:2]) for line in table.splitlines()[:2]] == expected[:2]
    assert table.splitlines()[2:] == [
        f"practitioner view patient: {len(expected)} gained by R5",
        "practitioner view patient: wider on every database",
        f"{len(expected)} permits gained, 0 lost",
    ]
    page = run("policy", "diff", *folders, "--format", "html", url=database_url, exit_code=1)
    assert re.findall(r"<td>(practitioner:\S+?)<td>view<td>(patient:\S+?)<td>R5", page) == expected


def test_exit_codes(clinic: Database, database_url: str, folders: tuple[str, str]) -> None:
    """Exit 0: the same, or no more gained than expected; 1: they differ; 2: a policy cannot be read."""
    old, new = folders
    gained = lines(old, new, url=database_url)[-1]["gained"]
    assert lines(old, old, url=database_url, exit_code=0)[-1]["gained"] == 0
    for most, code in ((gained, 0), (gained - 1, 1)):
        lines(old, new, "--max-gain", str(most), url=database_url, exit_code=code)
    lines(new, old, "--max-gain", "0", url=database_url, exit_code=0)
    for unreadable in (("nowhere", new), (old, "0" * 12), ("active", new), (old, new, "--context", "[]")):
        assert run("policy", "diff", *unreadable, url=database_url, exit_code=2).startswith("caregrant: ")


def test_the_facts_of_a_past_day(clinic: Database, database_url: str, folders: tuple[str, str]) -> None:
    """With `--at` the facts of then are compared, and `active` is the policy in force now."""
    before = format_instant(LONG_AGO.replace(year=LONG_AGO.year - 1))
    assert lines(*folders, "--at", before, url=database_url, exit_code=0)[-1]["at"] == before
    served_since(clinic, LAST_YEAR)
    assert lines("active", folders[1], url=database_url)[-1]["old"] == POLICY.version
    assert lines(POLICY.version[:12], "active", url=database_url, exit_code=0)[-1]["new"] == POLICY.version


def test_what_depends_on_a_request(clinic: Database, database_url: str, folders: tuple[str, str]) -> None:
    """A condition on the request is never taken for the same; with a context such requests are compared."""
    folder = Path(folders[1])
    (folder / "p.polar").write_text(OWNERS + OSCAR.replace(";", ' and p.request.context.purpose = "cover";'))
    (totals,) = lines(*folders, url=database_url)
    assert (totals["gained"], totals["depends_on"]) == (0, ["context.purpose"])
    assert "--context" in run("policy", "diff", *folders, url=database_url, exit_code=1)
    assert lines(*folders, "--context", '{"purpose": "other"}', url=database_url, exit_code=0)[-1]["gained"] == 0
    assert lines(*folders, "--context", '{"purpose": "cover"}', url=database_url)[-1]["gained"] > 0


def test_only_what_changed_is_asked(sqlite_database: Database) -> None:
    """One more rule about patients leaves the matrices of subscriptions unasked."""
    more = compile_texts({**POLICY.texts, "z.polar": f"# R11. Oscar views.\n{OSCAR}"})
    pdps = PDP(sqlite_database, POLICY), PDP(sqlite_database, more)
    assert changed_matrices(*pdps) == [("practitioner", "view", "patient")]
    assert changed_matrices(*pdps[:1], pdps[0]) == []
    assert {resource for _, _, resource in changed_matrices(None, pdps[0])} == {"patient", "subscription", "document"}
    difference = PolicyDifference(*pdps, NOW)
    assert list(difference.changes()) == []
    assert (difference.gained, difference.lost, difference.kept, difference.unset_values) == (0, 0, 0, [])
