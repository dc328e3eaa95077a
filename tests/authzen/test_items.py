"""Every item of `docs/reference/authzen.md` has a test with its number, or a reason there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
LAST = 70


def numbers(text: str) -> set[int]:
    """Return the numbers of a text, with ranges expanded."""
    kinds = set()
    for first, last in re.findall(r"(\d+)(?:–(\d+))?", text):
        kinds |= set(range(int(first), int(last or first) + 1))
    return kinds


def test_every_item_is_held() -> None:
    """Each number of the page occurs once, and has a test in the file that the page names, or a reason."""
    page = (HERE.parent.parent / "docs/reference/authzen.md").read_text()
    rows = re.findall(r"^\| ([\d–]+) \| [^|]* \| ([^|]*) \| ([^|]*) \|$", page, re.M)
    listed = [number for items, _, _ in rows for number in sorted(numbers(items))]
    assert listed == list(range(1, LAST + 1))
    named: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for name in re.findall(r"^def test_((?:\d+_)+)", path.read_text(), re.M):
            named |= {int(number) for number in name.strip("_").split("_")}
    for items, _, where in rows:
        for file in re.findall(r"`([\w/]+\.py)`", where):
            assert (HERE / file).exists() or (HERE.parent.parent / file).exists(), file
        missing = numbers(items) - named
        assert not missing or "no test of its own" in where, missing
