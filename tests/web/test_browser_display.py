"""Every state of the pages in every display, judged by axe-core; what covers what; what a viewer reads."""

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.support.browser import DESKTOP, PHONE, Site, faults, needs_chromium, site
from tests.support.screenshots import TOUR, walk

ZOOMED: ViewportSize = {"width": 320, "height": 256}
"""A window of 1280 by 1024 at 400 % (WCAG 1.4.10)."""

_SHOWN: tuple[tuple[ViewportSize, Literal["light", "dark"]], ...] = ((DESKTOP, "light"), (PHONE, "dark"))
BOTH = pytest.mark.parametrize("script", [True, False], ids=["script", "without-script"])
IN_FRONT = """() => Array.from(document.body.querySelectorAll("*")).filter((each) => {
    const box = each.getBoundingClientRect();
    return ["fixed", "sticky"].includes(getComputedStyle(each).position) && box.width > 1 && box.height > 1
        && box.bottom > 0 && !each.closest(".popup");
}).map((each) => each.outerHTML.slice(0, 120))"""
PRINTED = """() => Array.from(document.body.querySelectorAll(
        "nav a:not([aria-current]), button, .button, .search, .popup, .back"))
    .filter((each) => each.checkVisibility()).map((each) => each.outerHTML.slice(0, 120))"""
UNMARKED = """() => Array.from(document.querySelectorAll(
        "[aria-current]:not(.chips a), .row.unread, .row:has(> input:checked), li:has(> input:checked)"))
    .filter((each) => each.checkVisibility()).filter((each) => {
        const style = getComputedStyle(each), plain = getComputedStyle(document.body).backgroundColor;
        return style.outlineStyle === "none" && style.borderInlineStartWidth !== "5px"
            && [plain, "rgba(0, 0, 0, 0)"].includes(style.backgroundColor);
    }).map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("display")) as running:
        yield running


@pytest.mark.parametrize("name", list(TOUR))
def test_every_state_in_every_display(there: Site, name: str) -> None:
    """On a desktop in the light and a phone in the dark, axe-core finds nothing, and nothing overflows to the side.

    At 400 % nothing stays in front of a page; in forced colours marks stay; paper has no navigation and no buttons.
    """
    with there.visit(TOUR[name][0]) as page:
        walk(page, name)
        for size, scheme in _SHOWN:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.evaluate("document.querySelectorAll('h1').length") == 1
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(ZOOMED)
        assert findings(page, IN_FRONT) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size(DESKTOP)
        page.emulate_media(forced_colors="active")
        assert findings(page, UNMARKED) == []
        page.emulate_media(forced_colors="none", media="print")
        assert findings(page, PRINTED) == []


def findings(page: Page, script: str) -> list[str]:
    """Return what a script finds on a page, when it finds nothing or after five seconds: colours change by and by."""
    for _ in range(50):
        if not page.evaluate(script):
            break
        page.wait_for_timeout(100)
    faults: list[str] = page.evaluate(script)
    return faults


def is_uncovered(control: Locator) -> bool:
    """Return whether a click in the middle of a control (of its first line) reaches the control."""
    return bool(
        control.evaluate(
            """(control) => { const [box] = control.getClientRects();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return control.contains(top); }"""
        )
    )


@BOTH
def test_the_pop_up_covers_no_button(there: Site, script: bool) -> None:
    """On a phone the pop-up leaves the bar with the buttons free as soon as a patient is ticked."""
    with there.visit("crowd-1", size=PHONE, java_script_enabled=script) as page:
        page.goto(f"/patients/c-{70 if script else 71:03}/transfer")
        page.get_by_text("crowd-2@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("status")).to_be_visible()
        page.get_by_label("Select Crowded Case 001").check()
        bar = page.locator(".selection .bar .button")
        expect(bar.first).to_be_visible()
        assert all(is_uncovered(button) for button in bar.all())
        assert is_uncovered(page.get_by_role("navigation", name="Main").get_by_role("link").first)
        expect(page.get_by_role("status")).to_be_visible()


def test_a_focused_control_is_in_sight_at_400_percent(there: Site) -> None:
    """At 400 % each control that Tab reaches is in sight, on a list with a selection and on a form (WCAG 2.4.11)."""
    for path in ("/patients", "/patients/c-072/transfer", "/patients/c-072/share"):
        with there.visit("crowd-1", size=ZOOMED) as page:
            page.goto(path)
            if path == "/patients":
                page.get_by_label("Select Crowded Case 001").check()
            for _ in range(12):
                page.keyboard.press("Tab")
                focus = page.locator(":focus")
                assert focus.count() == 0 or is_uncovered(focus), focus.inner_html()


@BOTH
def test_a_chosen_colleague_stays_in_sight(there: Site, script: bool) -> None:
    """T43: a colleague who was clicked stays in sight while the list is scrolled."""
    with there.visit("crowd-1", size=PHONE, java_script_enabled=script) as page:
        page.goto("/patients/c-073/transfer")
        row = page.locator("#colleague-list > li").filter(has_text="bob@north.example")
        row.click()
        last = page.locator("#colleague-list > li").last
        last.scroll_into_view_if_needed()
        assert is_uncovered(row)


def test_the_bar_says_who_gets_what(there: Site) -> None:
    """T43: beside the button stands who gets which patient, while and only while a colleague is chosen."""
    with there.visit("crowd-1") as page:
        page.goto("/patients/c-073/transfer")
        recipient = page.locator("#recipient")
        expect(recipient).to_be_empty()
        page.get_by_text("bob@north.example").click()
        expect(recipient).to_have_text("Crowded Case 073 → Bob Brandt (bob@north.example)")
        page.get_by_label("Search colleagues").fill("ivan")
        expect(recipient).to_be_empty()
        page.goto("/patients/c-073/share")
        page.get_by_label("Colleague’s e-mail").fill("BOB@north.example")
        expect(recipient).to_have_text("Crowded Case 073 → Bob Brandt (bob@north.example)")
        page.get_by_label("Colleague’s e-mail").fill("bob@north.exampl")
        expect(recipient).to_be_empty()


def test_a_phone_shows_the_colleagues_first(there: Site) -> None:
    """On a phone the list of colleagues begins on the first screen, without scrolling."""
    with there.visit("crowd-1", size=PHONE) as page:
        page.goto("/patients/c-073/transfer")
        box = page.get_by_text("bob@north.example").bounding_box()
        assert box
        assert box["y"] < PHONE["height"] / 2


def widths(page: Page) -> set[float]:
    """Return the widths of the form, its cards and its lists."""
    boxes = [each.bounding_box() for each in page.locator("form.guarded, .card, .rows, .choice, fieldset").all()]
    return {round(box["width"]) for box in boxes if box}


@pytest.mark.parametrize("path", ["/patients/c-073/transfer", "/patients/c-073/share", "/sharing"])
def test_forms_and_cards_have_one_width(there: Site, path: str) -> None:
    """A form, its cards and its lists have one width."""
    with there.visit("crowd-1") as page:
        page.goto(path)
        assert len(widths(page)) == 1
