"""Every control that can hide, lose or keep a choice, in a real browser, with script and without (T43).

Each test has patients of its own, so that they run in any order.
"""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from authz.database import connect
from tests.support.browser import Site, needs_chromium, site

BOTH = pytest.mark.parametrize("script", [True, False], ids=["script", "without-script"])


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("choices")) as running:
        yield running


def case(number: int, script: bool = True) -> str:
    """Return a patient of crowd-1, another one for each variant of a test."""
    return f"/patients/c-{number + (0 if script else 1):03}"


def row(page: Page, who: str) -> str:
    """Return the value of a colleague's radio button."""
    return f"input[name=colleague][value='{who}@north.example']"


def save(page: Page) -> None:
    page.get_by_role("button", name="Save changes").click()


def transferred(page: Page, to: str) -> None:
    expect(page.get_by_role("status").last).to_contain_text(f"has been transferred to {to}")


@BOTH
def test_a_colleague_whom_a_search_hides_is_not_chosen(there: Site, script: bool) -> None:
    """A colleague whom a search hides is no longer chosen; another one must be clicked."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"{case(20, script)}/transfer")
        page.get_by_text("bob@north.example").click()
        page.get_by_label("Search colleagues").fill("ivan")
        if not script:
            page.get_by_label("Search colleagues").press("Enter")
        expect(page.get_by_text("ivan@north.example")).to_be_visible()
        expect(page.get_by_text("bob@north.example")).not_to_be_visible()
        expect(page.locator("input[name=colleague]:checked")).to_have_count(0)
        expect(page.get_by_text("is not chosen any more")).to_be_visible()
        save(page)
        expect(page).to_have_url(re.compile("/transfer$"))
        assert (
            page.evaluate("document.activeElement.value") == "ivan@north.example"
        )  # where the browser asks for a choice
        page.get_by_text("ivan@north.example").click()
        save(page)
        transferred(page, "Ivan Iliev")


@BOTH
def test_typed_but_not_searched(there: Site, script: bool) -> None:
    """A text that is typed but not searched for clears the choice; without script the server asks again."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"{case(22, script)}/transfer")
        page.get_by_text("bob@north.example").click()
        page.get_by_label("Search colleagues").fill("ivan")
        save(page)
        if not script:
            expect(page.get_by_role("alert")).to_contain_text("is not in this list. Choose again.")
        expect(page.locator("input[name=colleague]:checked")).to_have_count(0)
        page.goto(case(22, script))
        expect(page.get_by_text("Your patient")).to_be_visible()


@BOTH
def test_a_search_keeps_what_it_leaves_in_sight(there: Site, script: bool) -> None:
    """*End these shares* and a colleague still in sight stay ticked through a search, and are carried out."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        path = case(24, script)
        page.goto(f"{path}/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("status")).to_contain_text("has been shared")
        page.goto(f"{path}/transfer")
        page.get_by_label("End this share with the transfer").check()
        page.get_by_text("crowd-2@north.example").click()
        page.get_by_label("Search colleagues").fill("north 02")
        page.get_by_label("Search colleagues").press("Enter")
        expect(page.get_by_text("crowd-3@north.example")).to_have_count(0)
        expect(page.get_by_label("End this share with the transfer")).to_be_checked()
        expect(page.locator(row(page, "crowd-2"))).to_be_checked()
        page.get_by_label("Search colleagues").fill("zebra")
        page.get_by_label("Search colleagues").press("Enter")
        expect(page.get_by_role("heading", name="Nobody found")).to_be_visible()
        expect(page.get_by_label("End this share with the transfer")).to_be_checked()
        page.get_by_label("Search colleagues").fill("crowd-2")
        page.get_by_role("button", name="Search", exact=True).click()
        page.get_by_text("crowd-2@north.example").click()
        save(page)
        transferred(page, "Colleague 02")
    with there.visit("ivan") as page:
        page.goto(path)
        expect(page.get_by_text("The sharing of this patient with you ended with a transfer")).to_be_visible()


@BOTH
def test_a_share_that_was_not_shown(there: Site, script: bool) -> None:
    """A share that another tab made meanwhile is shown before the transfer; the choice stays, and goes through."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        path = case(26, script)
        page.goto(f"{path}/transfer")
        page.get_by_text("crowd-2@north.example").click()
        other = page.context.new_page()
        other.goto(f"{path}/share")
        other.get_by_label("Share patient").check()
        other.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        other.get_by_role("button", name="Continue").click()
        expect(other.get_by_role("status")).to_contain_text("has been shared")
        save(page)
        expect(page.get_by_role("alert")).to_contain_text(re.compile("Ivan Iliev.* has a share now."))
        expect(page.get_by_label("End this share with the transfer")).not_to_be_checked()
        expect(page.locator(row(page, "crowd-2"))).to_be_checked()
        save(page)
        transferred(page, "Colleague 02")


@BOTH
def test_another_action_takes_its_fields_along(there: Site, script: bool) -> None:
    """A date of *Share* and a tick of *Transfer* count for their own action, and only while visible."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto("/patients/c-000/share")
        page.get_by_label("Transfer patient").check()
        page.get_by_label("End these shares with the transfer").check()
        page.get_by_label("Share patient").check()
        expect(page.get_by_label("End these shares with the transfer")).not_to_be_visible()
        page.get_by_label("End date").fill("2065-01-31")
        page.get_by_label("Transfer patient").check()
        expect(page.get_by_label("End date")).not_to_be_visible()
        if script:
            expect(page.get_by_label("End these shares with the transfer")).not_to_be_checked()
            assert page.get_by_label("End date").input_value() == ""
        page.get_by_label("Share patient").check()
        page.get_by_label("End date").fill("")
        page.get_by_label("Colleague’s e-mail").fill(f"{'ivan' if script else 'noa'}@north.example")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("status")).to_contain_text("has been shared")
        expect(page.get_by_role("listitem").filter(has_text="Colleague 03")).to_be_visible()


def test_a_wrong_date_out_of_sight_stops_nothing(there: Site) -> None:
    """A past date in a hidden field does not keep the browser from sending the form."""
    with there.visit("crowd-1") as page:
        page.goto(f"{case(28)}/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("End date").fill("2020-01-31")
        page.get_by_label("Transfer patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_role("button", name="Continue").click()
        transferred(page, "Ivan Iliev")


@BOTH
def test_back_to_a_form_ticks_nobody_else(there: Site, script: bool) -> None:
    """*Back* to a list of colleagues that has changed ticks no other colleague."""
    name = "Aaron Script" if script else "Aaron Plain"
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"{case(32, script)}/transfer")
        page.get_by_text("bob@north.example").click()
        page.goto("/notifications")
        who = name.replace(" ", "-").lower()
        database = connect(f"sqlite:///{there.database}")
        columns = "started_at, ended_at, role, practitioner_id, subscription_id"
        for sql in (
            f"INSERT INTO practitioner (id, login, name) VALUES ('{who}', '{who}@north.example', '{name}')",
            f"INSERT INTO membership ({columns}) SELECT started_at, ended_at, role, '{who}', subscription_id "
            "FROM membership WHERE practitioner_id = 'bob'",
        ):
            database.execute_sql(sql)
        database.close()
        page.go_back()
        expect(page.get_by_text(f"{who}@north.example")).to_be_visible()
        ticked = [box.get_attribute("value") for box in page.locator("input[name=colleague]:checked").all()]
        assert ticked in ([], ["bob@north.example"])


def test_a_choice_does_not_change_while_it_is_sent(there: Site) -> None:
    """While a form is being sent it takes no click: the colleague who was chosen receives."""
    with there.visit("crowd-1") as page:
        page.goto(f"{case(34)}/transfer")
        page.get_by_text("bob@north.example").click()
        waiting: list[Route] = []

        def hold(route: Route) -> None:
            waiting.append(route)

        page.route("**/healthz", hold)
        save(page)
        page.wait_for_function("document.getElementById('save').inert")
        box = page.get_by_text("ivan@north.example").bounding_box()
        assert box
        page.mouse.click(box["x"] + 2, box["y"] + 2)
        expect(page.locator(row(page, "bob"))).to_be_checked()
        waiting[0].continue_()
        transferred(page, "Bob Brandt")


@BOTH
def test_what_is_sent_again_is_in_sight(there: Site, script: bool) -> None:
    """After 503, *Try again* sends the choice that the page shows."""
    database = connect(f"sqlite:///{there.database}")
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"{case(36, script)}/transfer")
        page.get_by_text("crowd-2@north.example").click()
        database.execute_sql("ALTER TABLE decision RENAME TO gone")
        try:
            save(page)
            expect(page.get_by_role("heading", name="What will be sent again")).to_be_visible()
            expect(page.get_by_text("Colleague: crowd-2@north.example")).to_be_visible()
        finally:
            database.execute_sql("ALTER TABLE gone RENAME TO decision")
            database.close()
        page.get_by_role("button", name="Try again").click()
        transferred(page, "Colleague 02")


@BOTH
def test_a_form_that_waited_for_its_owner(there: Site, script: bool) -> None:
    """After a new sign-in the colleague who was clicked is ticked and in sight; nothing was sent meanwhile."""
    with there.visit("alice", java_script_enabled=script) as page:
        path = f"/patients/p-{3 if script else 5}/transfer"
        page.goto(path)
        page.get_by_text("bob@north.example").click()
        cookie = page.context.cookies()[0]["value"]
        page.context.clear_cookies()
        there.resume(page.context, cookie, ago=timedelta(minutes=31))
        save(page)
        page.get_by_role("button", name="Alice Andersson").click()
        expect(page).to_have_url(f"{there.url}{path}")
        expect(page.locator(row(page, "bob"))).to_be_checked()
        save(page)
        transferred(page, "Bob Brandt")


@BOTH
def test_a_link_chooses_nothing(there: Site, script: bool) -> None:
    """A link cannot tick a colleague."""
    with there.visit("crowd-1", java_script_enabled=script) as page:
        page.goto(f"{case(40)}/transfer?colleague=ivan@north.example&end_shares=yes")
        expect(page.locator("input:checked")).to_have_count(0)
        save(page)
        expect(page).to_have_url(re.compile("/transfer"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Transfer")


def test_no_clinic_is_chosen_beforehand(there: Site) -> None:
    """A manager at two clinics must choose a clinic before the browser sends the form of *Share all*."""
    with there.visit("dan") as page:
        page.goto("/sharing")
        expect(page.get_by_label("Clinic", exact=True)).to_have_value("")
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_role("button", name="Share all my patients").click()
        expect(page.get_by_role("status")).to_be_hidden()
        page.get_by_label("Clinic", exact=True).select_option("north")
        page.get_by_role("button", name="Share all my patients").click()
        expect(page.get_by_role("status")).to_contain_text("All your patients have been shared with Ivan Iliev")


@BOTH
def test_a_leavers_patients(there: Site, script: bool) -> None:
    """The handover form lists the ticked patients by name, and a search on it keeps them."""
    with there.visit("dan", java_script_enabled=script) as page:
        page.goto("/clinic/north/handover")
        boxes = page.locator("input[name=patient]")
        names = [str(boxes.nth(at).get_attribute("aria-label")).removeprefix("Select ") for at in (0, 1)]
        for name in names:
            page.get_by_label(f"Select {name}").check()
        page.get_by_role("button", name="Transfer", exact=True).click()
        for name in names:
            expect(page.get_by_label("The selected patients").get_by_text(name)).to_be_visible()
        page.get_by_label("Search colleagues").fill("carol")
        page.get_by_label("Search colleagues").press("Enter")
        expect(page.get_by_text("bob@north.example")).to_have_count(0)
        for name in names:
            expect(page.get_by_label("The selected patients").get_by_text(name)).to_be_visible()
        page.get_by_text("carol@north.example").click()
        save(page)
        expect(page.get_by_role("status")).to_contain_text("2 patients have been transferred to Carol Castellanos")
        expect(page).to_have_url(f"{there.url}/clinic/north/handover")
