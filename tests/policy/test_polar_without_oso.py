"""Our own parser and checks stand alone: what Oso refuses they refuse, each fault with its place and our own text.

Python 3.13 has no Oso. Elsewhere Oso judges each text too; here texts are broken at random, and both are asked.
"""

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler import compile_texts, load, oso_reader
from authz.policy.compiler.schema import read_schema
from authz.settings import shipped_folder

needs_oso = pytest.mark.skipif(not oso_reader.INSTALLED, reason="Oso has no wheel for this Python")
TYPES = (shipped_folder("policies") / "types.toml").read_text("utf-8")
SCHEMA = read_schema(TYPES)
SHIPPED = [path.read_text("utf-8") for path in sorted(shipped_folder("policies").glob("*.polar"))]
READ = oso_reader.read_by_oso
CONSTRUCTS = """actor Practitioner {}
resource Patient {
    roles = ["owner"]; permissions = ["view"]; relations = { about: Document };
    "view" if "owner"; "view" if "about";
}
has_role(p: Practitioner, "owner", x: Patient) if p.id = x.id;
has_relation(d: Document, "about", x: Patient) if d.patient = x;
allow(p: Practitioner, action, x: Patient) if has_permission(p, action, x);
allow(p: Practitioner{name: "a"}, "view", x: Patient) if
    x matches Patient{id: y} and y = p.id and now < x.started_at.plus("PT3H") and starts_with(x.name, "a");
type odd(x: Patient);
odd(_: Patient) if 1 in [1, 2] or (1 < 2.5 and nil = nil);
"""
ALLOW = '\nallow(_: Practitioner, "view", _: Patient);'
BAD = [
    *("f(x);", "f(x: Patient);", 'f("a": String);', "f(x,) if x = x;", "f(_x) if g(_x);", "f(x) if y in x;", "f;"),
    *("f(_x) if 1 < 2 < 3;", "f(_x) if _x = (_x = 1);", "f(_x) if _x or 1;", "f(_x) if f(_x,) = 1;", "f(_x) if ();"),
    *("f(_x) if _x = 9223372036854775808;", 'f(_x) if _x = "a\nb";', "f(_x) if _x = 'a';", "f(_x) if type = 1;"),
    *("print(_x);", "not(_x);", "nan(_x);", "f(_x: new);", "f(_x: Patient,);", "f(_);\ng(_x) if f(_x,);", "in(_x);"),
    *("type f(x: Patient) if x = 1;", "type f(x: Patient);\nf(_: Document);", "type f(x: Patient);\nf(_);"),
    *("f(_x) if rem = 1;", "f(_x) if isa(_x, 1);", "f(_x) if print;", "f(_x) if _x = cut;", "f(_x) if _x matches {a};"),
    *("allow(_, _);", 'has_permission(_a, "v", _b);', "?= f(1);", "actor Patient {};", "resource Foo {}", "f(_x)"),
    'resource Patient { roles = ["a", "a"]; }',
    'resource Patient { roles = ["a"]; roles = ["b"]; }',
    'resource Patient { roles = ["a"]; permissions = ["a"]; }',
    'resource Patient { roles = ["a"]; }',
    'resource Patient { permissions = ["v"]; "v" if "w"; }',
    "resource Patient { relations = { a: Document, a: Document }; }",
    CONSTRUCTS.replace("actor Practitioner {}", ""),
    CONSTRUCTS.replace('"view" if "about"', '"view" if "owner" on "about"'),
    CONSTRUCTS.replace("d: Document,", "d,"),
    CONSTRUCTS.replace("has_relation(", "has("),
]


def refused(text: str) -> list[Fault]:
    """Return the faults that our parser and checks find alone."""
    try:
        compile_texts({"p.polar": text, "types.toml": TYPES})
    except PolicyRefused as refusal:
        return refusal.faults
    return []


def refused_by_oso(text: str) -> list[Fault]:
    rules = re.findall(r"^\s*(\w+)\(", text, re.M)
    return READ({"p.polar": text}, SCHEMA, rules, [])


@pytest.fixture(scope="module", autouse=True)
def without_oso() -> Iterator[None]:
    """Let our own parser and checks read alone, as where Oso is not installed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(import_module("authz.policy.compiler.load"), "read_by_oso", lambda *_: [])
    yield
    patch.undo()


def judge(text: str) -> None:
    faults = refused(text)
    for fault in faults:
        assert fault.file == "p.polar", fault
        assert fault.line or fault.why == "the policy has no rules", fault
        assert not re.search(r"_value_|Singleton|undefined", fault.why)
    if oso_reader.INSTALLED and not faults:
        assert not refused_by_oso(text)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_policy(text: str) -> None:
    """Each policy that Oso refuses is refused without Oso, with a place."""
    assert refused(text + ALLOW), text
    judge(text + ALLOW)


def test_oso_is_read_where_it_installs() -> None:
    """Before Python 3.13 Oso is installed, so that no test with Oso is left out there."""
    assert oso_reader.INSTALLED or sys.version_info >= (3, 13)


@needs_oso
@pytest.mark.parametrize("text", BAD)
def test_bad_policies_are_bad_to_oso(text: str) -> None:
    """The table holds only what Oso refuses."""
    assert refused_by_oso(text + ALLOW)


def test_good_policies() -> None:
    """The constructs that are broken below and the shipped policies are read whole."""
    assert not refused(CONSTRUCTS)
    assert load(shipped_folder("policies")).rules


TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|\w+|\s+|[^\w\s]')


@st.composite
def broken(draw: st.DrawFn) -> str:
    """Draw a policy of which some tokens are dropped, doubled, exchanged or replaced."""
    tokens = TOKEN.findall(draw(st.sampled_from([CONSTRUCTS, CONSTRUCTS, *SHIPPED])))
    for _ in range(draw(st.integers(1, 3))):
        at, other = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        match draw(st.sampled_from("drop double exchange replace".split())):
            case "drop":
                tokens[at] = ""
            case "double":
                tokens[at] += tokens[other]
            case "exchange":
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case _:
                tokens[at] = tokens[other]
    return "".join(tokens)


FUZZ = settings(
    max_examples=int(os.environ.get("CAREGRANT_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@FUZZ
@given(text=broken())
def test_broken_policies(text: str) -> None:
    """A broken policy compiles or is refused with places; whatever Oso refuses is refused."""
    note(text)
    judge(text)


@FUZZ
@given(text=st.text(st.sampled_from('ab_ux.,;:(){}[]"=<>!+-*/?#\n\\1é\0') | st.characters(), max_size=60))
def test_any_text(text: str) -> None:
    """Any text compiles or is refused, never with a traceback."""
    for policy in (text, f'allow(u: Practitioner, "view", x: Patient) if u.id = x.id and {text};'):
        refused(policy)
