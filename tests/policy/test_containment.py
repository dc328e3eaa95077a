"""Containment: what is proven of two policies without any facts, and what is left unproven rather than guessed."""

import json
from pathlib import Path

import pytest

from authz.policy.compiler import compile_texts
from authz.policy.containment import compare_policies
from tests.support.acting import POLICY
from tests.support.cli import run

HEAD = 'allow(p: Practitioner, "view", x: Patient) if'
HOLDS = "g in x.grants and g.practitioner = p"
TYPES = '[note]\npatient = "Patient"\npages = "integer"\nopen = "boolean"\n'
NOTE = 'allow(_: Practitioner, "view", n: Note) if'


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (f"{HOLDS}", f"h in x.grants and p = h.practitioner and {HOLDS}", "same"),
        (f"{HOLDS}", f'{HOLDS} and g.role = "owner"', "narrower"),
        (f'{HOLDS} and g.role = "owner"', f'{HOLDS} and g.role in ["owner", "viewer"]', "wider"),
        (f'{HOLDS} and g.role = "owner"', f'{HOLDS} and g.role = "viewer"', "not provable"),
        (f"{HOLDS} and g.started_at <= now", f"{HOLDS} and now >= g.started_at", "same"),
        (f"{HOLDS} and g.started_at < now", f"{HOLDS} and g.started_at <= now", "not provable"),
        (f"{HOLDS}", f'{HOLDS} or p.id = "dan"', "wider"),
        (f'{HOLDS} and p.request.context.bed = "x"', f'{HOLDS} and p.request.context.bed in ["x", "y"]', "wider"),
        (f'{HOLDS} and now < g.started_at.plus("P3D")', f'{HOLDS} and now < g.started_at.plus("P5D")', "not provable"),
        (f'{HOLDS} and now < g.started_at.plus("P3D")', f'{HOLDS} and now < g.started_at.minus("P3D")', "not provable"),
        (f"{HOLDS} or p.request.context.beds = 3", HOLDS, "not provable"),
    ],
)
def test_verdicts(old: str, new: str, verdict: str) -> None:
    """A stricter condition is narrower, a further rule wider; what needs arithmetic of instants is not proven.

    The last pair: a purpose of a wrong type makes the old decision a denial and leaves the new one a permit.
    """
    policies = [compile_texts({"p.polar": f"{HEAD} {body};"}) for body in (old, new)]
    assert compare_policies(*policies) == {("practitioner", "view", "patient"): verdict}


def test_a_relation_that_leads_elsewhere() -> None:
    """A path through a relation that leads to another type reads other rows, whatever its last field is called."""
    types = '[folder]\ntitle = "string"\n[sheet]\ntitle = "string"\n[note]\nabout = "{}"\n'
    bodies = (("Folder", 'n.about.title = "x"'), ("Sheet", '"x" = n.about.title'))
    policies = [
        compile_texts({"p.polar": f"{NOTE} {body};", "types.toml": types.format(leads_to)}) for leads_to, body in bodies
    ]
    assert compare_policies(*policies) == {("practitioner", "view", "note"): "not provable"}


def test_literals_of_two_kinds_differ() -> None:
    """The literals 1 and true, which Python takes for equal, are not taken for the same condition."""
    bodies = ("n.pages = 1", "n.open = true")
    policies = [compile_texts({"p.polar": f"{NOTE} {body};", "types.toml": TYPES}) for body in bodies]
    assert compare_policies(*policies) == {("practitioner", "view", "note"): "not provable"}


def test_the_shipped_policy_with_and_without_a_rule() -> None:
    """Each action of the shipped policy is the same as itself; without its rule about viewers, some are narrower."""
    assert set(compare_policies(POLICY, POLICY).values()) == {"same"}
    texts = {**POLICY.texts, "patient.polar": POLICY.texts["patient.polar"].replace('"viewer" if "sharee";', "")}
    verdicts = compare_policies(POLICY, compile_texts(texts))
    changed = {name: verdict for name, verdict in verdicts.items() if verdict != "same"}
    assert changed[("practitioner", "view", "patient")] == "narrower"
    assert set(changed.values()) == {"narrower"}
    assert {(name[1], name[2]) for name in changed} == {("view", "patient"), ("view", "document"), ("edit", "document")}


def test_the_search_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mappings of many like rows are searched up to a limit of steps; then nothing is proven, and nothing hangs."""
    monkeypatch.setattr("authz.policy.containment.MOST_STEPS", 1000)
    chain = [*(f"m{n} in p.memberships" for n in range(9)), "_ in x.grants"]
    chain += [f"m{n}.subscription != m{n + 1}.subscription" for n in range(8)]
    ends = (f"m{first}.role != m{second}.role" for first, second in ((8, 0), (0, 5)))
    old, new = (f"{HEAD} {' and '.join([*chain, end])};" for end in ends)
    verdicts = compare_policies(compile_texts({"p.polar": old}), compile_texts({"p.polar": new}))
    assert set(verdicts.values()) == {"not provable"}


def test_the_command_without_data(tmp_path: Path) -> None:
    """`policy diff --without-data` needs no database, and its exit code says whether every action is the same."""
    for name, body in (("old", HOLDS), ("new", f'{HOLDS} and g.role = "owner"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.polar").write_text(f"{HEAD} {body};")
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    command = ("policy", "diff", "--without-data")
    assert run(*command, old, new, exit_code=1) == "practitioner view patient: narrower\n"
    (verdict,) = map(json.loads, run(*command, old, old, "--format", "json").splitlines())
    assert (verdict["verdict"], verdict["action"]) == ("same", "view")
    assert "table or JSON" in run(*command, old, new, "--format", "html", exit_code=2)
