"""Compiling takes steps in proportion to the policy, and `policy check` warns of what never permits."""

from typing import Any

import pytest

from authz.policy.compiler import compile_texts, load
from authz.policy.compiler.resolve import Resolver
from authz.settings import shipped_folder
from benchmarks.compiling import model


def test_each_call_tries_the_clauses_of_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of clauses that are tried grows with the number of rules, not with its square."""
    tried = 0
    match = Resolver._match

    def counted(*args: Any) -> Any:
        nonlocal tried
        tried += 1
        return match(*args)

    monkeypatch.setattr(Resolver, "_match", counted)
    counts = []
    for types in (10, 20):
        tried = 0
        assert len(compile_texts(model(types), steps=10**6).queries) == types
        counts.append(tried)
    assert counts[1] == 2 * counts[0]
    assert counts[1] < 8 * 20 * 10, "each of the ten rules of a type, a few times"


TYPES = '[file]\nowner = "Practitioner"\nkind = "string"\n'
FILE = 'allow(p: Practitioner, "view", f: File) if f.owner = p'
WARNINGS = {
    "a contradiction": (f'{FILE} and f.kind = "a" and f.kind = "b";', "1:79: this never holds: the same value is 'a'"),
    "a contradiction of rules": (
        f'{FILE} and a(f) and b(f);\na(f) if f.kind = "a";\nb(f) if f.kind = "b";',
        "3:11: this never",
    ),
    "a rule that nobody calls": (f'{FILE};\nodd(f) if f.kind = "a";', "2:1: no rule that is asked calls odd"),
    "rules that call each other alone": (
        f"{FILE};\na(f) if b(f);\nb(f) if a(f);",
        "2:1: no rule that is asked calls a",
    ),
    "a type that no rule is about": ('allow(_: Practitioner, "view", _: Patient);', "types.toml: no rule"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning(name: str) -> None:
    """A rule that loads and never permits is a warning, with its place."""
    policy, text = WARNINGS[name]
    warnings = compile_texts({"p.polar": policy, "types.toml": TYPES}).warnings
    assert any(text in warning for warning in warnings), warnings


def test_good_policies_have_no_warning() -> None:
    """The shipped policies and a policy without fault have no warning."""
    assert load(shipped_folder("policies")).warnings == ()
    good = f'{FILE} and (f.kind = "a" or f.kind = "b");'
    assert compile_texts({"p.polar": good, "types.toml": TYPES}).warnings == ()
