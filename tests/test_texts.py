"""The rules of ids and names: which are refused, how they are stored, how they are found and ordered."""

import io
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import peewee
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from authz.database import Database, close_all, connect
from authz.domain import FOREVER
from authz.errors import CaregrantError, ImportRefused, InvalidInput
from authz.importing import import_facts
from authz.models import Grant, Patient
from authz.operations import put_practitioner
from authz.texts import fold, matches_search, parse_id, parse_reference, parse_text, search_key
from tests.support import people
from tests.support.acting import POLICY, by, login, pdp_of
from tests.support.http import As, Person, answered, assert_problem, service
from tests.support.people import NOW
from tests.support.v1 import app, ids
from tests.support.visitor import Visitor

INVISIBLE = [
    "\u200b",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u115f",
    "\u3164",
    "\u2800",
    "\U000e0041",
]
NOBODYS = ["\ufffe", "\uffff", "\U0001fffe", "\ud800", "\ue000", "\u0378", "\0", "\n", "\x7f", "\u2028", "\x85"]

BAD_IDS = ["", " ", "a b", "a\u00a0b", "a\u3000", ".", "..", "a/b", "/", "e\u0301", "\u0301", "\ufe0fa", "i" * 129]


@pytest.mark.parametrize("bad", [*BAD_IDS, *INVISIBLE, *(f"a{character}" for character in [*INVISIBLE, *NOBODYS])])
def test_ids_that_are_refused(sqlite_database: Database, bad: str) -> None:
    """A bad id is refused by provisioning, by an import of each kind and for an entity."""
    people.fill(sqlite_database)
    with pytest.raises(InvalidInput):
        parse_id(bad)
    lines: list[dict[str, Any]] = [
        {"subscription": {"id": bad, "name": "X"}},
        {"practitioner": {"id": bad, "login": "x@clinic.example", "name": "X"}},
        {"patient": {"id": bad, "subscription": "north", "name": "X", "owner": "alice"}},
        {"entity": {"type": "document", "id": bad, "properties": {"patient": "p-1"}}},
    ]
    for line in lines:
        try:
            text = orjson.dumps(line)
        except TypeError:  # a surrogate alone is no JSON
            continue
        with pytest.raises(ImportRefused):
            import_facts(sqlite_database, io.BytesIO(text), POLICY.types, now=NOW)
    with pytest.raises(CaregrantError):
        put_practitioner(pdp_of(sqlite_database), actor=by(""), practitioner=bad, login="x@clinic.example", name="X")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        " ",
        "\u3000",
        "\u00a0\u2003",
        *INVISIBLE,
        "\u0301",
        "a \u0301",
        "\u200d",
        "a \ufe0f",
        *(f"a{character}b" for character in NOBODYS),
    ],
)
def test_names_that_are_refused(bad: str) -> None:
    """Names and references that are blank, invisible, no character or marks without a letter are refused."""
    for parse in (parse_text, parse_reference):
        with pytest.raises(InvalidInput):
            parse(bad)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("Jose\u0301", "José"),
        ("  Ann \u00a0 Lee ", "Ann Lee"),
        ("नेहा शर्मा", "नेहा शर्मा"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Luis 👩\u200d⚕\ufe0f", "Luis 👩\u200d⚕\ufe0f"),
        ("נועה כהן", "נועה כהן"),
        ("葛\U000e0100城", "葛\U000e0100城"),
    ],
)
def test_names_as_they_are_stored(sent: str, stored: str) -> None:
    """Names are stored in normal form C with single blanks; joiners that scripts and emoji need stay."""
    assert parse_text(sent) == parse_text(stored) == stored


MATCHING = [
    *[("José", "jose"), ("Jose\u0301", "José"), ("José", "jose\u0301"), ("JOSÉ", "josé"), ("İpek", "ipek")],
    *[("IPEK", "İpek"), ("ipek", "İPEK"), ("Aaron Novak", "Novak Aaron"), ("Aaron Novák", "novak aar")],
    *[("Straße", "STRASSE"), ("Strasse", "straße"), ("Ångström", "angstrom"), ("Ann Lee", "lee  ann")],
    *[("ＡＢＣ", "abc"), ("ﬁona", "Fiona"), ("Σίσυφος", "ΣΙΣΥΦΟΣ"), ("Зоя Ёлкина", "елкина зоя"), ("نوعة", "نوعة")],
    *[("שָׁלוֹם", "שלום"), ("Nguyễn Văn An", "nguyen an van"), ("Đặng", "đang"), ("Zoë", "zoe"), ("가나", "가나")],
    *[("O'Neil", "o'neil"), ("50% off_", "50% off_")],
]
NOT_MATCHING = [
    *[("Ann Lee", "ann leo"), ("Ann Lee", "annlee"), ("Bob", "a%"), ("Bob", "b_b"), ("José", "joze")],
    ("Aaron", "Aaron Aaron Novak"),
]


def test_what_a_search_finds(database: Database) -> None:
    """The same words find the same names on both databases, among patients and among colleagues."""
    people.fill(database)
    pairs = [*((*pair, True) for pair in MATCHING), *((*pair, False) for pair in NOT_MATCHING)]
    for number, (name, _, _) in enumerate(pairs):
        people.add(database, Patient, id=f"n-{number}", subscription="north", name=parse_text(name))
        people.add(database, Grant, patient=f"n-{number}", practitioner="alice", role="owner", origin="created")
    alice = app_of(database, "alice")
    for number, (name, q, expected) in enumerate(pairs):
        assert matches_search(search_key(parse_text(name)), q) is expected, (name, q)
        for role in ("", "&role=owner"):
            listed = ids(alice.get(f"/v1/patients?limit=200&q={quote(q)}{role}"))
            assert (f"n-{number}" in listed) is expected, (name, q)
    shared = app_of(database, "carol")  # sees the same by a standing share
    assert ids(shared.get("/v1/patients?q=novak+aaron&role=viewer")) == ids(alice.get("/v1/patients?q=novak+aaron"))


def app_of(database: Database, who: str) -> Person:
    return app(service(database), database, "act", who=who)


def test_references_are_a_clinics_own(as_: As, database: Database, flask: Flask) -> None:
    """A reference is unique among a clinic's live patients; other clinics and ended patients may have it too."""
    first = answered(as_("alice").call("POST", "/v1/patients", {"name": "Nora", "reference": " MRN  17 "}), 201)
    assert first["reference"] == "MRN 17"
    again = {"name": "Noah", "reference": "MRN 17"}
    assert_problem(as_("bob").call("POST", "/v1/patients", again), 409, "conflict", "of this clinic")
    answered(as_("frank").call("POST", "/v1/patients", again), 201)
    assert ids(as_("alice").get("/v1/patients?q=17+mrn")) == [first["id"]]
    assert as_("alice").get(f"/v1/patients/{first['id']}")["reference"] == "MRN 17"
    for page in ("/patients", f"/patients/{first['id']}", f"/patients/{first['id']}/transfer"):
        assert "MRN 17" in Visitor(flask, "alice").get(page)
    also = {"id": "x", "subscription": "north", "name": "X", "reference": "MRN 17"}
    with pytest.raises(peewee.IntegrityError, match="reference"), database.atomic():
        people.add(database, Patient, **also, ended_at=FOREVER - timedelta(days=1))  # no other check would see it
    Patient.update(ended_at=datetime.now(UTC)).where(Patient.id == first["id"]).execute(database)
    answered(as_("bob").call("POST", "/v1/patients", again), 201)


def test_lists_are_by_name(as_: As, database: Database) -> None:
    """Lists are ordered by name, reference and id over all pages, also after a rename; `sort=id` orders by id."""
    named = [("d", "Zoë", "2"), ("c", "zoe", "1"), ("b", "Ann", ""), ("a", "ann", ""), ("e", "Öl", ""), ("f", "Oz", "")]
    for patient, name, reference in named:
        people.add(database, Patient, id=patient, subscription="north", name=name, reference=reference)
        people.add(database, Grant, patient=patient, practitioner="alice", role="owner", origin="created")
    expected = ["a", "b", "e", "f", "p-1", "c", "d"]
    for query in ("", "&role=owner"):
        assert walked(as_("alice"), query) == expected
    assert walked(as_("alice"), "&sort=id") == sorted(expected)
    assert walked(as_("carol"), "&role=viewer") == expected
    first = as_("alice").get("/v1/patients?limit=3")
    Patient.update(name="Aa", search_key=search_key("Aa")).where(Patient.id == "e").execute(database)
    rest = as_("alice").get(f"/v1/patients?limit=9&cursor={first['next']}")
    assert ids(first) + ids(rest) == expected
    assert_problem(as_("alice").call("GET", f"/v1/patients?sort=id&cursor={first['next']}"), 422, "invalid", "cursor")


def walked(who: Person, query: str) -> list[str]:
    expected, cursor = [], ""
    while cursor is not None:
        page = who.get(f"/v1/patients?limit=2&cursor={cursor}{query}")
        expected += ids(page)
        cursor = page["next"]
    return expected


ALPHABET = some.one_of(
    some.sampled_from("%?#&=+;:@!$'()*,~\\\"<>|^`{}[]-_.·é漢א\U0001f33f"),
    some.characters(exclude_categories=["Cs"]),
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rest=some.text(ALPHABET, min_size=1, max_size=12).map(lambda text: unicodedata.normalize("NFC", text)))
@pytest.mark.parametrize("dots", ["", "..", "a.", "%2F", "%", "a%2e"])
def test_an_id_that_is_accepted_can_be_addressed(sqlite_url: str, dots: str, rest: str) -> None:
    """Every accepted id works in every path, for each kind of thing."""
    name = f"{dots}{rest}"[:128]
    try:
        parse_id(name)
    except InvalidInput:
        return
    database = connect(sqlite_url)
    database.connect()
    with database.atomic() as undone:
        people.fill(database)
        flask = service(database)
        admin, alice = app(flask, database, "admin"), app(flask, database, "act", who="alice")
        path = quote(name, safe="")
        answered(admin.call("PUT", f"/v1/subscriptions/{path}", {"name": "X"}))
        answered(admin.call("PUT", f"/v1/practitioners/{path}", {"login": "x@clinic.example", "name": "X"}))
        answered(admin.call("PUT", f"/v1/memberships/north/{path}", {"role": "manager"}))
        answered(admin.call("PUT", f"/v1/memberships/{path}/{path}", {"role": "manager"}))
        answered(alice.call("POST", "/v1/patients", {"id": name, "name": "Y"}), 201)
        answered(admin.call("PUT", f"/v1/entities/document/{path}", {"properties": {"patient": name, "author": name}}))
        assert alice.get(f"/v1/patients/{path}")["id"] == name
        share = answered(alice.call("POST", f"/v1/patients/{path}/shares", {"colleague": login("bob")}), 201)
        assert len(alice.get(f"/v1/patients/{path}/access")["items"]) == 2
        visitor, manager = Visitor(flask, "alice"), Visitor(flask, name)
        for page in ("", "/transfer", "/share", f"/access/{share['id']}/end"):
            visitor.get(f"/patients/{path}{page}")
        for page in ("", "/handover", "/shares"):
            manager.get(f"/clinic/{path}{page}")
        assert f'href="/patients/{path}"' in visitor.client.get("/patients").text
        assert alice.call("DELETE", f"/v1/patients/{path}/shares/{share['id']}").status_code == 204
        moved = answered(alice.call("POST", f"/v1/patients/{path}/transfer", {"colleague": login("bob")}))
        assert moved["patient"] == name
        assert admin.call("DELETE", f"/v1/entities/document/{path}").status_code == 204
        assert admin.call("DELETE", f"/v1/memberships/north/{path}").status_code == 204
        undone.rollback()
    close_all(database)


def test_fold_is_stable() -> None:
    """Folding a folded text changes nothing."""
    for text, _ in MATCHING:
        assert fold(fold(text)) == fold(text) == fold(unicodedata.normalize("NFD", text))


def test_a_plain_text_is_folded_as_any_other() -> None:
    """The fast path for ASCII folds a text as the general path does."""
    for number in range(128):
        text = f"A{chr(number)}b  C"
        assert fold(text) == fold(f"{text} é").removesuffix("e").rstrip()
