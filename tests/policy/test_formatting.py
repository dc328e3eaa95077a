"""The style of a policy text: one form, whatever blanks the text has; tokens, comments and rule numbers stay."""

from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import PolicyRefused
from authz.policy.compiler import compile_texts, load
from authz.policy.compiler.formatting import format_text
from authz.policy.compiler.statements import Piece, read_pieces
from authz.settings import shipped_folder

SHIPPED = {file: text for file, text in load(shipped_folder("policies")).texts.items() if file.endswith(".polar")}


def test_the_shipped_policies_have_the_style() -> None:
    """The shipped policies are formatted."""
    assert {file: format_text(text, file) for file, text in SHIPPED.items()} == SHIPPED


@given(st.sampled_from(sorted(SHIPPED)), st.randoms(use_true_random=False))
def test_blanks_do_not_matter(file: str, random: Random) -> None:
    """A text with any blanks between its tokens becomes the same text, with the same comments and numbers."""
    mangled = ""
    for before, piece in zip([None, *pieces(file)], pieces(file), strict=False):
        separators = ["\n", "\n  "] if piece.is_comment or (before and before.is_comment) else [" ", "\n", "   ", "\t"]
        mangled += "\n\n" if piece.newlines > 1 else random.choice(separators)
        mangled += piece.text
    assert format_text(mangled.lstrip(), file) == SHIPPED[file]


@cache
def pieces(file: str) -> tuple[Piece, ...]:
    return tuple(read_pieces(SHIPPED[file], file))


ODD = """\
#R1. The owner.
has_role( p : Practitioner ,"owner",x: Patient ) if g in x.grants and(g.role="owner"or g.role = "viewer")   and # why
  # a reason of its own
  g.practitioner=p and x.name != "a  # b" ;   # at the end
helper(x) if

  x.name = -5 and live(x)or x.name in [ "a","b" ];
live(x) if x.started_at<=now;# beside
actor Practitioner{}
resource Patient {


 roles=["owner"] ; # the roles
 permissions = [
 "view"
 ];
 relations={ p:Patient ,q : Patient};
 # a line
 "view" if "owner" ; "owner" if "owner" on "p";}
"""
STYLED = """\
# R1. The owner.
has_role(p: Practitioner, "owner", x: Patient) if
    g in x.grants and
    (g.role = "owner" or g.role = "viewer") and  # why
    # a reason of its own
    g.practitioner = p and
    x.name != "a  # b";  # at the end
helper(x) if x.name = -5 and live(x) or x.name in ["a", "b"];

live(x) if x.started_at <= now;  # beside
actor Practitioner {}
resource Patient {
    roles = ["owner"];  # the roles
    permissions = ["view"];
    relations = { p: Patient, q: Patient };
    # a line
    "view" if "owner";
    "owner" if "owner" on "p";
}
"""


def test_the_style() -> None:
    """An odd text gets the style, and keeps every comment; a blank line that ended a rule number still does."""
    assert format_text(ODD, "odd.polar") == STYLED
    assert format_text(STYLED, "odd.polar") == STYLED
    assert format_text(ODD.replace("\n", "\r\n"), "odd.polar") == STYLED


def test_long_lines_are_broken() -> None:
    """A condition in parentheses that does not fit is broken inside them, and a long list is filled."""
    names = ", ".join(f'"a_rather_long_permission_{number}"' for number in range(9))
    alternatives = " or ".join(f'x.name = "a rather long name {number}"' for number in range(9))
    text = f"resource Patient {{ permissions = [{names}]; }}\nhelper(x) if ({alternatives}) and x.name = 1;\n"
    styled = format_text(text, "long.polar")
    assert max(map(len, styled.split("\n"))) <= 120
    assert "helper(x) if\n    (\n        x.name" in styled
    assert format_text(styled, "long.polar") == styled


def test_meaning_stays() -> None:
    """A formatted policy compiles to the same queries."""
    head = 'allow(p:Practitioner,"view",x:Patient)'
    policy = head + 'if(g in x.grants and g.practitioner=p)or g in x.grants and g.role="owner";'
    before = compile_texts({"a.polar": policy})
    after = compile_texts({"a.polar": format_text(policy, "a.polar")})
    meanings = [
        [[condition.meaning for condition in query.conditions] for query in compiled.queries["Practitioner", "Patient"]]
        for compiled in (before, after)
    ]
    assert meanings[0] == meanings[1]


def test_a_text_that_cannot_be_read_is_refused() -> None:
    """A text with a fault is refused with the place, and never written anew."""
    with pytest.raises(PolicyRefused, match=r"a\.polar:1:5: expected"):
        format_text("a(b if c;", "a.polar")
