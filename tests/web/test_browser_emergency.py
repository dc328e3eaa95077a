"""Emergency access in a real browser: the path from "there is nothing here", the notice, the end and the review."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site
from tests.support.emergency import write_policy

DISPLAYS = pytest.mark.parametrize(
    ("size", "script", "number"),
    [(DESKTOP, True, 1), (PHONE, True, 5), (DESKTOP, False, 2)],
    ids=["desktop", "phone", "without-script"],
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the service under a policy with emergency access."""
    needs_chromium()
    folder = tmp_path_factory.mktemp("site")
    with site(folder, CAREGRANT_POLICIES=write_policy(folder / "policies")) as running:
        yield running


def judge(page: Page, script: bool) -> None:
    """Require that axe-core, which is a script, finds nothing on a page, and that nothing overflows to the side."""
    if script:
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@DISPLAYS
def test_open_end_and_review(there: Site, size: ViewportSize, script: bool, number: int) -> None:
    """Somebody without access opens a patient, the owner reads about it and ends it, and an auditor reviews it."""
    path = f"/patients/p-{number}"
    shape: dict[str, Any] = {"size": size, "java_script_enabled": script}
    with there.visit("crowd-7", **shape) as page:
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        judge(page, script)
        page.get_by_role("link", name="Emergency access").click()
        judge(page, script)
        page.get_by_label("Emergency treatment").check()
        page.get_by_role("textbox", name="Reason").fill("Collapsed in the waiting room")
        page.get_by_label("I need this access now").check()
        page.get_by_role("button", name="Open the patient").click()
        expect(page.get_by_role("status")).to_contain_text("until your emergency access ends on")
        expect(page.locator("main")).to_contain_text("because you opened the patient in an emergency")
        judge(page, script)
        page.goto("/emergency")
        judge(page, script)
    with there.visit("alice", **shape) as page:
        page.goto("/notifications")
        expect(page.locator("main")).to_contain_text("in an emergency")
        judge(page, script)
        page.goto(path)
        judge(page, script)
        page.get_by_role("link", name="End access of").click()
        judge(page, script)
        page.get_by_role("button", name="End access").click()
        expect(page.get_by_role("status")).to_contain_text("has ended")
        page.goto(f"{path}/history")
        expect(page.locator("main")).to_contain_text("In an emergency")
    with there.visit("dan", **shape) as page:
        page.goto("/clinic/north")
        expect(page.locator("main")).to_contain_text("for a review")
        judge(page, script)
        page.get_by_role("link", name="Emergencies", exact=True).click()
        judge(page, script)
        page.get_by_label("Note").first.fill("The rota names them")
        page.get_by_role("button", name="Justified").first.click()
        expect(page.get_by_role("status")).to_contain_text("The review has been recorded: justified")
        page.goto("/clinic/north/emergencies?all=yes")
        judge(page, script)
