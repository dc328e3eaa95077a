"""Numbers that are too long, too large or in other digits are refused wherever input comes in."""

import base64
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from authz.audit import verify
from authz.callers.signed_tokens import BadToken
from authz.callers.tokens import Tokens
from authz.cli import caregrant
from authz.database import Database
from authz.errors import CaregrantError, ImportRefused, InvalidInput, PolicyRefused
from authz.importing import import_facts
from authz.policy.compiler import compile_texts
from authz.settings import SETTINGS, Settings
from tests.support import people
from tests.support.http import App, Person, service
from tests.support.jwks_server import KeyServer, serving
from tests.support.people import NOW
from tests.support.signed_tokens import GOOD, ISSUER
from tests.support.visitor import Visitor

LONG, WIDE, OTHER = "9" * 5000, "9" * 20, "²"
NUMBERS = {"long": LONG, "wide": WIDE, "other": OTHER, "arabic": "٣" * 3}
RULE = 'allow(_: Practitioner, "view", x: Document) if x.pages '
TYPES = '[document]\npages = "integer"\n'


@pytest.fixture
def flask(sqlite_database: Database) -> Flask:
    people.fill(sqlite_database)
    return service(sqlite_database)


@pytest.mark.parametrize("number", [LONG, WIDE, f"-{LONG}", f"-{WIDE}", "1e999", "-1e999", f"{LONG}.5"])
def test_a_policy(number: str) -> None:
    """A number in a policy that no database can compare is refused with its line and column."""
    with pytest.raises(PolicyRefused) as refused:
        compile_texts({"policy.polar": f"# A rule.\n{RULE}= {number};", "types.toml": TYPES})
    (fault,) = refused.value.faults
    assert (fault.file, fault.line, fault.column) == ("policy.polar", 2, len(RULE) + 3)
    assert "number" in fault.why


def test_the_largest_numbers_of_a_policy() -> None:
    """The largest and the smallest number that a database stores can be compared in a policy."""
    for number in (2**63 - 1, 1 - 2**63, 1.5):
        compile_texts({"policy.polar": f"{RULE}= {number};", "types.toml": TYPES})


def test_a_declaration() -> None:
    """A bad number in types.toml is refused and does not crash."""
    with pytest.raises(PolicyRefused) as refused:
        compile_texts({"policy.polar": 'allow(_: Practitioner, "view", _: Patient);', "types.toml": f"x = {LONG}"})
    assert refused.value.faults[0].file == "types.toml"


@pytest.mark.parametrize("number", [LONG, WIDE, OTHER, f"-{WIDE}", "-1"])
@pytest.mark.parametrize("variable", [name for name, (default, _) in SETTINGS.items() if type(default) is int])
def test_a_setting(monkeypatch: pytest.MonkeyPatch, variable: str, number: str) -> None:
    """A setting whose number is out of range is refused, and the refusal names the setting."""
    monkeypatch.setenv(variable, number)
    with pytest.raises(InvalidInput, match=variable):
        Settings.from_environment()


@pytest.mark.parametrize("number", list(NUMBERS))
@pytest.mark.parametrize(
    "arguments",
    [
        "audit erase client:{}",
        "audit prove event:{}",
        "audit prove decision:{}",
        "client revoke {}",
        "client rotate {}",
        "client add x --rate {}",
        "token alice@clinic.example --ttl {}",
    ],
)
def test_an_argument(sqlite_url: str, arguments: str, number: str) -> None:
    """A number at the command line is refused in a sentence."""
    result = CliRunner().invoke(caregrant, [*arguments.format(NUMBERS[number]).split(), "--database", sqlite_url])
    assert result.exception is None or isinstance(result.exception, CaregrantError | SystemExit), result.exception


@pytest.mark.parametrize(
    "arguments", ["serve --port {}", "serve --workers {}", "demo --port {}", "notebooks --port {}"]
)
def test_an_argument_of_a_server(sqlite_url: str, arguments: str) -> None:
    """A bad port or number of processes is refused before anything is created or started."""
    for number in (LONG, WIDE, "0", "70000"):
        result = CliRunner().invoke(caregrant, [*arguments.format(number).split(), "--database", sqlite_url])
        assert result.exit_code == 2, result.output


@pytest.mark.parametrize("number", list(NUMBERS))
def test_files(sqlite_database: Database, tmp_path: Path, number: str) -> None:
    """A bad number in a review sheet, an import or a checkpoint is refused with its line."""
    url = f"sqlite:///{sqlite_database.database}"
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        f"grant,standing_share,patient,practitioner,verdict\n{NUMBERS[number]},,p-1,bob,keep\n", encoding="utf-8"
    )
    arguments = [
        "audit",
        "review",
        str(sheet),
        "--campaign",
        "c",
        "--due",
        "2030-01-01",
        "--reviewer",
        "dan",
        "--database",
        url,
    ]
    result = CliRunner().invoke(caregrant, arguments)
    assert isinstance(result.exception, ImportRefused), result.output
    types = compile_texts({"a.polar": 'allow(_: Practitioner, "view", _: Patient);', "types.toml": TYPES}).types
    line = f'{{"entity": {{"type": "document", "id": "d", "properties": {{"pages": {NUMBERS[number]}}}}}}}'
    with pytest.raises(ImportRefused, match="line 1"):
        import_facts(sqlite_database, io.BytesIO(line.encode()), types, now=NOW)
    with pytest.raises(verify.Malformed):
        verify.Note.parse(f"origin\n{NUMBERS[number]}\n{base64.b64encode(bytes(32)).decode()}\n\n— x AAAA\n")


QUESTION = (
    '{"subject": {"type": "practitioner", "id": "alice"}, "action": {"name": "view"}, "resource": {"type": "patient"'
)
BODIES = {
    "/access/v1/evaluation": QUESTION + ', "id": "p-1"}, "context": {"at": @}}',
    "/access/v1/search/resource": QUESTION + '}, "page": {"limit": @}}',
    "/v1/patients": '{"name": @}',
    "/v1/shares": '{"patients": [@], "colleague": "x"}',
    "/v1/standing-shares": '{"colleague": "bob@clinic.example", "until": @}',
}
PATHS = (
    "GET /v1/patients?limit=@",
    "GET /v1/patients?cursor=@",
    "GET /v1/patients?cursor=~",
    "GET /v1/events?after=@",
    "GET /v1/events?wait=@",
    "GET /v1/notifications?cursor=@",
    "GET /v1/notifications?cursor=~",
    "POST /v1/notifications/@/read",
    "DELETE /v1/patients/p-1/shares/@",
    "PATCH /v1/patients/p-1/shares/@",
    "DELETE /v1/standing-shares/@",
)
PAGES = (
    "/sharing/@/end",
    "/patients/p-1/access/@/end",
    "/notifications?cursor=~",
    "/clinic/north/shares?cursor=~",
    "/clinic/north?cursor=~",
)


def _filled(text: str, number: str) -> str:
    cursor = base64.urlsafe_b64encode(number.encode()).decode().rstrip("=")
    return text.replace("@", number).replace("~", cursor)


@pytest.mark.parametrize("number", list(NUMBERS))
def test_over_http(flask: Flask, sqlite_database: Database, number: str) -> None:
    """No number in a path, a parameter, a cursor or a body causes an answer of 500."""
    text = NUMBERS[number]
    app = App(flask, sqlite_database, "decide", "act", "audit", "admin")
    acting = {"Authorization": f"Bearer {app.key}", "X-On-Behalf-Of": "dan@clinic.example"}
    person = Person(flask, acting)
    for line in PATHS:
        method, path = line.split(" ")
        assert person.call(method, _filled(path, text), {} if method == "PATCH" else None).status_code < 500, line
    for path, body in BODIES.items():
        answer = person.call("POST", path, body.replace("@", text).encode())
        assert answer.status_code < 500, (path, answer.text)
    visitor = Visitor(flask, "dan")
    for path in PAGES:
        assert visitor.client.get(_filled(path, text)).status_code < 500, path
        assert visitor.client.post(_filled(path, text), data={"csrf_token": visitor.token()}).status_code < 500, path


@pytest.mark.parametrize("number", [LONG, WIDE, "1e999", "-1e999", f'"{WIDE}"', f'"{LONG}"', "NaN", "true", "[1]"])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_token(claim: str, number: str) -> None:
    """A token whose instants are not valid times is refused: no error 500, no session without an end."""
    with serving() as provider:
        tokens = Tokens(Settings(jwks=provider.url, issuer=ISSUER))
        payload = json.dumps({**GOOD, claim: "~"}).replace('"~"', number).encode()
        with suppress(BadToken):
            assert tokens.login_of(_signed(provider, payload), NOW) == "alice@clinic.example"


def _signed(provider: KeyServer, payload: bytes) -> str:
    from joserfc import jws  # noqa: PLC0415

    key: Any = provider.keys[0]
    return jws.serialize_compact({"alg": "RS256", "kid": key.kid}, payload, key)
