"""A browser and the real server, on the demonstration clinic with some extreme rows.

If Chromium (Debian's) is not installed, the tests that need it are skipped, except under ``CI=true``.
"""

import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from authz import operations
from authz.database import close_all, connect, migrate
from authz.importing import demo, import_facts
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.settings import shipped_folder
from tests.support.server import free_port, serving

CHROMIUM = "/usr/bin/chromium"
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--in-process-gpu",
    "--disable-software-rasterizer",
]
_AXE = gzip.decompress(Path(__file__).with_name("axe-core-4.14.1.min.js.gz").read_bytes()).decode()
"""Newer than the copy in axe-playwright-python (docs/decisions/0109-every-display.md)."""
_SESSION_KEY = "the browser tests' own session key, which no server has"
LONG = "Wilhelmina-Konstantina Featherstonehaugh-Cholmondeley de la Vallée-Poussin Ørsted"[:80]
SCRIPT = '<script>document.title = "taken"</script>'


def extremes(began: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a crowded practice, long names, names written from right to left, a name that is a script."""
    since = {"started_at": began.isoformat().replace("+00:00", "Z")}
    for number in range(40):
        who = f"crowd-{number}"
        name = LONG if number == 0 else f"Colleague {number:02}"
        yield "practitioner", {"id": who, "login": f"{who}@north.example", "name": name}
        yield "membership", {"practitioner": who, "subscription": "north", "role": "member", **since}
    names = {"x-long": LONG, "x-right": "مريم عبد الرحمن الفاروقي", "x-script": SCRIPT}
    for patient, name in names.items():
        yield "patient", {"id": patient, "subscription": "north", "name": name, "owner": "ivan", **since}
    for number in range(120):
        case = {"id": f"c-{number:03}", "subscription": "north", "name": f"Crowded Case {number:03}"}
        yield "patient", {**case, "owner": "crowd-1", **since}
    for number in range(2, 32):
        yield "grant", {"patient": "c-000", "practitioner": f"crowd-{number}", "role": "viewer", **since}
    yield "grant", {"patient": "x-long", "practitioner": "crowd-0", "role": "viewer", "reason": LONG, **since}
    yield "membership", {"practitioner": "dan", "subscription": "city", "role": "manager", **since}


def fill(url: str) -> None:
    """Fill a new database with the demonstration clinic and the extremes."""
    database, policy = connect(url), load(shipped_folder("policies"))
    types = policy.types
    migrate(database)
    now = datetime.now(UTC) - timedelta(hours=1)
    with database.connection_context():
        demo.fill(database, types, now)
        lines = b"".join(orjson.dumps({kind: body}) + b"\n" for kind, body in extremes(now))
        import_facts(database, io.BytesIO(lines), types, now=now)
        alice, pdp = Actor("alice", now + timedelta(minutes=5)), PDP(database, policy)
        operations.share(pdp, actor=alice, patients=["p-6"], colleague="ivan@north.example")
        operations.transfer(pdp, actor=alice, patients=["p-60"], colleague="noa@north.example")
    close_all(database)


@cache
def filled() -> bytes:
    """Return a database that `fill` has filled, once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/clinic.db")
        return Path(folder, "clinic.db").read_bytes()


@dataclass
class Site:
    """A running server, its database, and the browser before it."""

    url: str
    database: Path
    browser: Browser

    @contextmanager
    def visit(self, who: str = "", *, size: ViewportSize | None = None, **more: Any) -> Iterator[Page]:
        """Open a page of somebody who is signed in (or of nobody), in a browser of its own."""
        context = self.browser.new_context(viewport=size or DESKTOP, base_url=self.url, **more)
        context.set_default_timeout(30_000)
        if who:
            self.sign_in(context, who)
        page = context.new_page()
        try:
            yield page
        finally:
            context.close()

    def sign_in(self, context: BrowserContext, who: str, ago: timedelta = timedelta(0)) -> None:
        """Add the session of somebody whose last request was some time ago."""
        moment = int((datetime.now(UTC) - ago).timestamp())
        session = {"_permanent": True, "by": who, "since": moment, "seen": moment}
        context.add_cookies([{"name": "caregrant", "value": cookie(session), "url": self.url}])

    def resume(self, context: BrowserContext, value: str, ago: timedelta) -> None:
        """Add the session of this cookie, with its last request some time ago."""
        session = signer().loads(value)
        session["seen"] -= int(ago.total_seconds())
        context.add_cookies([{"name": "caregrant", "value": cookie(session), "url": self.url}])


def signer() -> Any:
    """Return the serializer that signs sessions as the server does."""
    app = Flask("tests")
    app.secret_key = _SESSION_KEY
    return SecureCookieSessionInterface().get_signing_serializer(app)


def cookie(session: dict[str, Any]) -> str:
    """Return a session as the server would sign it."""
    text: str = signer().dumps(session)
    return text


@contextmanager
def site(folder: Path, **settings: str) -> Iterator[Site]:
    """Run the server, with these settings of the environment, and the browser on a database in a folder."""
    database, port = folder / "clinic.db", free_port()
    url = f"sqlite:///{database}"
    database.write_bytes(filled())
    database.chmod(0o600)
    arguments = ("serve", "--database", url)
    environment = {"CAREGRANT_DEMO_SIGN_IN": "true", "CAREGRANT_SESSION_KEY": _SESSION_KEY, **settings}
    with serving(*arguments, port=port, environment=environment), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield Site(f"http://127.0.0.1:{port}", database, browser)
        finally:
            browser.close()


def needs_chromium() -> None:
    """Skip a test if Chromium is not installed."""
    if not shutil.which(CHROMIUM):
        assert os.environ.get("CI") != "true", "chromium is not installed"
        pytest.skip("chromium is not installed")


def faults(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page, and every field without a label (which axe lets pass).

    What still fades in is waited for: its contrast is too low until then.
    """
    page.wait_for_load_state()
    page.evaluate(
        """() => Promise.race([Promise.allSettled(document.getAnimations().map((each) => each.finished)),
            new Promise((resolve) => setTimeout(resolve, 1000))])"""
    )
    violations = Axe(_AXE).run(page, options={"resultTypes": ["violations"]}).response["violations"]
    descriptions = [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in violations
        for node in violation["nodes"]
    ]
    unlabelled = page.evaluate(
        """() => Array.from(document.querySelectorAll("input:not([type=hidden]), select, textarea"))
            .filter((field) => !field.labels.length && !field.getAttribute("aria-label"))
            .map((field) => field.outerHTML)"""
    )
    return descriptions + [f"no label: {field}" for field in unlabelled]
