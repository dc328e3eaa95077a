"""The daily e-mail in a real browser: switched on, sent by the running service, followed, and switched off."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site
from tests.support.mail_server import Inbox, mail_server


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Inbox]]:
    """Return a site whose service sends e-mails, and the inbox of its mail server."""
    needs_chromium()
    with mail_server() as inbox:
        url = f"smtp://127.0.0.1:{inbox.port}?starttls=no"
        settings = {"CAREGRANT_SMTP_URL": url, "CAREGRANT_MAIL_FROM": "caregrant@north.example"}
        with site(tmp_path_factory.mktemp("mailing"), **settings) as running:
            yield running, inbox


@pytest.mark.parametrize(("who", "size", "script"), [("noa", DESKTOP, True), ("ivan", PHONE, False)])
def test_the_daily_e_mail(mailing: tuple[Site, Inbox], who: str, size: ViewportSize, script: bool) -> None:
    """A practitioner switches the e-mail on, gets it from the running service, follows it, and switches it off."""
    running, inbox = mailing
    with running.visit(who, size=size, java_script_enabled=script) as page:
        page.goto("/notifications")
        assert not script or faults(page) == []
        page.get_by_role("button", name="Send me these e-mails").click()
        expect(page.get_by_role("status")).to_contain_text("You get at most one e-mail a day")
        for _ in range(600):
            messages = [message for message in inbox.messages if message["To"] == f"{who}@north.example"]
            if messages:
                break
            page.wait_for_timeout(100)
        (message,) = messages
        assert message["Subject"] == "Caregrant: 1 unread notification"
        (link,) = re.findall(r"http\S+", message.get_content())
        page.goto(link)
        expect(page.get_by_role("button", name=re.compile("^Unread: "))).to_have_count(1)
        page.get_by_role("button", name="Stop these e-mails").click()
        expect(page.get_by_role("status")).to_contain_text("You get no more e-mails")
        expect(page.get_by_role("button", name="Send me these e-mails")).to_be_visible()
