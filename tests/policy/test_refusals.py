"""Loading a policy that cannot be compiled is refused in bounded time, with file, line, column and a sentence."""

import time
from pathlib import Path

import pytest

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler import compile_texts, load
from authz.policy.compiler.refusals import MOST_STEPS
from authz.settings import shipped_folder

RULE = 'allow(p: Practitioner, "view", x: Patient) if p.id = x.id and '
"""Begins a rule whose next condition stands at column 63."""

BLOCK = """actor Practitioner {}
resource Patient {
    roles = ["owner"];
    permissions = ["view"];
    "view" if "owner";
}
allow(p: Practitioner, action, x: Patient) if has_permission(p, action, x);
"""


def faults(text: str, steps: int = MOST_STEPS, **others: str) -> list[Fault]:
    """Return every fault of the policy `policy.polar`, together with other files by name."""
    texts = {"policy.polar": text} | {name.replace("_", "."): other for name, other in others.items()}
    with pytest.raises(PolicyRefused) as caught:
        compile_texts(texts, steps)
    return caught.value.faults


CONDITIONS = {
    "not of not": ('not not x.name = "a"', 67, "not of not is what it negates"),
    "forall without a requirement": ("forall(g in x.grants)", 83, "expected ','"),
    "cut": ("cut", 63, "cut changes the meaning"),
    "print": ("print(p)", 63, "print has no place"),
    "debug": ("debug()", 63, "debug has no place"),
    "a method of a value": ('x.name.startswith("a")', 70, 'call starts_with(text, "…")'),
    "a method of a row": ("p.can(x)", 65, "method call .can(…)"),
    "addition": ("x.started_at + 1 < now", 76, "arithmetic (+)"),
    "negative": ("x.started_at < -now", 78, "arithmetic (-)"),
    "remainder": ("1 = x.started_at mod 2", 80, "arithmetic (mod)"),
    "a field that is none": ("x.ownr = p", 65, "no type has a field 'ownr'; did you mean 'owner'?"),
    "a field of another type": ('x.login = "a"', 65, "Patient has no field 'login'"),
    "a field of a relation's row": ("g in x.grants and g.practitoner = p", 83, "did you mean 'practitioner'?"),
    "a rule that is none": ("owns(p, x)", 63, "there is no rule owns"),
    "a stored role that is none": ('g in x.grants and g.role = "ovner"', 83, "never 'ovner'; did you mean 'owner'?"),
    "a stored role in a list": (
        'm in p.memberships and m.role in ["member", "maneger"]',
        88,
        "never 'maneger'; did you mean 'manager'?",
    ),
    "a dictionary": ("x.name = {a: 1}", 72, "write name: Type{field: value}"),
    "a pattern of a text": ('x.id matches "a"', 76, "compare a value by ="),
    "a pattern of a field that is none": ('x matches Patient{nam: "a"}', 81, "did you mean 'name'?"),
    "a field twice": ('x matches {id: "a", id: "b"}', 83, "stands twice"),
    "new": ('y = new Patient("a") and y = x', 67, "new makes a value in Python"),
    "an assignment": ('y := p.id and y = "a"', 65, "an assignment (:=)"),
    "a rest variable": ("p in [p, *rest]", 72, "a list with a rest variable"),
    "now and a number": ("now < 5", 63, "compares a datetime with an integer"),
    "now and a text": ('now < "tomorrow"', 63, "is not an RFC 3339 time"),
    "a duration of a text": ('x.name.plus("PT3H") < now', 70, "only an instant is moved"),
    "a duration of months": ('now < x.started_at.plus("P1M")', 87, 'a text such as "PT3H"'),
    "a moved instant and a number": ('x.started_at.plus("PT3H") < 5', 76, "is compared with an integer"),
    "the start of a number": (
        'g in x.grants and starts_with(g.id, "a")',
        81,
        "starts_with takes texts, not an integer",
    ),
    "the start of one text": ("starts_with(x.name)", 63, "starts_with takes two texts"),
    "a network that is stored": ("in_network(x.name, x.id)", 63, "the network is written out in the policy"),
    "a network that is none": ('in_network(x.name, "10.0.0.1/8")', 63, "has host bits set"),
    "a text as a condition": ("x.name", 65, "compare this value"),
    "infinity": ("x.started_at = inf", 78, "inf is no number"),
    "a number beyond a double": ("x.started_at < 1e400", 78, "this number is too large"),
    "a row in a list of the request": ("x in p.request.context.ids", 63, "is looked for, such as .id"),
    "a string and a number": ("x.name = 5", 65, "compares a string with an integer: never equal"),
    "a number and a string": ('g in x.grants and g.id = "a"', 83, "compares an integer with a string"),
    "a row and a string": ('x.subscription = "north"', 65, "compares a Subscription with a string"),
    "rows of two types": ("x = p", 63, "compares a Patient with a Practitioner"),
    "a truth value and a number": (
        "s in p.standing_shares and s.content = 1",
        92,
        "compares a boolean with an integer",
    ),
    "the order of truth values": ("s in p.standing_shares and s.content < true", 92, "< needs numbers"),
    "the order of rows": ("x < x", 63, "< needs numbers, strings or instants, not a Patient"),
    "in a value": ("p in x.name", 63, "in needs a to-many relation"),
    "in a relation of another type": ("p in x.grants", 63, "grants holds Grant rows"),
    "a relation compared": ("x.grants = x.grants", 65, "a list is compared with in"),
    "a list compared": ('m in p.memberships and m.role = ["member"]', 88, "a list is compared with in"),
    "a request of something else": ('p.request.body.ip = "x"', 73, "a request has action and context"),
    "the request of the resource": ('x.request.context.ip = "x"', 65, "the request is the actor's"),
    "the whole request": ('p.request.context = "x"', 73, "compare a value of the request, such as"),
    "a type as a value": ("Patient = x", 63, "the type Patient is not a value"),
    "a variable that is nothing": ('y.name = "a" and y = 1', 65, "not bound to a row yet"),
    "a variable used once": ("y = 1", 63, "the variable y stands in its rule once alone"),
    "the character U+0000": ('x.name = "a\0b"', 72, "cannot hold the character U+0000"),
    "a string that never ends": ('x.name = "abc', 72, "this string is not closed"),
    "a comparison of comparisons": ("x.id = p.id = x.id", 75, "comparisons are not chained"),
    "nothing after and": ("", 63, "a term was expected"),
    "parentheses without end": ("(" * 3000 + 'p.id = "a"' + ")" * 3000, 113, "is nested too deeply"),
    "lists without end": ("p.id in " + "[" * 3000 + "]" * 3000, 121, "is nested too deeply"),
    "a path without end": ("x" + ".subscription" * 3000 + " = x", 63, "a path of too many fields"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_outside_the_fragment(name: str) -> None:
    """A condition outside the fragment is refused with its place and a sentence that says what to do instead."""
    condition, column, why = CONDITIONS[name]
    (fault, *_) = refusal = faults(RULE + condition + ";")
    assert (fault.file, fault.line, fault.column) == ("policy.polar", 1, column), refusal
    assert why in fault.why
    assert len(refusal) == 1 or name == "a string that never ends"


WHOLE = {
    "an unknown type of actor": ('allow(_: Nurse, "view", _: Patient);', 1, 7, "there is no type 'Nurse'"),
    "an unknown type of resource": ('allow(_: Practitioner, "view", _: Pation);', 1, 32, "did you mean 'Patient'?"),
    "an unknown type in a rule that nobody calls": (f"odd(_: Nurse);\n{RULE}true;", 1, 5, "no type 'Nurse'"),
    "an unknown field in a rule that nobody calls": (f"odd(x) if x.colour = 1;\n{RULE}true;", 1, 13, "'colour'"),
    "a rule that calls itself twice": (
        f"up(p, x) if up(p, x) and up(p, x);\n{RULE}up(p, x);",
        1,
        26,
        "up comes back to itself twice in one alternative",
    ),
    "a rule that negates itself": (f"odd(x) if not odd(x);\n{RULE}odd(x);", 1, 15, "odd depends on its own negation"),
    "rules that negate each other": (
        f"a(x) if not b(x);\nb(x) if a(x);\n{RULE}a(x);",
        1,
        13,
        "depends on its own negation",
    ),
    "recursion over two rows": (
        f"up(p, x) if m in p.memberships and n in m.subscription.memberships and g in x.grants and "
        f"up(n.practitioner, g.patient);\n{RULE}up(p, x);",
        1,
        90,
        "comes back to itself with more than one other row",
    ),
    "a negation that chooses": (
        'allow(_: Practitioner, action, _: Patient) if not action = "view";',
        1,
        47,
        "a negation cannot choose a value",
    ),
    "recursion about values": (
        f'up(x, n) if n = "a" and up(x, x.name);\n{RULE}up(x, p.name);',
        2,
        63,
        "takes rows and literals",
    ),
    "recursion about grants": (
        f"up(g) if h in g.patient.grants and up(h);\n{RULE}g in x.grants and up(g);",
        2,
        81,
        "about rows that have no id of their own",
    ),
    "recursion that a third row decides": (
        f"up(g, x) if x.name = g.role;\nup(g, x) if x.id != g.role and y in x.subscription.patients and up(g, y);\n"
        f"{RULE}g in x.grants and up(g, x);",
        3,
        81,
        "the subject, the resource and one more row decide it",
    ),
    "an inline query": (f'?= allow("a", "b", "c");\n{RULE}true;', 1, 1, "an inline query (?=)"),
    "allow of two": ("allow(_: Practitioner, _: Patient);", 1, 1, "allow takes an actor, an action and a resource"),
    "an action that is stored": (
        "allow(_: Practitioner, action, x: Patient) if action = x.name;",
        1,
        1,
        "an action is a literal string",
    ),
    "what only the pages read": (
        'allow(_: Practitioner, "view", x: Patient) if x.subscription.time_zone = "UTC";',
        1,
        62,
        "'time_zone'",
    ),
    "an action that is a number": ("allow(_: Practitioner, 5, _: Patient);", 1, 1, "an action is a literal string"),
    "a pattern in a head": ('allow({id: "a"}, "view", _: Patient);', 1, 7, "write name: Type{field: value}"),
    "a comma left out": ('allow(_: Practitioner, "view" _: Patient);', 1, 31, "expected ','"),
    "a semicolon left out": ('allow(_: Practitioner, "view", _: Patient)', 1, 43, "expected ';'"),
    "nothing": ("# only a comment\n", 0, 0, "the policy has no rules"),
    "an unknown role in a block": (BLOCK.replace('if "owner"', 'if "ownr"'), 5, 5, "did you mean 'owner'?"),
    "an unknown role in a head": (
        BLOCK + 'has_role(p: Practitioner, "ownr", x: Patient) if p.id = x.id;',
        8,
        27,
        "Patient declares no role 'ownr'; did you mean 'owner'?",
    ),
    "an unknown permission in a head": (
        BLOCK + 'has_permission(p: Practitioner, "veiw", x: Patient) if p.id = x.id;',
        8,
        33,
        "Patient declares no permission 'veiw'; did you mean 'view'?",
    ),
    "an unknown role in a call": (
        BLOCK
        + 'has_role(p: Practitioner, "owner", x: Patient) if p.id = x.id;\n'
        + 'allow(p: Practitioner, "view", x: Patient) if has_role(p, "ownr", x);',
        9,
        47,
        "Patient declares no role 'ownr'",
    ),
    "a role that no rule gives": (BLOCK, 3, 14, "no rule has_role says who has them"),
    "a block of an unknown type": ("resource Ward {}\n" + RULE + "true;", 1, 10, "there is no type 'Ward'"),
    "a relation that is not declared": (
        BLOCK.replace('"view" if "owner";', '"view" if "owner" on "ward";'),
        5,
        5,
        "declares no relation 'ward'",
    ),
    "what a block does not hold": (
        BLOCK.replace("roles =", "colours ="),
        3,
        5,
        "a block declares permissions, roles or relations",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_policy_outside_the_fragment(name: str) -> None:
    """Heads, blocks, recursion, unknown names and syntax outside the fragment are refused with place and sentence."""
    text, line, column, why = WHOLE[name]
    (fault, *_) = refusal = faults(text)
    assert (fault.line, fault.column) == (line, column), refusal
    assert any(why in fault.why for fault in refusal), refusal


TYPES = {
    "not TOML": ("[document\n", 1, 0, "is not TOML"),
    "a type that exists": ('[patient]\ntitle = "string"\n', 1, 1, "the type patient exists already"),
    "a name that is none": ('["Big Plan"]\ntitle = "string"\n', 1, 1, "a type is a table with a name"),
    "not a table": ('document = "string"\n', 0, 0, "a type is a table"),
    "a kind that is none": ('[document]\ntitle = "text"\n', 2, 1, "the type of title is one of string"),
    "a property that is reserved": ('[document]\nid = "string"\n', 2, 1, "none of id, rules, request"),
    "an option that is none": ('[document]\ntitle = { type = "string", size = 1 }\n', 2, 1, "unknown option 'size'"),
    "a reverse of a value": ('[document]\ntitle = { type = "string", reverse = "x" }\n', 2, 1, "is no relation"),
    "a type of a list that is none": ('[document]\nreaders = ["Practitioner", "Nurse"]\n', 2, 1, "or a list of types"),
    "a type of a list twice": ('[document]\nreaders = ["Patient", "Patient"]\n', 2, 1, "names a type twice"),
    "a list of numbered rows": ('[document]\ngrants = ["Grant"]\n', 2, 1, "no id that an app knows"),
    "many that is a word": ('[document]\nx = { type = ["Patient"], many = "no" }\n', 2, 1, "is true or false"),
    "many values": ('[document]\nx = { type = "string", many = true }\n', 2, 1, 'is written ["string"]'),
    "a list from the request": (
        '[document]\nx = { type = ["Patient", "Practitioner"], from_request = true }\n',
        2,
        1,
        "never taken from the request",
    ),
    "a list with a reverse that exists": (
        '[document]\nx = { type = ["Practitioner", "Patient"], reverse = "memberships" }\n',
        2,
        1,
        "a field 'memberships' already",
    ),
    "a relation to what is not stored": (
        '[ticket]\nstored = false\n[document]\nticket = "Ticket"\n',
        4,
        1,
        "which is not stored",
    ),
    "an option of what is not stored": (
        '[ticket]\nstored = false\npatient = { type = "Patient", reverse = "tickets" }\n',
        3,
        1,
        "it takes no option",
    ),
    "a list of what is not stored": ('[ticket]\nstored = false\ntags = ["string"]\n', 3, 1, "it cannot be a list"),
    "a reverse that exists": (
        '[document]\npatient = { type = "Patient", reverse = "grants" }\n',
        2,
        1,
        "Patient has a field 'grants' already",
    ),
    "a relation from the request": (
        '[document]\nauthor = { type = "Practitioner", from_request = true }\n',
        2,
        1,
        "a relation is never taken from the request",
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_declaration_that_is_none(name: str) -> None:
    """A fault of `types.toml` refuses the policy, and the place is that of the key at fault."""
    text, line, column, why = TYPES[name]
    (fault,) = faults(RULE + "true;", types_toml=text)
    assert (fault.file, fault.line) == ("types.toml", line)
    assert fault.column == column or name == "not TOML"
    assert why in fault.why


def test_every_fault_is_told_at_once() -> None:
    """The error lists the faults of all files in order, so that an author mends them at once."""
    refusal = faults(f"{RULE}cut;\n{RULE}x.ownr = p;\n", b_polar=f"\n{RULE}print(x);")
    assert [(fault.file, fault.line) for fault in refusal] == [("b.polar", 2), ("policy.polar", 1), ("policy.polar", 2)]


def test_a_half_good_directory_loads_nothing(tmp_path: Path) -> None:
    """If one file of a directory is bad, nothing is loaded, and the error names the file."""
    for path in filter(Path.is_file, shipped_folder("policies").iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load(tmp_path).rules
    (tmp_path / "z.polar").write_text("allow(")
    with pytest.raises(PolicyRefused, match=r"z\.polar:1:"):
        load(tmp_path)
    (tmp_path / "z.polar").write_bytes(b'allow(_: Practitioner, "\xff", _: Patient);')
    with pytest.raises(PolicyRefused, match=r"z\.polar: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["none", "."])
def test_a_directory_without_policies(tmp_path: Path, missing: str) -> None:
    """A directory that does not exist or has no policy is refused, so that a service without rules does not start."""
    with pytest.raises(PolicyRefused, match=r"no directory that holds \.polar files"):
        load(tmp_path / missing)


EXPLOSIONS = {
    "alternatives of alternatives": RULE
    + " and ".join(f'(x.name = "a{n}" or x.name = "b{n}" or p.name = "c{n}")' for n in range(16))
    + ";",
    "thousands of alternatives": RULE + "(" + " or ".join(f'p.name = "{n}"' for n in range(5000)) + ");",
    "thousands of conditions": RULE + " and ".join('p.name = "a"' for _ in range(5000)) + ";",
    "thousands of rules in a row": "".join(f"h{n}(x) if h{n + 1}(x);\n" for n in range(3000))
    + f'h3000(x) if x.name = "a";\n{RULE}h0(x);',
    "rules that call rules": "".join(f"h{n}(x) if h{n + 1}(x) or h{n + 1}(x);\n" for n in range(40))
    + f'h40(x) if x.name = "a";\n{RULE}h0(x);',
}


@pytest.mark.parametrize("name", EXPLOSIONS)
def test_what_would_never_end_is_refused(name: str) -> None:
    """A policy with too many derivations, too much depth or too many steps is refused."""
    began = time.process_time()
    assert faults(EXPLOSIONS[name])
    assert time.process_time() - began < 30


def test_steps_are_counted() -> None:
    """A policy is refused if the limit is one step fewer than it takes; the time does not matter."""
    text = f'{RULE}(x.name = "a" or x.name = "b");'
    most = next(steps for steps in range(100) if not refused(text, steps))
    assert [refused(text, steps) for steps in (most - 1, most, most + 1)] == [True, False, False]
    (fault,) = faults(text, steps=1)
    assert (fault.line, fault.why) == (1, "the policy takes more than 1 steps to compile; use fewer alternatives")


def refused(text: str, steps: int) -> bool:
    try:
        compile_texts({"policy.polar": text}, steps)
    except PolicyRefused:
        return True
    return False


FOLDER = """
[folder]
readers = ["Practitioner", "Patient"]
keeper = { type = ["Practitioner", "Patient"], many = false }
"""


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("f.readers.id = p.id", ".id of a relation to many: name the row first, as in: row in x.readers"),
        ("f.keeper.id = p.id", ".id of a relation to several types: name the row first, as in: row = x.keeper"),
        ("p = f.readers", "a list is compared with in, not with ="),
        ("p in f.keeper", "in needs a to-many relation"),
        ("f.keeper != p", "a relation to several types is compared with =, not with !="),
        ("f.keeper = nil and p = p", "keeper holds Practitioner and Patient rows, nothing else"),
        ('"p" in f.readers and p = p', "readers holds Practitioner and Patient rows, nothing else"),
        ("keeps(p, f.keeper)", "keeper leads to rows of several types: name the row first"),
    ],
)
def test_relations_to_several_types(condition: str, why: str) -> None:
    """A condition that a relation to many or to several types cannot meet is refused, with the condition to write."""
    rule = (
        f'keeps(p: Practitioner, q: Practitioner) if p = q; allow(p: Practitioner, "view", f: Folder) if {condition};'
    )
    (fault,) = faults(rule, types_toml=FOLDER)
    assert why in fault.why
