"""The manager's way to a member's patients in a real browser, on a desktop, on a phone and without script."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, Site, needs_chromium, site

DISPLAYS = pytest.mark.parametrize(
    ("size", "script"), [(DESKTOP, True), (PHONE, True), (DESKTOP, False)], ids=["desktop", "phone", "without-script"]
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("manager")) as running:
        yield running


@DISPLAYS
def test_some_and_all_patients_of_a_member(there: Site, size: ViewportSize, script: bool) -> None:
    """R6: from the members to a member's patients; two are ticked and transferred, then all of a search."""
    number, searched = {(1280, True): (11, "06"), (390, True): (13, "07")}.get((size["width"], script), (15, "08"))
    with there.visit("dan", size=size, java_script_enabled=script) as page:
        page.goto("/patients")
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Clinic").click()
        page.goto("/clinic/north")
        page.get_by_role("link", name="Colleague 01", exact=True).click()
        heading = page.get_by_role("heading", name="Patients of Colleague 01")
        expect(heading).to_be_visible()
        for each in (number, number + 1):
            page.get_by_label(f"Select Crowded Case {each:03}").check()
        page.get_by_role("button", name="Transfer", exact=True).click()
        page.get_by_text("bob@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("status")).to_contain_text("2 patients have been transferred to Bob Brandt")
        expect(heading).to_be_visible()
        page.get_by_label("Search these patients").fill(f"Case {searched}")
        page.get_by_role("button", name="Search").click()
        matches = page.locator("input[name=patient]").count()
        page.get_by_role("link", name="Transfer all that match").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Transfer {matches} patients")
        page.get_by_text("carol@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("status")).to_contain_text(f"{matches} patients have been transferred to Carol")
        expect(page.get_by_role("heading", name="Nobody found")).to_be_visible()


def test_the_shares_stay_where_they_were(there: Site) -> None:
    """*End sharing* on a later page of a clinic's shares leads back to that page."""
    with there.visit("dan") as page:
        address = f"{there.url}/clinic/north/shares?cursor=MTAx"
        page.goto(address)
        page.get_by_role("link", name="End sharing").first.click()
        page.get_by_role("button", name="End sharing").click()
        expect(page).to_have_url(address)
        expect(page.get_by_role("status")).to_contain_text("has ended")
