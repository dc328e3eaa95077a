"""A browser without a window for a provider's pages: it follows redirects, fills in forms and sends them."""

import re
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import urljoin

import requests

_MOST_STEPS = 12


class FormBrowser:
    """One person's browser: `travel` goes from a URL through the provider's pages until they lead back home."""

    def __init__(self, home: str, fields: Mapping[str, str]) -> None:
        self._home, self._fields = home, fields
        self._session = requests.Session()
        self.pages: list[str] = []
        """The titles of the pages that asked for something."""

    def travel(self, url: str) -> str:
        """Go on until the provider leads to a URL of the home; return that URL without the home's origin."""
        answer = self._ask("GET", url)
        for _ in range(_MOST_STEPS):
            if answer.is_redirect:
                there = urljoin(answer.url, answer.headers["Location"])
                if there.startswith(self._home):
                    return there.removeprefix(self._home)
                answer = self._ask("GET", there)
            else:
                answer = self._submit(answer)
        raise AssertionError(f"the provider does not lead back: {answer.status_code} {answer.text[:500]}")

    def _submit(self, page: requests.Response) -> requests.Response:
        title = re.search(r"<title>\s*(.*?)\s*</title>", page.text, re.S)
        self.pages.append(unescape(title[1]) if title else "")
        form = re.search(r"<form\b(.*?)>(.*?)</form>", page.text, re.S)
        assert form, f"a page without a form: {page.status_code} {page.text[:500]}"
        action = re.search(r'action="([^"]*)"', form[1])
        values: dict[str, str] = {}
        for control in re.findall(r"<(?:input|button)\b[^>]*>", form[2]):
            named = {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', control)}
            if "name" in named and (named.get("type") != "submit" or "submitted" not in values):
                values[named["name"]] = self._fields.get(named["name"], named.get("value", ""))
        there = urljoin(page.url, unescape(action[1])) if action else page.url
        return self._ask("POST", there, data=values)

    def _ask(self, method: str, url: str, **sent: Any) -> requests.Response:
        """Send a request with the cookies of a loopback address, whether or not they are for https, as browsers do."""
        answer = self._session.request(method, url, allow_redirects=False, timeout=10, **sent)
        for cookie in self._session.cookies:
            cookie.secure = False
        return answer
