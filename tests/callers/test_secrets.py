"""Secrets and keys in files: a value that names a file never serves as the secret itself."""

import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from authz.audit.integrity.checkpoints import Signer
from authz.callers.tokens import Tokens
from authz.database import Database
from authz.errors import InvalidInput
from authz.private_files import read_key, read_secret, write_private
from authz.settings import Settings
from tests.support import people
from tests.support.http import service

LONG = "the content of a file, of more than thirty-two characters"
PROVIDER = {"issuer": "https://id.example", "oidc_client": "pages", "public_url": "https://pages.example"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the working directory and the home of the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    return tmp_path


NAMES = [
    "{}/secrets/key",
    "file:{}/secrets/key",
    "file://{}/secrets/key",
    "./secrets/key",
    "~/secrets/key",
    "secrets/key",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variable", ["session_key", "oidc_secret"])
def test_a_file_that_a_secret_names(folder: Path, sqlite_database: Database, name: str, variable: str) -> None:
    """If a secret's file is missing, unreadable or empty, the service does not start."""
    people.fill(sqlite_database)
    value, file = name.format(folder), folder / "secrets" / "key"
    values: dict[str, Any] = {**PROVIDER, "session_key": LONG, variable: value}
    for prepare, why in ((lambda: None, "cannot be read"), (lambda: file.write_text(" \n"), "is empty")):
        prepare()
        with pytest.raises(InvalidInput, match=f"CAREGRANT_{variable.upper()}: the file .*{why}"):
            service(sqlite_database, **values)
    file.write_bytes(b"\xff\xfe" * 40)
    with pytest.raises(InvalidInput, match="holds no text"):
        service(sqlite_database, **values)
    file.unlink()
    file.mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        service(sqlite_database, **values)
    file.rmdir()
    file.write_text(f"{LONG}\n")
    assert read_secret(value, variable) == LONG
    app = service(sqlite_database, **values)
    assert value not in str(app.config["SECRET_KEY"])


def test_a_missing_file_of_a_container(sqlite_database: Database) -> None:
    """The path of a secret that was not mounted is not taken as the key, however long it is."""
    people.fill(sqlite_database)
    with pytest.raises(InvalidInput, match=r"CAREGRANT_SESSION_KEY: the file .* cannot be read: No such file"):
        service(sqlite_database, session_key="/run/secrets/caregrant-session-key-of-the-clinic")


@pytest.mark.parametrize("value", ["", "short", "-" * 40, "a/b+c=" * 8, LONG])
def test_a_value_that_names_no_file(folder: Path, value: str) -> None:
    """A value that does not name a file is the secret itself."""
    assert read_secret(value, "X") == value


@pytest.mark.parametrize(("value", "why"), [("short", "at least 32"), ("x" * 64, "repeats one character")])
def test_a_key_that_could_be_guessed(folder: Path, value: str, why: str) -> None:
    """A short key, or one of a single repeated character, is refused, also from a file."""
    (folder / "key").write_text(value)
    for setting in (value, "key"):
        with pytest.raises(InvalidInput, match=why):
            read_key(setting, "CAREGRANT_SESSION_KEY")


def test_a_key_is_its_owners(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Key files are made for their owner alone, whatever the umask; a readable one is reported."""
    before = os.umask(0)
    try:
        Tokens(Settings(development_key="development"))
        Signer.make("checkpoint", "clinic.example/caregrant")
    finally:
        os.umask(before)
    for name in ("development", "checkpoint"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint", "development", "secrets"]
    with pytest.raises(InvalidInput, match="never written over another"):
        Signer.make("checkpoint", "clinic.example/caregrant")
    with pytest.raises(FileExistsError):
        write_private("development", "another")
    with caplog.at_level(logging.WARNING):
        Tokens(Settings(development_key="development"))
        assert caplog.text == ""
        (folder / "development").chmod(0o644)
        Tokens(Settings(development_key="development"))
    assert "development contains a secret" in caplog.text


@pytest.mark.parametrize("path", ["nowhere/key", "/dev/null/key"])
def test_a_key_that_cannot_be_made(folder: Path, sqlite_database: Database, path: str) -> None:
    """A key in a missing directory is refused in a sentence, and the directory is not made."""
    with pytest.raises(InvalidInput, match="cannot be written"):
        Tokens(Settings(development_key=path))
    with pytest.raises(InvalidInput, match="cannot be written"):
        service(sqlite_database, public_url="https://pdp.example", metadata_key=path)
    with pytest.raises(InvalidInput, match="cannot be written"):
        Signer.make(path, "clinic.example/caregrant")
    assert not (folder / "nowhere").exists()


def test_a_public_key_does_not_sign(folder: Path) -> None:
    """A file with only a public key is refused for signing."""
    Tokens(Settings(development_key="key"))
    text = (folder / "key").read_text()
    (folder / "public").write_text(text.replace('"d"', '"ignored"'))
    with pytest.raises(InvalidInput, match="no signing key"):
        Tokens(Settings(development_key="public"))
