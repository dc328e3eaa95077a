"""Log lines: one line an entry, no field forged, nothing personal; a password is shown nowhere."""

import io
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest
from flask import Flask

from api.ops import logs
from authz.database import Database, connect, masked_url
from authz.errors import InvalidInput
from tests.support.http import App, question
from tests.support.server import COMMAND


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the log handlers of this process after a test."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    root.handlers[:] = before


def written(form: str, flask: Flask, **headers: str) -> list[str]:
    """Return the log lines of a refused credential and of a fault."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        logs.configure(form)
        flask.test_client().get("/v1/me", headers={"Authorization": "Bearer nobody", **headers})
        try:
            raise ValueError("alice@north.example")
        except ValueError as error:
            logging.getLogger("caregrant").exception("unexpected", exc_info=error)
        logging.getLogger().handlers[0].flush()
    return stream.getvalue().splitlines()


FORGED = 'a" level=CRITICAL message="root'


@pytest.mark.usefixtures("restored")
def test_an_entry_is_one_line_of_json(flask: Flask) -> None:
    """Each entry is one JSON object; callers' text is a value in it; an exception's message is left out."""
    refused, fault = (json.loads(line) for line in written("json", flask, **{"X-Request-ID": FORGED}))
    assert (refused["level"], refused["request"], refused["route"]) == ("WARNING", FORGED, "/v1/me")
    assert refused["pid"] > 0
    assert refused["time"].endswith("Z")
    assert (fault["exception"], fault["message"]) == ("ValueError", "unexpected")
    assert "written" in fault["raised"]
    assert "north.example" not in json.dumps(fault)


@pytest.mark.usefixtures("restored")
def test_an_entry_is_one_line_of_text(flask: Flask) -> None:
    """Fields are name=value; a value with a blank or a quote is quoted, so that no caller can forge a field."""
    refused, _ = written("text", flask, **{"X-Request-ID": FORGED})
    assert " WARNING logger=caregrant pid=" in refused
    assert ' request="a\\" level=CRITICAL message=\\"root" route=/v1/me ' in refused


@pytest.mark.parametrize("form", logs.FORMATS)
def test_control_characters_begin_no_line(form: str) -> None:
    """Line breaks, terminal sequences and invisible characters of a message are escaped."""
    record = logging.LogRecord("x", logging.INFO, "x", 1, "a\nb\x1b[2J\u2028c\r", None, None)
    line = logs.LineFormatter(form).format(record)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_a_reader_that_stands_still_stops_nobody() -> None:
    """If nobody reads the log, logging does not block: lines wait, and beyond a number they are dropped."""
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "w")
    with redirect_stderr(pipe):
        writer = logs.LineWriter()
        writer.setFormatter(logs.LineFormatter("text"))
        for _ in range(logs.MOST_WAITING + 2000):
            writer.emit(logging.LogRecord("x", logging.INFO, "x", 1, "x" * 100, None, None))
        os.close(reading)  # the writer's thread ends its wait with an error, which it survives
        writer.flush()
    with suppress(BrokenPipeError):
        pipe.close()


def test_another_format_is_refused() -> None:
    """A service does not start with a format that it does not know."""
    with pytest.raises(InvalidInput, match="CAREGRANT_LOG_FORMAT"):
        logs.configure("xml")


URLS = (
    "postgresql://ann:hunter2@127.0.0.1:1/clinic",
    "postgresql://ann:hun@hunter2@127.0.0.1:1/clinic",
    "postgresql://ann:hunter2@[h/d",
    "postgresql://ann:hunter2",
    "mysql://ann:hunter2@h/d",
    "postgresql://ann:hun#hunter2@h/d",
    "postgresql://ann@127.0.0.1:1/clinic?password=hunter2",
    "postgresql://ann@127.0.0.1:1/clinic?sslpassword=hunter2&x=1",
    "postgresql:ann:hunter2@h/d",
)


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_shown_nowhere(url: str, tmp_path: Path) -> None:
    """The password of a database URL is in no message about a wrong URL or an unreachable server."""
    assert "hunter2" not in masked_url(url)
    with suppress(InvalidInput):
        connect(url)
    arguments = [str(COMMAND), "migrate", "--database", url]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_secret_is_shown() -> None:
    """A message shows the rest of a database URL unchanged."""
    assert masked_url("sqlite:///clinic.db") == "sqlite:///clinic.db"
    assert masked_url("postgresql://ann@h:5432/d?sslmode=require") == "postgresql://ann@h:5432/d?sslmode=require"
    assert masked_url("postgresql://ann:pw@h:5432,i:5433/d") == "postgresql://ann:***@h:5432,i:5433/d"


def test_the_log_says_nothing_of_people(flask: Flask, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The log lines of a refused key and of a malformed question hold no login, id or body."""
    app = App(flask, database)
    app.ask(question("alice"), Authorization="Bearer cg_secret")
    app.ask(b"{broken", X_On_Behalf_Of="alice@clinic.example")
    assert "alice" not in caplog.text
    assert "cg_secret" not in caplog.text
