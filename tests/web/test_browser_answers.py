"""A network that swallows what is sent or what is answered: the page says so, keeps what was typed, and tries again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Site, faults, needs_chromium, site
from tests.support.swallowing_proxy import SwallowingProxy, swallowing

SCRIPT = Path(__file__).parents[2] / "api" / "web" / "static" / "caregrant.js"
WATCH = """
for (const note of document.querySelectorAll(".guarded .note.bad")) {
  new MutationObserver(() => {
    if (note.hidden) return;
    localStorage.notes = (localStorage.notes || "") + note.innerText;
    setTimeout(() => note.closest("form").querySelector(".primary").click(), 50);
  }).observe(note, { attributeFilter: ["hidden"] });
}
"""
"""Keeps the text of each note that appears, and presses the button again.

While a browser waits for the answer to a form, nothing outside the page can look into the page.
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_chromium()
    with site(tmp_path_factory.mktemp("answers")) as running:
        yield running


@pytest.fixture
def network(there: Site) -> Iterator[SwallowingProxy]:
    with swallowing(int(there.url.rpartition(":")[2])) as proxy:
        yield proxy


def open_form(page: Page, network: SwallowingProxy, path: str, more: str = "") -> None:
    """Open a page whose script waits tenths of a second where it waits seconds elsewhere, and does `more`."""

    def hasten(route: Route) -> None:
        script = SCRIPT.read_text()
        for delay in ("8000", "10000"):
            assert script.count(delay) == 1
            script = script.replace(delay, "700")
        route.fulfill(body=script + more, content_type="text/javascript")

    page.route("**/caregrant.js", hasten)
    page.goto(f"http://127.0.0.1:{network.port}{path}")


def test_a_network_that_swallows_requests(there: Site, network: SwallowingProxy) -> None:
    """If nothing arrives, *Continue* does not stay busy: the page says that nothing was sent, and keeps the fields."""
    with there.visit("crowd-1") as page:
        open_form(page, network, "/patients/c-080/share")
        page.get_by_label("Share patient").check()
        page.get_by_label("Colleague’s e-mail").fill("ivan@north.example")
        page.get_by_label("Reason").fill("typed with care")
        network.next.append(b"GET /healthz")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert").filter(has_text="The server cannot be reached. Nothing was")).to_be_visible()
        expect(page.get_by_label("Reason")).to_have_value("typed with care")
        assert faults(page) == []
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("status")).to_contain_text("has been shared with Ivan Iliev")


def test_a_network_that_swallows_the_answer(there: Site, network: SwallowingProxy) -> None:
    """If the answer is lost, the form can be sent again, is not carried out twice, and the page says what was done."""
    with there.visit("crowd-1") as page:
        open_form(page, network, "/patients/c-081/transfer", WATCH)
        page.get_by_text("crowd-2@north.example").click()
        network.next.append(b"HTTP/1.1 303")
        page.get_by_role("button", name="Save changes").click(no_wait_after=True)
        expect(page.get_by_role("heading", name="You do not see this patient any more")).to_be_visible()
        expect(page.get_by_text("You transferred this patient to Colleague 02")).to_be_visible()
        assert "What you sent may have been carried out already." in page.evaluate("localStorage.notes")


def test_a_form_that_never_arrived_is_carried_out(there: Site, network: SwallowingProxy) -> None:
    """If the form itself was lost, another press carries it out, and no note claims that nothing was sent."""
    with there.visit("crowd-1") as page:
        open_form(page, network, "/patients/c-082/transfer", WATCH)
        page.get_by_text("crowd-2@north.example").click()
        network.next += [b"POST /patients/c-082", b"GET /healthz"]
        page.get_by_role("button", name="Save changes").click(no_wait_after=True)
        expect(page.get_by_role("status")).to_contain_text("has been transferred to Colleague 02")
        assert page.evaluate("localStorage.notes").count("There is no answer yet.") == 2
        assert "Nothing was sent" not in page.evaluate("localStorage.notes")
