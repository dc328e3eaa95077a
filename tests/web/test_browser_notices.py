"""Notices in a real browser: one for a batch, read by following it, with and without script, accessible."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import ViewportSize, expect

from authz import operations
from authz.database import close_all, connect
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.settings import shipped_folder
from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site

DISPLAYS = pytest.mark.parametrize(
    ("size", "script", "first"), [(DESKTOP, True, 0), (PHONE, True, 10), (DESKTOP, False, 20)]
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


@DISPLAYS
def test_a_batch_is_read_by_following_it(there: Site, size: ViewportSize, script: bool, first: int) -> None:
    """Ten patients are one unread notice with reason and end; a press reads it and shows them, one by one."""
    database = connect(f"sqlite:///{there.database}")
    patients = [f"c-{number:03}" for number in range(40 + first, 50 + first)]
    operations.share(
        PDP(database, load(shipped_folder("policies"))),
        actor=Actor("crowd-1", datetime.now(UTC)),
        patients=patients,
        colleague="crowd-35@north.example",
        reason=f"cover {first}",
        until=datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=400),
    )
    close_all(database)
    with there.visit("crowd-35", size=size, java_script_enabled=script) as page:
        page.goto("/notifications")
        notices = page.get_by_role("listitem").filter(has_text=f"cover {first}")
        expect(notices).to_have_count(1)
        expect(notices).to_contain_text("ends after")
        bell = page.get_by_role("navigation", name="Main").get_by_role("link", name="Notifications")
        expect(bell).to_contain_text("1 unread")
        assert not script or faults(page) == []
        notices.get_by_role("button", name="Unread: Colleague 01 shared 10 patients with you", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Colleague 01 shared 10 patients with you")
        expect(bell).not_to_contain_text("unread")
        assert not script or faults(page) == []
        page.get_by_role("link", name=f"Crowded Case {41 + first:03}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Crowded Case {41 + first:03}")
        page.goto("/notifications")
        notices.get_by_role("link", name="Colleague 01 shared 10 patients with you").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Colleague 01 shared 10 patients with you")
    with there.visit("crowd-1", size=size, java_script_enabled=script) as page:
        page.goto("/notifications")
        expect(page.get_by_role("link", name="You shared 10 patients with Colleague 35").first).to_be_visible()
        expect(page.get_by_role("navigation", name="Main")).not_to_contain_text("unread")


def test_no_e_mail_is_offered_that_nobody_sends(there: Site) -> None:
    """Without a mail server the page offers no e-mail."""
    with there.visit("noa") as page:
        page.goto("/notifications")
        expect(page.get_by_role("heading", name="Notifications")).to_be_visible()
        expect(page.get_by_role("button", name="Send me these e-mails")).to_have_count(0)
