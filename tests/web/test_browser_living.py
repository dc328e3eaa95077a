"""A share over time in a real browser: ends to choose from, a change in place, days of the clinic, the history.

Each test has a patient of its own, so that they run in any order.
"""

import re
from collections.abc import Iterator
from datetime import date

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from authz.database import close_all, connect
from authz.models import Subscription
from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site

DISPLAYS = pytest.mark.parametrize(
    ("size", "script"), [(DESKTOP, True), (PHONE, True), (DESKTOP, False)], ids=["desktop", "phone", "without-script"]
)
_TODAY = "new Intl.DateTimeFormat('sv-SE', {timeZone: 'America/Los_Angeles'}).format(new Date())"
FORMS = ("/patients/{patient}/share", "/sharing", "/selection/share?patient={patient}&patient=c-041")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("site")) as running:
        database = connect(f"sqlite:///{running.database}")
        Subscription.update(time_zone="America/Los_Angeles").where(Subscription.id == "north").execute(database)
        close_all(database)
        yield running


def share(page: Page, patient: str, name: str) -> None:
    """Share a patient with Ivan for a week, as the offered end shows it."""
    page.goto(f"/patients/{patient}/share")
    page.get_by_label("Share patient").check()
    page.get_by_label("A week").check()
    page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("status")).to_contain_text(f"{name} has been shared with Ivan Iliev")


@DISPLAYS
def test_change_a_share_and_read_its_history(there: Site, size: ViewportSize, script: bool) -> None:
    """The owner shares for a week, gives another end and reason in place, ends the share, and reads its history."""
    number = {(1280, True): "050", (390, True): "051"}.get((size["width"], script), "052")
    patient, name = f"c-{number}", f"Crowded Case {number}"
    with there.visit("crowd-1", size=size, java_script_enabled=script) as page:
        share(page, patient, name)
        row = page.get_by_role("listitem").filter(has_text="Ivan Iliev")
        row.get_by_role("link", name="Change the sharing with Ivan Iliev").click()
        until = page.get_by_text(re.compile(r"The share ends after \d+ \w+ \d{4}\."))
        expect(until).to_be_visible()
        page.get_by_label("End date").fill("2065-03-03")
        page.get_by_label("Reason").fill("longer leave")
        page.get_by_role("button", name="Save changes").click()
        status = page.get_by_role("status")
        expect(status).to_contain_text(
            f"The sharing of {name} with Ivan Iliev now ends after 3 March 2065, and its reason has been changed"
        )
        expect(row).to_contain_text("until 3 March 2065")
        expect(row).to_contain_text("“longer leave”")
        row.get_by_role("link", name="Change the sharing").click()
        expect(page.get_by_label("Reason")).to_have_value("longer leave")
        page.get_by_label("No end").check()
        page.get_by_role("button", name="Save changes").click()
        expect(status).to_contain_text(f"The sharing of {name} with Ivan Iliev now has no end")
        row.get_by_role("link", name="End sharing").click()
        page.get_by_role("button", name="End sharing").click()
        expect(status).to_contain_text("has ended")
        page.get_by_role("link", name="History: who had access, and when").click()
        entry = page.get_by_role("listitem").filter(has_text="Ivan Iliev")
        expect(entry).to_contain_text("Through a share, given by Colleague 01")
        expect(entry).to_contain_text("Ended by Colleague 01")
        expect(entry).to_contain_text("to 4 March 2065, 00:00 PST and the reason to “longer leave”")
        expect(entry).to_contain_text("from 4 March 2065, 00:00 PST to no end")


@pytest.mark.parametrize("form", FORMS, ids=["one", "all", "several"])
def test_one_end_is_chosen(there: Site, form: str) -> None:
    """In each form with an end an entered day is *Another day*, and an offered end clears the day."""
    with there.visit("crowd-1") as page:
        page.goto(form.format(patient="c-040"))
        if form != "/sharing":
            page.get_by_label(re.compile("Share patients?")).check()
        day, another = page.get_by_label("End date"), page.get_by_label("Another day")
        page.get_by_label("A month").check()
        day.fill("2065-03-03")
        expect(another).to_be_checked()
        page.get_by_label("Three months").check()
        expect(day).to_have_value("")
        expect(another).not_to_be_checked()
        expect(page.get_by_text("in the time zone of the clinic (America/Los_Angeles)")).to_be_visible()


def test_an_offered_end_chooses_no_action(there: Site) -> None:
    """A chosen end belongs to *Share patient* alone: with *Transfer patient* it is hidden and cleared."""
    with there.visit("crowd-1") as page:
        page.goto("/patients/c-042/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("A month").check()
        page.get_by_label("Transfer patient").check()
        expect(page.get_by_text("A month")).to_be_hidden()
        page.get_by_label("Share patient").check()
        expect(page.get_by_label("A month")).not_to_be_checked()


@DISPLAYS
def test_a_past_day_is_refused_in_a_sentence(there: Site, size: ViewportSize, script: bool) -> None:
    """A day that has passed is refused at its field, in whole sentences, and every choice is kept."""
    with there.visit("crowd-1", size=size, java_script_enabled=script) as page:
        page.goto("/patients/c-043/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_label("End date").fill("2020-01-01")
        page.locator("form.guarded").evaluate("form => form.noValidate = true")
        page.get_by_role("button", name="Continue").click()
        field = page.get_by_label("End date")
        expect(field).to_have_accessible_description(
            re.compile(r"1 January 2020 has passed\. The end date must be today or later\. Nothing has been changed\.")
        )
        expect(field).to_have_value("2020-01-01")
        expect(page.get_by_label("Colleague’s e-mail")).to_have_value("ivan@north.example")


def test_the_whole_change_by_keyboard(there: Site) -> None:
    """Somebody without a mouse reaches the form, chooses *No end* with an arrow key, and saves."""
    with there.visit("crowd-1") as page:
        share(page, "c-044", "Crowded Case 044")
        page.get_by_role("link", name="Change the sharing with Ivan Iliev").focus()
        page.keyboard.press("Enter")
        page.get_by_label("A week").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        expect(page.get_by_label("No end")).to_be_checked()
        page.get_by_label("Reason").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("now has no end")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, {"width": 320, "height": 640}], ids=["desktop", "phone", "400 %"])
def test_pages_fit_and_have_no_faults(there: Site, size: ViewportSize) -> None:
    """The form and the history are as wide as the screen, and axe-core finds nothing."""
    with there.visit("ivan", size=size) as page:
        for step in ("", "/history"):
            page.goto(f"/patients/x-long{step}")
            if not step:
                page.get_by_role("link", name="Change the sharing").click()
            page.wait_for_load_state()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert faults(page) == []


def test_today_is_the_clinics(there: Site) -> None:
    """The earliest day of the form is today in California."""
    with there.visit("crowd-1") as page:
        before = page.evaluate(_TODAY)
        page.goto("/sharing")
        shown = page.get_by_label("End date").get_attribute("min")
        assert date.fromisoformat(shown or "")
        assert shown in (before, page.evaluate(_TODAY))
