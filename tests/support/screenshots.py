"""A picture of every page and state: ``python -m tests.support.screenshots FOLDER``.

`TOUR` is the list of states; `tests/web/test_browser.py` asks axe-core about each of them.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.support.browser import DESKTOP, PHONE, Site, site

Step = Callable[[Page], object]


def at(path: str, *steps: Step) -> list[Step]:
    """Go to a path, then do this there."""
    return [lambda page: page.goto(path), *steps]


def click(selector: str) -> Step:
    return lambda page: page.click(selector)


def fill(label: str, text: str) -> Step:
    return lambda page: page.get_by_label(label, exact=False).fill(text)


def check(label: str) -> Step:
    return lambda page: page.get_by_label(label, exact=False).first.check()


def send(button: str) -> Step:
    """Send a form, and wait for the refusal or the pop-up that follows."""

    def sent(page: Page) -> None:
        page.get_by_role("button", name=button).click()
        page.wait_for_selector("[role=alert]:not([hidden]), [role=status]:not([hidden])")
        page.wait_for_load_state("load")

    return sent


SHARE = "/patients/p-5/share"
TOUR: dict[str, tuple[str, list[Step]]] = {
    "sign-in": ("", at("/")),
    "sign-in-to-go-on": ("", at("/patients/p-1")),
    "patients-mine": ("alice", at("/patients")),
    "patients-shared": ("bob", at("/patients?role=viewer")),
    "patients-selected": ("alice", at("/patients", check("Select Ben Abel"), check("Select Cleo Abel"))),
    "patients-menu": ("alice", at("/patients", click("li:nth-child(2) summary"))),
    "patients-found": ("alice", at("/patients?q=abel")),
    "patients-nobody-found": ("alice", at("/patients?q=zebra")),
    "patients-empty": ("carol", at("/patients")),
    "patients-shared-empty": ("ivan", at("/patients?role=viewer&page=9")),
    "patients-shared-by-me": ("alice", at("/patients?only=shared")),
    "patients-ending-empty": ("alice", at("/patients?only=ending")),
    "patients-second-page": ("crowd-1", at("/patients?page=2", check("Select Crowded Case 060"))),
    "patients-all-selected": (
        "crowd-1",
        at("/patients", check("Select Crowded Case 003"), click("button:has-text('Select all')")),
    ),
    "patients-no-subscription": ("erin", at("/patients")),
    "patients-lapsed": ("grace", at("/patients")),
    "patients-auditor": ("heidi", at("/patients")),
    "patients-crowded": ("crowd-1", at("/patients")),
    "patients-long-names": ("ivan", at("/patients?q=e")),
    "patient-owned": ("alice", at("/patients/p-2")),
    "patient-menu": ("alice", at("/patients/p-1", click(".head summary"))),
    "patient-alone": ("ivan", at("/patients/x-right")),
    "patient-shared": ("bob", at("/patients/p-1")),
    "patient-standing": ("carol", at("/patients/p-1")),
    "patient-manager": ("dan", at("/patients/p-1")),
    "patient-long-name": ("ivan", at("/patients/x-long")),
    "patient-crowded": ("crowd-1", at("/patients/c-000")),
    "patient-script": ("ivan", at("/patients/x-script")),
    "transfer": ("alice", at("/patients/p-2/transfer")),
    "transfer-chosen": ("alice", at("/patients/p-2/transfer", click("label:has-text('bob@')"))),
    "transfer-search": ("alice", at("/patients/p-2/transfer", fill("Search colleagues", "wil"))),
    "transfer-unchosen": (
        "alice",
        at("/patients/p-2/transfer", click("label:has-text('bob@')"), fill("Search colleagues", "ivan")),
    ),
    "transfer-searched": (
        "alice",
        at(
            "/patients/p-2/transfer",
            check("End th"),
            click("label:has-text('bob@')"),
            fill("Search colleagues", "ivan"),
            lambda page: page.get_by_role("button", name="Search", exact=True).click(),
        ),
    ),
    "transfer-several": ("alice", at("/selection/transfer?patient=p-1&patient=p-2&patient=p-3")),
    "share": ("alice", at(SHARE)),
    "share-share": ("alice", at(SHARE, check("Share patient"))),
    "share-transfer": ("alice", at("/patients/p-2/share", check("Transfer patient"))),
    "share-wrong-email": (
        "alice",
        at(SHARE, check("Share patient"), fill("e-mail", "frank@city.example"), send("Continue")),
    ),
    "share-several": ("alice", at("/selection/share?patient=p-1&patient=p-2&patient=p-5")),
    "share-several-refused": (
        "alice",
        at(
            "/selection/share?patient=p-1&patient=p-2&patient=p-5",
            check("Share patients"),
            fill("e-mail", "bob@north.example"),
            send("Continue"),
        ),
    ),
    "end-sharing": ("alice", at("/patients/p-2", click("text=End sharing"))),
    "share-change": ("alice", at("/patients/p-2", click("text=Change the sharing"))),
    "share-change-refused": (
        "alice",
        at(
            "/patients/p-2",
            click("text=Change the sharing"),
            lambda page: page.get_by_label("No end").check(),
            lambda page: page.evaluate("document.getElementById('until').value = '2065-01-31'"),
            send("Save changes"),
        ),
    ),
    "history": ("alice", at("/patients/p-2/history")),
    "history-manager": ("dan", at("/patients/p-1/history")),
    "give-up": ("bob", at("/patients/p-2", click("text=Give up access"))),
    "sharing": ("alice", at("/sharing")),
    "sharing-received": ("carol", at("/sharing")),
    "sharing-nobody": ("bob", at("/sharing")),
    "sharing-lapsed": ("grace", at("/sharing")),
    "sharing-no-subscription": ("erin", at("/sharing")),
    "sharing-end": ("alice", at("/sharing", click("text=Stop"))),
    "notifications-auditor": ("heidi", at("/notifications")),
    "notifications-empty": ("mei", at("/notifications")),
    "clinic-members": ("dan", at("/clinic/north")),
    "clinic-left": ("dan", at("/clinic/north/left")),
    "clinic-member": ("dan", at("/clinic/north/members/alice")),
    "clinic-member-selected": ("dan", at("/clinic/north/members/erin", click(".selection li input[type=checkbox]"))),
    "clinic-member-empty": ("dan", at("/clinic/north/members/carol")),
    "clinic-member-nobody-found": ("dan", at("/clinic/north/members/alice?q=zebra")),
    "clinic-member-transfer": ("dan", at("/clinic/north/members/erin/transfer")),
    "clinic-handover": ("dan", at("/clinic/north/handover")),
    "clinic-handover-empty": ("dan", at("/clinic/city/handover")),
    "clinic-handover-selected": ("dan", at("/clinic/north/handover", click("li:nth-child(2) input[type=checkbox]"))),
    "clinic-shares": ("dan", at("/clinic/north/shares")),
    "you": ("alice", at("/patients", click(".me summary"))),
    "refusal-not-found": ("alice", at("/patients/p-70")),
    "refusal-transferred": ("alice", at("/patients/p-60")),
    "refusal-lapsed": ("grace", at("/patients/p-1")),
    "refusal-forbidden": ("bob", at("/patients/p-1/share")),
    "shared": (
        "alice",
        at("/patients/p-6/share", check("Share patient"), fill("e-mail", "ivan@north.example"), send("Continue")),
    ),
    "notifications": ("alice", at("/notifications")),
    "transfer-undone": (
        "alice",
        at("/patients/p-6/transfer", click("label:has-text('noa@')"), send("Save changes"), send("Undo")),
    ),
    "transferred": (
        "alice",
        at("/patients/p-6/transfer", click("label:has-text('noa@')"), send("Save changes")),
    ),
    "offline": (
        "alice",
        at(
            SHARE,
            check("Share patient"),
            fill("e-mail", "bob@north.example"),
            lambda page: page.context.set_offline(True),
            send("Continue"),
        ),
    ),
}
"""Every page and state: who is signed in, and the steps that lead there. The last few change something."""


def walk(page: Page, name: str) -> None:
    """Take the steps of one state."""
    for step in TOUR[name][1]:
        step(page)


def picture(there: Site, folder: Path) -> None:
    """Take three pictures of every state: on a desktop, on a dark desktop, and on a phone."""
    for name, (who, _) in TOUR.items():
        with there.visit(who) as page:
            walk(page, name)
            page.wait_for_timeout(500)
            for label, size, scheme in (
                ("desktop", DESKTOP, "light"),
                ("dark", DESKTOP, "dark"),
                ("phone", PHONE, "light"),
            ):
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.screenshot(path=folder / f"{name}-{label}.png")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, site(Path(made)) as there:
        picture(there, folder)


if __name__ == "__main__":
    main()
