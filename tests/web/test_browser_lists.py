"""Lists of patients in a real browser: search, pages, ticks across both, and the form for several patients.

Each test acts on patients of its own, so that they run in any order.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site

BOTH = pytest.mark.parametrize("script", [True, False], ids=["script", "without-script"])
DISPLAYS = pytest.mark.parametrize(
    ("size", "script"), [(DESKTOP, True), (PHONE, True), (DESKTOP, False)], ids=["desktop", "phone", "without-script"]
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("lists")) as running:
        yield running


def names(page: Page) -> list[str]:
    """Return the names of the listed patients."""
    return page.locator("#listed a.name").all_inner_texts()


def search(page: Page, text: str, script: bool) -> None:
    """Type a search; without script press Enter; wait for its answer."""
    page.get_by_label("Search patients").fill(text)
    if not script:
        page.get_by_label("Search patients").press("Enter")
    expect(page.locator("#count")).to_contain_text(f"with “{text}”")


def tick(page: Page, number: int, script: bool) -> None:
    """Tick a patient; with script wait until the tick is kept."""
    box = page.get_by_label(f"Select Crowded Case {number:03}")
    if not script:
        box.check()
        return
    with page.expect_response(lambda response: response.request.method == "POST"):
        box.check()


@BOTH
def test_pages_have_numbers(there: Site, script: bool) -> None:
    """A list says how many patients it has; pages have numbers, *Next* and *Previous*; the address names the page."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto("/patients")
        expect(page.locator("#count")).to_have_text(re.compile(r"^1[12]\d patients$"))
        first = names(page)
        page.get_by_role("button", name="Next").click()
        expect(page).to_have_url(f"{there.url}/patients?page=2")
        assert not set(first) & set(names(page))
        page.get_by_role("button", name="Page 3").click()
        expect(page).to_have_url(f"{there.url}/patients?page=3")
        expect(page.get_by_role("button", name="Next")).to_have_count(0)
        page.get_by_role("button", name="Previous").click()
        page.get_by_role("button", name="Page 1").click()
        expect(page).to_have_url(f"{there.url}/patients")
        assert names(page) == first


@DISPLAYS
def test_ticks_survive_pages_searches_and_reloads(there: Site, size: ViewportSize, script: bool) -> None:
    """Ticks of several pages and searches are one selection, which a form then shows by name."""
    with there.visit("crowd-1", size=size, java_script_enabled=script) as page:
        page.goto("/patients")
        tick(page, 30, script)
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text("1 patient selected")).to_be_visible()
        tick(page, 60, script)
        search(page, "Case 031", script)
        tick(page, 31, script)
        if script:
            expect(page.get_by_text("3 patients selected")).to_be_visible()
        with page.expect_navigation():
            page.get_by_role("button", name="Search", exact=True).click()
        page.reload()
        expect(page.get_by_text("3 patients selected")).to_be_visible()
        expect(page.get_by_label("Select Crowded Case 031")).to_be_checked()
        page.goto("/patients")
        expect(page.get_by_label("Select Crowded Case 030")).to_be_checked()
        page.get_by_label("Select Crowded Case 030").uncheck()
        page.get_by_role("button", name="Transfer/share").click()
        chips = page.get_by_label("The selected patients").get_by_role("listitem")
        expect(chips).to_have_count(2)
        expect(chips.first).to_contain_text("Crowded Case 060")
        expect(chips.last).to_contain_text("Crowded Case 031")
        page.get_by_role("link", name="Back").click()
        page.get_by_role("button", name="Select none").click()
        expect(page.locator("input[name=patient]:checked")).to_have_count(0)
        expect(page.locator("#selection-bar")).to_be_hidden()


@BOTH
def test_all_that_match_and_chips(there: Site, script: bool) -> None:
    """*Select all* takes the patients of every page; a chip is removed, and what was typed stays."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto("/patients?q=crowded+case")
        tick(page, 2, script)
        page.get_by_role("button", name=re.compile(r"Select all 1[12]\d")).click()
        expect(page.locator("#selected")).to_have_text(re.compile(r"^1[12]\d patients selected$"))
        count = int(page.locator("#selected").inner_text().split()[0])
        page.get_by_role("button", name="Transfer/share").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Transfer/share {count} patients")
        page.get_by_label("Share patients").check()
        page.get_by_label("Reason").fill("typed with care")
        page.get_by_role("button", name="Remove Crowded Case 002").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Transfer/share {count - 1} patients")
        expect(page.get_by_label("Reason")).to_have_value("typed with care")
        expect(page.get_by_label("Share patients")).to_be_checked()
        assert not script or faults(page) == []
        page.get_by_role("link", name="Cancel").click()
        expect(page).to_have_url(f"{there.url}/patients?q=crowded+case")
        expect(page.get_by_label("Select Crowded Case 002")).not_to_be_checked()
        expect(page.locator("#selected")).to_have_text(f"{count - 1} patients selected")


@DISPLAYS
def test_the_other_two(there: Site, size: ViewportSize, script: bool) -> None:
    """One of three has the colleague already: the refusal names this patient, and the form goes on with the others."""
    first = {(1280, True): 70, (390, True): 75}.get((size["width"], script), 80)
    with there.visit("crowd-1", size=size, java_script_enabled=script) as page:
        page.goto(f"/patients/c-{first:03}/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("status")).to_contain_text("has been shared")
        page.goto(f"/patients?q={first // 10}")
        for number in range(first, first + 3):
            tick(page, number, script)
        page.get_by_role("button", name="Transfer/share").click()
        page.get_by_label("Share patients").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_label("Reason").fill("holiday cover")
        page.get_by_role("button", name="Continue").click()
        alert = page.get_by_role("alert").first
        expect(alert).to_contain_text(f"Crowded Case {first:03}: This colleague has the patient already.")
        expect(alert).to_contain_text("Nothing has been changed.")
        expect(page.get_by_role("heading", level=1)).to_have_text("Transfer/share 2 patients")
        expect(page.get_by_label("Reason")).to_have_value("holiday cover")
        page.get_by_role("button", name=f"Select Crowded Case {first:03} again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Transfer/share 3 patients")
        expect(page.get_by_label("Reason")).to_have_value("holiday cover")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Continue with the other 2 patients").click()
        expect(page.get_by_role("status")).to_contain_text("2 patients have been shared with Ivan Iliev")
        expect(page).to_have_url(f"{there.url}/patients?q={first // 10}")
        expect(page.get_by_label(f"Select Crowded Case {first:03}")).to_be_checked()
        expect(page.locator("#selected")).to_have_text("1 patient selected")


@BOTH
def test_an_action_comes_back_to_the_list(there: Site, script: bool) -> None:
    """After a transfer from the second page of a search, one is on this page of this search again."""
    number = 90 if script else 91
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto("/patients?q=case&page=2")
        page.get_by_role("link", name=f"Crowded Case {number:03}", exact=True).click()
        page.get_by_role("link", name="Transfer", exact=True).click()
        page.get_by_text("bob@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("status")).to_contain_text("has been transferred to Bob Brandt")
        expect(page).to_have_url(f"{there.url}/patients?q=case&page=2")


def test_the_list_follows_what_a_person_types(there: Site) -> None:
    """The list follows the field, which keeps the focus; the address follows; a screen reader hears the count."""
    with there.visit("crowd-1") as page:
        page.goto("/patients")
        field = page.get_by_label("Search patients")
        field.press_sequentially("case 10")
        expect(page.locator("#count")).to_have_text("12 patients with “case 10”")
        expect(page.locator("#count")).to_have_attribute("aria-live", "polite")
        expect(field).to_be_focused()
        assert names(page) == [f"Crowded Case {number:03}" for number in (10, *range(100, 111))]
        expect(page).to_have_url(f"{there.url}/patients?q=case+10")
        field.press_sequentially("5")
        expect(page.locator("#count")).to_have_text("1 patient with “case 105”")
        page.reload()
        assert names(page) == ["Crowded Case 105"]
        page.get_by_label("Search patients").fill("")
        expect(page.locator("#count")).to_have_text(re.compile(r"^1[12]\d patients$"))


def test_an_older_answer_never_replaces_a_newer_one(there: Site) -> None:
    """The answer to an earlier search that arrives last is not shown."""
    with there.visit("crowd-1") as page:
        page.goto("/patients")
        late: list[Route] = []

        def hold(route: Route) -> None:
            late.append(route)

        page.route("**/patients?q=case+11", hold)
        field = page.get_by_label("Search patients")
        with page.expect_request("**/patients?q=case+11"):
            field.fill("case 11")
        field.fill("case 105")
        expect(page.locator("#count")).to_have_text("1 patient with “case 105”")
        with page.expect_response("**/patients?q=case+11"):
            late[0].continue_()
        page.evaluate("() => new Promise((done) => setTimeout(done, 0))")
        assert names(page) == ["Crowded Case 105"]
        expect(page).to_have_url(f"{there.url}/patients?q=case+105")


@BOTH
def test_filters_and_orders(there: Site, script: bool) -> None:
    """*Shared by me* names the colleagues; *Newest first* orders the list; the address keeps both."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto("/patients")
        page.get_by_role("button", name="Shared by me").click()
        expect(page.get_by_role("link", name="Crowded Case 000", exact=True)).to_be_visible()
        expect(page.get_by_text("Shared with Colleague")).to_contain_text("and 27 more")
        page.get_by_role("button", name="Ending soon").click()
        expect(page.get_by_role("heading", name="No share ends soon")).to_be_visible()
        page.get_by_role("button", name="All", exact=True).click()
        page.get_by_role("button", name="Newest first").click()
        expect(page).to_have_url(f"{there.url}/patients?sort=newest")
        page.get_by_role("button", name="Shared with me").click()
        expect(page.get_by_role("heading", name="Nothing is shared with you")).to_be_visible()


@BOTH
def test_enter_sends_the_form_and_removes_nobody(there: Site, script: bool) -> None:
    """Enter in a field of the form for several patients sends the form; it does not press a patient's *Remove*."""
    first = 110 if script else 112
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"/selection/share?patient=c-{first}&patient=c-{first + 1}")
        page.get_by_label("Share patients").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_label("Colleague’s e-mail").press("Enter")
        expect(page.get_by_role("status")).to_contain_text("2 patients have been shared with Ivan Iliev")
