"""A page to print: HTML that needs nothing from elsewhere, and PDF where Chromium is installed."""

import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

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
@page { size: A4 landscape; margin: 14mm; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11px; }
  thead { display: table-header-group; }
  table.wide { font-size: 7.5px; } tr { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } }
"""

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


def page(title: str, body: str) -> str:
    """A whole HTML page around a body; nothing in it is fetched, and nothing in it runs."""
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:\">\n<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def chromium() -> str | None:
    """Where Chromium is, if it is."""
    return next((found for name in _CHROMIUM if (found := shutil.which(name))), None)


def as_pdf(html: str) -> bytes | None:
    """A page as PDF, A4 across; None where Chromium is not installed or does not print it."""
    browser = chromium()
    if browser is None:
        return None
    with tempfile.TemporaryDirectory(prefix="caregrant-pdf-") as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_text(html, encoding="utf-8")
        words = [browser, *_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=120)  # noqa: S603 - words of ours
        except (subprocess.SubprocessError, OSError):
            return None
        return target.read_bytes() if target.is_file() else None
