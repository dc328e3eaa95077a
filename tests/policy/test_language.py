"""Each construct of the language against an obvious evaluation in Python, by every kind of question."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from authz.database import Database
from authz.domain import FOREVER, to_micros
from authz.errors import InvalidInput
from authz.models import Entity, EntityLink
from authz.networks import in_network
from authz.policy.compiler import compile_texts
from authz.policy.decision import Ref
from authz.policy.entity_properties import parse_properties
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.people import NOW

TYPES = """
[user]
role = "string"
score = "number"
ip = "string"
isActive = "boolean"
org = "Org"
since = "datetime"
[org]
name = "string"
[file]
owner = "User"
public = "boolean"
path = "string"
kind = "string"
size = "integer"
made = "datetime"
"x-tag.1'%" = { type = "string", polar = "x_tag" }
ratios = ["number"]
"""
HOUR = 3_600_000_000
AT = to_micros(NOW)
Fields = Mapping[str, Any]
USERS: dict[str, Fields] = {
    "amy": {"role": "/a", "score": 0.5, "ip": "10.1.2.3", "isActive": True, "org": "one", "since": AT},
    "ben": {"role": "txt", "score": 5, "ip": "2001:DB8::1", "isActive": False, "org": "two", "since": AT - HOUR},
    "cid": {"role": "", "ip": "10.0.0.999", "since": AT - 5 * HOUR, "org": "gone"},
    "eve": {},
}
FILES: dict[str, Fields] = {
    "f1": {
        "owner": "amy",
        "public": True,
        "path": "/a/b.txt",
        "kind": "a",
        "size": 5,
        "made": AT - HOUR,
        "ratios": [5],
    },
    "f2": {"owner": "ben", "public": False, "path": "/", "kind": "é", "size": -1, "made": AT + HOUR, "ratios": [0.5]},
    "f3": {"path": "/A%_", "x-tag.1'%": "it's 5%", "made": AT - 3 * HOUR},
    "f4": {},
}
ORGS: dict[str, Fields] = {"one": {"name": "One"}, "two": {}}
REQUEST: Fields = {
    "kinds": ["a", "b"], "sizes": [5, 6], "ip": "10.9.9.9", "six": "::ffff:0:1", "yes": True, "low": 1, "high": 2.5,
    "same": 1.0, "text": "a", "at": "2030-01-01T00:00:00Z", "none": [],
}  # fmt: skip
Holds = Callable[[Fields, Fields], bool]


def before(value: Any, other: Any) -> bool:
    return value is not None and other is not None and value < other


def text(value: Any) -> str:
    return "\0" if value is None else value


def of_user(holds: Callable[[Fields], bool]) -> Holds:
    return lambda u, _f: holds(u)


def of_file(holds: Callable[[Fields], bool]) -> Holds:
    return lambda _u, f: holds(f)


def always(_u: Fields, _f: Fields) -> bool:
    return True


def never(_u: Fields, _f: Fields) -> bool:
    return False


def org(user: Fields) -> Fields:
    return ORGS.get(user.get("org", ""), {})


CONDITIONS: dict[str, Holds] = {
    "f.public": of_file(lambda f: f.get("public") is True),
    "u.isActive or f.public": lambda u, f: u.get("isActive") is True or f.get("public") is True,
    'u matches User{role: "txt", isActive: false}': of_user(
        lambda u: u.get("role") == "txt" and u.get("isActive") is False
    ),
    'u matches {org: Org{name: "One"}}': of_user(lambda u: org(u).get("name") == "One"),
    "f matches File{owner: u}": lambda u, f: f.get("owner") == u["id"],
    'f matches File{owner: {org: {name: "One"}}}': of_file(lambda f: f.get("owner") == "amy"),
    'f.x_tag = "it\'s 5%"': of_file(lambda f: f.get("x-tag.1'%") == "it's 5%"),
    "u.score > 0.4": of_user(lambda u: before(0.4, u.get("score"))),
    "u.score = 5": of_user(lambda u: u.get("score") == 5),
    "f.size <= u.score": lambda u, f: before(f.get("size"), u.get("score")) or f.get("size") == u.get("score") == 5,
    "0.5 in f.ratios": of_file(lambda f: 0.5 in f.get("ratios", [])),
    "u.score in f.ratios": lambda u, f: u.get("score") in f.get("ratios", []),
    "can(u.role, u)": of_user(lambda u: u.get("role") is not None),
    "can(u.org, u)": of_user(lambda u: org(u).get("name") == "One"),
    'now < "2031-01-01T00:00:00+01:00"': always,
    'now < f.made.plus("PT2H")': of_file(lambda f: before(AT, f.get("made") and f["made"] + 2 * HOUR)),
    'f.made.plus("PT1H") = now': of_file(lambda f: f.get("made") == AT - HOUR),
    'f.made != now.minus("PT1H")': of_file(lambda f: f.get("made") not in (None, AT - HOUR)),
    'f.made < u.since.minus("P0DT1H30M")': lambda u, f: before(
        f.get("made"), u.get("since") and u["since"] - 1.5 * HOUR
    ),
    'u.request.context.at.plus("PT1S") > "2030-01-01T00:00:00Z"': always,
    "u.request.context.at > now": always,
    "u.request.context.low = u.request.context.same": always,
    "u.request.context.low != u.request.context.yes": always,
    "u.request.context.low < u.request.context.high": always,
    "u.request.context.high < u.request.context.low": never,
    "u.request.context.absent = u.request.context.missing": always,
    "u.request.context.absent < u.request.context.low": never,
    "u.request.context.text in u.request.context.kinds": always,
    "u.request.context.yes": always,
    "f.kind in u.request.context.kinds": of_file(lambda f: f.get("kind") == "a"),
    "f.size in u.request.context.sizes": of_file(lambda f: f.get("size") == 5),
    "u.score in u.request.context.sizes": of_user(lambda u: u.get("score") == 5),
    '"b" in u.request.context.kinds': always,
    "f.kind in u.request.context.none": never,
    "f.kind in u.request.context.absent": never,
    'starts_with(f.path, "/a")': of_file(lambda f: text(f.get("path")).startswith("/a")),
    'starts_with(f.path, "%")': never,
    "starts_with(f.path, u.role)": lambda u, f: f.get("path") is not None and f["path"].startswith(text(u.get("role"))),
    "ends_with(f.path, u.role)": lambda u, f: f.get("path") is not None and f["path"].endswith(text(u.get("role"))),
    'ends_with(f.kind, "é")': of_file(lambda f: f.get("kind") == "é"),
    'starts_with(u.request.context.ip, "10.")': always,
    'in_network(u.ip, "10.0.0.0/8")': of_user(lambda u: u.get("ip") == "10.1.2.3"),
    'in_network(u.ip, "2001:db8::/32")': of_user(lambda u: u.get("ip") == "2001:DB8::1"),
    'in_network(u.request.context.ip, "10.9.0.0/16")': always,
    'in_network(u.request.context.six, "10.0.0.0/8")': never,
    'in_network(u.request.context.absent, "0.0.0.0/0")': never,
}
POLICY = "\n".join(
    [
        f'allow(u: User, "c{number}", f: File) if u.id = u.id and f.id = f.id and ({condition});'
        for number, condition in enumerate(CONDITIONS)
    ]
    + ["can(_role: String, _u);", 'can(org: Org{name: "One"}, _u) if org.id = org.id;']
    + ['allow(u: User{isActive: true}, "head", _: File{public: true}) if u.id = u.id;']
)
CONTEXT: Fields = {"context": REQUEST}


def fill(database: Database) -> None:
    """Store the users, files and organisations."""
    schema = compile_texts({"p.polar": POLICY, "types.toml": TYPES}).types
    for kind, rows in (("user", USERS), ("file", FILES), ("org", ORGS)):
        declared = schema.by_name[kind]
        for name, fields in rows.items():
            properties = {key: value for key, value in fields.items() if key not in ("since", "made")}
            values, links = parse_properties(declared, schema, properties)
            values |= {key: value for key, value in fields.items() if key in ("since", "made")}
            row = {"type": kind, "id": name, "properties": values}
            key = Entity.insert(**row, started_at=NOW, ended_at=FOREVER).execute(database)
            for name_of_link, (_, target) in links.items():
                EntityLink.insert(entity=key, property=name_of_link, type=kind, target=target).execute(database)


def test_every_condition_by_every_question(database: Database) -> None:
    """Each condition holds for the pairs for which Python says so, whatever the kind of question."""
    fill(database)
    if database.dialect == "postgresql":
        database.connection().prepare_threshold = 0
    pdp = PDP(database, compile_texts({"p.polar": POLICY, "types.toml": TYPES}), clock=lambda: NOW)
    tests = [(f"c{number}", holds) for number, holds in enumerate(CONDITIONS.values())]
    tests.append(("head", lambda u, f: u.get("isActive") is True and f.get("public") is True))
    expected: dict[tuple[Ref, str, Ref], bool] = {
        (("user", user), action, ("file", file)): holds({**USERS[user], "id": user}, {**FILES[file], "id": file})
        for action, holds in tests
        for user in USERS
        for file in FILES
    }
    texts = dict(zip((action for action, _ in tests), [*CONDITIONS, "head"], strict=True))
    answers = pdp.evaluate_many(list(expected), requests=[CONTEXT] * len(expected))
    for (question, holds), decision in zip(expected.items(), answers, strict=True):
        assert decision.allowed is holds, (texts[question[1]], question, decision)
    for action, _ in tests:
        pairs = sorted((who[1], what[1]) for (who, each, what), holds in expected.items() if holds and each == action)
        assert pdp.evaluate(("user", "amy"), action, ("file", "f1"), request=CONTEXT).allowed is (
            ("amy", "f1") in pairs
        ), action
        for subject in ("amy", "ben"):
            ids = [file for user, file in pairs if user == subject]
            assert pdp.search_resources(("user", subject), action, "file", request=CONTEXT) == ids, texts[action]
        ids = [user for user, file in pairs if file == "f1"]
        assert pdp.search_subjects("user", action, ("file", "f1"), request=CONTEXT) == ids, texts[action]
        if "request" not in texts[action]:
            assert [row[:2] for row in pdp.matrix("user", action, "file")] == pairs, texts[action]
    actions = [action for action, _ in tests if expected[("user", "ben"), action, ("file", "f2")]]
    assert pdp.search_actions(("user", "ben"), ("file", "f2"), request=CONTEXT) == actions


def test_conditions_within_a_clinic(database: Database) -> None:
    """Within a clinic each new condition holds for the clinic's own things alone."""
    people.fill(database)
    types = '[file]\nclinic = "Subscription"\npath = "string"\nmade = "datetime"\n'
    conditions = [
        'starts_with(f.path, "/a")',
        'in_network(f.path, "10.0.0.0/8") or now < f.made.plus("PT2H")',
        "f.path in p.request.context.paths and p.request.context.low = p.request.context.same",
    ]
    policy = "".join(
        f'allow(p: Practitioner, "c{n}", f: File) if p.id = p.id and ({each});' for n, each in enumerate(conditions)
    )
    values = {"path": "/a", "made": AT - HOUR}
    key = Entity.insert(type="file", id="f", properties=values, started_at=NOW, ended_at=FOREVER).execute(database)
    EntityLink.insert(entity=key, property="clinic", type="file", target="north").execute(database)
    pdp = PDP(database, compile_texts({"p.polar": policy, "types.toml": types}), clock=lambda: NOW)
    request: Fields = {"context": {"paths": ["/a"], "low": 1, "same": 1}}
    alice: Ref = ("practitioner", "alice")
    for tenant, listed in (("north", ["f"]), ("city", []), (None, ["f"])):
        for number in range(len(conditions)):
            action = f"c{number}"
            assert pdp.search_resources(alice, action, "file", tenant=tenant, request=request) == listed
            decision = pdp.evaluate(alice, action, ("file", "f"), tenant=tenant, request=request)
            assert decision.allowed is bool(listed)


SENTENCES = {
    'now < f.made.plus("PT2H")': "the file's made is after the instant asked about, minus 2 hours",
    'f.made < "2030-01-01T00:00:00Z"': "the file's made is before 2030-01-01T00:00:00Z",
    'starts_with(f.path, "/x")': "the file's path begins with /x",
    'ends_with(f.path, "x")': "the file's path ends with x",
    'in_network(u.ip, "11.0.0.0/8")': "the subject's ip is an address of 11.0.0.0/8",
    "f.kind in u.request.context.kinds": "the file's kind is one of the request's context.kinds",
    "u.request.context.a = u.request.context.b": "the request's context.a is the request's context.b",
}


@pytest.mark.parametrize("condition", SENTENCES)
def test_a_condition_in_an_explanation(sqlite_database: Database, condition: str) -> None:
    """An explanation says each condition in words."""
    fill(sqlite_database)
    text_of_policy = f'allow(u: User, "c", f: File) if u.id = "eve" and f.id = f.id and ({condition});'
    pdp = PDP(sqlite_database, compile_texts({"p.polar": text_of_policy, "types.toml": TYPES}), clock=lambda: NOW)
    nearest = pdp.explain(("user", "amy"), "c", ("file", "f4")).nearest
    assert nearest is not None
    assert any(SENTENCES[condition] in text for text in (*nearest.met, *nearest.unmet)), nearest


WRONG = {
    "f.kind in u.request.context.v": ["a", 5, {"a": 1}, [1], [["a"]], ["a", None], ["a"] * 1001],
    "f.size in u.request.context.v": [["a"], [True], [1.5]],
    "u.request.context.v < u.request.context.low": ["a", True, [1], {"a": 1}],
    "u.request.context.low in u.request.context.v": ["a", 5],
    'u.request.context.v.plus("PT1H") < now': ["a", 5],
    "u.score = u.request.context.v": ["5", True],
}


def test_a_value_of_the_request_of_another_kind(sqlite_database: Database) -> None:
    """A value of the request that cannot be compared is a denial with its reason, also in a batch."""
    fill(sqlite_database)
    for condition, values in WRONG.items():
        policy = f'allow(u: User, "c", f: File) if u.id = u.id and f.id = f.id and {condition};'
        pdp = PDP(sqlite_database, compile_texts({"p.polar": policy, "types.toml": TYPES}), clock=lambda: NOW)
        question = (("user", "amy"), "c", ("file", "f1"))
        for value in values:
            request: Fields = {"context": {"v": value, "low": 1}}
            assert pdp.evaluate(*question, request=request).reason == "wrong_type", (condition, value)
            many = pdp.evaluate_many([question] * 2, requests=[request, request])
            assert [decision.reason for decision in many] == ["wrong_type"] * 2


def test_addresses_are_those_of_python() -> None:
    """A text is an address here if Python's module takes it, but for zones and leading zeros; both know networks."""
    texts = ["1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.256", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
             "::2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4", "1::5:1.2.3.4", "1:2:3:4:5::1.2.3.4",
             "1:::2",
             "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1::", "g::", "fe80::1%eth0", " ::1", "::1\n", "12345::", "", ":",
             "1:2:3:4:5:6:7:1.2.3.4", "::ffff:10.0.0.1", "1:2::3:4:5:6:7:8", "1:2:3::4:5:6:7"]  # fmt: skip
    for text_of_address in texts:
        try:
            version = ipaddress.ip_address(text_of_address).version if "%" not in text_of_address else 0
        except ValueError:
            version = 0
        assert in_network(text_of_address, "0.0.0.0/0") is (version == 4), text_of_address
        assert in_network(text_of_address, "::/0") is (version == 6), text_of_address


@pytest.mark.parametrize("value", [True, "5", float("inf"), float("nan"), 10**400, [1]])
def test_a_number_that_is_none(value: object) -> None:
    """A property of the kind number takes what a double holds, and refuses everything else."""
    schema = compile_texts({"p.polar": POLICY, "types.toml": TYPES}).types
    with pytest.raises(InvalidInput, match=r"user\.score"):
        parse_properties(schema.by_name["user"], schema, {"score": value})
    assert parse_properties(schema.by_name["user"], schema, {"score": 10**300})[0] == {"score": 1e300}


def test_a_comparison_that_some_types_never_meet() -> None:
    """A comparison drops the alternative for the types that never meet it, with a warning, if others may meet it."""
    types = '[user]\nname = "string"\n[a]\nowner = "User"\n[b]\nowner = "A"\n'
    policy = 'resource A {}\nresource B {}\nallow(u: User, "v", x: Resource) if u = x.owner;'
    compiled = compile_texts({"p.polar": policy, "types.toml": types})
    assert set(compiled.queries) == {("User", "A")}
    warning, unread = compiled.warnings
    assert unread == "types.toml: no rule that permits something is about the type b"
    assert warning.startswith("p.polar:3:37: compares a User with a A: never equal, where its rule is asked")
