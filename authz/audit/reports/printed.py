"""A page to print: HTML that fetches nothing, and PDF if Chromium is installed."""

import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; --ink: #1b2733; --quiet: #4a5a69; --line: #cfd8e0; --head: #e8eef4; --accent: #0b5394; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff;
  max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .3rem; }
p { margin: .4rem 0; }
.said { color: var(--quiet); margin: .2rem 0 .6rem; }
table { border-collapse: collapse; margin: .4rem 0 1.2rem; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left !important; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td { max-width: 22rem; overflow-wrap: break-word; } td.instant { white-space: nowrap; }
table.wide { font-size: .76rem; } table.wide th, table.wide td { padding: .25rem .45rem; white-space: normal; }
thead th { background: var(--head); border-bottom: 2px solid var(--accent); white-space: nowrap; }
.scroll { overflow-x: auto; }
table.dataframe { border: 0; }
table.dataframe th, table.dataframe td { border: 0; border-bottom: 1px solid var(--line); }
.header { border: 1px solid var(--line); border-left: 6px solid #8a1c12; padding: .6rem 1rem; margin: 0 0 1.4rem;
  background: #fdf6f5; }
.header.ok { border-left-color: #1e6b3a; background: #f4faf6; }
.header.unproven { border-left-color: #8a5a00; background: #fdf9ef; }
.header table { margin: .2rem 0; } .header th, .header td { border: 0; padding: .1rem 1rem .1rem 0; }
.header th { font-weight: 600; background: none; white-space: nowrap; }
.verdict { font-weight: 700; font-size: 1.05rem; color: #8a1c12; } .ok .verdict { color: #1e6b3a; }
.unproven .verdict { color: #8a5a00; }
figure { margin: 1rem 0; break-inside: avoid; } figure img { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .9rem; }
@page { size: A4 landscape; margin: 17mm 14mm 19mm; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11px; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } table { max-width: 100%; } th, td { overflow-wrap: anywhere; max-width: none; }
  table:not(.wide) td { min-width: 4.8rem; }
  table.wide { font-size: 7.5px; } table.wide th, table.wide td { padding: .25rem .3rem; }
  table.wide td.instant { white-space: normal; overflow-wrap: normal; } }
"""

_MARGINS = """
@page {{
  font: 8px/1.35 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #4a5a69;
  @top-left {{ content: {title}; width: 75%; text-align: left; font-weight: 600; }}
  @top-center {{ content: none; }}
  @top-right {{ content: {verdict}; width: 25%; text-align: right; font-weight: 700; color: {color}; }}
  @bottom-left {{ content: {about} "\\A " {rests}; width: 85%; text-align: left; white-space: pre-wrap; }}
  @bottom-center {{ content: none; }}
  @bottom-right {{ content: "Page " counter(page) " of " counter(pages); width: 15%; text-align: right; }}
}}
"""
_LONGEST_MARGIN = 400

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
)


class Margins(NamedTuple):
    """The texts in the margins of every printed page, beside the number of the page."""

    title: str
    verdict: str
    color: str
    about: str
    rests: str


def page(title: str, body: str, margins: Margins | None = None, style: str = "") -> str:
    """Return a whole HTML page around a body; the page fetches nothing and runs no script."""
    if margins is not None:
        texts = {name: _css_text(text) for name, text in margins._asdict().items() if name != "color"}
        style = f"{_MARGINS.format(**texts, color=margins.color)}{style}"
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:\">\n<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _css_text(text: str) -> str:
    """Return any text as a string of CSS; a very long text is cut."""
    cut = text if len(text) <= _LONGEST_MARGIN else f"{text[: _LONGEST_MARGIN - 1]}…"
    escaped = (
        character if character.isalnum() or character in " .,:;-=()" else f"\\{ord(character):x} " for character in cut
    )
    return f'"{"".join(escaped)}"'


def chromium() -> str | None:
    """Return the path of Chromium, if it is installed."""
    return next((path for name in _CHROMIUM if (path := shutil.which(name))), None)


def as_pdf(html: str) -> bytes | None:
    """Return a page as PDF, A4 landscape; None if Chromium is not installed or does not print the page."""
    browser = chromium()
    if browser is None:
        return None
    with tempfile.TemporaryDirectory(prefix="caregrant-pdf-") as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_text(html, encoding="utf-8")
        command = [browser, *_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 - a command of ours
        except (subprocess.SubprocessError, OSError):
            return None
        return target.read_bytes() if target.is_file() else None
