"""*Undo* after a transfer in a real browser: everything as before, too late, and after the receiver has acted."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from authz import operations
from authz.database import close_all, connect
from authz.domain import format_instant
from authz.operations import UNDO_TIME
from authz.policy.compiler import load
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.settings import shipped_folder
from tests.support.browser import DESKTOP, PHONE, Site, cookie, faults, needs_chromium, site

DISPLAYS = pytest.mark.parametrize(
    ("size", "script", "number"),
    [(DESKTOP, True, 1), (PHONE, True, 5), (DESKTOP, False, 2)],
    ids=["desktop", "phone", "without-script"],
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


def transfer(page: Page, path: str, to: str, *, end_shares: bool = False) -> None:
    """Transfer by clicks; the pop-up then offers *Undo*."""
    page.goto(path)
    if end_shares:
        page.get_by_label("with the transfer").check()
    page.get_by_text(f"{to}@north.example").click()
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def undo(page: Page, sentence: str) -> None:
    """Press *Undo*, and expect the sentence in the pop-up of the next page, which offers it no more."""
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def access(page: Page, path: str) -> list[str]:
    """Return who has access to a patient, with the end and the reason, but without the beginning of the grant."""
    page.goto(path)
    return [re.sub(r"\n[^\n]* · since \d+ \w+ \d+", "", row) for row in page.locator("li.row").all_inner_texts()]


@DISPLAYS
def test_everything_is_as_before(there: Site, size: ViewportSize, script: bool, number: int) -> None:
    """Undo gives the patient back with the shares that the transfer ended, and the receiver reads about it."""
    path = f"/patients/p-{number}"
    with there.visit("alice", size=size, java_script_enabled=script) as page:
        before = access(page, path)
        assert ("Bob Brandt" in str(before)) == (number != 5)
        transfer(page, f"{path}/transfer", "ivan", end_shares=number != 5)
        assert not script or faults(page) == []
        name = page.get_by_role("status").locator("bdi").first.inner_text()
        undo(page, f"The transfer of {name} to Ivan Iliev has been undone")
        assert not script or faults(page) == []
        assert access(page, path) == before
        expect(page.get_by_text("A transfer was undone")).to_be_visible()
    with there.visit("ivan", size=size, java_script_enabled=script) as page:
        page.goto(path)
        expect(page.get_by_role("heading", name="You do not see this patient any more")).to_be_visible()
        page.goto("/notifications")
        expect(page.get_by_text("Alice Andersson undid the transfer of a patient to you").first).to_be_visible()


@pytest.mark.parametrize("script", [True, False], ids=["script", "without-script"])
def test_after_the_receiver_has_changed_something(there: Site, script: bool) -> None:
    """The pop-up that still stands says the truth after the receiver has shared the patient; nothing changes."""
    path = f"/patients/c-{10 + script:03}"
    with there.visit("crowd-1", java_script_enabled=script) as page, there.visit("ivan") as other:
        transfer(page, f"{path}/transfer", "bob")
        undo(page, "has been undone")
        transfer(page, f"{path}/transfer", "ivan")
        other.goto(f"{path}/share")
        other.get_by_label("Share patient").check()
        other.get_by_label("Colleague’s e-mail").fill("noa@north.example")
        other.get_by_role("button", name="Continue").click()
        expect(other.get_by_role("status")).to_contain_text("has been shared with")
        undo(page, "The transfer has not been undone. The colleague who received the patient has already changed")
        assert faults(page) == [] if script else True
        assert len(access(other, path)) == 2


def test_too_late(there: Site) -> None:
    """A pop-up that has stood for eleven minutes says that it is too late when its button is pressed."""
    at = datetime.now(UTC) - UNDO_TIME - timedelta(minutes=1)
    database = connect(f"sqlite:///{there.database}")
    sender, pdp = Actor("crowd-1", at), PDP(database, load(shipped_folder("policies")))
    operations.transfer(pdp, actor=sender, patients=["c-012", "c-013"], colleague="bob@north.example")
    close_all(database)
    with there.visit() as page:
        moment = int(datetime.now(UTC).timestamp())
        message = [f"undo {format_instant(at)}", "2 patients have been transferred to Bob Brandt"]
        session = {"_permanent": True, "by": "crowd-1", "since": moment, "seen": moment, "_flashes": [message]}
        page.context.add_cookies([{"name": "caregrant", "value": cookie(session), "url": there.url}])
        page.goto("/patients?q=014")
        undo(page, "The transfer has not been undone. More than 10 minutes have passed since the transfer.")
        expect(page).to_have_url(f"{there.url}/patients?q=014")


def test_by_keyboard_several_at_once(there: Site) -> None:
    """The button is reached and pressed by keyboard; several patients come back together."""
    with there.visit("crowd-1") as page:
        page.goto("/selection/transfer?patient=c-015&patient=c-016")
        page.get_by_text("bob@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("status")).to_contain_text("2 patients have been transferred to Bob Brandt")
        page.get_by_role("button", name="Undo").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("The transfer of 2 patients to Bob Brandt has been undone")
        page.goto("/patients?q=Case+01")
        expect(page.get_by_role("link", name="Crowded Case 015", exact=True)).to_be_visible()
