"""The pages in a real browser, before the real server: the help page word by word, by keyboard, without script.

Each test has a patient of its own, so that they run in any order.
"""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from authz.database import connect
from tests.support.browser import DESKTOP, PHONE, SCRIPT, Site, faults, needs_chromium, site

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
DISPLAYS = pytest.mark.parametrize(
    ("size", "script"), [(DESKTOP, True), (PHONE, True), (DESKTOP, False)], ids=["desktop", "phone", "without-script"]
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


def popup(page: Page, text: str) -> None:
    """Expect this text in the pop-up at the bottom left, and its announcement."""
    status = page.get_by_role("status")
    expect(status).to_contain_text(text)
    box, size = status.bounding_box(), page.viewport_size
    assert box
    assert size
    assert box["x"] < 30
    assert box["y"] > size["height"] / 2


def case(number: int) -> str:
    return f"/patients/c-{number:03}"


@DISPLAYS
def test_h2_transfer_as_the_help_page_tells_it(there: Site, size: ViewportSize, script: bool) -> None:
    """H2: "Patients → choose the patient → transfer button → click the colleague → Save Changes → a small pop-up"."""
    name = {(1280, True): "Ada Brook", (390, True): "Finn Brook"}.get((size["width"], script), "Ada Costa")
    with there.visit(size=size, java_script_enabled=script) as page:
        page.goto("/")
        page.get_by_role("button", name="Alice Andersson").click()
        # "Patients", top left in the navigation
        first = page.get_by_role("navigation", name="Main").get_by_role("link").first
        expect(first).to_have_text("Patients")
        first.click()
        # "choose the patient"
        page.get_by_role("link", name=name, exact=True).click()
        # "transfer button", with what will happen
        page.get_by_role("link", name="Transfer", exact=True).click()
        expect(page.get_by_text(f"You lose access to {name}.")).to_be_visible()
        # "click the colleague"
        page.get_by_text("bob@north.example").click()
        # "Save changes"
        page.get_by_role("button", name="Save changes").click()
        # "a small pop-up at the bottom left says that the transfer has been done"
        expect(page).to_have_url(f"{there.url}/patients")
        popup(page, f"{name} has been transferred to Bob Brandt")
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    with there.visit("bob", size=size) as page:
        page.goto(f"/patients?q={name}")
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        page.goto("/notifications")
        notice = page.get_by_role("button", name=f"Unread: {name} has been transferred to you by Alice Andersson")
        expect(notice).to_be_visible()


@DISPLAYS
def test_h3_share_as_the_help_page_tells_it(there: Site, size: ViewportSize, script: bool) -> None:
    """H3: "Patients → the patient → the 3-dots menu → transfer/share patient → Action: Share patient → e-mail → …"."""
    name = {(1280, True): "Finn Costa", (390, True): "Ada Dahl"}.get((size["width"], script), "Finn Dahl")
    with there.visit(size=size, java_script_enabled=script) as page:
        page.goto("/")
        page.get_by_role("button", name="Alice Andersson").click()
        page.get_by_role("link", name=name, exact=True).click()
        # "the 3-dots menu" → "transfer/share patient"
        page.get_by_label(f"More for {name}").click()
        page.get_by_role("link", name="Transfer/share patient").click()
        # 'in the "Action" section "Share patient"'
        page.get_by_role("group", name="Action").get_by_label("Share patient").check()
        # "enter the colleague's e-mail"
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_label("End date").fill("2065-01-31")
        page.get_by_label("Reason").fill("holiday cover")
        # "continue"
        page.get_by_role("button", name="Continue").click()
        # "a notification says that it is shared"
        popup(page, f"{name} has been shared with Ivan Iliev")
        row = page.get_by_role("listitem").filter(has_text="Ivan Iliev")
        expect(row).to_contain_text("until 31 January 2065")
        # H6: the owner can end the sharing at any time
        row.get_by_role("link", name="End sharing").click()
        page.get_by_role("button", name="End sharing").click()
        popup(page, f"The sharing of {name} with Ivan Iliev has ended")
        expect(row).to_have_count(0)


@SIZES
def test_h4_a_wrong_e_mail_keeps_what_was_typed(there: Site, size: ViewportSize) -> None:
    """H4: a wrong e-mail is refused at its field, which gets the focus; with the right one the form is accepted."""
    number = 1 if size == DESKTOP else 2
    with there.visit("crowd-1", size=size) as page:
        page.goto(f"{case(number)}/share")
        page.get_by_label("Transfer patient").check()
        page.get_by_label("Reason").fill("moving away")
        page.get_by_label("Colleague’s e-mail").fill("frank@city.example")
        page.get_by_role("button", name="Continue").click()
        field = page.get_by_label("Colleague’s e-mail")
        expect(field).to_be_focused()
        expect(field).to_have_value("frank@city.example")
        expect(field).to_have_accessible_description(re.compile("needs an active subscription at the same clinic"))
        expect(page.get_by_label("Reason")).to_have_value("moving away")
        expect(page.get_by_label("Transfer patient")).to_be_checked()
        field.fill("CROWD-2@north.example ")
        page.get_by_role("button", name="Continue").click()
        popup(page, f"Crowded Case {number:03} has been transferred to Colleague 02")


@SIZES
def test_h7_several_patients_and_everything(there: Site, size: ViewportSize) -> None:
    """H7: a selection is shared in one form; everything is shared with content, listed, and stopped."""
    first, second, to = ("003", "004", 3) if size == DESKTOP else ("005", "006", 4)
    with there.visit("crowd-1", size=size) as page:
        page.goto("/patients")
        for number in (first, second):
            page.get_by_label(f"Select Crowded Case {number}").check()
        expect(page.get_by_text("2 patients selected")).to_be_visible()
        page.get_by_role("button", name="Transfer/share").click()
        page.get_by_label("Share patients").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_role("button", name="Continue").click()
        popup(page, "2 patients have been shared with Ivan Iliev")
        page.get_by_role("link", name="Share all").click()
        page.get_by_label("Colleague’s e-mail").fill(f"crowd-{to}@north.example")
        page.get_by_label("Include added content").check()
        page.get_by_role("button", name="Share all my patients").click()
        popup(page, f"All your patients have been shared with Colleague {to:02}")
        row = page.get_by_role("listitem").filter(has_text=f"Colleague {to:02}").first
        expect(row).to_contain_text("with content")
        row.get_by_role("link", name="Stop").click()
        page.get_by_role("button", name="Stop sharing").click()
        popup(page, f"The sharing of all patients with Colleague {to:02} has ended")


@SIZES
def test_a_viewer_gives_up_and_a_manager_hands_over(there: Site, size: ViewportSize) -> None:
    """R5, R6: a viewer gives up a share; a manager hands over a leaver's patient without opening it."""
    number = 2 if size == DESKTOP else 3
    with there.visit(f"crowd-{number}", size=size) as page:
        page.goto("/patients?role=viewer")
        page.get_by_role("link", name="Crowded Case 000").click()
        page.get_by_role("link", name="Give up access").click()
        page.get_by_role("button", name="Give up access").click()
        popup(page, "You have given up your access to Crowded Case 000")
    with there.visit("dan", size=size) as page:
        page.goto("/patients")
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Clinic").click()
        page.goto("/clinic/north/handover")
        row = page.get_by_role("listitem").filter(has_text="Erin Eze, who has left").first
        name = f"{row.get_by_role('link').first.inner_text()} ({row.locator('small').inner_text()})"
        row.get_by_role("link", name="Transfer").click()
        expect(page.get_by_text(f"Erin Eze will no longer own {name}.")).to_be_visible()
        page.get_by_text("carol@north.example").click()
        page.get_by_role("button", name="Save changes").click()
        popup(page, f"{name} has been transferred to Carol Castellanos")
        expect(page).to_have_url(f"{there.url}/clinic/north/handover")


def test_notifications_are_read(there: Site) -> None:
    """The bell shows the number of unread notifications, and no number once they are read."""
    with there.visit("noa") as page:
        page.goto("/patients")
        bell = page.get_by_role("link", name="Notifications")
        expect(bell).to_contain_text("1 unread")
        bell.click()
        page.get_by_role("button", name="Mark all as read").click()
        expect(bell).not_to_contain_text("unread")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element with this name has the focus; require that each focused element is visible."""
    for _ in range(80):
        page.keyboard.press("Tab")
        values = page.evaluate(
            """() => { const one = document.activeElement, style = getComputedStyle(one);
            const label = one.labels && one.labels[0] ? one.labels[0].innerText : "";
            const name = one.getAttribute("aria-label") || label || one.innerText || "";
            return [name, style.outlineStyle, one.tagName]; }"""
        )
        assert values[1] != "none" or values[2] == "BODY", values
        if name in values[0]:
            return
    raise AssertionError(f"Tab does not lead to {name}")


def test_whole_flows_by_keyboard_alone(there: Site) -> None:
    """By keyboard alone one skips the navigation, opens the menu, shares, transfers, and closes the menu."""
    with there.visit("crowd-1") as page:
        page.goto(case(10))
        tab_to(page, "Skip to the content")
        page.keyboard.press("Enter")
        tab_to(page, "More for Crowded Case 010")
        page.keyboard.press("Enter")
        tab_to(page, "Transfer/share patient")
        page.keyboard.press("Escape")
        expect(page.get_by_label("More for Crowded Case 010")).to_be_focused()
        page.keyboard.press("Enter")
        tab_to(page, "Transfer/share patient")
        page.keyboard.press("Enter")
        page.wait_for_url("**/share")
        tab_to(page, "Share patient")
        page.keyboard.press("Space")
        tab_to(page, "Colleague’s e-mail")
        page.keyboard.type("ivan@north.example")
        page.keyboard.press("Enter")
        popup(page, "Crowded Case 010 has been shared with Ivan Iliev")
        tab_to(page, "Transfer")
        page.keyboard.press("Enter")
        page.wait_for_url("**/transfer")
        tab_to(page, "Search colleagues")
        page.keyboard.type("colleague 02")
        tab_to(page, "Colleague 02")
        page.keyboard.press("Space")
        tab_to(page, "Save changes")
        page.keyboard.press("Enter")
        popup(page, "Crowded Case 010 has been transferred to Colleague 02")


# When something comes between.


def test_somebody_was_faster(there: Site) -> None:
    """The form says what has changed meanwhile and keeps the fields; a patient that is gone leaves a link onwards."""
    with there.visit("crowd-1") as slow, there.visit("crowd-1") as fast:
        for page in (slow, fast):
            page.goto(f"{case(11)}/share")
            page.get_by_label("Share patient").check()
            page.get_by_label("Reason").fill("typed with care")
            page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        fast.get_by_role("button", name="Continue").click()
        popup(fast, "has been shared")
        slow.get_by_role("button", name="Continue").click()
        expect(slow.get_by_role("alert").first).to_contain_text("This colleague has the patient already.")
        expect(slow.get_by_label("Reason")).to_have_value("typed with care")
        for page in (slow, fast):
            page.goto(f"{case(11)}/transfer")
            page.get_by_text("crowd-2@north.example").click()
        fast.get_by_role("button", name="Save changes").click()
        popup(fast, "has been transferred")
        slow.get_by_role("button", name="Save changes").click()
        expect(slow.get_by_role("heading", name="You do not see this patient any more")).to_be_visible()
        expect(slow.get_by_text("You transferred this patient to Colleague 02")).to_be_visible()
        expect(slow.get_by_text("Colleague: crowd-2@north.example")).to_be_visible()
        slow.get_by_role("link", name="To your patients").click()
        expect(slow.get_by_role("heading", name="Patients")).to_be_visible()


def test_an_expired_session_comes_back_to_the_form(there: Site) -> None:
    """After a session expired, signing in leads back to the form with its fields."""
    with there.visit("alice") as page:
        page.goto("/patients/p-5/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("noa@north.example")
        page.get_by_label("Reason").fill("typed before")
        values = page.context.cookies()[0]["value"]
        page.context.clear_cookies()
        there.resume(page.context, values, ago=timedelta(minutes=31))
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("Your session has expired")
        page.get_by_role("button", name="Alice Andersson").click()
        expect(page).to_have_url(f"{there.url}/patients/p-5/share")
        expect(page.get_by_label("Colleague’s e-mail")).to_have_value("noa@north.example")
        expect(page.get_by_label("Reason")).to_have_value("typed before")
        expect(page.get_by_label("Share patient")).to_be_checked()
        page.get_by_role("button", name="Continue").click()
        popup(page, "has been shared with נועה כהן")


def test_a_server_that_is_out_of_reach(there: Site) -> None:
    """Offline, the form shows a sentence, and can be sent when the server is back."""
    with there.visit("crowd-1") as page:
        page.goto(f"{case(12)}/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.context.set_offline(True)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
        page.context.set_offline(False)
        page.get_by_role("button", name="Continue").click()
        popup(page, "has been shared with Ivan Iliev")


def test_a_database_that_cannot_answer(there: Site) -> None:
    """At 503 the page says so, keeps the form, and sends it again on request."""
    database = connect(f"sqlite:///{there.database}")
    with there.visit("crowd-1") as page:
        page.goto(f"{case(13)}/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        database.execute_sql("ALTER TABLE decision RENAME TO gone")
        try:
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("heading", name="The service cannot answer now")).to_be_visible()
            assert not faults(page)
        finally:
            database.execute_sql("ALTER TABLE gone RENAME TO decision")
            database.close()
        page.get_by_role("button", name="Try again").click()
        popup(page, "has been shared with Ivan Iliev")


# Security, as a browser sees it.


def test_a_stored_script_does_not_run(there: Site) -> None:
    """A name that is a script is shown as text, and a script that is put into the page does not run."""
    with there.visit("ivan") as page:
        values: list[str] = []
        page.on("console", lambda message: values.append(message.text))
        for path in (
            "/patients?q=script",
            "/patients/x-script",
            "/patients/x-script/transfer",
            "/patients/x-script/share",
        ):
            page.goto(path)
            assert page.title() != "taken"
            expect(page.get_by_text(SCRIPT).first).to_be_visible()
        assert values == []
        page.evaluate("""() => { const one = document.createElement("script");
            one.textContent = "document.title = 'taken'"; document.body.append(one); }""")
        assert page.title() != "taken"
        assert any("Content Security Policy" in message for message in values)


def test_nobody_frames_the_pages(there: Site) -> None:
    """A frame of another site shows nothing of the pages (clickjacking)."""
    with there.visit("alice") as page:
        page.goto("about:blank")
        page.set_content(f'<iframe src="{there.url}/patients"></iframe>')
        page.wait_for_timeout(500)
        assert "Patients" not in (page.frames[1].content() if len(page.frames) > 1 else "")


def test_nothing_comes_from_elsewhere(there: Site) -> None:
    """Every page loads from this server alone."""
    with there.visit("alice") as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        for path in ("/", "/patients", "/patients/p-1", "/patients/p-1/transfer", "/notifications"):
            page.goto(path)
        assert {url.startswith(there.url) for url in requests} == {True}
